#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: project_relocate
short_description: Carries all running containers of a Compose project, live and together, to another host
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Moves the containers of one project, as Docker Compose labels them (C(com.docker.compose.project)), from the host that has
    them to another one. Everything is prepared for each of them while they run; then all are frozen, dumped and restored
    together, and one verdict decides for all. Either all of them run at the destination afterwards, or all at the source.
  - On the networks of the project each keeps its address, so that what they know of each other stays true, and the
    connections between them survive. Networks that the destination lacks are made there, with the same subnets and labels, and
    taken away again if the move is rolled back.
  - Every reason against moving one of them is a reason against moving any, and all reasons are given at once.
  - A container with the label C(relocate.mtd/project=apart) is left out. What does not run is left where it is.
  - The task runs on the controller (C(hosts=localhost)) and reaches the hosts through the inventory.
options:
  project:
    description: The name of the project.
    type: str
    required: true
  destination:
    description: The host that it goes to. Without one, it is drawn from those that can take all of it, by O(policy).
    type: str
  source:
    description: The host that has it. It is needed only if containers of the project run on several.
    type: str
  mode:
    description: As of M(relocate.mtd.container_relocate), for each of them. There is no post-copy for a project.
    type: str
    choices: [auto, stop-and-copy, pre-copy]
    default: auto
  prefer:
    description: As of M(relocate.mtd.container_relocate).
    type: str
    choices: [safety, pause]
    default: safety
  policy:
    description: As of M(relocate.mtd.container_relocate). The destination is drawn as for the one with the most memory.
    type: dict
    default: {}
  downtime_limit_ms:
    description:
      - For how many milliseconds the project may be away. The pauses that are predicted for each are added up, for all share
        two hosts, and multiplied by what earlier moves of projects have taught. More than the limit is a refusal.
    type: float
    default: 300
  docker_hosts:
    description: The hosts to look at, instead of the group C(docker_hosts).
    type: list
    elements: str
  edge:
    description: The host that the services are published on, instead of the first of the group C(edge).
    type: str
  ledger:
    description: The ledger whose earlier moves between these hosts teach the prediction.
    type: path
  reason:
    description: Why it is moved, for the ledger.
    type: str
    default: manual
  timeout:
    description: After how many seconds without a result the move is reported as being in doubt. It goes on without us.
    type: int
    default: 300
seealso:
  - module: relocate.mtd.container_relocate
  - module: relocate.mtd.relocations_recover
extends_documentation_fragment:
  - relocate.mtd.attributes
attributes:
  check_mode:
    support: full
    details: Returns the plan and touches nothing. A destination that is not given is drawn anew by the real run.
  diff_mode:
    support: full
    details: Shows the plan.
  idempotent:
    support: none
    details: Every run is a move.
"""

EXAMPLES = r"""
- name: Move the shop to host3
  relocate.mtd.project_relocate:
    project: shop
    destination: host3

- name: Move it wherever it can go, if it is away for no more than half a second
  relocate.mtd.project_relocate:
    project: shop
    downtime_limit_ms: 500
"""

RETURN = r"""
id:
  description: The id of the move of all. Each member has one of its own.
  returned: when there was a plan
  type: str
project:
  description: The project's name.
  returned: always
  type: str
members:
  description: >-
    The result of each container, as M(relocate.mtd.container_relocate) returns it, with C(project), with the id of the move of
    all as C(together), and its C(kept_addresses). In the order in which they depend on each other.
  returned: always
  type: list
  elements: dict
source:
  description: The C(host) and C(address) it came from.
  returned: when there was a plan
  type: dict
destination:
  description: The C(host) and C(address) it went to.
  returned: when there was a plan
  type: dict
networks:
  description: >-
    Networks that the destination makes, with C(what) (V(made), or V(renewed) if an empty one of the project is made again) and
    C(settings).
  returned: when there was a plan
  type: list
  elements: dict
left_behind:
  description: >-
    Names of containers that stay - C(stopped), of the project, and C(others), that are on one of its networks and not of it.
  returned: when there was a plan
  type: dict
predicted_downtime_ms:
  description: The predicted pause of all together.
  returned: when there was a plan
  type: float
predicted_from:
  description: What that rests on.
  returned: when there was a plan
  type: str
downtime_ms:
  description: The longest pause of any of them.
  returned: when a move was tried
  type: float
rolled_back:
  description: Whether the move was begun and taken back.
  returned: always
  type: bool
outcome:
  description: >-
    V(committed), V(rolled-back), V(refused), V(planned) in check mode, V(in-doubt), or V(torn), if a copy died while it was
    being resumed - its original runs on at the source, and the others run at the destination.
  returned: always
  type: str
problems:
  description: What went wrong, in sentences.
  returned: when a move was tried
  type: list
  elements: str
"""
