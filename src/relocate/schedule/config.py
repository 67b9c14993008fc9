# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's configuration: one YAML file, every key with a default. :mod:`relocate.reading` reads it."""

from __future__ import annotations

from pathlib import Path

from relocate import reading
from relocate.schedule.settings import Configuration

__all__ = ["Configuration", "default_file", "load", "parse"]

#: An empty file is a file that was cut off more often than a wish for the defaults, and the defaults move containers.
_EMPTY = "write what differs from the defaults, such as 'fleet: default', or leave --config out"
_KEYS = "docs/scheduler.md"


def default_file() -> Path | None:
    """Return the file that is read when none is named: /etc/relocate/schedule.yml, if it is there."""
    path = Path("/etc/relocate/schedule.yml")
    return path if path.is_file() else None


def load(path: Path | None) -> Configuration:
    """Return the configuration of a file; the defaults for None. Raises Refusal with one line for each mistake."""
    return Configuration() if path is None else reading.load(path, Configuration, empty=_EMPTY, keys=_KEYS)


def parse(text: str, name: str = "configuration") -> Configuration:
    """Return the configuration in ``text``; ``name`` stands for the file in messages. Raises Refusal."""
    return reading.validate(text, name, Configuration, empty=_EMPTY, keys=_KEYS)
