# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where RELOCATE keeps things on a host: known to the modules and to the proxy, and written down here alone.

Everything under ``RUN`` is in tmpfs and private to root: it holds memory images and keys. What has to outlive a reboot is under
``KEPT``, and holds no secrets.
"""

from __future__ import annotations

RUN = "/run/relocate"
RESULTS = RUN + "/results"
#: One file a part of a relocation, locked as long as one of its processes lives.
PARTS = RUN + "/parts"
EXPECTED = RUN + "/expected"
#: Memory images, one directory a relocation.
SESSIONS = RUN + "/sessions"
KEPT = "/var/lib/relocate"
JOURNALS = KEPT + "/journal"
#: A host with this file takes no new containers: drained by hand or by the scheduler.
CORDON = KEPT + "/cordoned"
EDGE = KEPT + "/edge"
#: Which paths of the host containers from elsewhere may be shown (see ``_binds``).
BINDS = KEPT + "/binds.json"
#: One file a container that was given to another host while its own was dead.
FENCES = EDGE + "/fences"
#: Where recordings wait for the controller, or for a restore. Whoever logs in here for it must get there without being root.
#: They are sealed, and their names cannot be guessed.
RECORDINGS = "/var/tmp"
INSTALLED = "/usr/local/lib/relocate"
PROXY = INSTALLED + "/relocate_proxy/__main__.py"
RESTORE_SHIM = INSTALLED + "/restore_shim.so"
