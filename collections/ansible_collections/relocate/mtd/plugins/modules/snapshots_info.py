#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: snapshots_info
short_description: Lists the snapshots in a store
version_added: "0.2.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Lists what is in a store of snapshots. The key proves every manifest.
  - The task runs on the controller (C(hosts=localhost)).
options:
  container:
    description: Only the snapshots of this container.
    type: str
  verify:
    description: Whether every recording is compared with its manifest, byte for byte. It takes as long as reading them.
    type: bool
    default: false
seealso:
  - module: relocate.mtd.container_snapshot
extends_documentation_fragment:
  - relocate.mtd.attributes.info
  - relocate.mtd.snapshots
"""

EXAMPLES = r"""
- name: Which snapshots of the counter are there?
  relocate.mtd.snapshots_info:
    container: counter
"""

RETURN = r"""
snapshots:
  description: >-
    The snapshots, each container's newest first, with C(id), C(container), C(at), C(host), C(image), C(tenant),
    C(memory_bytes), C(frozen_ms), C(bytes) of the recording, and C(problem), why it cannot be used.
  returned: success
  type: list
  elements: dict
store:
  description: The directory of the store.
  returned: success
  type: str
"""
