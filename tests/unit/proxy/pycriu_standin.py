# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A STAND-IN for ``pycriu``, which comes with CRIU and not from PyPI: messages are JSON here, behind the type that begins them,
and protobuf there. Those of regular files are protobuf here, too: the proxy reads them itself.

It has the one class that the proxy uses, with the methods and the shape of the real one, which is exercised by the tests in
``tests/lab``, on hosts that have CRIU.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

TYPES = {"REG": 1, "INETSK": 4}
MAGIC = struct.pack("=II", 0x54564319, 0x56303138)


class RegularFile:
    """The part of a message that describes a regular file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.name = document["name"]

    def ClearField(self, name: str) -> None:
        """Forget something."""
        self.document.pop(name, None)


class FileEntry:
    """A message of ``files.img``."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}

    def ParseFromString(self, data: bytes) -> None:
        """Read a message."""
        self.document = _document(data)
        self.id = self.document["id"]
        if "isk" in self.document:
            self.isk = SimpleNamespace(
                **{"dst_addr": [], "proto": 0, "state": 0, "dst_port": 0, **self.document["isk"]}
            )
        if "reg" in self.document:
            self.reg = RegularFile(self.document["reg"])

    def HasField(self, name: str) -> bool:
        """Return whether a part was given."""
        return name in self.document

    def SerializeToString(self) -> bytes:
        """Write the message."""
        given = self.document.get("isk")
        changed = {"isk": {name: getattr(self.isk, name) for name in given}} if given else {}
        return _message({**self.document, **changed})


def _message(document: dict[str, Any]) -> bytes:
    from relocate_proxy.protocol.protobuf import encode  # by now its place is known

    if "reg" in document:
        regular = {6: os.fsencode(document["reg"]["name"]), 8: document["reg"].get("size")}
        inner = encode({key: value for key, value in regular.items() if value is not None})
        return encode({1: TYPES["REG"], 2: document["id"], 3: inner})
    return bytes([8, TYPES.get(document["type"], 30)]) + json.dumps(document).encode()


def _document(message: bytes) -> dict[str, Any]:
    from relocate_proxy.protocol.protobuf import decode

    if message[1] != TYPES["REG"]:
        found: dict[str, Any] = json.loads(message[2:])
        return found
    fields = decode(message)
    regular = decode(bytes(fields[3]))  # type: ignore[arg-type]
    size = {"size": regular[8]} if 8 in regular else {}
    return {"type": "REG", "id": fields[2], "reg": {"name": bytes(regular[6]).decode(), **size}}  # type: ignore[arg-type]


def pack(entries: Iterable[dict[str, Any]]) -> bytes:
    """Return an image."""
    messages = [_message(entry) for entry in entries]
    return MAGIC + b"".join(struct.pack("=I", len(message)) + message for message in messages)


def unpack(image: bytes) -> list[dict[str, Any]]:
    """Return the entries of an image."""
    assert image.startswith(MAGIC)
    entries, offset = [], len(MAGIC)
    while offset < len(image):
        (length,) = struct.unpack_from("=I", image, offset)
        entries.append(_document(image[offset + 4 : offset + 4 + length]))
        offset += 4 + length
    return entries


def module() -> ModuleType:
    """Return a module named ``pycriu`` with ``images.images.handlers``."""
    pycriu, images = ModuleType("pycriu"), ModuleType("pycriu.images")
    handlers = {"FILES": SimpleNamespace(payload=FileEntry)}
    vars(images).update(images=SimpleNamespace(handlers=handlers))
    vars(pycriu)["images"] = images
    return pycriu
