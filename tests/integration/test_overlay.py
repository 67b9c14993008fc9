# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writable layer from one real overlay to another: what the container sees is the same on both sides."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.files import trees
from relocate_proxy.files.tree_cargo import TreeReceiver, TreeSender
from relocate_proxy.files.trees import Tree, upper_directory

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
        os.setxattr(self.lower / "etc/app", "user.removed", b"of the image")
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


class Carrier:
    """Both halves of what carries a layer, and nothing between them."""

    def __init__(self, source: Overlay, destination: Overlay) -> None:
        upper = upper_directory(str(source.root))
        assert upper == str(source.upper)
        self.sender, self.receiver = TreeSender(self, Tree.at(upper)), TreeReceiver()  # type: ignore[arg-type]
        self.receiver.mounted(str(destination.root))

    def send(self, kind: str, **fields: object) -> None:
        """Bring a message."""
        self.receiver.take({"kind": kind, **fields})

    def carry(self) -> None:
        """Carry what has changed."""
        self.sender.send_changes()
        self.receiver.settle()


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
    os.removexattr(root / "etc/app", "user.removed")
    (root / "srv/listed").mkdir()
    everybody, nobody = (1, 6, 2**32 - 1), 65534  # an access list that what is made below inherits
    listed = [everybody, (2, 7, nobody), (4, 4, 2**32 - 1), (16, 7, 2**32 - 1), (32, 4, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in listed)
    os.setxattr(root / "srv/listed", "system.posix_acl_default", acl)
    (root / "srv/listed/without").write_text("w")
    os.removexattr(root / "srv/listed/without", "system.posix_acl_access")


def test_the_container_sees_the_same_files(overlays: tuple[Overlay, Overlay]) -> None:
    """Changed, removed, new, special, owned by others, hidden below an opaque directory."""
    source, destination = overlays
    assert source.seen() == destination.seen()
    live(source.root)
    assert source.seen() != destination.seen()
    assert os.getxattr(source.upper / "var/cache", trees.OPAQUE) == b"y", "this kernel hides directories otherwise"
    assert stat.S_ISCHR((source.upper / "etc/app/conf").lstat().st_mode)
    Carrier(source, destination).carry()
    assert destination.seen() == source.seen()


def test_the_difference_in_the_freeze(overlays: tuple[Overlay, Overlay]) -> None:
    """What changed after the first copy, and what went, image's files and the container's own."""
    source, destination = overlays
    live(source.root)
    carrier = Carrier(source, destination)
    carrier.carry()
    (source.root / "srv/data/table").write_bytes(b"short")
    (source.root / "srv/link").unlink()
    subprocess.run(["rm", "-r", str(source.root / "etc/app")], check=True)
    (source.root / "srv/tool").rename(source.root / "srv/renamed")
    carrier.carry()
    assert destination.seen() == source.seen()


def test_a_removed_directory_that_is_made_again(overlays: tuple[Overlay, Overlay]) -> None:
    """Between the first copy and the freeze, with another content."""
    source, destination = overlays
    carrier = Carrier(source, destination)
    carrier.carry()
    subprocess.run(["rm", "-r", str(source.root / "var/cache")], check=True)
    carrier.carry()
    assert destination.seen() == source.seen()
    (source.root / "var/cache").mkdir()
    (source.root / "var/cache/only").write_text("this")
    carrier.carry()
    assert destination.seen() == source.seen()


def test_what_the_container_removed_of_its_own_and_the_image_had_too(overlays: tuple[Overlay, Overlay]) -> None:
    """Changed, carried, then removed: the image's version must not come back."""
    source, destination = overlays
    carrier = Carrier(source, destination)
    (source.root / "etc/hosts").write_text("changed\n")
    carrier.carry()
    (source.root / "etc/hosts").unlink()
    carrier.carry()
    assert not (destination.root / "etc/hosts").exists() and destination.seen() == source.seen()


def test_what_has_not_changed_in_a_directory_that_was_made_again(overlays: tuple[Overlay, Overlay]) -> None:
    """It is opaque, and something comes into it in the freeze: what was there already is not lost."""
    source, destination = overlays
    live(source.root)
    (source.root / "var/cache/large").write_bytes(os.urandom(3 << 20))
    carrier = Carrier(source, destination)
    carrier.carry()
    time.sleep(2 * trees.CLOCK_GRAIN_NS / 1e9)  # what has changed just now would be sent again
    carrier.carry()
    (source.root / "var/cache/another").write_text("a")
    with (source.root / "var/cache/large").open("r+b") as file:
        file.write(b"in place")
    carrier.carry()
    assert destination.seen() == source.seen()
