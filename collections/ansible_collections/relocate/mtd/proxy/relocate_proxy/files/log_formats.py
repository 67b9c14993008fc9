# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Docker's log drivers keep a log in files on the host: ``json-file`` and ``local``.

Both write records to the end of one file and turn it over by its size (``daemon/logger/loggerutils/logfile.go`` of moby). They
differ in where that file is and in what a record looks like.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Protocol

from ..protocol.protobuf import BadMessage, decode

MARK = 256  # bytes by which the place in a log of lines is known again: a line ends with its time, and no two have the same
_SIZE = struct.Struct(">I")
SOURCE, LINE, PARTIAL, METADATA = 1, 3, 4, 5  # fields of LogEntry, api/types/plugins/logdriver/entry.proto of moby
LAST = 1  # of the metadata


class Format(Protocol):
    """What has to be known of a driver's files."""

    def path(self, container_id: str) -> str:
        """Return the newest file, inside of Docker's directory of the container."""

    def whole(self, data: bytes) -> int:
        """Return how many bytes of ``data``, which begins with a record, are whole records."""

    def mark(self, whole: bytes) -> bytes:
        """Return an end of whole records, at least one of them, by which their place is known again."""

    def said(self, whole: bytes) -> list[list[str]]:
        """Return stream and text of each record."""


class Lines:
    """``json-file``: a JSON document on each line."""

    def path(self, container_id: str) -> str:
        """Return the file's name."""
        return f"{container_id}-json.log"

    def whole(self, data: bytes) -> int:
        """Return how much of it are whole lines."""
        return data.rfind(b"\n") + 1

    def mark(self, whole: bytes) -> bytes:
        """Return the end of the last line."""
        return whole[-MARK:]

    def said(self, whole: bytes) -> list[list[str]]:
        """Return what was said; what is no such line (after a crash of the host) as it stands."""
        return [_of_line(line) for line in whole.split(b"\n") if line]


def _of_line(line: bytes) -> list[str]:
    try:
        found = json.loads(line)
        stream, text = found.get("stream", "stdout"), found.get("log", "")
        if isinstance(stream, str) and isinstance(text, str):
            return [stream, text.encode(errors="replace").decode()]
    except (ValueError, AttributeError, RecursionError):
        pass
    return ["stdout", line.decode(errors="replace") + "\n"]


class Frames:
    """``local``: protobuf messages, each between two copies of its size (four bytes, the highest first)."""

    def path(self, container_id: str) -> str:
        """Return the file's name."""
        return "local-logs/container.log"

    def whole(self, data: bytes) -> int:
        """Return how much of it are whole messages."""
        return sum(len(message) + 2 * _SIZE.size for message in _messages(data))

    def mark(self, whole: bytes) -> bytes:
        """Return the last message: its time is at its beginning, and many a message ends like another."""
        (size,) = _SIZE.unpack(whole[-_SIZE.size :])
        return whole[-(size + 2 * _SIZE.size) :]

    def said(self, whole: bytes) -> list[list[str]]:
        """Return what was said; what cannot be read (after a crash of the host) is left out."""
        found = []
        for message in _messages(whole):
            try:
                fields = decode(message)
                whole_line = not fields.get(PARTIAL) or _is_last(fields.get(METADATA))
            except BadMessage:
                continue
            stream, line = fields.get(SOURCE, b"stdout"), fields.get(LINE, b"")
            if isinstance(stream, bytes) and isinstance(line, bytes):
                end = "\n" if whole_line else ""  # which Docker takes away
                found.append([stream.decode(errors="replace"), line.decode(errors="replace") + end])
        return found


def _is_last(metadata: int | bytes | None) -> bool:
    """Return whether a piece of a long line is its last: Docker calls that one partial, too."""
    return isinstance(metadata, bytes) and bool(decode(metadata).get(LAST))


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _SIZE.size <= len(data):
        (size,) = _SIZE.unpack_from(data, at)
        end = at + _SIZE.size + size
        if end + _SIZE.size > len(data) or _SIZE.unpack_from(data, end) != (size,):
            return  # not there yet; or, after a crash of the host, never
        yield data[at + _SIZE.size : end]
        at = end + _SIZE.size


#: By the driver. The files of no other are on the host, or are known.
FORMATS: dict[str, Format] = {"json-file": Lines(), "local": Frames()}
