# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of one part of one relocation: JSON lines, fsynced before the step they announce is taken.

One file a part, ``/var/lib/relocate/journal/ID.PART.jsonl``, mode 0600 in a directory of mode 0700. It holds no secrets:
keys and memory images live in ``/run/relocate`` (tmpfs) and never reach a disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from ..host import paths
from ..host.syscalls import write_all
from . import faults
from .states import FINAL, State

KEPT_SECONDS = 30 * 86400  # how long the journal and the log of a relocation that has ended are kept at most
KEPT_RELOCATIONS = 2000  # of how many that have ended, the latest
KEPT_RESULTS = 500  # that no controller has fetched, the latest


class Damaged(ValueError):
    """A journal has lines that cannot be read, or that another version has written. What stood there, nobody may guess."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(
            f"line {line} of the journal {path} cannot be read: see where the container runs, remove what does not, and then "
            "the journal (or run prepare.yml again, if a newer version has written it)"
        )


def _entry(line: bytes) -> dict | None:
    """Return what a line of a journal says; None if it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


class Journal:
    """Append-only record of a part's states and of the facts its rollback or completion needs.

    ``facts`` is the union of everything recorded so far: what a restarted part or ``recover`` reads. ``times`` has for each
    state when it was first entered (ns since the epoch).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.relocation, _, self.part = os.path.basename(path).removesuffix(".jsonl").rpartition(".")
        self.state: State | None = None
        self.facts: dict = {}
        self.times: dict[str, int] = {}
        self._fd = -1
        self._length = 0  # bytes of whole lines: what lies behind them in the file was never acted upon

    @classmethod
    def at(cls, relocation: str, part: str, directory: str = paths.JOURNALS) -> Journal:
        """Return the journal of ``part`` ("source", "destination", "edge") of a relocation, read if it exists already.

        :raises Damaged: there is more in it than what a crash leaves.
        """
        journal = cls(os.path.join(directory, f"{relocation}.{part}.jsonl"))
        journal._read()
        return journal

    def _read(self) -> None:
        try:
            with open(self.path, "rb") as file:
                *lines, _ = file.read().split(
                    b"\n"
                )  # behind the last: a crash in the middle of a write; no step was taken
        except FileNotFoundError:
            return
        entries = list(map(_entry, lines))
        for number, entry in enumerate(entries):
            if entry is None and any(entries[number:]):
                raise Damaged(self.path, number + 1)
            if entry is None:  # as torn
                break
            try:
                self._absorb(entry)
            except (KeyError, TypeError, ValueError) as error:
                raise Damaged(self.path, number + 1) from error
            self._length += len(lines[number]) + 1

    def _absorb(self, entry: dict) -> None:
        state, at_ns = State(entry.pop("state")), entry.pop("at_ns")
        if type(at_ns) is not int:
            raise TypeError("a moment is a number")
        self.state = state
        self.times.setdefault(state.value, at_ns)
        self.facts.update(entry)

    def record(self, state: State, **facts: object) -> None:
        """Write ``state`` and ``facts`` and return when they are on the disk.

        :raises OSError: when the disk refuses; the caller must then not take the step.
        """
        faults.strike(self.part, state, "before")
        if self._fd < 0:
            directory = os.path.dirname(self.path)
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._fd, self._length)  # a torn line would swallow the one that is written behind it
            self._sync_directory(directory)
        entry = {"state": state.value, "at_ns": time.time_ns(), **facts}
        line = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        try:
            self._write(line)
        except OSError:
            os.ftruncate(self._fd, self._length)
            raise
        self._length += len(line)
        self._absorb(entry)
        if self.finished:
            os.close(self._fd)
            self._fd = -1
        faults.strike(self.part, state, "after")

    def _write(self, line: bytes) -> None:
        write_all(self._fd, line)  # a disk that is nearly full takes a part, and refuses the rest
        os.fdatasync(self._fd)

    @staticmethod
    def _sync_directory(directory: str) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @property
    def finished(self) -> bool:
        """Whether the part has nothing left to do."""
        return self.state in FINAL


def unfinished(directory: str = paths.JOURNALS) -> list[tuple[str, str, Journal]]:
    """Return ``(relocation, part, journal)`` for every journal on this host whose part did not reach a final state."""
    found = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        relocation, _, rest = name.partition(".")
        part, _, ending = rest.partition(".")
        if ending != "jsonl":
            continue
        journal = Journal.at(relocation, part, directory)
        if journal.state is not None and not journal.finished:
            found.append((relocation, part, journal))
    return found


def prune(directory: str = paths.JOURNALS, now: float | None = None) -> int:
    """Remove journals and logs of relocations that have ended, and that are too old or too many; return how many files went.

    A journal without an end stays, however old: somebody has to settle it. An edge's that may have the verdict for a part
    without an end goes by its age alone.
    """
    limit = (time.time() if now is None else now) - KEPT_SECONDS
    found: dict[str, dict[str, list[str]]] = {}
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        relocation, _, rest = name.partition(".")
        part, _, ending = rest.partition(".")
        if ending in ("jsonl", "log"):
            found.setdefault(relocation, {}).setdefault(part, []).append(os.path.join(directory, name))
    removed = 0
    too_many = set(list(found)[: max(0, len(found) - KEPT_RELOCATIONS)])  # their names begin with when they began
    for relocation, parts in found.items():
        for part, files in parts.items():
            with contextlib.suppress(
                FileNotFoundError, Damaged
            ):  # another relocation has just ended, and does the same
                old = max(os.stat(file).st_mtime for file in files) <= limit
                if not old and relocation not in too_many:
                    continue
                journal = Journal.at(relocation, part, directory)
                needed = part in ("edge", "standby") and not journal.facts.get("everywhere")
                if (journal.finished and not needed) or (old and (journal.finished or journal.state is None)):
                    for file in files:
                        os.unlink(file)
                        removed += 1
    return removed


def prune_results(directory: str, kept: int = KEPT_RESULTS) -> None:
    """Remove results, the oldest first, that nobody has fetched. They are in memory."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    for name in names[: max(0, len(names) - kept)]:
        with contextlib.suppress(FileNotFoundError):  # it was fetched in this moment
            os.unlink(os.path.join(directory, name))
