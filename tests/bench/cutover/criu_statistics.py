# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CRIU states of its own work (``stats-dump`` and ``stats-restore`` in its work directory)."""

from __future__ import annotations

from .shell import Shell

_READ = """
import sys, pycriu
with open(sys.argv[1] + "/stats-" + sys.argv[2], "rb") as file:
    print(pycriu.images.load(file)["entries"][0][sys.argv[2]][sys.argv[3]])
"""


def frozen_ms(on: Shell, work: str) -> float:
    """Return how long the tasks of the last dump stood still, in milliseconds."""
    return _microseconds(on, work, "dump", "frozen_time") / 1000


def restore_ms(on: Shell, work: str) -> float:
    """Return how long the last restore took, in milliseconds."""
    return _microseconds(on, work, "restore", "restore_time") / 1000


def _microseconds(on: Shell, work: str, kind: str, field: str) -> int:
    return int(on(f"python3 -c '{_READ}' {work} {kind} {field}"))
