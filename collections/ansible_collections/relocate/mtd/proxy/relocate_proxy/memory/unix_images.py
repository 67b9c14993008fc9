# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix sockets in a memory image: what CRIU is to bind them to.

CRIU knows the address of a socket, and takes it for the path of its file. Where it is not, binding fails, because something
else is there or the directory is gone, or makes a file that nobody looks for. And before it binds anything, CRIU removes what
lies at the addresses, of connections too, which it does not bind at all. So the image has such a socket under a name that is
nobody's (``TOKEN`` and a number), in the directory of its file, or in ``/dev`` if that has been removed. When CRIU binds it to
that name, ``restore_shim.c`` binds it to its true address in a room of its own, and gives the file that name.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _unix_files

from ..host import paths
from ..host.unix_sockets import DEVICES, LONGEST, MOST, TOKEN
from ..protocol.protobuf import decode, encode
from .criu_image import LENGTH, framed, messages

UNIX = 16  # field of file_entry
INODE, TYPE, STATE, FLAGS, NAME, DIRECTORY, GONE = 2, 3, 4, 6, 11, 14, 15  # of unix_sk_entry
TAG = b"\x82\x01"  # how field 16 begins
ESTABLISHED, OUTSIDE = 1, 1  # TCP_ESTABLISHED; USK_EXTERN, whom the container only talks to
RECORD = LONGEST + 4  # bytes in the list of addresses: a length, the address, and room


def rewrite(images: str, told: list[dict[str, Any]]) -> None:
    """Have CRIU bind nothing but what leads to its file; write the addresses of the others beside the image.

    An entry is changed by what is appended to it: of a field that comes twice, the last counts.

    :param told: of the sockets that a process has open (``unix_sockets.description``).
    :raises RuntimeError: there is one of which nothing was told: it is on its way from one program to another.
    """
    known = {each["inode"]: each for each in told}
    path = os.path.join(images, "files.img")
    with open(path, "rb") as file:
        image = file.read()
    kept, parts = 0, []
    addresses: list[bytes] = []
    for place, message in messages(image):
        fields = decode(message) if TAG in message else {}
        entry = fields.get(UNIX)
        changes = _changes(decode(entry), known, addresses) if isinstance(entry, bytes) else {}
        if changes and isinstance(entry, bytes):
            parts += [image[kept:place], framed(encode({**fields, UNIX: entry + encode(changes)}))]
            kept = place + LENGTH.size + len(message)
    if len(addresses) > MOST:
        raise RuntimeError(
            f"more than {MOST} unix sockets of the container have a file of another name than their address"
        )
    if parts:
        with open(path, "wb") as file:
            file.write(b"".join([*parts, image[kept:]]))
    if addresses:
        with open(os.path.join(images, paths.ADDRESSES), "wb") as file:
            file.write(b"".join(len(each).to_bytes(4, "little") + each.ljust(LONGEST, b"\0") for each in addresses))


def _changes(entry: Any, known: dict[int, dict[str, Any]], addresses: list[bytes]) -> dict[int, int | bytes]:
    """Return what an entry is to have in place of what it has; an address that it loses by that is added to the list."""
    address = bytes(entry.get(NAME, b"")).partition(b"\0")[0]
    if not address or entry.get(FLAGS, 0) & OUTSIDE:
        return {}
    if entry[TYPE] != socket.SOCK_DGRAM and entry[STATE] == ESTABLISHED:
        return {NAME: b"", GONE: 0}
    each = known.get(entry[INODE])
    if each is None:
        raise RuntimeError(
            f"a unix socket that is bound to {_unix_files.plain(address)} is on its way from one program of the container to "
            "another: try again"
        )
    path = os.fsencode(each["path"])
    if path and not entry.get(GONE) and len(address) < LONGEST:
        plain = address[2:] if address.startswith(b"./") else address
        if each["straight"] or path == bytes(entry.get(DIRECTORY, b"")).rstrip(b"/") + b"/" + plain:
            return {}
    addresses.append(address)
    directory = os.path.dirname(path) if path else DEVICES.encode()
    return {NAME: b"%s%d\0" % (TOKEN, len(addresses) - 1), DIRECTORY: directory, GONE: int(not path)}
