# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the unix sockets in a memory image are to name as their peers.

There is no field for that. So the image has it in the type of a socket: beside the type itself the place in a list of ours,
which ``restore_shim.c`` reads. CRIU only hands the type to the kernel, and compares it with that of datagrams.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Collection
from typing import Any

from ..host import paths
from ..host.unix_peers import MOST, MOST_GROUPS, Foreign
from ..protocol.protobuf import decode, encode
from .criu_image import LENGTH, framed, messages
from .unix_images import ESTABLISHED, FLAGS, INODE, OUTSIDE, STATE, TAG, TYPE, UNIX

BACKLOG, PEER = 7, 8  # of unix_sk_entry: the inode of the other end, or of who listens
LISTEN = 10  # TCP_LISTEN
LISTENS, CONNECTS, PAIRED = 1, 2, 3  # as restore_shim.c has them: what makes a socket name somebody
PLACED, PLACE_SHIFT = 1 << 30, 4
HEAD = struct.Struct("=Ii")
RECORD = struct.Struct(f"=iIII{MOST_GROUPS}IiiiI108s")
HIGHEST = 32000  # of the numbers that every kernel gives, whatever its kernel.pid_max
UNKNOWN = "a unix connection of the container is on its way from one program to another: try again"
UNACCEPTED = (
    "a unix connection of the container waits to be accepted, and who has connected it is not known, because its program has "
    "another user by now: try again when it is accepted"
)


Told = dict[int, dict[str, Any]]


def rewrite(
    images: str, told: Told, connecting: Callable[[int], dict[str, Any] | None], numbers: Collection[int]
) -> Collection[int]:
    """Have each unix socket in an image name whom it has named; write the list beside the image.

    Return the inodes of those that the image has. CRIU's own, by which it speaks with its code in a task, may have been told
    of, too: it is in the descriptors of a task while that is dumped.

    :param told: ``unix_peers.description`` of the sockets, by their inodes; those that listen are told their ``backlog``.
    :param connecting: returns who has connected a socket that nobody has accepted yet: number, uid, gid, groups.
    :param numbers: of processes, groups and sessions of the container, none of which may be taken.
    :raises Foreign: one of them is not known, or cannot be made anew.
    """
    path = os.path.join(images, "files.img")
    with open(path, "rb") as file:
        image = file.read()
    found: dict[int, tuple[int, bytes, Any, bytes]] = {}
    for place, message in messages(image):
        entry = decode(message).get(UNIX) if TAG in message else None
        if isinstance(entry, bytes):
            fields = decode(entry)
            found[int(fields[INODE])] = (place, message, fields, entry)
    ways = {inode: way for inode, each in found.items() if (way := _way(inode, found, told))}
    places = {inode: place for place, inode in enumerate(ways)}
    if not places:
        return found.keys()
    if len(places) > MOST:
        raise Foreign(f"the container has more than {MOST} unix connections")
    named = {*numbers, *(each["number"] for each in told.values())}
    holder, nobody = [number for number in range(HIGHEST, HIGHEST - len(named) - MOST, -1) if number not in named][:2]
    kept, parts, records = 0, [], []
    for inode, (how, partner) in ways.items():
        place, message, fields, entry = found[inode]
        each = connecting(inode) if how == CONNECTS else told.get(inode)
        if each is None:
            raise Foreign(UNACCEPTED if how == CONNECTS else UNKNOWN)
        if how == LISTENS:
            each["backlog"] = int(fields.get(BACKLOG, 0))
        if (
            how == PAIRED and not each["number"]
        ):  # nobody among the container's has the number 0: one that no process has, then
            each = {**each, "number": nobody}
        kind = int(fields[TYPE])
        address = told[inode]["address"] if inode in told else b""
        records.append(_record(each, places[partner] if partner else -1, how, kind, address))
        changed = {**decode(message), UNIX: entry + encode({TYPE: PLACED | places[inode] << PLACE_SHIFT | kind})}
        parts += [image[kept:place], framed(encode(changed))]
        kept = place + LENGTH.size + len(message)
    with open(path, "wb") as file:
        file.write(b"".join([*parts, image[kept:]]))
    with open(os.path.join(images, paths.PEERS), "wb") as file:
        file.write(HEAD.pack(len(records), holder) + b"".join(records))
    return found.keys()


def _record(each: dict[str, Any], partner: int, how: int, kind: int, address: bytes) -> bytes:
    groups = [*each["groups"], *[0] * (MOST_GROUPS - len(each["groups"]))]
    numbers = (each["number"], each["uid"], each["gid"], len(each["groups"]))
    return RECORD.pack(*numbers, *groups, partner, how, kind, len(address), address)


def _way(inode: int, found: dict[int, Any], told: Told) -> tuple[int, int] | None:
    """Return how CRIU is going to make a socket name somebody, and the other end; None if it names nobody.

    :raises Foreign: there are two ends that do not fit together.
    """
    fields = found[inode][2]
    if fields.get(FLAGS, 0) & OUTSIDE:
        return None
    peer = int(fields.get(PEER, 0))
    other = found.get(peer)
    both = other is not None and other[2].get(PEER, 0) == inode
    if fields[TYPE] == socket.SOCK_DGRAM:
        ends = (told.get(inode), told.get(peer))
        return (PAIRED, peer) if both and all(each and not each["address"] for each in ends) else None
    if fields[STATE] == LISTEN:
        return LISTENS, 0
    if fields[STATE] != ESTABLISHED:
        return None
    if other is None:
        return PAIRED, 0
    if both:
        ends = (told.get(inode), told.get(peer))
        if None in ends:
            raise Foreign(UNKNOWN)
        if _named(ends[0]) != _named(ends[1]) and not ends[0]["address"] and not ends[1]["address"]:  # type: ignore[index]
            raise Foreign(
                "the ends of a unix connection of the container name different processes, and neither has an address, so that "
                "it cannot be made anew: have it connected again"
            )
        return PAIRED, peer
    return CONNECTS, 0


def _named(each: Any) -> tuple[Any, ...]:
    return each["number"], each["uid"], each["gid"], tuple(each["groups"])
