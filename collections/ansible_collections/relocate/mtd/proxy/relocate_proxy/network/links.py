# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of a container's network, by name: ``eth0`` is what a socket is bound to, and what a setting is for.

Up to 27, Docker numbers the links of a container on several networks in the order in which they lead outside (moby:
libnetwork/endpoint.go, ``Less``). From 28 on it goes through a map of Go's, which begins anywhere (moby:
daemon/container_operations.go, ``allocateNetwork``), so that ``eth0`` and ``eth1`` may change places at any start. A program
that has just started does not mind, and one that goes on elsewhere does.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Any

from ..host import syscalls

_BY_CHANCE = 28
_GET_ADDRESS = 0x8915  # SIOCGIFADDR of <linux/sockios.h>
_REQUEST = struct.Struct("16sH2x4s16x")  # struct ifreq with a struct sockaddr_in: name, family, address


def places(namespace: str) -> dict[str, str]:
    """Return the IPv4 address of each link that has one, in their order. :param namespace: /proc/PID/ns/net."""
    return {name: found for name, found in syscalls.in_network(namespace, _places) if not found.startswith("127.")}


def by_chance(version: str) -> bool:
    """Return whether this version of Docker gives links in another order at the next start, perhaps."""
    major = version.partition(".")[0]
    return not major.isdigit() or int(major) >= _BY_CHANCE


def is_places(value: Any) -> bool:
    """Return whether another host's word has the form of what :func:`places` returns."""
    return isinstance(value, dict) and all(isinstance(each, str) for pair in value.items() for each in pair)


def _places() -> list[tuple[str, str]]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in sorted(socket.if_nameindex()):
            try:
                answer = fcntl.ioctl(asking, _GET_ADDRESS, _REQUEST.pack(name.encode(), socket.AF_INET, bytes(4)))
            except OSError:  # EADDRNOTAVAIL: it has none
                continue
            found.append((name, socket.inet_ntoa(_REQUEST.unpack(answer)[2])))
    return found
