# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A STAND-IN for ``pycriu``, which comes with CRIU and not from PyPI: messages are JSON here, and protobuf there.

It has the one class that the proxy uses, with the methods and the shape of the real one, which is exercised by the tests in
``tests/lab``, on hosts that have CRIU.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

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
        self.document = json.loads(data)
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
        if "isk" not in self.document:
            return json.dumps(self.document).encode()
        given = self.document["isk"]
        return json.dumps({**self.document, "isk": {name: getattr(self.isk, name) for name in given}}).encode()


def pack(entries: Iterable[dict[str, Any]]) -> bytes:
    """Return an image."""
    messages = [json.dumps(entry).encode() for entry in entries]
    return MAGIC + b"".join(struct.pack("=I", len(message)) + message for message in messages)


def unpack(image: bytes) -> list[dict[str, Any]]:
    """Return the entries of an image."""
    assert image.startswith(MAGIC)
    entries, offset = [], len(MAGIC)
    while offset < len(image):
        (length,) = struct.unpack_from("=I", image, offset)
        entries.append(json.loads(image[offset + 4 : offset + 4 + length]))
        offset += 4 + length
    return entries


def module() -> ModuleType:
    """Return a module named ``pycriu`` with ``images.images.handlers``."""
    pycriu, images = ModuleType("pycriu"), ModuleType("pycriu.images")
    handlers = {"FILES": SimpleNamespace(payload=FileEntry)}
    vars(images).update(images=SimpleNamespace(handlers=handlers))
    vars(pycriu)["images"] = images
    return pycriu
