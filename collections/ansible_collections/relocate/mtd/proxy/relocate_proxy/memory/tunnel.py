# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying bytes between a local socket and a TLS connection: CRIU speaks in clear, and only on this host.

``criu lazy-pages`` asks for memory, unencrypted, of whoever it is connected to. So it is given one end of a connected pair of
sockets, and what it says leaves the host through a connection of this relocation, to which both sides showed their
certificates.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable

CHUNK = 1 << 18  # bytes carried in one go: sixteen TLS records
TICK_SECONDS = 0.02
#: The other host is taken for dead after this many milliseconds without an acknowledgement (tcp(7), TCP_USER_TIMEOUT).
SILENCE_MS = 8000
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection within this host.

    TCP, because CRIU corks the socket it is given, and complains at every request about one that cannot be corked.

    :raises ConnectionError: somebody else came first.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        near = socket.create_connection(listener.getsockname(), 5.0)
        far, caller = listener.accept()
    if caller != near.getsockname():
        near.close()
        far.close()
        raise ConnectionError("another process of this host connected to a socket that was being made for CRIU")
    for end in (near, far):
        end.settimeout(None)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def watch_peer(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other host has died without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 2),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, SILENCE_MS // 1000 - 2),
        (socket.TCP_USER_TIMEOUT, SILENCE_MS),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


class Ended(Exception):
    """One of the two ends is closed."""

    def __init__(self, end: socket.socket, reason: str) -> None:
        super().__init__(reason)
        self.end = end


class _Way:
    """One direction: a buffer that is filled from one end and emptied into the other before it is filled again."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self._buffer = memoryview(bytearray(CHUNK))
        self._begin = self._end = 0
        self.carried = 0  # bytes

    @property
    def full(self) -> bool:
        """Whether something waits to be written."""
        return self._begin < self._end

    def move(self) -> bool:
        """Carry what can be carried at once; return whether anything was. :raises Ended: an end is closed."""
        moved = False
        if not self.full:
            self._begin = self._end = 0
            while self._end < CHUNK:
                count = self._do(self.source, lambda: self.source.recv_into(self._buffer[self._end :]))
                if count is None:
                    break
                if count == 0:
                    if self.full:
                        break  # the end is met again when this is written
                    raise Ended(self.source, "it closed the connection")
                self._end += count
                moved = True
        while self.full:
            count = self._do(self.target, lambda: self.target.send(self._buffer[self._begin : self._end]))
            if count is None:
                break
            self._begin += count
            self.carried += count
            moved = True
        return moved

    @staticmethod
    def _do(end: socket.socket, operation: Callable[[], int]) -> int | None:
        """Return what a call returns, None if it would have to wait."""
        try:
            return operation()
        except WAIT:
            return None
        except OSError as error:  # ssl.SSLError among them
            raise Ended(end, str(error)) from error


class Relay:
    """Two connected sockets, one of which may be a TLS connection, and the bytes between them."""

    def __init__(self, local: socket.socket, remote: socket.socket) -> None:
        self.local, self.remote = local, remote
        self._ways = (_Way(local, remote), _Way(remote, local))
        for end in (local, remote):
            end.setblocking(False)

    @property
    def received(self) -> int:
        """How many bytes came from the remote end."""
        return self._ways[1].carried

    def run(self, tick: Callable[[], None] = lambda: None) -> Ended:
        """Carry until an end closes; return which one, and why. ``tick`` is called every ``TICK_SECONDS``."""
        due = 0.0
        poll = select.poll()
        while True:
            if time.monotonic() >= due:
                tick()
                due = time.monotonic() + TICK_SECONDS
            try:
                moved = [way.move() for way in self._ways]
            except Ended as ended:
                return ended
            if not any(moved):
                self._wait(poll)

    def _wait(self, poll: select.poll) -> None:
        """Wait until something may be carried again. What OpenSSL has read already was taken out before we came here."""
        wanted = {self.local: 0, self.remote: 0}
        for way in self._ways:
            if way.full:
                wanted[way.target] |= select.POLLOUT
            else:
                wanted[way.source] |= select.POLLIN
        for end, events in wanted.items():
            poll.register(end, events)
        poll.poll(TICK_SECONDS * 1000)
