# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker image travels that no repository offers: what ``docker save`` writes, before anything else is sent.

The destination does not hand the source's archive to Docker: ``docker load`` takes from one whatever names it has for its
images, and unpacks whatever is in it. It takes the archive's blobs alone, in any order, and writes an archive of its own
around them, with file names of its own and no image's name in it. A blob is known by its digest: it is the image's
configuration, whose digest is the image's id, or one of its layers. A layer must not be compressed: a small one could unpack to
any size.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from ..protocol.channel import Outlet
from ..protocol.words import shown
from .entry import check

CHUNK = 1 << 20
CONFIG_BYTES = 4 << 20
BLOCK = 512
#: How what Docker would decompress begins: gzip, bzip2, xz, zstd.
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")


def send(channel: Outlet, archive: BinaryIO, identifier: str, layers: list[str]) -> int:
    """Send the blobs of an image; return their bytes. It has arrived when this returns.

    :param archive: what Docker saves. Since Docker 25 a blob's file has its digest for a name; before, a layer's has
        ``layer.tar``.
    """
    wanted = {digest.partition(":")[2] for digest in (identifier, *layers)}
    sent = 0
    with tarfile.open(fileobj=archive, mode="r|") as members:
        for member in members:
            name = member.name.rpartition("/")[2]
            if not member.isreg() or (name.removesuffix(".json") not in wanted and name != "layer.tar"):
                continue
            file = members.extractfile(member)
            assert file is not None  # it is a regular file
            channel.send("blob", size=member.size)
            while data := file.read(CHUNK):
                channel.send("piece", raw=data)
                sent += len(data)
    channel.send("end")
    channel.receive()
    return sent


class Receiver:
    """The destination's half.

    :param identifier: the image's id, as the source says. :param layers: the digests of its layers.
    :param most_bytes: how much of it this host takes.
    """

    def __init__(self, channel: Outlet, identifier: str, layers: list[str], most_bytes: int) -> None:
        self._channel = channel
        self._identifier = identifier
        self._layers = layers
        self._left = most_bytes
        self._found: dict[str, str] = {}  # names in the archive, by digest

    def archive(self) -> Iterator[bytes]:
        """Yield the archive that Docker is to load, while its blobs arrive.

        :raises ValueError: the source sends what is no part of the image, or too much. :raises ChannelLost: it is gone.
        """
        message = check(self._channel.receive())
        while message["kind"] == "blob":
            name = str(len(self._found))
            yield _header(name, self._room(message["size"]))
            message = yield from self._blob(name, message["size"])
        if message["kind"] != "end":
            raise ValueError(f"the source sent {shown(message['kind'])} instead of the image: run prepare.yml again")
        missing = {self._identifier, *self._layers} - self._found.keys()
        if missing:
            raise ValueError(f"the source sent the image without {len(missing)} of its parts: try again")
        yield self._manifest()

    def _room(self, size: int) -> int:
        """Return a blob's size. :raises ValueError: there is no room for it."""
        self._left -= size
        if self._left < 0:
            raise ValueError("the image of the container is larger than this host has room for")
        return size

    def _blob(self, name: str, size: int) -> Generator[bytes, None, dict]:
        """Yield a blob's contents; return the message that follows them."""
        digest, left = hashlib.sha256(), size
        while True:
            message = check(self._channel.receive())
            if message["kind"] != "piece":
                break
            data = message["raw"]
            if left == size and bytes(data[:8]).startswith(COMPRESSED):
                raise ValueError("the source sent a layer that is compressed, which is not taken")
            left -= len(data)
            if left < 0:
                break
            digest.update(data)
            yield bytes(data)
        identifier = f"sha256:{digest.hexdigest()}"
        if left or identifier not in (self._identifier, *self._layers) or identifier in self._found:
            raise ValueError("the source sent what is no part of the container's image")
        if identifier == self._identifier and size > CONFIG_BYTES:
            raise ValueError("the source sent a configuration of the image that is too large")
        self._found[identifier] = name
        yield bytes(-size % BLOCK)
        return message

    def _manifest(self) -> bytes:
        """Return the end of the archive: what each file in it is. The image has no name."""
        entry: dict[str, Any] = {"Config": self._found[self._identifier], "RepoTags": None}
        text = json.dumps([{**entry, "Layers": [self._found[layer] for layer in self._layers]}]).encode()
        return _header("manifest.json", len(text)) + text + bytes(-len(text) % BLOCK) + bytes(2 * BLOCK)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)
