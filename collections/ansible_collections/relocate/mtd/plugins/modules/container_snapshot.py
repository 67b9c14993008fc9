#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: container_snapshot
short_description: Makes a snapshot of a running container, from which it can be restored when its host is lost
version_added: "0.2.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Records a running container - its memory, its files, its log, and how it was made - and lets it run on. It is frozen for
    as long as the dump of a move takes; what was dumped is recorded afterwards.
  - The recording is sealed (AES-256-GCM) on the container's host, with a key of its own, and carried to the store as it is.
  - TCP connections stay with the container and are not in the snapshot. A restored container finds them closed.
  - Old snapshots of the container are removed afterwards, as O(keep) and O(days) say. The newest one that is whole never is.
  - The task runs on the controller (C(hosts=localhost)) and reaches the hosts through the inventory.
options:
  source:
    description: The host on which the container is known to run. It decides only if several hosts claim to run it.
    type: str
  keep:
    description: How many good snapshots of this container are kept at most.
    type: int
    default: 5
  days:
    description: For how many days a snapshot is kept at most.
    type: float
    default: 30
  frozen_seconds:
    description: A dump that takes longer is given up, and the container runs on.
    type: float
    default: 120
  timeout:
    description: After how many seconds without a result the snapshot is given up.
    type: int
    default: 600
notes:
  - What M(relocate.mtd.container_relocate) refuses to move is refused here, too.
seealso:
  - module: relocate.mtd.container_restore
  - module: relocate.mtd.snapshots_info
extends_documentation_fragment:
  - relocate.mtd.attributes
  - relocate.mtd.move.fleet
  - relocate.mtd.snapshots
attributes:
  check_mode:
    support: full
    details: Says whether a snapshot could be made, and makes none.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Every run makes a snapshot.
"""

EXAMPLES = r"""
- name: Keep the counter as it is now
  relocate.mtd.container_snapshot:
    container: counter
    store: /srv/snapshots
    key: /etc/relocate/snapshots.key
"""

RETURN = r"""
snapshot:
  description: Its id.
  returned: success
  type: str
host:
  description: The host that the container runs on.
  returned: success
  type: str
store:
  description: The directory of the store.
  returned: success
  type: str
bytes:
  description: The bytes that were recorded, as C(memory) and C(recording), the size of the sealed file.
  returned: when one was made
  type: dict
frozen_ms:
  description: For how long the container stood still.
  returned: when one was made
  type: float
timings_ns:
  description: Nanoseconds of C(freeze), C(dump) and C(frozen_total).
  returned: when one was made
  type: dict
removed:
  description: The ids of older snapshots that were removed.
  returned: when one was made
  type: list
  elements: str
outcome:
  description: V(recorded), or V(planned) in check mode.
  returned: success
  type: str
"""
