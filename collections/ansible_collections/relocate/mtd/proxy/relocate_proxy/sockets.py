# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets inside a memory image: which connections there are, and the address they are bound to.

CRIU restores a socket with the address its image names; the container's address changes with the host, so the image must
name the new one (entries INETSK of ``files.img``). The client never sees either: NAT at the edge hides both.
"""

from __future__ import annotations

import os
import socket
import struct

import pycriu  # 310 ms when cold: imported before the hold, never inside

from .conntrack import Endpoint
from .flows import Connection

FAMILIES = (socket.AF_INET, socket.AF_INET6)
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}
#: States of <net/tcp_states.h> in which there is no peer, or not yet: CLOSE, LISTEN, NEW_SYN_RECV. Half-closed ones have one.
WITHOUT_PEER = (7, 10, 12)


def _text(words: list[int], family: int) -> str:
    """CRIU stores an address as words in memory order: one for IPv4, four for IPv6."""
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(family, packed[: 4 if family == socket.AF_INET else 16])


def _words(address: str, family: int) -> list[int]:
    packed = socket.inet_pton(family, address)
    return list(struct.unpack(f"={len(packed) // 4}I", packed))


def _plain(address: str) -> str:
    """Return an IPv4-mapped IPv6 address (a dual-stack socket's) as IPv4."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def rewrite(images: str, old: str, new: str) -> list[Connection]:
    """Give every socket in ``images`` that is bound to ``old`` the address ``new``; return the live connections.

    :raises OSError: the image has no ``files.img``; :raises ValueError: an address does not parse.
    """
    path = os.path.join(images, "files.img")
    with open(path, "rb") as file:
        image = pycriu.images.load(file)
    connections: list[Connection] = []
    changed = False
    for entry in image["entries"]:
        inet = entry.get("isk")
        if not inet or inet["family"] not in FAMILIES or not inet.get("src_addr"):
            continue
        family = inet["family"]
        local = _text(inet["src_addr"], family)
        remote = _text(inet["dst_addr"], family) if inet.get("dst_addr") else ""
        if inet["proto"] in PROTOCOLS and inet["state"] not in WITHOUT_PEER and inet.get("dst_port"):
            connections.append(
                Connection(
                    PROTOCOLS[inet["proto"]],
                    Endpoint(_plain(local), inet["src_port"]),
                    Endpoint(_plain(remote), inet["dst_port"]),
                )
            )
        for field, address in (("src_addr", local), ("dst_addr", remote)):
            if address and _plain(address) == old:
                inet[field] = _words(new if family == socket.AF_INET else address.replace(old, new), family)
                changed = True
    if changed:
        with open(path, "wb") as file:
            pycriu.images.dump(image, file)
    return connections
