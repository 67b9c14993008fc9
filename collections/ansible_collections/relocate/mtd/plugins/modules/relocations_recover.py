#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: relocations_recover
short_description: Brings relocations that a crash interrupted to their end
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Reads the journals of all hosts. A relocation that the edge committed is completed; any other is rolled back, and its
    container runs on at its source. A relocation with a living process is left to it.
  - A relocation whose edge does not answer stays as it is, frozen at the source and gated at the destination - the edge alone
    knows the verdict.
  - A container that came back with a host after it was restored elsewhere from a snapshot is removed, if it runs on another
    host (M(relocate.mtd.container_restore)). Its C(part) is V(returned).
  - The task runs on the controller (C(hosts=localhost)).
options:
  docker_hosts:
    description: The hosts to look at, instead of the group C(docker_hosts).
    type: list
    elements: str
  edges:
    description: The edges to look at, instead of the group C(edge).
    type: list
    elements: str
  gone:
    description:
      - Hosts that will never come back, by the word of somebody who knows.
      - A copy that still waits for memory of its source in a post-copy waits for such a host no longer. It is ended, and
        started afresh where its restart policy says so; its files are at the destination. This happens only if all hosts but
        these have answered and none has the source.
    type: list
    elements: str
    version_added: "0.1.0"
seealso:
  - module: relocate.mtd.container_relocate
extends_documentation_fragment:
  - relocate.mtd.attributes
attributes:
  check_mode:
    support: full
    details: Lists what is unfinished and settles nothing.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Settle what a crash left
  relocate.mtd.relocations_recover:

- name: Settle what a host left that has burnt down
  relocate.mtd.relocations_recover:
    gone: [host2]
"""

RETURN = r"""
settled:
  description: >-
    What was done, one for each part of each relocation, with C(relocation), C(container), C(host), C(part), C(verdict) and
    C(outcome), and with C(notes) if there is something to know about services of the container, or entries of the edge's
    connection table, that were left as they are.
  returned: always
  type: list
  elements: dict
in_progress:
  description: The ids of relocations that have living processes and were left to them.
  returned: always
  type: list
  elements: str
left:
  description: Sentences about what could not be settled.
  returned: always
  type: list
  elements: str
"""
