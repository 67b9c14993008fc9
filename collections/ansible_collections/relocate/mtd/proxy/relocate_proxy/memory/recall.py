# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has happened to the copy's memory, in a file: so that another process can go on where one that filled it was killed.

The kernel tells every event once. So it is written down between the moment it is read and the moment it is acted on, and a byte
at the head of the file says that this is just being done: whoever was killed then may have taken one with him. Which pages
have been placed is not written: to place them again does nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .userfault import FORK, REMAP, REMOVE, UNMAP

#: Beside the events of the kernel: an address space came (its process's number), all have come, one is complete or gone.
CAME, RESTORED, LEFT = 1, 2, 3
KINDS = frozenset({CAME, RESTORED, LEFT, FORK, REMAP, REMOVE, UNMAP})
_HEAD = mmap.PAGESIZE
_RECORD = struct.Struct("=Q4Q")


class Happened(NamedTuple):
    """One line. ``space`` is the number of the address space; of a fork ``first`` is the child's."""

    kind: int
    space: int
    first: int = 0
    second: int = 0
    third: int = 0


class Doubtful(RuntimeError):
    """Something may have happened that is not in the file."""


class Record:
    """The file; it is in the session, in tmpfs."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < _HEAD:
            os.ftruncate(self._fd, _HEAD)
        self._head = mmap.mmap(self._fd, _HEAD)

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Do in it what must be written down before anything else happens."""
        self._head[0] = 1
        yield
        self._head[0] = 0

    def add(self, happened: Happened) -> None:
        """Write down one thing. :raises OSError: it could not be."""
        os.pwrite(self._fd, _RECORD.pack(*happened), os.fstat(self._fd).st_size)

    def all(self) -> list[Happened]:
        """Return everything, in order. :raises Doubtful: something may be missing, or the copy was not complete yet."""
        if self._head[0]:
            raise Doubtful("it was killed while it heard of a change of memory")
        size = os.fstat(self._fd).st_size - _HEAD
        if size % _RECORD.size:
            raise Doubtful("it was killed while it wrote down a change of memory")
        found = [Happened(*each) for each in _RECORD.iter_unpack(os.pread(self._fd, size, _HEAD))] if size else []
        if not {each.kind for each in found} <= KINDS:
            raise Doubtful("what was written down is none of it")
        if not any(each.kind == RESTORED for each in found):
            raise Doubtful("it was killed before the copy was restored")
        return found
