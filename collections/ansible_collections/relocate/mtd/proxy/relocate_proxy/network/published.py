# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a container's connections are known without any table: a client's, to a port that its host publishes.

A connection tracking entry may be gone while the connection is there: it was deleted, the host's rules were loaded anew, it was
idle for longer than the kernel keeps an entry, or the edge was started anew. What its translation was is known all the same, if
the container only accepted it: the host publishes the port at one place, and the edge leads one virtual place there. What the
container has opened itself is not known so: the port that it was given on the way out is in the lost entry alone.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Mapping

from .conntrack import Endpoint
from .flows import Connection

DISCARD = 9  # any port: nothing is sent


class Published:
    """The ports of a container that its host publishes."""

    def __init__(
        self,
        host: str,
        ports: Mapping[tuple[str, int], Collection[int]],
        listening: Callable[[], Collection[int]],
        routed: Callable[[str], bool] | None = None,
    ) -> None:
        """Ask nothing now, and once which way goes to an address: in the freeze most of them are known.

        :param host: the address that the edge leads clients to. :param ports: the host's, by protocol and the container's.
        :param listening: returns the TCP ports on which the container accepts connections.
        :param routed: see :func:`behind_router`, which it is unless told.
        """
        self._host, self._ports, self._listening = host, ports, listening
        self._routed = routed or behind_router
        self._known: dict[str, bool] = {}

    def passes_edge(self, remote: Endpoint) -> bool:
        """Return whether a peer's packets come through the edge: those of neighbours, and of other hosts, do not."""
        address = remote.address
        if address not in self._known:
            self._known[address] = self._routed(address)
        return self._known[address]

    def place(self, connection: Connection) -> Endpoint | None:
        """Return what the outside of the host sees of the container's end of a connection that the host has forgotten.

        None if that cannot be known: it may be one that the container has opened, or one that does not pass through the edge.
        """
        ports = self._ports.get((connection.protocol, connection.local.port), ())
        if connection.protocol != "tcp" or len(ports) != 1 or ":" in connection.remote.address:
            return None
        if not self.passes_edge(connection.remote) or connection.local.port not in self._listening():
            return None
        return Endpoint(self._host, next(iter(ports)))


def behind_router(address: str) -> bool:
    """Return whether this host sends what goes to an IPv4 address to a router, the edge, and not to a link of its own."""
    return _reachable(address, routed=True) and not _reachable(address, routed=False)


def _reachable(address: str, routed: bool) -> bool:
    """Ask the kernel for a route: a datagram socket that is connected sends nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, not routed)
            asking.connect((address, DISCARD))
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
            return False
        raise
    return True
