# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of runs that failed: Ansible's output, so many of them and so long.

Never kept: the variables, the environment, and ansible-runner's ``command`` file, which holds the whole environment.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

DAY = 86_400.0  # seconds


class Retention:
    """The directory of failed runs' outputs, mode 0700; the newest ``count`` stay, none longer than ``days``."""

    def __init__(self, directory: Path, count: int, days: float) -> None:
        self._directory = directory
        self._count = count
        self._days = days

    def keep(self, name: str, output: Path) -> Path | None:
        """Copy ``output`` as NAME.log and remove what is too old or too much; None when nothing is to be kept."""
        if self._count == 0 or not output.exists():
            self.prune()
            return None
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # names come from the scheduler, but a file name is no place to trust one
        kept = self._directory / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name).lstrip('.') or 'run'}.log"
        kept.touch(mode=0o600)
        shutil.copyfile(output, kept)
        self.prune()
        return kept

    def prune(self, now: float | None = None) -> None:
        """Remove outputs beyond the number and the age; ``now`` is in seconds since the epoch."""
        now = time.time() if now is None else now
        aged = sorted(((_modified(path), path) for path in self._directory.glob("*.log")), reverse=True)
        for place, (modified, path) in enumerate(aged):
            if place >= self._count or now - modified > self._days * DAY:
                path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    """Return a file's time of change; 0 for one that another thread has just removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
