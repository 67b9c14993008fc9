#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: container_restore
short_description: Restores a container from a snapshot on another host
version_added: "0.2.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Has a host restore a container from a snapshot, with its memory, its files and its log as they were then. Its services
    lead there.
  - Refused while the container is anywhere, running or not, and while a host that may run it is silent. A host that does
    not answer is not dead; O(dead) says which one is.
  - Before anything is restored, the edge sends nothing more to the dead hosts and shuts the container's ports there
    (M(relocate.mtd.service_fence)). When such a host comes back, M(relocate.mtd.relocations_recover) removes what came back
    with it.
  - A snapshot that was changed or cut off, or is of another container or key, is refused before anything is changed.
  - The task runs on the controller (C(hosts=localhost)) and reaches the hosts through the inventory.
options:
  snapshot:
    description: The id of the snapshot, or V(latest) for the newest one that the key proves.
    type: str
    default: latest
  destination:
    description:
      - The host to restore it on. Without one, it is drawn from those that can take it, as for a move if the host that had it
        is dead, else evenly.
    type: str
  dead:
    description:
      - Hosts that are dead - switched off, or cut off for good. Whoever says so of a host that runs is answered by a
        container with two copies, of which the edge reaches one.
      - One that answers is refused. So is one that an edge or another Docker host hears (M(relocate.mtd.host_witness)).
    type: list
    elements: str
    default: []
  policy:
    description: How the destination is drawn, as for M(relocate.mtd.container_relocate).
    type: dict
    default: {}
  timeout:
    description: After how many seconds without a result the restore is reported as having failed.
    type: int
    default: 900
seealso:
  - module: relocate.mtd.container_snapshot
  - module: relocate.mtd.service_fence
  - module: relocate.mtd.host_witness
extends_documentation_fragment:
  - relocate.mtd.attributes
  - relocate.mtd.move.fleet
  - relocate.mtd.snapshots
attributes:
  check_mode:
    support: full
    details: Checks everything, the recording byte for byte, and changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: A second run is refused, because the container runs.
"""

EXAMPLES = r"""
- name: host1 has burnt down; its counter goes on elsewhere
  relocate.mtd.container_restore:
    container: counter
    dead: [host1]
"""

RETURN = r"""
id:
  description: The id under which the destination's journal has this restore.
  returned: when one was carried out
  type: str
snapshot:
  description: The id of the snapshot.
  returned: success
  type: str
at:
  description: When the snapshot was made. What the container did later is lost.
  returned: success
  type: str
host:
  description: The host that the container runs on now.
  returned: success
  type: str
dead:
  description: The hosts that were said to be dead, and that nobody hears.
  returned: success, and when there is no usable snapshot
  type: list
  elements: str
address_before:
  description: The container's address in the snapshot.
  returned: when one was carried out
  type: str
address_after:
  description: Its address now.
  returned: when one was carried out
  type: str
timings_ns:
  description: Nanoseconds of C(restore) and C(resume).
  returned: when one was carried out
  type: dict
alive:
  description: The host that was said to be dead and is heard by another one.
  returned: when the restore was refused because of it
  type: str
outcome:
  description: V(committed), or V(planned) in check mode.
  returned: success
  type: str
"""
