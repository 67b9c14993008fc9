# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers the destination with the memory of frozen tasks, in the protocol of CRIU's own page server.

Every message begins with a ``struct page_server_iov`` (``criu/page-xfer.c``). A request names a process, as its own pid
namespace numbers it, and a range of addresses; the answer has the same names, and then the pages. Memory that is gone is
answered with a sentence, and its length in the place of the pages: only then does the destination give the copy up. The last
message says that nothing more is wanted.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping

IOV = struct.Struct("=I4xQQQ")  # cmd, nr_pages, vaddr, dst_id
ADD, GET, CLOSE = 6, 7, 0x1023
GONE = 0x7001  # ours: CRIU's page server only hangs up
COMMAND_BITS = 16  # flags are above them
PRESENT = 4  # PE_PRESENT
PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 2 << 20  # the largest answer


class BadRequest(RuntimeError):
    """The other end asks for what it must not have, or does not speak this protocol."""


class Gone(RuntimeError):
    """Memory that was promised is not there any more."""


class Memory:
    """The memory of a container's tasks. :param tasks: pid in the container → pid on this host."""

    def __init__(self, tasks: Mapping[int, int]) -> None:
        self._files = {
            inner: os.open(f"/proc/{outer}/mem", os.O_RDONLY | os.O_CLOEXEC) for inner, outer in tasks.items()
        }

    def read_into(self, pid: int, address: int, buffer: memoryview) -> None:
        """Fill a buffer. :raises BadRequest: there is no such process.

        :raises Gone: it has ended. :raises OSError: it has no memory there.
        """
        if pid not in self._files:
            raise BadRequest(f"the destination asks for memory of process {pid}, which the container does not have")
        done = 0
        while done < len(buffer):
            count = os.preadv(self._files[pid], [buffer[done:]], address + done)
            if count == 0:
                raise Gone(f"process {pid} of the container has ended at its source: its memory is gone")
            done += count


def serve(connection: socket.socket, memory: Memory) -> bool:
    """Answer until the other end has all it wants (True), or hangs up (False).

    :raises Gone: the memory is; the other end has been told. :raises BadRequest: see :class:`Memory`; it has been told, too.
    :raises OSError: the connection is broken.
    """
    buffer = memoryview(bytearray(CHUNK))
    while head := _exactly(connection, IOV.size):
        command, pages, address, pid = IOV.unpack(head)
        if command == CLOSE:
            return True
        try:
            if command != GET or pages * PAGE > CHUNK:
                raise BadRequest(f"command {command:#x} of {pages} pages is none that a page server has to answer here")
            part = buffer[: pages * PAGE]
            _read(memory, pid, address, part)
        except (BadRequest, Gone) as error:
            words = str(error).encode()
            connection.sendall(IOV.pack(GONE, len(words), 0, 0) + words)
            raise
        connection.sendall(IOV.pack(PRESENT << COMMAND_BITS | ADD, pages, address, pid))
        connection.sendall(part)
    return False


def _read(memory: Memory, pid: int, address: int, buffer: memoryview) -> None:
    try:
        memory.read_into(pid, address, buffer)
    except OverflowError:
        raise BadRequest(f"the destination asks for memory at {address:#x}, where no process has any") from None
    except OSError as error:
        raise Gone(
            f"memory of process {pid} of the container cannot be read at its source: {error.strerror}"
        ) from error


def _exactly(connection: socket.socket, count: int) -> bytes:
    """Return so many bytes; none at the end of the connection."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return data
