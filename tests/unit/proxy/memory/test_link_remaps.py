# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files that have lost one of two names: this very process holds them, its image is a stand-in (``pycriu_standin``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from relocate_proxy.files.tree_cargo import TreeReceiver, TreeSender
from relocate_proxy.files.trees import Tree
from relocate_proxy.memory import link_remaps
from relocate_proxy.memory.criu_image import framed
from relocate_proxy.protocol.protobuf import encode

from .. import pycriu_standin
from ..fakes import ScriptedChannel


class Source:
    """A container whose root is a directory of ours, and whose image says what CRIU would."""

    def __init__(self, directory: Path) -> None:
        self.root, self.copy, self.images = (directory / name for name in ("root", "copy", "images"))
        for made in (self.root, self.copy, self.images):
            made.mkdir()
        self.line = ScriptedChannel("destination")
        self.tree = TreeSender(self.line, Tree.at(str(self.root)))
        self.files: list[IO[Any]] = []

    def hold(self, removed: str, kept: str) -> None:
        """Open a file, give it another name, and remove the first."""
        self.files.append((self.root / removed).open("w"))
        (self.root / kept).hardlink_to(self.root / removed)
        (self.root / removed).unlink()

    def dump(self, *pairs: tuple[str, str], kind: int = 0) -> None:
        """Write an image that has opened files by removed names, and knows them by links."""
        entries, remaps = [], b"\0" * 8
        for number, names in enumerate(pairs):
            entries += [
                {"id": 2 * number + n + 1, "type": "REG", "reg": {"name": name}} for n, name in enumerate(names)
            ]
            remaps += framed(encode({1: 2 * number + 1, 2: 2 * number + 2, 3: kind}))
        (self.images / "files.img").write_bytes(pycriu_standin.pack(entries))
        (self.images / "remap-fpath.img").write_bytes(remaps)

    def send(self) -> list[dict]:
        """Send the files, and then the links; return what was said of these."""
        self.tree.send_first()
        before = len(self.line.sent)
        link_remaps.send(str(self.images), [os.getpid()], str(self.root), [self.tree])
        return self.line.sent[before:]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Return a source; links in /proc begin with its root here, and do not in a container."""
    made = Source(tmp_path)
    real = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: real(path).removeprefix(str(made.root)))
    yield made
    for file in made.files:
        file.close()


def test_the_link_is_made_to_the_name_that_is_left(source: Source) -> None:
    """CRIU's link is in the directory of the removed name; the tree has the other one anywhere."""
    (source.root / "spool").mkdir()
    source.hold("spool/tmp", "final")
    source.dump(("/spool/tmp", "/spool/link_remap.7"))
    assert [(said["entry"]["path"], said["entry"]["link"]) for said in source.send()] == [
        ("spool/link_remap.7", "final")
    ]
    receiver = TreeReceiver()
    receiver.mounted(str(source.copy))
    for message in source.line.sent:
        receiver.take(message)
    receiver.settle()
    assert (source.copy / "spool/link_remap.7").samefile(source.copy / "final")


def test_most_images_have_none(source: Source) -> None:
    """No file of that kind, an empty one, or one of deleted files alone."""
    assert source.send() == []
    source.dump()
    assert source.send() == []
    source.dump(("/a", "/b"), kind=1)
    assert source.send() == []


def test_a_file_whose_other_name_did_not_travel(source: Source, tmp_path: Path) -> None:
    """It is on a file system that is not carried."""
    source.hold("tmp", "final")
    (source.root / "final").rename(tmp_path / "outside")
    source.dump(("/tmp", "/link_remap.7"))
    with pytest.raises(LookupError, match="no name was found of the open file that was /tmp: close it, and try again"):
        source.send()


def test_two_files_of_one_removed_name(source: Source) -> None:
    """Nothing tells which of them the image means."""
    source.hold("tmp", "one")
    source.hold("tmp", "two")
    source.dump(("/tmp", "/link_remap.7"))
    with pytest.raises(LookupError, match="2 open files had the name /tmp"):
        source.send()
