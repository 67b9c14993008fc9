#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_check
short_description: Tells whether a container can be moved, and to which hosts
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Asks the hosts and the edge what M(relocate.mtd.container_relocate) would ask them, for every possible destination, and
    returns all reasons and remedies at once, where the move ends with the first.
  - Nothing is changed, and nothing is stopped but for O(dump). A verdict holds for the moment; a move asks again.
  - The task runs on the controller (C(hosts=localhost)) and reaches the hosts through the inventory.
options:
  container:
    description: Name of the container. Either this or O(project) is needed.
    type: str
  project:
    description: >-
      Name of a Compose project instead, as for M(relocate.mtd.project_relocate). Refusals and modes are told of each member.
    type: str
  dump:
    description: >-
      Have CRIU dump the container on trial, if nothing else stands in the way. It stands still meanwhile, and runs on; what was
      dumped is thrown away. For a container alone, and for who may become root on its host. Not in check mode.
    type: bool
    default: false
  destination:
    description: The only host to look at. Without one, all but the source.
    type: str
  downtime_limit_ms:
    description: A longer predicted pause is a refusal.
    type: float
    default: 300
seealso:
  - module: relocate.mtd.container_relocate
  - module: relocate.mtd.relocation_preflight
extends_documentation_fragment:
  - relocate.mtd.attributes.info
  - relocate.mtd.move
  - relocate.mtd.move.fleet
"""

EXAMPLES = r"""
- name: Where could the counter go?
  relocate.mtd.relocation_check:
    container: counter
  register: verdict

- name: Insist on two places
  ansible.builtin.assert:
    that: verdict.destinations | rejectattr('refusals') | length >= 2
"""

RETURN = r"""
container:
  description: The container's name.
  returned: for a container
  type: str
source:
  description: The host that runs it.
  returned: success
  type: str
strategy:
  description: V(live), or V(recreate), for which the verdicts hold.
  returned: for a container
  type: str
remedy:
  description: What can be done if only a live move is refused; empty otherwise.
  returned: for a container
  type: str
dump:
  description: How long the container stood still for a dump on trial (C(frozen_ms)), and its C(memory_bytes).
  returned: if O(dump) was asked for, and nothing else stood in the way
  type: dict
project:
  description: The project's name.
  returned: for a project
  type: str
members:
  description: Its containers that run, each with C(container) and the C(refusals) that keep it.
  returned: for a project
  type: list
  elements: dict
left_behind:
  description: Names of containers that stay, as M(relocate.mtd.project_relocate) returns them.
  returned: for a project
  type: dict
movable:
  description: Whether nothing stands in the way at the source and at one destination at least.
  returned: success
  type: bool
refusals:
  description: Why the container cannot leave, wherever it goes. Sentences; none means that it can.
  returned: success
  type: list
  elements: str
destinations:
  description:
    - Of each host its name (C(host)) and its C(refusals); where a mode can be had, C(mode), C(mode_why), C(predictions),
      C(predicted_downtime_ms), C(predicted_from) and C(modes_unavailable), as in the plan of a move.
    - For a project, C(members) has these of each container, beside C(refusals) and C(predicted_downtime_ms) of all, and the
      C(networks) that the host makes.
  returned: success
  type: list
  elements: dict
"""
