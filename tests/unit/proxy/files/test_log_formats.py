# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of Docker's log driver ``local``: records whole, read, and known again after they were turned over."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.files.log_cargo import LogSender
from relocate_proxy.files.log_formats import FORMATS
from relocate_proxy.protocol.protobuf import encode

FRAMES = FORMATS["local"]


def record(text: str, at: int = 1, stream: str = "stdout", partial: bool = False, last: bool = False) -> bytes:
    """Return a record as Docker writes it. :param at: its time, in nanoseconds. :param last: the last piece of a long line."""
    piece = {4: 1, 5: encode({1: int(last), 2: b"id", 3: 1})} if partial or last else {}
    message = encode({1: stream.encode(), 2: at, 3: text.encode(), **piece})
    size = struct.pack(">I", len(message))
    return size + message + size


@pytest.mark.parametrize("left", [0, 1, 4, 5, 11])
def test_only_whole_records_are_taken(left: int) -> None:
    """Docker may be in the middle of one."""
    data = record("one") + record("two")
    assert FRAMES.whole(data + record("three")[:left]) == len(data)


def test_what_was_said() -> None:
    """The end of a line is not in the file; a piece of a long line has none. A record of zeros after a crash says nothing."""
    data = record("one") + record("bad", stream="stderr") + record("long", partial=True) + record("er", last=True)
    assert FRAMES.said(data) == [["stdout", "one\n"], ["stderr", "bad\n"], ["stdout", "long"], ["stdout", "er\n"]]
    broken = struct.pack(">I", 3) + b"\xff\xff\xff" + struct.pack(">I", 3)
    assert FRAMES.said(broken + record("one")) == [["stdout", "one\n"]]
    message = encode({3: b"piece", 4: 1, 5: b"\xff"})
    size = struct.pack(">I", len(message))
    assert FRAMES.said(size + message + size + record("one")) == [["stdout", "one\n"]]


def test_a_long_record_is_known_by_its_time() -> None:
    """Its time is at its beginning, and what it says may have been said before."""
    one, other = record("x" * 5000, at=1), record("x" * 5000, at=2)
    assert FRAMES.mark(one) == one and FRAMES.mark(one + other) == other


class Line:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append({"kind": kind, **fields})


@pytest.mark.parametrize("emptied", [False, True], ids=["renamed", "emptied in place"])
def test_what_came_since_is_sent_once_though_the_file_was_turned_over(tmp_path: Path, emptied: bool) -> None:
    """A program may say the same all the time: only the times of its words differ."""
    log, line = tmp_path / "container.log", Line()
    log.write_bytes(b"".join(record("again", at=at) for at in range(3)))
    sender = LogSender(line, str(log), FRAMES)  # type: ignore[arg-type]
    sender.send_first()
    assert [each["raw"] for each in line.sent] == [log.read_bytes()]
    line.sent.clear()
    if emptied:
        with log.open("r+b") as file:
            file.truncate()
            file.write(record("again", at=3) * 1)
    else:
        with log.open("ab") as file:
            file.write(record("again", at=3))
        log.rename(f"{log}.1")
        log.write_bytes(record("again", at=4))
    sender.send_changes()
    sender.send_changes()
    said = [word for each in line.sent for word in each["words"]]
    assert said == [["stdout", "again\n"]] * (1 if emptied else 2)


def test_a_record_that_is_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    """And no end is waited for where a file is broken."""
    log, line = tmp_path / "container.log", Line()
    log.write_bytes(record("y" * (3 << 20)) + struct.pack(">I", 1 << 31) + b"rest")
    sender = LogSender(line, str(log), FRAMES)  # type: ignore[arg-type]
    sender.send_first()
    assert [len(each["raw"]) for each in line.sent] == [len(record("y" * (3 << 20)))]
