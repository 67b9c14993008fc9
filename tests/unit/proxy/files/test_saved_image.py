# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image travels as its blobs, and nothing that the source sends gets into the archive but those."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _images
from relocate_proxy.files import images, saved_image

CONFIG = b'{"rootfs": {}}'
LAYERS = [b"first layer" * 200_000, b"second layer"]


def digest(data: bytes) -> str:
    """Return what Docker calls these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


IDENTIFIER = digest(CONFIG)
DIGESTS = [digest(layer) for layer in LAYERS]


def tar(members: Iterable[tuple[str, bytes]]) -> io.BytesIO:
    """Return an archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    file.seek(0)
    return file


MANIFEST = json.dumps([{"Config": "x", "RepoTags": ["postgres:16"], "Layers": []}]).encode()
#: As Docker 25 and newer save, and as older ones do.
NEW = [
    ("blobs/sha256/" + IDENTIFIER[7:], CONFIG),
    *(("blobs/sha256/" + name[7:], data) for name, data in zip(DIGESTS, LAYERS, strict=True)),
    ("index.json", b"{}"),
    ("manifest.json", MANIFEST),
    ("repositories", b"{}"),
]
OLD = [
    ("0123/layer.tar", LAYERS[1]),
    ("0123/json", b"{}"),
    ("4567/layer.tar", LAYERS[0]),
    (IDENTIFIER[7:] + ".json", CONFIG),
    ("manifest.json", MANIFEST),
]


class Wire:
    """A channel whose messages are kept, and can be received."""

    def __init__(self, messages: Iterable[dict[str, Any]] = ()) -> None:
        self.messages = list(messages)

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Keep a message."""
        self.messages.append({"kind": kind, **fields, **({"raw": raw} if raw else {})})

    def receive(self) -> dict[str, Any]:
        """Return the first that is left."""
        return self.messages.pop(0) if self.messages else {"kind": "loaded"}

    def close(self) -> None:
        """Close."""


def blob(data: bytes) -> list[dict[str, Any]]:
    """Return the messages of one blob."""
    return [{"kind": "blob", "size": len(data)}, *([{"kind": "piece", "raw": data}] if data else [])]


def received(messages: Iterable[dict[str, Any]], most: int = 1 << 30) -> bytes:
    """Return the archive that a destination makes of what it is sent."""
    return b"".join(saved_image.Receiver(Wire(messages), IDENTIFIER, DIGESTS, most).archive())


class Silent(Wire):
    """A channel on which the answer is not what was sent."""

    def receive(self) -> dict[str, Any]:
        """Say that it is there."""
        return {"kind": "loaded"}


@pytest.mark.parametrize("saved", [NEW, OLD], ids=["new", "old"])
def test_an_image_is_the_same_and_has_no_name(saved: list[tuple[str, bytes]]) -> None:
    """The archive that Docker loads is the destination's own: configuration, layers in their order, and nothing else."""
    wire = Silent()
    sent = saved_image.send(wire, tar(saved), IDENTIFIER, DIGESTS)
    assert sent == len(CONFIG) + sum(map(len, LAYERS))
    with tarfile.open(fileobj=io.BytesIO(received(wire.messages))) as archive:
        contents = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(contents.pop("manifest.json"))
    assert manifest["RepoTags"] is None
    assert contents[manifest["Config"]] == CONFIG
    assert [contents[name] for name in manifest["Layers"]] == LAYERS
    assert len(contents) == 3


def test_a_layer_that_an_image_has_twice() -> None:
    """Docker saves it once."""
    twice = [DIGESTS[1], DIGESTS[1]]
    messages = [*blob(CONFIG), *blob(LAYERS[1]), {"kind": "end"}]
    archive = b"".join(saved_image.Receiver(Wire(messages), IDENTIFIER, twice, 1 << 20).archive())
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        (manifest,) = json.loads(members.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert manifest["Layers"] == ["1", "1"]


WHOLE = [*blob(CONFIG), *blob(LAYERS[0]), *blob(LAYERS[1])]


@pytest.mark.parametrize(
    ("messages", "most", "why"),
    [
        ([*WHOLE, *blob(b"something else"), {"kind": "end"}], 1 << 30, "no part of the container's image"),
        ([*WHOLE, *blob(CONFIG), {"kind": "end"}], 1 << 30, "no part of the container's image"),
        ([*blob(CONFIG), *blob(LAYERS[0]), {"kind": "end"}], 1 << 30, "without 1 of its parts"),
        ([{"kind": "end"}], 1 << 30, "without 3 of its parts"),
        ([*WHOLE, {"kind": "end"}], len(CONFIG) + len(LAYERS[0]), "larger than this host has room for"),
        ([{"kind": "blob", "size": 1 << 62}], 1 << 30, "larger than this host has room for"),
        ([{"kind": "blob", "size": 3}, {"kind": "piece", "raw": b"four"}], 1 << 30, "no part"),
        ([{"kind": "blob", "size": 5}, {"kind": "piece", "raw": b"four"}, {"kind": "end"}], 1 << 30, "no part"),
        ([*blob(gzip.compress(LAYERS[0])), {"kind": "end"}], 1 << 30, "compressed"),
        ([*WHOLE, {"kind": "log", "raw": b"x", "rotated": ""}], 1 << 30, "instead of the image"),
        ([{"kind": "blob", "size": -1}], 1 << 30, "no proper 'size'"),
        ([{"kind": "blob", "size": 4}, {"kind": "piece"}], 1 << 30, "no proper 'raw'"),
    ],
)
def test_a_source_that_sends_something_else(messages: list[dict[str, Any]], most: int, why: str) -> None:
    """Docker gets no end of the archive, and forgets what it has."""
    with pytest.raises(ValueError, match=why):
        received(messages, most)


class Docker:
    """An engine with images, by every name that they have."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", ":"): identifier for name, identifier in names.items()}
        self.did: list[str] = []
        self.offered = ""

    def image(self, name: str) -> dict[str, Any] | None:
        """Return it, by a name or its id."""
        identifier = self.names.get(name) or (name if name in self.names.values() else None)
        return {"Id": identifier, "RootFS": {"Layers": [f"of {identifier}"]}} if identifier else None

    def registered(self, name: str) -> str:
        """Say what the repository has."""
        return self.offered

    def tag(self, identifier: str, name: str) -> None:
        """Give a name."""
        self.did.append(f"tag {name}")
        self.names[name] = identifier

    def untag(self, name: str) -> None:
        """Take a name."""
        self.did.append(f"untag {name}")
        del self.names[name]


def test_an_image_that_was_sent_keeps_a_name_of_ours_alone() -> None:
    """A source must not leave what somebody may run one day under another name."""
    docker: Any = Docker(relocate_received=IDENTIFIER)
    with pytest.raises(RuntimeError), images.named(docker, "postgres:16", IDENTIFIER):
        assert docker.names["postgres:16"] == IDENTIFIER
        raise RuntimeError("the container cannot be made")
    assert "postgres:16" not in docker.names and _images.received_name(IDENTIFIER) in docker.names


def test_a_name_that_is_there_is_left_alone() -> None:
    """Also one that somebody has pulled in the meantime."""
    docker: Any = Docker(postgres_16=IDENTIFIER)
    with images.named(docker, "postgres:16", IDENTIFIER):
        pass
    assert docker.did == []
    docker = Docker()
    with images.named(docker, "postgres:16", IDENTIFIER):
        docker.names["postgres:16"] = "another"
    assert docker.names["postgres:16"] == "another"


def test_where_an_image_is_looked_for() -> None:
    """Under its name, then by its id; another one of that name is none."""
    docker: Any = Docker(web_1="a", relocate_received="b")
    assert _images.found(docker, "web:1", "a", ["of a"]) == docker.image("web:1")
    assert _images.found(docker, "other:1", "b", ["of b"]) == docker.image("b")
    assert _images.found(docker, "other:1", "c", ["of c"]) is None
    assert _images.found(docker, "other:1", "", []) is None
    with pytest.raises(_images.Another):
        _images.found(docker, "web:1", "b", ["of b"])


def test_what_a_repository_offers() -> None:
    """An image of a host's own may have a stranger's name: it is not pulled by that."""
    docker: Any = Docker()
    docker.offered = "sha256:1"
    assert _images.problem_of_offer(docker, "web:1", ["sha256:0", "sha256:1"]) == ""
    assert _images.problem_of_offer(docker, "web:1", None) == ""
    assert "no repository" in _images.problem_of_offer(docker, "web:1", [])
    assert "another one" in _images.problem_of_offer(docker, "web:1", ["sha256:2"])
    assert _images.sendable("web:1") and not _images.sendable("web@sha256:1")
