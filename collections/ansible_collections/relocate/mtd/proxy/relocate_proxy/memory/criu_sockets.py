# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets inside a memory image: which connections there are, and the address they are bound to; and files that change.

CRIU restores a socket with the address its image names; the container's address changes with the host, so the image must
name the new one (entries INETSK of ``files.img``). The client never sees either: NAT at the edge hides both.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pycriu  # 310 ms when cold: imported before the hold, never inside

from ..network.conntrack import Endpoint
from ..network.flows import Connection
from ..protocol.addresses import Addresses
from ..protocol.protobuf import decode
from .criu_image import LENGTH, framed, messages

FAMILIES = (socket.AF_INET, socket.AF_INET6)
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}
#: States of <net/tcp_states.h> in which there is no peer, or not yet: CLOSE, LISTEN, NEW_SYN_RECV. Half-closed ones have one.
WITHOUT_PEER = (7, 10, 12)
#: How the entries of regular files and of sockets with an address begin (field ``type``). No other is parsed.
REGULAR, INET = b"\x08\x01", b"\x08\x04"
NUMBER, FILE, NAME = 2, 3, 6  # fields of file_entry, and of reg_file_entry
#: Files that are renewed at the destination (``files.own_cargo``), so that CRIU must not insist on their sizes.
RENEWED = ("etc/hosts", "etc/resolv.conf", "etc/hostname")


def _text(words: Sequence[int], family: int) -> str:
    """CRIU stores an address as words in memory order: one for IPv4, four for IPv6."""
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(family, packed[: 4 if family == socket.AF_INET else 16])


def _words(address: str, family: int) -> list[int]:
    packed = socket.inet_pton(family, address)
    return list(struct.unpack(f"={len(packed) // 4}I", packed))


def _plain(address: str) -> str:
    """Return an IPv4-mapped IPv6 address (a dual-stack socket's) as IPv4."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def rewrite(images: str, old: Addresses, new: Addresses) -> list[Connection]:
    """Give every socket in ``images`` that is bound to one of ``old`` the address of ``new``; return the live connections.

    Open files that are renewed at the destination may have any size there.

    The messages are read one by one: pycriu's own reader makes a dictionary of each, which takes a millisecond for a socket.

    :raises OSError: the image has no ``files.img``; :raises ValueError: an address does not parse.
    """
    moves = {before: after for before, after in zip(old, new) if before and after}
    path = os.path.join(images, "files.img")
    with open(path, "rb") as file:
        image = file.read()
    file_entry = pycriu.images.images.handlers["FILES"].payload
    connections: list[Connection] = []
    kept, parts = 0, []
    for place, message in messages(image):
        if not _concerns(message):
            continue
        entry = file_entry()
        entry.ParseFromString(message)
        if entry.HasField("isk") and entry.isk.family in FAMILIES and entry.isk.src_addr:
            connection = _connection(entry.isk)
            if connection:
                connections.append(connection)
            changes = _move(entry.isk, moves)
        else:
            changes = entry.HasField("reg")
            if changes:
                entry.reg.ClearField("size")
        if changes:
            changed = entry.SerializeToString()
            parts += [image[kept:place], framed(changed)]
            kept = place + LENGTH.size + len(message)
    if parts:
        with open(path, "wb") as file:
            file.write(b"".join([*parts, image[kept:]]))
    return connections


def file_names(images: str) -> dict[int, str]:
    """Return the names of the open files in an image, by the numbers that it has given them."""
    with open(os.path.join(images, "files.img"), "rb") as file:
        image = file.read()
    return {
        int(decode(message)[NUMBER]): _name(message) for _, message in messages(image) if message.startswith(REGULAR)
    }


def _concerns(message: bytes) -> bool:
    """Return whether an entry may have to be changed: of a socket with an address, or of a file that is renewed."""
    if message.startswith(REGULAR):
        return any(name.encode() in message for name in RENEWED) and _name(message).lstrip("/") in RENEWED
    return message.startswith(INET)


def _name(message: bytes) -> str:
    """Return the name of a regular file, of any bytes: pycriu may fail at what is no UTF-8, depending on its protobuf."""
    file = decode(message)[FILE]
    return os.fsdecode(decode(file)[NAME]) if isinstance(file, bytes) else ""  # type: ignore[arg-type]


def _connection(inet: Any) -> Connection | None:
    """Return the connection of a socket that has a peer."""
    if inet.proto not in PROTOCOLS or inet.state in WITHOUT_PEER or not inet.dst_port:
        return None
    ends = ((inet.src_addr, inet.src_port), (inet.dst_addr, inet.dst_port))
    local, remote = (Endpoint(_plain(_text(words, inet.family)), port) for words, port in ends)
    return Connection(PROTOCOLS[inet.proto], local, remote)


def _move(inet: Any, moves: Mapping[str, str]) -> bool:
    """Replace addresses at both ends of a socket, inside its family; return whether one was there."""
    moved = False
    for words in (inet.src_addr, inet.dst_addr):
        address = _text(words, inet.family) if words else ""
        plain = _plain(address)
        if plain in moves:
            words[:] = _words(address.replace(plain, moves[plain]), inet.family)
            moved = True
    return moved
