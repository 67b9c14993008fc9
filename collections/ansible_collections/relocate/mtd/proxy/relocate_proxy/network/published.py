# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a container's connections are known without any table: a client's, to a port that its host publishes.

A connection tracking entry may be gone while the connection is there: it was deleted, the host's rules were loaded anew, it was
idle for longer than the kernel keeps an entry, or the edge was started anew. What its translation was is known all the same, if
the container only accepted it: the host publishes the port at one place, and the edge leads one virtual place there. What the
container has opened itself is not known so: the port that it was given on the way out is in the lost entry alone.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Collection, Mapping

from ..protocol.addresses import Addresses
from .conntrack import Endpoint
from .flows import Connection
from .netlink import NLM_F_REQUEST, attribute, attributes, messages

_ROUTE = struct.Struct("=BB10x")  # struct rtmsg of <linux/rtnetlink.h>: family, bits of the address, and no more
_GET_ROUTE, _TO, _GATEWAY, _VIA = 26, 1, 5, 18  # RTM_GETROUTE, RTA_*


class Published:
    """The ports of a container that its host publishes."""

    def __init__(
        self,
        host: Addresses,
        ports: Mapping[tuple[str, int], Collection[int]],
        listening: Callable[[], Collection[int]],
        routed: Callable[[str], bool] | None = None,
    ) -> None:
        """Ask nothing now, and once which way goes to an address: in the freeze most of them are known.

        :param host: the addresses that the edge leads clients to. :param ports: the host's, by protocol and the container's.
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
        if connection.protocol != "tcp" or len(ports) != 1:
            return None
        if not self.passes_edge(connection.remote) or connection.local.port not in self._listening():
            return None
        with contextlib.suppress(LookupError):  # it publishes nothing there
            return Endpoint(self._host.like(connection.remote.address), next(iter(ports)))
        return None


def behind_router(address: str) -> bool:
    """Return whether this host sends what goes to an address to a router, the edge, and not to a link of its own.

    The kernel is asked for the route. To connect a socket that may not be routed (``SO_DONTROUTE``) would tell of IPv4 alone.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = _ROUTE.pack(family, 8 * len(packed)) + attribute(_TO, packed)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.send(struct.pack("=IHHII", 16 + len(body), _GET_ROUTE, NLM_F_REQUEST, 1, 0) + body)
        try:
            routes = [attributes(route[_ROUTE.size :]) for _, _, route in messages(asking.recv(65536))]
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                return False
            raise
    return any(_GATEWAY in route or _VIA in route for route in routes)
