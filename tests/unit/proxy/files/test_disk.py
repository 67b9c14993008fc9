# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk takes what was written beside what goes on."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

import pytest
from relocate_proxy.files import disk as under_test
from relocate_proxy.files.disk import Disk


def opened(path: Path) -> int:
    """Return how often this process has a file open. What else it has, other tests may have left to the garbage collector."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += each.readlink() == path
    return found


def names(fd: int) -> str:
    """Return the name of an open file."""
    return Path(f"/proc/self/fd/{fd}").readlink().name


def test_nobody_waits_for_a_slow_disk_but_who_says_so(tmp_path: Path) -> None:
    disk, may, taken = Disk(), threading.Event(), []

    def slow(fd: int) -> None:
        may.wait()
        taken.append(names(fd))

    for name in ("a", "b"):
        with (tmp_path / name).open("w") as file:
            disk.take(file.fileno(), slow)
    assert taken == []
    may.set()
    disk.wait()
    assert taken == ["a", "b"], "in turn, and though both were closed"


def test_what_it_could_not_take_is_an_error_for_good(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(errno.EIO, "no")

    disk = Disk()
    with (tmp_path / "a").open("w") as file:
        disk.take(file.fileno(), full)
        disk.take(file.fileno())
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            disk.wait()


def test_few_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_OPEN", 3)
    disk, most = Disk(), 0
    with (tmp_path / "a").open("w") as file:
        for _ in range(50):
            disk.take(file.fileno())
            most = max(most, opened(tmp_path / "a"))
    disk.wait()
    assert most <= 3 + 3, "those that wait, the one at work, the one that is brought, and the file itself"
    assert opened(tmp_path / "a") == 0


def test_nothing_is_waited_for_where_nothing_was_written() -> None:
    Disk().wait()
