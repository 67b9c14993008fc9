# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents of ansible-runner and AWX, which tell what hosts have said: what is no mapping is taken for an empty one."""

from __future__ import annotations

from typing import Any


def part(document: Any, *names: str) -> dict[str, Any]:
    """Return the mapping that is inside a document at these names, an empty one if there is none."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def data(event: Any) -> dict[str, Any]:
    """Return what an event is about."""
    return part(event, "event_data")


def result(event: Any) -> dict[str, Any]:
    """Return the result of the task that an event is about."""
    return part(event, "event_data", "res")


def items(document: Any, name: str) -> list[Any]:
    """Return the list that a document has under a name, an empty one if there is none."""
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, list) else []


def rows(document: Any, name: str) -> list[dict[str, Any]]:
    """Return the mappings in the list that a document has under a name."""
    return [each for each in items(document, name) if isinstance(each, dict)]


def whole(value: Any) -> int | None:
    """Return a whole number that a counter can hold, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None
