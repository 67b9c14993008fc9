# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of past relocations: where it is, and its latest entries."""

from __future__ import annotations

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _homes
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

#: Bytes at the end of the file that are read: some thousand relocations.
TAIL = 4 << 20

#: Kept out: what only Ansible needs, and the diff, which repeats the rest.
NOT_RECORDED = frozenset(
    ("diff", "changed", "failed", "invocation", "dump_seconds", "_ansible_no_log", "ansible_facts", "exception")
)


def recorded(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the ledger keeps of a relocation's result."""
    return {name: value for name, value in result.items() if name not in NOT_RECORDED}


def default_path() -> Path:
    """Return C(RELOCATE_LEDGER), else the user's ledger."""
    if named := os.environ.get("RELOCATE_LEDGER"):
        return _homes.given(named)
    return _homes.state() / "ledger.jsonl"


def latest(path: Path, tail: int = TAIL) -> list[dict[str, Any]]:
    """Return the latest entries, oldest first. No file, no entries; a line that is no relocation's is skipped."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - tail))
            lines = file.read().splitlines()
    except OSError:
        return []
    if size > tail:
        lines = lines[1:]  # the first is a part of one
    found = []
    for line in lines:
        try:
            found.append(reports.move_result(json.loads(line)))
        except (ValueError, RecursionError):  # no JSON, or no relocation's
            continue
    return found


def committed_between(entries: list[dict[str, Any]], hosts: Container[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the relocations that were carried out between these hosts, of containers that moved alone.

    What moves together waits for the slowest: that says nothing of the next.

    :param hosts: pairs of name and address. Another fleet may use the same names.
    """
    return [
        entry
        for entry in entries
        if entry.get("outcome") == "committed" and not entry.get("together") and _within(entry, hosts)
    ]


def together_between(entries: list[dict[str, Any]], hosts: Container[tuple[str, str]]) -> list[list[dict[str, Any]]]:
    """Return the moves of projects that were carried out between these hosts, oldest first: the entries of their members."""
    moves: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry.get("together") and entry.get("outcome") == "committed" and _within(entry, hosts):
            moves.setdefault(str(entry["together"]), []).append(entry)
    return list(moves.values())


def _within(entry: dict[str, Any], hosts: Container[tuple[str, str]]) -> bool:
    places = [entry.get(part) for part in ("source", "destination")]
    return all(isinstance(place, dict) and (place.get("host"), place.get("address")) in hosts for place in places)
