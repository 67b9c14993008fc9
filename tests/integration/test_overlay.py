# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writable layer from one real overlay to another: what the container sees is the same on both sides."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.files import trees
from relocate_proxy.files.trees import Tree, changes, upper_directory
from relocate_proxy.files.writer import Writer

pytestmark = pytest.mark.kernel


class Overlay:
    """A mounted overlay over an image of its own, the same for all."""

    def __init__(self, directory: Path) -> None:
        self.lower, self.upper, self.work, self.root = (directory / name for name in ("lower", "upper", "work", "root"))
        for made in (self.lower / "etc/app", self.upper, self.work, self.root, self.lower / "var/cache/deep"):
            made.mkdir(parents=True)
        (self.lower / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.lower / "etc/app/conf").write_text("from the image\n")
        (self.lower / "var/cache/deep/a").write_text("cached\n")
        for path in (self.lower, *self.lower.rglob("*")):
            os.utime(path, ns=(1, 1_000_000_000), follow_symlinks=False)
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)

    def close(self) -> None:
        """Unmount."""
        subprocess.run(["umount", str(self.root)], check=True)

    def seen(self) -> dict[str, tuple]:
        """Return what the container sees: every path with its kind, mode, owner, time, contents and attributes."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            inside: object = None
            if path.is_symlink():
                inside = str(path.readlink())
            elif path.is_file():
                inside = path.read_bytes()
            attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in self._names(path)}
            links = status.st_nlink if stat.S_ISREG(status.st_mode) else 0
            facts = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, links)
            found[str(path.relative_to(self.root))] = (*facts, inside, attributes)
        return found

    @staticmethod
    def _names(path: Path) -> list[str]:
        return [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.overlay.")]


@pytest.fixture
def overlays(tmp_path: Path) -> Iterator[tuple[Overlay, Overlay]]:
    """Return a source and a destination with the same image."""
    made = []
    try:
        for name in ("source", "destination"):
            made.append(Overlay(tmp_path / name))
        yield made[0], made[1]
    finally:
        for each in made:
            each.close()


def carry(source: Overlay, writer: Writer, before: trees.Snapshot) -> trees.Snapshot:
    """Send what has changed, as ``tree_cargo`` does it."""
    upper = upper_directory(str(source.root))
    assert upper == str(source.upper)
    now = Tree.at(upper).scan()
    dirty, gone = changes(before, now)
    for path in gone:
        writer.remove(path)
    links: dict[tuple[int, int], str] = {}
    for path in dirty:
        item = Tree.at(upper).item(path)
        entry = item.describe(links)
        full = writer.make(entry)
        if full:
            Path(full).write_bytes(b"".join(data for _, data in item.contents(entry.get("size", 0))))
            writer.finish(full, entry)
    writer.settle()
    return now


def live(root: Path) -> None:
    """What a container may do to its files."""
    (root / "etc/hosts").write_text("changed\n")
    (root / "etc/app/conf").unlink()
    (root / "srv/data").mkdir(parents=True, mode=0o750)
    (root / "srv/data/table").write_bytes(os.urandom(3 << 20))
    (root / "srv/data/again").hardlink_to(root / "srv/data/table")
    (root / "srv/link").symlink_to("../etc/hosts")
    (root / "srv/dangling").symlink_to("/nowhere")
    os.mkfifo(root / "srv/pipe")
    os.mknod(root / "srv/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (root / "srv/tool").write_bytes(b"#!")
    os.chown(root / "srv/tool", 1234, 5678)
    (root / "srv/tool").chmod(0o6755)
    os.setxattr(root / "srv/tool", "user.note", b"\0\1")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
    os.setxattr(root / "srv/data/table", "security.capability", capability)
    subprocess.run(["rm", "-r", str(root / "var/cache")], check=True)
    (root / "var/cache").mkdir()  # overlayfs makes it opaque
    (root / "var/cache/new").write_text("n")
    os.utime(root / "var/cache", ns=(2, 2_000_000_002))


def test_the_container_sees_the_same_files(overlays: tuple[Overlay, Overlay]) -> None:
    """Changed, removed, new, special, owned by others, hidden below an opaque directory."""
    source, destination = overlays
    assert source.seen() == destination.seen()
    live(source.root)
    assert source.seen() != destination.seen()
    assert os.getxattr(source.upper / "var/cache", trees.OPAQUE) == b"y", "this kernel hides directories otherwise"
    assert stat.S_ISCHR((source.upper / "etc/app/conf").lstat().st_mode)
    carry(source, Writer(str(destination.root)), trees.Snapshot())
    assert destination.seen() == source.seen()


def test_the_difference_in_the_freeze(overlays: tuple[Overlay, Overlay]) -> None:
    """What changed after the first copy, and what went, image's files and the container's own."""
    source, destination = overlays
    live(source.root)
    writer = Writer(str(destination.root))
    before = carry(source, writer, trees.Snapshot())
    (source.root / "srv/data/table").write_bytes(b"short")
    (source.root / "srv/link").unlink()
    subprocess.run(["rm", "-r", str(source.root / "etc/app")], check=True)
    (source.root / "srv/tool").rename(source.root / "srv/renamed")
    carry(source, writer, before)
    assert destination.seen() == source.seen()


def test_a_removed_directory_that_is_made_again(overlays: tuple[Overlay, Overlay]) -> None:
    """Between the first copy and the freeze, with another content."""
    source, destination = overlays
    writer = Writer(str(destination.root))
    before = carry(source, writer, trees.Snapshot())
    subprocess.run(["rm", "-r", str(source.root / "var/cache")], check=True)
    before = carry(source, writer, before)
    assert destination.seen() == source.seen()
    (source.root / "var/cache").mkdir()
    (source.root / "var/cache/only").write_text("this")
    carry(source, writer, before)
    assert destination.seen() == source.seen()


def test_what_the_container_removed_of_its_own_and_the_image_had_too(overlays: tuple[Overlay, Overlay]) -> None:
    """Changed, carried, then removed: the image's version must not come back."""
    source, destination = overlays
    writer = Writer(str(destination.root))
    (source.root / "etc/hosts").write_text("changed\n")
    before = carry(source, writer, trees.Snapshot())
    (source.root / "etc/hosts").unlink()
    carry(source, writer, before)
    assert not (destination.root / "etc/hosts").exists() and destination.seen() == source.seen()
