# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files of the user are who runs this: the ledger, profiles, snapshots, the scheduler's state."""

from __future__ import annotations

import os
from pathlib import Path

#: Debian's word for the home of users that have none. What is looked for there is missing; what is written there fails, and
#: says why. An automation controller's jobs run as such a user: any number, in no passwd file, without $HOME.
NO_HOME = Path("/nonexistent")


def state() -> Path:
    """Return ``relocate`` below C($XDG_STATE_HOME), or below C(~/.local/state) without it."""
    return _below("XDG_STATE_HOME", ".local/state")


def configuration() -> Path:
    """Return ``relocate`` below C($XDG_CONFIG_HOME), or below C(~/.config) without it."""
    return _below("XDG_CONFIG_HOME", ".config")


def given(path: str) -> Path:
    """Return the path that somebody wrote, C(~) being the user's home. A home that is not there is left as it is written."""
    return Path(os.path.expanduser(path))


def _below(variable: str, otherwise: str) -> Path:
    if directory := os.environ.get(variable):
        return Path(directory) / "relocate"
    try:
        home = Path.home()
    except RuntimeError:  # neither $HOME nor a user of this number
        home = NO_HOME
    return home / otherwise / "relocate"
