# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data channel's contents, from a sender to a receiver: files, deletions, the log, the image."""

from __future__ import annotations

import dataclasses
import gzip
import json
import mmap
import os
import random
import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from relocate_proxy.files.cargo import Receiver
from relocate_proxy.files.disk import Disk
from relocate_proxy.files.log_cargo import LogReceiver, LogSender
from relocate_proxy.files.tree_cargo import BLOCK, TreeReceiver, TreeSender
from relocate_proxy.files.trees import CHUNK, CLOCK_GRAIN_NS, EveryInode, Item, LayerProblem, Tree
from relocate_proxy.host.syscalls import write_all
from relocate_proxy.memory import image_cargo
from relocate_proxy.memory.image_cargo import ImageReceiver, ImageSender

from ..fakes import ScriptedChannel


class Ends:
    """A sender and a receiver, and the directories behind them."""

    def __init__(self, directory: Path) -> None:
        self.upper, self.root, self.images = (directory / name for name in ("upper", "root", "images"))
        for made in (self.upper, self.root, self.images):
            made.mkdir()
        self.log, self.copy = directory / "json.log", directory / "copy.log"
        self.log.write_text("line 1\n")
        self.line = ScriptedChannel("destination")
        self.sender = TreeSender(self.line, Tree.at(str(self.upper)))
        self.log_sender = LogSender(self.line, str(self.log))
        self.log_receiver, self.trees = LogReceiver(str(self.copy)), TreeReceiver()
        self.receiver = Receiver(self.line, [self.log_receiver, self.trees, ImageReceiver(str(self.images))])
        self.trees.mounted(str(self.root))

    def carry(self) -> list[str]:
        """Let the receiver apply what has been sent; return what kinds of messages that were."""
        self.line.send("end")
        self.line.script = self.line.sent[:]
        kinds = [message["kind"] for message in self.line.sent]
        self.line.sent.clear()
        assert self.receiver.receive() == {"kind": "end"}
        return kinds


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    """Return both ends."""
    return Ends(tmp_path)


def test_a_first_copy_and_then_the_difference(ends: Ends) -> None:
    """What changed and what is gone."""
    (ends.upper / "data").mkdir()
    (ends.upper / "data/a").write_bytes(b"a" * (CHUNK + 3))
    (ends.upper / "data/b").write_text("b")
    assert ends.sender.send_changes() == CHUNK + 3 + 1
    ends.carry()
    (ends.upper / "data/b").unlink()
    (ends.upper / "data/c").write_text("new")
    ends.sender.send_changes()
    assert "remove" in ends.carry()
    assert {path.name for path in (ends.root / "data").iterdir()} == {"a", "c"}
    assert (ends.root / "data/a").read_bytes() == b"a" * (CHUNK + 3)
    assert (ends.root / "data/c").read_text() == "new"


def logged(text: str, stream: str = "stdout") -> str:
    """Return a line of Docker's json-file log."""
    return json.dumps({"log": text, "stream": stream, "time": "2026-11-23T12:00:00Z"}) + "\n"


def test_the_log_so_far_and_then_the_last_words(ends: Ends) -> None:
    """Whole lines only, as they are in the file; what came since as it was said. Nothing twice, nothing left out."""
    ends.log.write_text(logged("one\n") + logged("two\n", "stderr")[:-9])
    ends.log_sender.send_first()
    ends.carry()
    assert ends.copy.read_text() == logged("one\n")
    ends.log.write_text(logged("one\n") + logged("two\n", "stderr") + "".join(logged(f"{n}\n") for n in range(200)))
    ends.log_sender.send_changes()
    ends.log_sender.send_changes()
    assert set(ends.carry()) == {"words", "end"}
    assert ends.log_receiver.words == [["stderr", "two\n"], *(["stdout", f"{n}\n"] for n in range(200))]
    assert ends.copy.read_text() == logged("one\n")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_a_log_that_is_rotated_meanwhile(ends: Ends, rotations: int, packed: bool) -> None:
    """Docker shifts each file by one, packs what it has shifted if it is told to, and goes on in a new one."""
    ends.log.write_text(logged("0\n"))
    ends.log_sender.send_first()
    ends.carry()
    with ends.log.open("a") as old:
        old.write(logged("the last of the old\n"))
    for number in range(1, rotations + 1):
        for place in range(number, 0, -1):
            for ending in ("", ".gz"):
                older = ends.log.with_name(ends.log.name + (f".{place - 1}{ending}" if place > 1 else ending))
                if older.exists():
                    older.rename(ends.log.with_name(f"{ends.log.name}.{place}{ending}"))
        first = ends.log.with_name(f"{ends.log.name}.1")
        if packed:
            with gzip.open(f"{first}.gz", "wb") as file:
                file.write(first.read_bytes())
            first.unlink()
        ends.log.write_text(logged(f"{number}\n"))
    ends.log_sender.send_changes()
    ends.log_sender.send_changes()
    ends.carry()
    said = [text for _, text in ends.log_receiver.words]
    assert said == ["the last of the old\n", *(f"{number}\n" for number in range(1, rotations + 1))]


def test_a_log_that_was_rotated_away(ends: Ends) -> None:
    """What Docker has thrown away is in no `docker logs`; what is left is new."""
    ends.log.write_text(logged("0\n"))
    ends.log_sender.send_first()
    ends.log.unlink()
    ends.log.with_name(ends.log.name + ".1").write_text(logged("8\n"))
    ends.log.write_text(logged("9\n"))
    ends.log_sender.send_changes()
    ends.carry()
    assert [text for _, text in ends.log_receiver.words] == ["8\n", "9\n"]


@pytest.mark.parametrize("lines", [1, 2, 50])
def test_a_log_of_one_file_that_is_emptied(ends: Ends, lines: int) -> None:
    """With max-file=1. It may have grown beyond the place that was read last."""
    ends.log.write_text(logged("old 1\n") + logged("old 2\n"))
    ends.log_sender.send_first()
    ends.log.write_text("".join(logged(f"new {number}\n") for number in range(lines)))
    ends.log_sender.send_changes()
    ends.log_sender.send_changes()
    ends.carry()
    assert [text for _, text in ends.log_receiver.words] == [f"new {number}\n" for number in range(lines)]


def test_a_log_larger_than_a_piece(ends: Ends) -> None:
    """Its lines are cut nowhere."""
    ends.log.write_text("".join(logged("x" * 1000) for _ in range(2500)))
    ends.log_sender.send_first()
    pieces = [message["raw"] for message in ends.line.sent]
    assert len(pieces) > 2 and all(piece.endswith(b"\n") for piece in pieces)
    ends.carry()
    assert ends.copy.read_bytes() == ends.log.read_bytes()


def test_files_that_come_before_the_root_is_mounted_are_refused(ends: Ends) -> None:
    """They would be made in nobody's file system."""
    early = Receiver(ends.line, [TreeReceiver()])
    ends.line.script = [{"kind": "remove", "path": "etc/passwd"}]
    with pytest.raises(ValueError, match="the source sent files before the destination was ready for them"):
        early.receive()


def test_an_empty_file_is_a_file(ends: Ends) -> None:
    """No data follows its entry; its attributes are set all the same."""
    (ends.upper / "empty").touch(mode=0o640)
    os.utime(ends.upper / "empty", ns=(1, 1_000_000_001))
    ends.sender.send_changes()
    ends.carry()
    assert (ends.root / "empty").stat().st_mtime_ns == 1_000_000_001


def test_a_file_that_goes_while_it_is_sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next copy knows that it is gone, and others follow it as if nothing had happened."""
    (ends.upper / "a").write_text("a")
    (ends.upper / "b").write_text("b")
    item = Tree.item

    def vanish(tree: Tree, path: str) -> Any:
        if path == "a":
            (ends.upper / "a").unlink()
        return item(tree, path)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Tree, "item", vanish)
        ends.sender.send_changes()
    ends.carry()
    assert [path.name for path in ends.root.iterdir()] == ["b"]
    ends.sender.send_changes()
    ends.carry()
    assert [path.name for path in ends.root.iterdir()] == ["b"]


def test_images_arrive_whole_and_private(ends: Ends, tmp_path: Path) -> None:
    """Empty ones, large ones, and in the second phase a name of the first is written anew."""
    sent = tmp_path / "dumped"
    sent.mkdir()
    contents = {"core-1.img": b"c", "empty.img": b"", "pages-1.img": os.urandom(CHUNK * 2 + 1)}
    for name, data in contents.items():
        (sent / name).write_bytes(data)
    images = ImageSender(ends.line, str(sent))
    images.send_rest()
    assert images.bytes == CHUNK * 2 + 2
    ends.carry()
    assert {path.name: path.read_bytes() for path in ends.images.iterdir()} == contents
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in ends.images.iterdir())


def test_pages_go_while_they_are_written(ends: Ends, tmp_path: Path) -> None:
    """What has grown is sent before the dump has ended; the rest follows, and nothing goes twice."""
    sent = tmp_path / "dumped"
    sent.mkdir()
    (sent / "core-1.img").write_bytes(b"not finished")
    pages = (sent / "pages-1.img").open("wb", buffering=0)
    images = ImageSender(ends.line, str(sent))

    class Dumped:
        """A dump that writes a piece each time somebody looks whether it has ended."""

        pieces: ClassVar[list[bytes]] = [b"one", b"", b"two"]

        def wait(self, _: float) -> bool:
            if not self.pieces:
                return True
            pages.write(self.pieces.pop(0))
            return False

    images.send_pages(Dumped())
    assert [message.get("raw", b"") for message in ends.line.sent] == [b"one", b"two"]
    pages.write(b"three")
    pages.close()
    (sent / "core-1.img").write_bytes(b"finished")
    images.send_rest()
    ends.carry()
    assert (ends.images / "pages-1.img").read_bytes() == b"onetwothree"
    assert (ends.images / "core-1.img").read_bytes() == b"finished" and images.bytes == 11 + 8


def test_a_file_system_in_memory_is_a_tree_of_its_own(ends: Ends, tmp_path: Path) -> None:
    """Its files are sent again though their times say that they have not changed: they may have been written through memory."""
    here, there = tmp_path / "shm", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "segment").write_bytes(b"before")
    (here / "empty").touch()
    (ends.upper / "segment").write_bytes(b"the layer's")
    layer, sender = ends.sender, TreeSender(ends.line, Tree.at(str(here)), "/dev/shm", EveryInode)
    ends.trees.mounted(str(ends.root), {"/dev/shm": str(there)})
    layer.send_first()
    sender.send_first()
    ends.carry()
    assert (there / "segment").read_bytes() == b"before" and (ends.root / "segment").read_bytes() == b"the layer's"
    (here / "segment").write_bytes(b"after!")
    for each in (layer, sender):  # long ago, and with the times of now
        each.before = dataclasses.replace(each.tree.scan(), taken_ns=2**62)
        each.send_changes()
    again = [message["entry"]["path"] for message in ends.line.sent if message["kind"] in ("entry", "patch")]
    ends.carry()
    assert again == ["segment"] and (there / "segment").read_bytes() == b"after!"


def test_holes_do_not_travel(ends: Ends) -> None:
    """A file with a hole in the middle and one at the end arrives as long as it was."""
    with (ends.upper / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(8 << 20)
        file.write(b"end")
        file.truncate(16 << 20)
    assert ends.sender.send_changes() < 1 << 20
    ends.carry()
    assert (ends.root / "sparse").read_bytes() == (ends.upper / "sparse").read_bytes()
    assert (ends.root / "sparse").stat().st_blocks < 4096


def test_an_entry_for_a_place_that_is_not_there_is_refused(ends: Ends) -> None:
    """The source is another machine."""
    ends.line.script = [{"kind": "remove", "path": "x", "tree": "/etc"}]
    with pytest.raises(ValueError, match="the source sent files before the destination was ready for them"):
        ends.receiver.receive()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "/etc/passwd"])
def test_an_image_elsewhere_is_refused(ends: Ends, name: str) -> None:
    """The source is another machine."""
    ends.line.script = [{"kind": "image", "name": name, "raw": b"x"}]
    with pytest.raises(ValueError, match="the source named an image file"):
        ends.receiver.receive()
    assert list(ends.images.iterdir()) == []


def image(name: str, number: object, raw: bytes = b"x") -> dict:
    """Return a piece of a pre-dump's image."""
    return {"kind": "image", "name": name, "round": number, "raw": raw}


def test_rounds_lie_below_the_images_that_build_on_them(ends: Ends, tmp_path: Path) -> None:
    """CRIU finds each from the next by a link, wherever they are moved; links and directories of the source do not travel."""
    for number in (0, 1, 2):
        directory = tmp_path / f"source-{number}"
        (directory / "round-9").mkdir(parents=True)
        (directory / "parent").symlink_to("/etc")
        (directory / "pages-1.img").write_text(f"pages of {number}")
    for number in (1, 2, 0):
        ImageSender(ends.line, str(tmp_path / f"source-{number}"), number).send_rest()
    ends.carry()
    moved = ends.images.rename(tmp_path / "moved")
    assert sorted(path.name for path in moved.iterdir()) == ["pages-1.img", "parent", "round-1", "round-2"]
    assert (moved / "pages-1.img").read_text() == "pages of 0"
    assert (moved / "parent/pages-1.img").read_text() == "pages of 2"
    assert (moved / "parent/parent/pages-1.img").read_text() == "pages of 1"
    assert not (moved / "parent/parent/parent").exists()
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in (moved / "round-1", moved / "round-2"))


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "/etc/passwd", "parent", "round-1/pages-1.img"])
def test_an_image_of_a_round_elsewhere_is_refused(ends: Ends, name: str) -> None:
    """Names are the source's, places are ours; what is open already is no way around that."""
    for number in (1, 0):
        ends.line.script = [image("pages-1.img", 1), image(name, number)]
        with pytest.raises(ValueError, match="the source named an image file"):
            ends.receiver.receive()
    assert (ends.images / "round-1/pages-1.img").read_bytes() in (b"x", b"xx")


@pytest.mark.parametrize(
    "numbers", [[2], [-1], ["1"], ["../x"], [1.0], [True], [None], [1, 2, 1], [1, 3], range(1, 10)]
)
def test_rounds_out_of_turn_are_refused(ends: Ends, numbers: list[object]) -> None:
    """Nothing but the next small number makes a directory."""
    ends.line.script = [image("pages-1.img", number) for number in numbers]
    with pytest.raises(ValueError, match=r"the source named a pre-dump|'image' has no proper 'round'"):
        ends.receiver.receive()
    assert {path.name for path in ends.images.iterdir()} <= {"parent", *(f"round-{number}" for number in range(1, 9))}


def test_a_file_in_the_links_place_is_not_followed(ends: Ends) -> None:
    """A round whose directory is there already is an error, not a way in."""
    (ends.images / "round-1").symlink_to(ends.log.parent)
    ends.line.script = [image("json.log", 1)]
    with pytest.raises(FileExistsError):
        ends.receiver.receive()
    assert ends.log.read_text() == "line 1\n"


def test_an_entry_elsewhere_is_refused(ends: Ends) -> None:
    """Neither written nor removed."""
    ends.line.script = [{"kind": "remove", "path": "../json.log"}]
    with pytest.raises(LayerProblem):
        ends.receiver.receive()
    assert ends.log.exists()


def test_a_log_behind_a_link_is_not_written(ends: Ends) -> None:
    """Nor is one that somebody put there."""
    ends.copy.symlink_to(ends.log)
    ends.log_sender.send_first()
    ends.line.script = ends.line.sent
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        ends.receiver.receive()


def test_a_disk_that_takes_half_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out."""
    write = os.write
    with (tmp_path / "out").open("wb") as file, monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "out").read_bytes() == b"0123456789"


def test_a_container_without_a_log(ends: Ends) -> None:
    """Its driver keeps none on the host."""
    sender = LogSender(ends.line, None)
    assert sender.send_first() == sender.send_changes() == 0
    assert ends.line.sent == []


def test_more_images_than_descriptors(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with hundreds of processes has thousands of images: few are open at once, and each arrives whole."""
    monkeypatch.setattr(image_cargo, "MOST_OPEN", 3)
    names = [f"core-{number}.img" for number in range(100)]
    for piece in (b"first ", b"second"):
        ends.line.sent += [{"kind": "image", "name": name, "raw": piece + name.encode()} for name in names]
    before = len(list(Path("/proc/self/fd").iterdir()))
    ends.line.send("end")
    ends.line.script, ends.line.sent = ends.line.sent, []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + len(names) // 2, limits[1]))
    try:
        ends.receiver.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    left = [fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert not [place for place in left if place.is_relative_to(ends.images)]
    for name in names:
        assert (ends.images / name).read_bytes() == b"first %bsecond%b" % (name.encode(), name.encode())


def test_a_directory_swapped_for_a_link_leads_nowhere(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container swaps a directory between the scan and the read: what the link points at is the host's, and stays there."""
    secret = tmp_path / "host"
    secret.mkdir()
    (secret / "shadow").write_text("root's secret")
    (ends.upper / "a").mkdir()
    (ends.upper / "a/shadow").write_text("mine")
    scan = Tree.scan

    def swapping(tree: Tree) -> Any:
        found = scan(tree)
        (ends.upper / "a").rename(ends.upper / "b")
        (ends.upper / "a").symlink_to(secret)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Tree, "scan", swapping)
        ends.sender.send_first()
    assert "root's secret" not in str(ends.line.sent)
    ends.carry()
    (ends.upper / "a").unlink()
    (ends.upper / "b").rename(ends.upper / "a")
    ends.sender.send_changes()
    ends.carry()
    assert (ends.root / "a/shadow").read_text() == "mine" and not (ends.root / "b").exists()


def test_a_file_swapped_for_a_link_is_a_link(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with the last component; what is there in the freeze is what the copy has."""
    (tmp_path / "shadow").write_text("root's secret")
    (ends.upper / "file").write_text("mine")
    scan = Tree.scan

    def swapping(tree: Tree) -> Any:
        found = scan(tree)
        (ends.upper / "file").unlink()
        (ends.upper / "file").symlink_to(tmp_path / "shadow")
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Tree, "scan", swapping)
        ends.sender.send_first()
    ends.sender.send_changes()
    assert "root's secret" not in str(ends.line.sent)
    ends.carry()
    assert (ends.root / "file").readlink() == tmp_path / "shadow"


def test_a_tree_inside_a_container_is_found_without_links(tmp_path: Path) -> None:
    """The parent of a tmpfs can be renamed by the container, and a link to the host's own directories put in its place."""
    (tmp_path / "root/run").mkdir(parents=True)
    (tmp_path / "root/run/shm").mkdir()
    assert Tree.inside(str(tmp_path / "root"), "/run/shm").scan().stamps.keys() == {"."}
    (tmp_path / "root/run").rename(tmp_path / "root/gone")
    (tmp_path / "root/run").symlink_to("/dev")
    with pytest.raises(OSError, match="Not a directory"):
        Tree.inside(str(tmp_path / "root"), "/run/shm")


def test_a_file_that_is_written_through_a_mapping_is_sent_again(ends: Ends) -> None:
    """Its times do not change. Python's mapping of it is the program's."""
    path = ends.upper / "counter"
    path.write_bytes(b"1" * 4096)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as mapping:
        mapping[0:1] = b"2"
        sender = TreeSender(ends.line, Tree.at(str(ends.upper)), "", lambda: {path.stat().st_ino})
        sender.send_first()
        ends.carry()
        mapping[0:1] = b"3"
        sender.before = dataclasses.replace(sender.tree.scan(), taken_ns=2**62)  # as if that had been long ago
        sender.send_changes()
        ends.carry()
    assert (ends.root / "counter").read_bytes()[:1] == b"3"


# -- files of which a part has changed ----------------------------------------------------------------------------------


def sent_again(ends: Ends) -> int:
    """Carry what has changed; return the bytes of contents. The copy must be what the original is, holes and all."""
    sent = ends.sender.send_changes()
    ends.carry()
    assert layout(ends.root) == layout(ends.upper)
    return sent


def layout(root: Path) -> dict[str, Any]:
    """Return all that can be seen of a tree."""
    found: dict[str, Any] = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        status, name = path.lstat(), str(path.relative_to(root))
        found[name] = [oct(status.st_mode), status.st_mtime_ns, first.setdefault(status.st_ino, name)]
        found[name] += [{each: os.getxattr(path, each) for each in os.listxattr(path)}]
        if path.is_file():
            found[name] += [path.read_bytes()]
    return found


def written(path: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_of_a_large_file_only_the_blocks_that_differ_are_sent_again(ends: Ends) -> None:
    """A page of a database costs a block, not the database; and the copy is not made anew."""
    path, copy = ends.upper / "table", ends.root / "table"
    path.write_bytes(os.urandom(3 * CHUNK + 5))
    assert sent_again(ends) == 3 * CHUNK + 5
    made = copy.stat().st_ino
    written(path, 5, b"page")
    written(path, CHUNK - 2, b"pages")  # two blocks side by side
    assert sent_again(ends) == 3 * BLOCK
    written(path, 3 * CHUNK + 3, b"xx")  # the last one, which is short
    assert sent_again(ends) == 5
    with path.open("ab") as file:
        file.write(b"more" * CHUNK)
    assert sent_again(ends) == 5 + 4 * CHUNK
    os.truncate(path, CHUNK + 7)
    assert sent_again(ends) == 7
    assert copy.stat().st_ino == made


def test_nothing_is_kept_of_small_files(ends: Ends) -> None:
    """There may be a million of them."""
    for size in (0, 1, BLOCK):
        (ends.upper / str(size)).write_bytes(bytes(size))
    (ends.upper / "large").write_bytes(os.urandom(BLOCK + 1))
    sent_again(ends)
    assert list(ends.sender._sent) == ["large"]


def test_a_file_that_comes_back_to_what_it_was_is_what_it_was(ends: Ends) -> None:
    """Shorter and longer again, with the same contents: the copy has lost them meanwhile."""
    path, data = ends.upper / "table", os.urandom(4 * BLOCK)
    path.write_bytes(data)
    sent_again(ends)
    os.truncate(path, BLOCK + 1)
    sent_again(ends)
    path.write_bytes(data)
    assert sent_again(ends) == 3 * BLOCK


def test_a_file_that_has_taken_anothers_place_is_sent_where_it_differs(ends: Ends) -> None:
    """As an editor or a log's rotation does it; whether a file is another does not matter, only what the copy has."""
    data = os.urandom(4 * BLOCK)
    (ends.upper / "a").write_bytes(data)
    sent_again(ends)
    (ends.upper / "b").write_bytes(data[:-1] + b"x")
    (ends.upper / "b").rename(ends.upper / "a")
    assert sent_again(ends) <= 4 * BLOCK


def test_a_file_with_holes_keeps_them(ends: Ends) -> None:
    """It is sent anew, as it was before it had any."""
    path = ends.upper / "table"
    path.write_bytes(os.urandom(CHUNK))
    sent_again(ends)
    os.truncate(path, 0)
    os.truncate(path, 8 * CHUNK)
    written(path, 4 * CHUNK, b"data")
    sent_again(ends)
    assert (ends.root / "table").stat().st_blocks * 512 < CHUNK
    path.write_bytes(os.urandom(CHUNK))
    assert sent_again(ends) == CHUNK


def test_another_name_of_a_file_is_no_file_of_its_own(ends: Ends) -> None:
    """Neither when it comes nor when it goes."""
    path = ends.upper / "a"
    path.write_bytes(os.urandom(4 * BLOCK))
    sent_again(ends)
    (ends.upper / "b").hardlink_to(path)
    sent_again(ends)
    written(path, 0, b"both")
    sent_again(ends)
    path.unlink()
    written(ends.upper / "b", 0, b"one")
    path.write_bytes(b"other")
    sent_again(ends)
    written(ends.upper / "b", 0, b"two")
    assert sent_again(ends) <= BLOCK + 5


def test_an_attribute_that_is_gone_is_gone(ends: Ends) -> None:
    """The copy is made anew then."""
    path = ends.upper / "a"
    path.write_bytes(os.urandom(4 * BLOCK))
    os.setxattr(path, "user.mark", b"1")
    sent_again(ends)
    os.removexattr(path, "user.mark")
    assert sent_again(ends) == 4 * BLOCK


def test_what_was_only_half_sent_is_sent_anew(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is thought to be there that may not be."""
    path = ends.upper / "a"
    path.write_bytes(os.urandom(2 * CHUNK))
    sent_again(ends)
    pieces = Item.pieces

    def broken(item: Item, size: int) -> Any:
        yield next(iter(pieces(item, size)))
        raise FileNotFoundError

    path.write_bytes(os.urandom(2 * CHUNK))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Item, "pieces", broken)
        ends.sender.send_changes()
    ends.carry()
    assert sent_again(ends) == 2 * CHUNK


def opaque(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Have directories be opaque in the layer: made where the image has some that were removed."""
    monkeypatch.setattr(Item, "_opaque", lambda item: item.path in paths)


def test_a_directory_that_was_made_anew_has_nothing_to_patch(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side makes it anew: what it has had in it is gone there."""
    below = ends.upper / "data"
    below.mkdir()
    (below / "a").write_bytes(os.urandom(4 * BLOCK))
    sent_again(ends)
    opaque(monkeypatch, "data")
    written(below / "a", 0, b"x")
    (below / "b").touch()
    sent_again(ends)


def test_what_is_in_a_directory_that_was_made_anew_stays_when_something_comes_or_goes(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time changes with each file, and it is made anew only once: what has not changed is not sent again."""
    opaque(monkeypatch, "data", "data/more")
    more = ends.upper / "data/more"
    more.mkdir(parents=True)
    (more / "a").write_text("a")
    time.sleep(2 * CLOCK_GRAIN_NS / 1e9)  # what has changed just now is always sent again
    sent_again(ends)
    for name in ("d", "e"):
        (more / name).write_text(name)
        (ends.upper / "data" / name).write_text(name)
        sent_again(ends)
    (more / "d").unlink()
    sent_again(ends)
    more.rename(ends.upper / "other")
    (more).mkdir()
    (more / "a").write_text("another")
    sent_again(ends)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_to_files_the_copy_is_the_same(ends: Ends, seed: int) -> None:
    """Many rounds of what programs do, drawn at random."""
    rng = random.Random(seed)
    names = [ends.upper / name for name in ("a", "b", "deep/c", "deep/d")]
    (ends.upper / "deep").mkdir()

    def act(path: Path, other: Path) -> None:
        size = path.stat().st_size if path.exists() else 0
        match rng.randrange(8):
            case 0:
                path.unlink(missing_ok=True)
                path.write_bytes(rng.randbytes(rng.randrange(5 * BLOCK)))
            case 1 if size:
                written(path, rng.randrange(size), rng.randbytes(rng.randrange(2 * BLOCK)))
            case 2 if size:
                os.truncate(path, rng.randrange(size))
            case 3 if size:
                os.truncate(path, size + rng.randrange(2 * BLOCK))  # a hole at the end
            case 4 if size:
                path.rename(other)
            case 5 if size and not other.exists():
                other.hardlink_to(path)
            case 6:
                path.unlink(missing_ok=True)
            case 7 if size:
                os.setxattr(path, "user.mark", rng.randbytes(1))

    for _ in range(30):
        for _ in range(rng.randrange(4)):
            act(*rng.sample(names, 2))
        sent_again(ends)


@pytest.mark.parametrize("there", ["device", "directory", "link", "nothing"])
def test_a_part_of_what_is_no_file_is_refused(ends: Ends, tmp_path: Path, there: str) -> None:
    """The source is another machine, and may have had a device made before; or a way out of the container."""
    place = ends.root / "x"
    match there:
        case "device":
            os.mkfifo(place)  # who writes to it waits for ever
        case "directory":
            place.mkdir()
        case "link":
            (tmp_path / "host").write_text("host's")
            place.symlink_to(tmp_path / "host")
    entry = {"path": "x", "mode": 0o100644, "uid": 0, "gid": 0, "mtime_ns": 0, "xattrs": {}, "size": 3}
    ends.line.script = [{"kind": "patch", "entry": entry, "tree": ""}, {"kind": "data", "raw": b"abc", "at": 0}]
    with pytest.raises(LayerProblem, match="a part of a file that is not here: 'x'"):
        ends.receiver.receive()


@pytest.mark.parametrize("change", [{"mode": 0o040755}, {"link": "y"}, {"size": None}])
def test_only_of_a_file_of_its_own_a_part_can_come(ends: Ends, change: dict[str, Any]) -> None:
    """An old source does not send it, and another may send anything."""
    (ends.root / "x").write_text("abc")
    entry = {"path": "x", "mode": 0o100644, "uid": 0, "gid": 0, "mtime_ns": 0, "xattrs": {}, "size": 3}
    ends.line.script = [{"kind": "patch", "entry": {**entry, **change}, "tree": ""}]
    with pytest.raises(ValueError, match="'patch' has no proper 'entry'"):
        ends.receiver.receive()


def test_what_volumes_were_brought_is_on_the_disk_when_that_was_asked_for(ends: Ends, tmp_path: Path) -> None:
    """The last file, too, which more might still have come of."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    taken: list[str] = []

    class Noting(Disk):
        def take(self, fd: int, how: Any = None) -> None:
            taken.append(Path(f"/proc/self/fd/{fd}").readlink().name)

        def wait(self) -> None:
            taken.append("waited")

    trees = TreeReceiver(Noting())
    trees.mounted(str(ends.root), {}, {"/data": str(there)})
    sender = TreeSender(ends.line, Tree.at(str(here)), "/data")
    receiver = Receiver(ends.line, [trees])
    sender.send_first()
    ends.line.send("end")
    (here / "a").write_bytes(b"x" * BLOCK)
    sender.send_changes()
    ends.line.send("flush")
    ends.line.send("end")
    ends.line.script, ends.line.sent = ends.line.sent, []
    receiver.receive()
    taken.clear()
    receiver.receive()
    assert taken[:2] == ["a", "waited"]
