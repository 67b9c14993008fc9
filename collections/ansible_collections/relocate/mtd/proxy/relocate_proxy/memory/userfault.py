# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""userfaultfd(2): hearing of a process's missing pages and placing them, from another process.

See ioctl_userfaultfd(2), and Documentation/admin-guide/mm/userfaultfd.rst of the kernel, "Non-cooperative userfaultfd".
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
#: struct uffd_msg's events
FAULT, FORK, REMAP, REMOVE, UNMAP = 0x12, 0x13, 0x14, 0x15, 0x16
_WAKE, _COPY, _ZEROPAGE = 0x8010AA02, 0xC028AA03, 0xC020AA04
_MESSAGE = struct.Struct("=BxHxxxxQQQ")
_AT_ONCE = 16

#: How large an address space may be, with four and five levels of page tables; and what no process has mapped.
_ADDRESS_SPACES, _LOWEST = tuple(1 << bits for bits in (56, 52, 48, 47)), 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
#: A page of this process that nobody can read (PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS).
_UNREADABLE = _libc.mmap(None, ctypes.c_size_t(PAGE), 0, 0x22, -1, ctypes.c_size_t(0))


class Event(NamedTuple):
    """What happened in the process. Of a fault ``second`` is the address; of a fork ``first`` is the child's descriptor."""

    kind: int
    first: int
    second: int
    third: int


class Userfault:
    """A non-blocking userfaultfd of another process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.fd

    def close(self) -> None:
        """Let the faults go: if this is the last descriptor, who waits for a page gets an empty one."""
        os.close(self.fd)

    def events(self) -> list[Event]:
        """Return what has happened since we looked. The process waits until we have looked."""
        try:
            data = os.read(self.fd, _MESSAGE.size * _AT_ONCE)
        except BlockingIOError:
            return []
        found = []
        for kind, _, first, second, third in _MESSAGE.iter_unpack(data):
            found.append(Event(kind, first & 0xFFFFFFFF if kind == FORK else first, second, third))
        return found

    def copy(self, address: int, source: int, length: int) -> tuple[int, int]:
        """Place pages, and wake who waits for them. Return how many bytes were placed, and the error's number or 0.

        :param source: where they are in this process.
        """
        request = (ctypes.c_uint64 * 5)(address, source, length, 0, 0)
        number = self._ioctl(_COPY, request)
        placed = ctypes.c_int64(request[4]).value
        if not number:
            return length, 0
        return (placed, number) if placed > 0 else (0, -placed or number)

    def prepare(self, address: int, length: int) -> int:
        """Make a mapping ready for pages, and place none. Return 0 if the range is in one mapping, or the error's number.

        It gives the mapping its ``anon_vma`` before it looks at what is to be copied (``uffd_mfill_lock`` of mm/userfaultfd.c),
        and what is to be copied cannot be read.
        """
        number = self._ioctl(_COPY, (ctypes.c_uint64 * 5)(address, _UNREADABLE, length, 0, 0))
        return 0 if number == errno.EFAULT else number

    def zero(self, address: int) -> int:
        """Place an empty page, and wake who waits for it. Return the error's number or 0."""
        request = (ctypes.c_uint64 * 4)(address, PAGE, 0, 0)
        return self._ioctl(_ZEROPAGE, request)

    def wake(self, start: int, end: int) -> None:
        """Have whoever waits for a page of a range look again."""
        self._ioctl(_WAKE, (ctypes.c_uint64 * 2)(start, end - start))

    def wake_all(self) -> None:
        """Have whoever waits for a page, wherever it is, look again.

        The kernel takes no range beyond what a process can have.
        """
        for end in _ADDRESS_SPACES:
            if self._ioctl(_WAKE, (ctypes.c_uint64 * 2)(_LOWEST, end - PAGE - _LOWEST)) == 0:
                return

    def _ioctl(self, request: int, argument: ctypes.Array) -> int:
        if _libc.ioctl(ctypes.c_int(self.fd), ctypes.c_ulong(request), argument) == 0:
            return 0
        return ctypes.get_errno()
