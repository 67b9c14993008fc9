# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the scheduler keeps what it must not forget."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.relocate.mtd.plugins.module_utils import _homes


def state_directory() -> Path:
    """Return the directory that systemd gave the service, else the user's own."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    return _homes.state()
