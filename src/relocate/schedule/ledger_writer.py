# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's side of the scheduler: every move it fired has exactly one line, whoever wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.alert import annotate
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import recorded
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

from relocate.schedule.records import Firing, iso

#: How much of an existing file is read: some ten thousand relocations.
TAIL = 32 << 20


def alert_of(firing: Firing) -> dict[str, Any]:
    """Return what a relocation is told of the alert that asked for it."""
    alert = {
        "at": iso(firing.alerted_at),
        "stay_ms": firing.stay_ms,
        "drawn_ms": firing.drawn_ms,
        "clamp": firing.clamp,
    }
    return {name: value for name, value in alert.items() if value is not None}


class Ledger:
    """A file of JSON lines. Only the lines of relocations that are expected are kept in memory, and each is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._expected: dict[str, dict[str, Any] | None] = {}
        self._offset: int | None = None

    def expect(self, identifier: str) -> None:
        """A relocation has been, or will be, launched: its line is of interest."""
        self._expected.setdefault(identifier, None)

    def forget(self, identifier: str) -> None:
        """A relocation's end is known everywhere."""
        self._expected.pop(identifier, None)

    def entry(self, identifier: str) -> dict[str, Any] | None:
        """Return the last line of a relocation that is expected, if it has one."""
        self._look()
        return self._expected.get(identifier)

    def _look(self) -> None:
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if self._offset is None or size < self._offset:  # the first look, or the file was begun anew
                    self._offset = max(0, size - TAIL)
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        whole = data.rfind(b"\n") + 1  # what follows is half a line: its writer is at work, or was killed
        self._offset += whole
        for line in data[:whole].splitlines():
            try:
                document = json.loads(line)
                if isinstance(document, dict) and str(document.get("id")) in self._expected:
                    self._expected[str(document["id"])] = reports.move_result(document)
            except (ValueError, RecursionError):  # no JSON, or no relocation's
                continue

    def ensure(self, ended: Iterable[tuple[Firing, dict[str, Any]]], at: float) -> None:
        """Write the lines of relocations, unless Ansible's callback has written one with the same outcome. Raises OSError.

        All of them are one write and one fsync.
        """
        self._look()
        lines = []
        for firing, result in ended:
            known = self._expected.get(firing.id)
            if known is None or known.get("outcome") != result.get("outcome"):
                for each in result.get("members") or [{"id": firing.id, "container": firing.container, **result}]:
                    document = annotate(recorded(each), alert_of(firing))
                    lines.append(json.dumps({"at": iso(at), **document}, separators=(",", ":"), default=str) + "\n")
        if lines:
            self._append(lines)

    def note(self, document: dict[str, Any], at: float) -> None:
        """Write a line that is no relocation's. Raises OSError."""
        self._append([json.dumps({"at": iso(at), **document}, separators=(",", ":"), default=str) + "\n"])

    def _append(self, lines: list[str]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a writer was killed amid its line
            os.write(descriptor, (("\n" if torn else "") + "".join(lines)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
