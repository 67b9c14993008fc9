# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writable layer: what changed, how an entry is described, and how it is made again on the other side."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.files import trees
from relocate_proxy.files.disk import Disk
from relocate_proxy.files.trees import LayerProblem, Snapshot, Stamp, Tree, changes
from relocate_proxy.files.writer import Writer
from relocate_proxy.host.unix_sockets import OF_ONE_HOST


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """Return the source's upper directory."""
    made = tmp_path / "upper"
    made.mkdir()
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the destination's root file system."""
    made = tmp_path / "root"
    made.mkdir()
    return made


def whole(upper: Path, entry: dict[str, Any]) -> bytes:
    """Return the contents of a described file; its pieces must follow each other, for none of these has holes."""
    data = b""
    for offset, piece in Tree.at(str(upper)).item(entry["path"]).contents(entry.get("size", 0)):
        assert offset == len(data)
        data += piece
    return data


def carry(upper: Path, root: Path, *paths: str) -> list[dict[str, Any]]:
    """Describe entries and make them on the other side, as the two proxies do."""
    writer, entries = Writer(str(root)), []
    links: dict[tuple[int, int], str] = {}
    for path in paths:
        entry = Tree.at(str(upper)).item(path).describe(links)
        full = writer.make(entry)
        if full:
            Path(full).write_bytes(whole(upper, entry))
            writer.finish(full, entry)
        entries.append(entry)
    writer.settle()
    return entries


# -- what changed -------------------------------------------------------------------------------------------------------


def test_what_a_file_system_says_is_new_or_gone(upper: Path) -> None:
    """Parents are made before what is in them, children removed before what they are in."""
    (upper / "etc/app").mkdir(parents=True)
    (upper / "etc/app/conf").write_text("1")
    (upper / "var").mkdir()
    first = Tree.at(str(upper)).scan()
    assert changes(Snapshot(), first) == ([".", "etc", "etc/app", "etc/app/conf", "var"], [])
    (upper / "etc/app/conf").unlink()
    (upper / "etc/app").rmdir()
    (upper / "var/run").symlink_to("nowhere")
    dirty, gone = changes(first, Tree.at(str(upper)).scan())
    assert gone == ["etc/app/conf", "etc/app"] and "var/run" in dirty


def test_a_file_that_is_removed_while_its_directory_is_read(upper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name was read, and it is gone as it is looked at: a program that makes and removes files does this all the time."""
    for name in ("kept", "removed"):
        (upper / name).write_text("x")
    scandir = os.scandir

    @contextlib.contextmanager
    def removing(directory: int) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(directory) as entries:
            listed = list(entries)
        (upper / "removed").unlink(missing_ok=True)
        yield listed

    monkeypatch.setattr(trees.os, "scandir", removing)
    assert set(Tree.at(str(upper)).scan().stamps) == {".", "kept"}


def test_the_top_directory_has_attributes_too(upper: Path, root: Path) -> None:
    """A database refuses a directory that others may read; a volume's top is the container's as much as what is in it."""
    upper.chmod(0o2750)
    os.setxattr(upper, "user.tier", b"db")
    os.utime(upper, ns=(5, 1_234_567_890))
    carry(upper, root, ".")
    status = root.stat()
    assert stat.S_IMODE(status.st_mode) == 0o2750 and status.st_mtime_ns == 1_234_567_890
    assert os.getxattr(root, "user.tier") == b"db"


def test_links_are_not_followed(upper: Path) -> None:
    """Neither out of the layer nor in circles."""
    (upper / "out").symlink_to("/etc")
    (upper / "self").symlink_to(".")
    assert set(Tree.at(str(upper)).scan().stamps) == {".", "out", "self"}


STAMP = Stamp(stat.S_IFREG | 0o644, 7, 10, 1_000_000_000)


@pytest.mark.parametrize(
    "change", [{"kind": stat.S_IFREG | 0o600}, {"inode": 8}, {"size": 11}, {"changed_ns": 1_000_000_001}]
)
def test_each_part_of_a_stamp_tells_a_change(change: dict[str, int]) -> None:
    """Mode, identity, size, and the time that no program can set."""
    taken = STAMP.changed_ns + 10 * trees.CLOCK_GRAIN_NS
    before = Snapshot({"a": STAMP, "b": STAMP}, taken)
    now = Snapshot({"a": Stamp(**{**vars(STAMP), **change}), "b": STAMP}, taken)
    assert changes(before, now) == (["a"], [])


@pytest.mark.parametrize(
    ("age_ns", "sent"), [(0, True), (trees.CLOCK_GRAIN_NS, True), (trees.CLOCK_GRAIN_NS + 1, False)]
)
def test_a_file_changed_within_the_clocks_grain_is_sent_again(age_ns: int, sent: bool) -> None:
    """A second write in the same tick of the file system's clock leaves the stamp as it was."""
    snapshot = Snapshot({"a": STAMP}, STAMP.changed_ns + age_ns)
    assert changes(snapshot, snapshot) == (["a"] if sent else [], [])


def test_directories_are_not_doubted() -> None:
    """What is in them is looked at itself."""
    stamp = Stamp(stat.S_IFDIR | 0o755, 7, 10, 1_000_000_000)
    snapshot = Snapshot({"d": stamp}, stamp.changed_ns)
    assert changes(snapshot, snapshot) == ([], [])


def test_a_layer_at_rest_has_no_changes(upper: Path) -> None:
    """The second copy of one that nobody writes to is empty."""
    (upper / "a").write_text("x")
    time.sleep(2 * trees.CLOCK_GRAIN_NS / 1e9)
    assert changes(Tree.at(str(upper)).scan(), Tree.at(str(upper)).scan()) == ([], [])


# -- entries there and here ---------------------------------------------------------------------------------------------


def test_a_file_with_everything_it_has(upper: Path, root: Path) -> None:
    """Contents, mode with the set-id bits, owner, attributes, time to the nanosecond."""
    (upper / "tool").write_bytes(b"\0binary\xff" * 1000)
    os.setxattr(upper / "tool", "user.note", b"\1\2")
    (upper / "tool").chmod(0o4755)
    os.utime(upper / "tool", ns=(1, 1_234_567_890_123_456_789))
    carry(upper, root, "tool")
    made = (root / "tool").lstat()
    assert (root / "tool").read_bytes() == b"\0binary\xff" * 1000
    assert stat.S_IMODE(made.st_mode) == 0o4755
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())
    assert made.st_mtime_ns == 1_234_567_890_123_456_789
    assert os.getxattr(root / "tool", "user.note") == b"\1\2"


def test_owner_mode_attributes_time_in_this_order(upper: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing the owner clears the set-id bits, and everything changes the time."""
    (upper / "tool").write_text("x")
    os.setxattr(upper / "tool", "user.note", b"1")
    (root / "tool").write_text("x")
    os.setxattr(root / "tool", "user.other", b"1")
    calls: list[str] = []
    for name in ("lchown", "chmod", "removexattr", "setxattr", "utime"):
        monkeypatch.setattr(os, name, lambda *_, name=name, **__: calls.append(name))
    entry = Tree.at(str(upper)).item("tool").describe({})
    Writer(str(root)).finish(str(root / "tool"), entry)
    assert calls == ["lchown", "chmod", "removexattr", "setxattr", "utime"]


def test_an_attribute_that_was_removed_does_not_come_back(upper: Path, root: Path) -> None:
    """The image's directories are there already, with the image's attributes; so is the top of a tree."""
    for place in (upper, root):
        (place / "srv").mkdir()
    os.setxattr(upper / "srv", "user.kept", b"new")
    for place in (root, root / "srv"):
        os.setxattr(place, "user.kept", b"old")
        os.setxattr(place, "user.removed", b"of the image")
    carry(upper, root, ".", "srv")
    assert os.listxattr(root) == []
    assert os.listxattr(root / "srv") == ["user.kept"] and os.getxattr(root / "srv", "user.kept") == b"new"


@pytest.mark.parametrize("name", OF_ONE_HOST)
def test_an_attribute_that_the_host_gives_its_files_stays(
    upper: Path, root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host's security module has a label of its own for it, or none."""
    (upper / "srv").mkdir()
    entry = Tree.at(str(upper)).item("srv").describe({})
    removed: list[str] = []
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: [name, "user.other"])
    monkeypatch.setattr(os, "removexattr", lambda _, each, **__: removed.append(each))
    Writer(str(root)).make(entry)
    assert removed == ["user.other"]


def test_a_file_system_without_attributes(upper: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared directory may be on one: there is nothing to remove there. Any other error is one."""
    (upper / "srv").mkdir()
    entry = Tree.at(str(upper)).item("srv").describe({})

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    number = errno.ENOTSUP
    monkeypatch.setattr(os, "listxattr", failing)
    Writer(str(root)).make(entry)
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        Writer(str(root)).make(entry)


def test_a_directory_keeps_its_time_when_it_is_filled_afterwards(upper: Path, root: Path) -> None:
    """And one that is there already keeps what is in it."""
    (root / "srv").mkdir()
    (root / "srv/from-the-image").write_text("stays")
    (upper / "srv").mkdir(mode=0o750)
    (upper / "srv/new").write_text("n")
    os.utime(upper / "srv", ns=(5, 5_000_000_001))
    carry(upper, root, "srv", "srv/new")
    assert {path.name for path in (root / "srv").iterdir()} == {"from-the-image", "new"}
    assert (root / "srv").stat().st_mtime_ns == 5_000_000_001
    assert stat.S_IMODE((root / "srv").stat().st_mode) == 0o750


def test_a_directory_takes_the_place_of_a_file_and_the_reverse(upper: Path, root: Path) -> None:
    """Whatever was there before."""
    (root / "a").write_text("file")
    (root / "b/deep").mkdir(parents=True)
    (root / "c").symlink_to("b")
    (upper / "a").mkdir()
    (upper / "b").write_text("now a file")
    (upper / "c").mkdir()
    carry(upper, root, "a", "b", "c")
    assert (root / "a").is_dir() and (root / "b").read_text() == "now a file"
    assert (root / "c").is_dir() and not (root / "c").is_symlink()


def test_a_symbolic_link_is_carried_as_it_is(upper: Path, root: Path) -> None:
    """Its target need not exist, its time is its own, and nothing behind it is touched."""
    outside = root.parent / "outside"
    outside.write_text("untouched")
    (root / "link").symlink_to(outside)
    (upper / "link").symlink_to("../elsewhere")
    os.utime(upper / "link", ns=(9, 9_000_000_009), follow_symlinks=False)
    carry(upper, root, "link")
    assert (root / "link").readlink() == Path("../elsewhere")
    assert (root / "link").lstat().st_mtime_ns == 9_000_000_009 and outside.read_text() == "untouched"


def test_two_names_of_one_file_stay_one_file(upper: Path, root: Path) -> None:
    """Its contents travel once."""
    (upper / "one").write_text("same")
    (upper / "two").hardlink_to(upper / "one")
    first, second = carry(upper, root, "one", "two")
    assert first["size"] == 4 and second["link"] == "one" and "size" not in second
    assert (root / "one").stat().st_ino == (root / "two").stat().st_ino and (root / "two").read_text() == "same"


def test_a_fifo(upper: Path, root: Path) -> None:
    """Made anew: who reads and writes it is CRIU's business."""
    os.mkfifo(upper / "pipe", 0o620)
    (upper / "pipe").chmod(0o620)
    carry(upper, root, "pipe")
    made = (root / "pipe").lstat().st_mode
    assert stat.S_ISFIFO(made) and stat.S_IMODE(made) == 0o620


def test_a_whiteout_removes_what_the_image_has(upper: Path, root: Path) -> None:
    """Overlayfs then makes its own. Nothing there to remove is fine."""
    (root / "dir/deep").mkdir(parents=True)
    (root / "file").write_text("x")
    for name in ("dir", "file", "nothing"):
        os.mknod(upper / name, stat.S_IFCHR, os.makedev(0, 0))
    entries = carry(upper, root, "dir", "file", "nothing")
    assert entries[0] == {"path": "dir", "whiteout": True}
    assert list(root.iterdir()) == []


def test_an_opaque_directory_hides_what_the_image_has(upper: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made anew. (The attribute needs root: here it is another name's.)"""
    monkeypatch.setattr(trees, "OPAQUE", "user.opaque")
    (root / "etc").mkdir()
    (root / "etc/from-the-image").write_text("hidden")
    (upper / "etc").mkdir()
    (upper / "etc/new").write_text("n")
    os.setxattr(upper / "etc", "user.opaque", b"y")
    carry(upper, root, "etc", "etc/new")
    assert [path.name for path in (root / "etc").iterdir()] == ["new"]


def test_overlays_own_attributes_do_not_travel(upper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The destination's overlay makes its own; one that stores data elsewhere is refused."""
    (upper / "a").write_text("x")
    names = ["trusted.overlay.origin", "user.note"]
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: names)
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"\x0f")
    assert Tree.at(str(upper)).item("a").describe({})["xattrs"] == {"user.note": "0f"}
    names.append("trusted.overlay.metacopy")
    with pytest.raises(LayerProblem, match=r"stores .*/a by reference \(trusted.overlay.metacopy\); mount"):
        Tree.at(str(upper)).item("a").describe({})


@pytest.mark.parametrize("size", [0, 1, trees.CHUNK, trees.CHUNK + 1])
def test_contents_are_as_long_as_they_were_described(upper: Path, size: int) -> None:
    """No longer if the file grows, and shorter if it shrinks meanwhile: the freeze sends it again."""
    (upper / "a").write_bytes(b"x" * size)
    entry = Tree.at(str(upper)).item("a").describe({})
    for now in (size, size // 2):
        (upper / "a").write_bytes(b"x" * now)
        assert whole(upper, entry) == b"x" * now
    (upper / "a").write_bytes(b"y" * (size + 5))
    assert whole(upper, entry) == b"y" * size


# -- the source is another machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "..", ".", ""])
@pytest.mark.parametrize("act", ["make", "remove", "link", "whiteout"])
def test_a_path_outside_the_container_is_refused(root: Path, path: str, act: str) -> None:
    """Whatever is to be done there."""
    writer = Writer(str(root))
    entry = {"path": path, "mode": stat.S_IFREG | 0o644, "uid": 0, "gid": 0, "mtime_ns": 0, "xattrs": {}, "size": 1}
    with pytest.raises(LayerProblem, match="the source named a path outside the container"):
        if act == "make":
            writer.make(entry)
        elif act == "whiteout":
            writer.make({"path": path, "whiteout": True})
        elif act == "remove":
            writer.remove(path)
        else:
            writer.make({**entry, "path": "fine", "link": path})
    assert root.is_dir() and {each.name for each in root.parent.iterdir()} <= {"root", "upper"}


def test_a_path_behind_a_link_is_refused(root: Path) -> None:
    """A link that an earlier entry made may lead anywhere."""
    (root / "way").symlink_to("/tmp")
    with pytest.raises(LayerProblem, match="behind a symbolic link: 'way/out'"):
        Writer(str(root)).remove("way/out")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 2 0:3 / {root} rw - overlay overlay rw,lowerdir=/l,upperdir=/u p,workdir=/w", "/u p"),
        ("1 2 0:3 / {root} rw shared:7 - overlay o rw,upperdir=/x", "/x"),
        ("1 2 0:3 / {root} rw - btrfs /dev/sda rw", "root file system is btrfs, not an overlay"),
        ("1 2 0:3 / /elsewhere rw - overlay o rw,upperdir=/x", "no root file system is mounted at"),
    ],
)
def test_the_upper_directory_is_read_from_the_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, expected: str
) -> None:
    """Docker's storage drivers name it differently; the kernel does not."""
    table = tmp_path / "mountinfo"
    table.write_text(line.format(root="/run/bundle/rootfs").replace("/u p", "/u\\040p") + "\n")
    open_ = open
    monkeypatch.setattr("builtins.open", lambda _, *args, **kw: open_(table, *args, **kw))
    if expected.startswith("/"):
        assert trees.upper_directory("/run/bundle/rootfs") == expected
    else:
        with pytest.raises(LayerProblem, match=expected):
            trees.upper_directory("/run/bundle/rootfs")


# -- on the disk --------------------------------------------------------------------------------------------------------


def test_what_has_not_changed_costs_the_freeze_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first copy is written out as a whole; from then on only what has changed, for others write to that disk, too."""
    done: list[str] = []

    def fsync(fd: int) -> None:
        done.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    monkeypatch.setattr("relocate_proxy.host.syscalls.syncfs", lambda _: done.append("all"))
    monkeypatch.setattr(os, "fsync", fsync)
    disk = Disk()
    writer = Writer(str(root), disk)
    writer.make({"path": "deep", "mode": stat.S_IFDIR | 0o755, "uid": 0, "gid": 0, "mtime_ns": 5, "xattrs": {}})
    writer.settle()
    disk.wait()
    assert done == ["all"]
    writer.settle()
    disk.wait()
    assert done == ["all"]
    (root / "deep/file").touch()
    writer.remove("deep/file")
    writer.settle()
    disk.wait()
    assert done == ["all", "deep"]
