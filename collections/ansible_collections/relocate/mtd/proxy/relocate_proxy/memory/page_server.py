# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers ``criu lazy-pages`` with the memory of frozen tasks, in the protocol of CRIU's own page server.

Every message begins with a ``struct page_server_iov`` (``criu/page-xfer.c``). A request names a process, as its own pid
namespace numbers it, and a range of addresses; the answer has the same names, and then the pages. The last message asks for a
status.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping

IOV = struct.Struct("=I4xQQQ")  # cmd, nr_pages, vaddr, dst_id
ADD, GET, CLOSE, FORCE_CLOSE = 6, 7, 0x1023, 0x1024
COMMAND_BITS = 16  # flags are above them
PRESENT = 4  # PE_PRESENT
PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 1 << 20


class BadRequest(RuntimeError):
    """The other end asks for what it must not have, or does not speak this protocol."""


class Memory:
    """The memory of a container's tasks. :param tasks: pid in the container → pid on this host."""

    def __init__(self, tasks: Mapping[int, int]) -> None:
        self._files = {
            inner: os.open(f"/proc/{outer}/mem", os.O_RDONLY | os.O_CLOEXEC) for inner, outer in tasks.items()
        }

    def read_into(self, pid: int, address: int, buffer: memoryview) -> None:
        """Fill a buffer. :raises BadRequest: there is no such process. :raises OSError: it has no memory there, or is gone."""
        if pid not in self._files:
            raise BadRequest(f"the destination asks for memory of process {pid}, which the container does not have")
        done = 0
        while done < len(buffer):
            count = os.preadv(self._files[pid], [buffer[done:]], address + done)
            if count == 0:
                raise BadRequest(f"process {pid} of the container has ended: its memory is gone")
            done += count


def serve(connection: socket.socket, memory: Memory) -> None:
    """Answer until the other end has all it wants, or hangs up.

    :raises BadRequest: see :class:`Memory`. :raises OSError: the connection or the memory is gone.
    """
    buffer = memoryview(bytearray(CHUNK))
    while head := _exactly(connection, IOV.size):
        command, pages, address, pid = IOV.unpack(head)
        if command in (CLOSE, FORCE_CLOSE):
            connection.sendall(struct.pack("=i", 0))
            continue  # it hangs up when it has read this
        if command != GET:
            raise BadRequest(f"command {command:#x} is none that a page server has to answer here")
        answer, left = IOV.pack(PRESENT << COMMAND_BITS | ADD, pages, address, pid), pages * PAGE
        while left:
            part = buffer[: min(left, CHUNK)]
            memory.read_into(pid, address + pages * PAGE - left, part)
            connection.sendall(answer)
            connection.sendall(part)
            answer, left = b"", left - len(part)


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Return so many bytes; none at the end of the connection."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return data
