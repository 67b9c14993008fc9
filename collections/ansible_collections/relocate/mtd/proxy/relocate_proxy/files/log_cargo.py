# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's log of a container travels: its file first, and what was said since in the container's place."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from ..host.syscalls import write_all
from ..protocol.channel import Outlet
from ..protocol.words import shown
from .log_formats import FORMATS, Format

CHUNK = 1 << 20
LARGEST = 1 << 24  # of a record, at least
WORDS = 64  # lines per message


class LogSender:
    """The source's half. :param log_path: Docker's own file, if its log driver keeps one on this host."""

    def __init__(self, channel: Outlet, log_path: str | None, form: Format = FORMATS["json-file"]) -> None:
        self.channel = channel
        self.log_path = log_path
        self._form = form
        self._log: BinaryIO | None = None
        self._last = b""  # the end of what was read of it
        self.bytes = 0

    def send_first(self) -> int:
        """Send the log so far, as it is in Docker's files: those it has rotated away first."""
        if not self.log_path:
            return 0
        directory, name = os.path.split(self.log_path)
        for rotated in sorted(entry for entry in os.listdir(directory) if entry.startswith(name + ".")):
            with open(os.path.join(directory, rotated), "rb") as file:
                while data := file.read(CHUNK):
                    self.channel.send("log", raw=data, rotated=rotated[len(name) :])
                    self.bytes += len(data)
        for data in self._log_since():
            self.channel.send("log", raw=data, rotated="")
        return self.bytes

    def send_changes(self) -> int:
        """Send what was logged since, as the container said it.

        Docker's logger counts the bytes of its own file: what others append to it is cut off when it is read. So these
        lines go through the destination's logger, which gives them the time of the move.
        """
        said = [each for data in self._log_since() for each in self._form.said(data)]
        for begin in range(0, len(said), WORDS):
            self.channel.send("words", words=said[begin : begin + WORDS])
        return 0

    def _log_since(self) -> Iterator[bytes]:
        """Yield the log's bytes since the last call, up to the last whole record, through a rotation if there was one."""
        if not self.log_path:
            return
        if self._log is None:
            self._log = open(self.log_path, "rb")  # noqa: SIM115  kept: rotation renames the file under us
        self._begin_anew_if_it_was()
        yield from self._whole_records(self._log)
        while newer := self._newer(self._log):
            self._log.close()
            self._log = newer
            yield from self._whole_records(newer)

    def _begin_anew_if_it_was(self) -> None:
        """With ``max-file=1`` Docker empties the file instead of renaming it: then what was read is not before us any more."""
        if self._log is not None and not self._is_followed_by(self._log.tell(), self._log):
            self._log.seek(0)
            self._last = b""

    def _is_followed_by(self, at: int, file: BinaryIO) -> bool:
        """Return whether what was read last ends at ``at`` in a file. Each record has its time: no two are the same."""
        file.seek(max(0, at - len(self._last)))
        found = file.read(len(self._last))
        file.seek(at)
        return found == self._last

    def _newer(self, log: BinaryIO) -> BinaryIO | None:
        """Return the file that followed the one that is read: Docker may have rotated several times. None: it is the newest.

        One that is not there any more has been rotated away: then all that are left followed it.
        """
        newer: BinaryIO | None = None
        for number in itertools.count():
            name = f"{self.log_path}.{number}" if number else str(self.log_path)
            file = _opened(name)
            if file is None:
                return newer
            # one that Docker has packed meanwhile is another file with the same in it
            known = self._is_followed_by(log.tell(), file) if isinstance(file, gzip.GzipFile) else _same(file, log)
            if known:
                file.close()
                return newer
            file.seek(0)
            if newer is not None:
                newer.close()
            newer = file
        return None

    def _whole_records(self, file: BinaryIO) -> Iterator[bytes]:
        size = CHUNK
        while data := file.read(size):
            whole = data[: self._form.whole(data)]
            file.seek(len(whole) - len(data), os.SEEK_CUR)
            if whole:
                self.bytes += len(whole)
                self._last = self._form.mark(whole)
                yield whole
            elif len(data) < size or size >= LARGEST:
                return
            else:
                size *= 2  # a record that is larger


def _opened(path: str) -> BinaryIO | None:
    """Return a log, opened; Docker may have packed it. None: there is none."""
    with contextlib.suppress(FileNotFoundError):
        return open(path, "rb")
    with contextlib.suppress(FileNotFoundError):
        return cast(BinaryIO, gzip.open(path + ".gz"))
    return None


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


class LogReceiver:
    """The destination's half. :param log_path: where Docker's logger will look for the file of the copy."""

    kinds = frozenset({"log", "words"})

    def __init__(self, log_path: str) -> None:
        self.log_path = log_path
        self.words: list[list[str]] = []  # stream and text, in order

    def take(self, message: dict) -> None:
        """Append to the file, or remember what is to be said."""
        if message["kind"] == "words":
            self.words += message["words"]
        else:
            self._append(message["raw"], message["rotated"])

    def _append(self, data: bytes, rotated: str) -> None:
        """Docker's logger opens the file later, and continues it. The driver's own directory it makes as we do."""
        if not re.fullmatch(r"(\.[0-9]+(\.gz)?)?", rotated):
            raise ValueError(f"the source named a log file {shown(rotated)}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(self.log_path), 0o700)
        fd = os.open(self.log_path + rotated, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)

    def settle(self) -> None:
        """Nothing is kept open."""
