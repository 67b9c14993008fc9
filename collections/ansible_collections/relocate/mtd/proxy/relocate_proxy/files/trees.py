# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a container, carried from one host to another: its writable layer, and its file systems in memory.

Read on the source from the overlay's upper directory (what the container changed, nothing else), written on the destination
through the *mounted* view, so that overlayfs itself makes whiteouts and opaque directories in its own way: writing into the
upper directory of a mounted overlay is undefined. Copied once while the container runs; in the freeze only what changed
since is sent. A change is seen by inode, size and change time, which no program can set.

A tmpfs is read and written where it is mounted. What is mounted inside it is only a place to mount something on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from ansible_collections.relocate.mtd.plugins.module_utils import _criu, _kernel

OPAQUE = "trusted.overlay.opaque"
#: Upper layers with these cannot be read entry by entry: the data is elsewhere.
UNREADABLE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
CHUNK = 1 << 20
ROOT = "."  # the path of the directory itself: its owner, mode and attributes are the container's, too
READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEEPEST = 400  # directories inside each other: each is a descriptor while it is scanned
#: File systems stamp change times with the tick of their clock: what changed within this time may carry an old stamp.
CLOCK_GRAIN_NS = 20_000_000


class LayerProblem(RuntimeError):
    """The writable layer cannot be carried, and the message says why."""


def upper_directory(root: str) -> str:
    """Return the upper directory of the overlay mounted at ``root`` (a bundle's ``root.path``), for any storage driver.

    :raises LayerProblem: nothing is mounted there, or no overlay.
    """
    mounts = _criu.parse_mountinfo(_kernel.read_text("/proc/self/mountinfo"))
    mounted = [mount for mount in mounts if mount.point == root]
    for mount in mounted:
        if mount.fstype != "overlay":
            raise LayerProblem(f"the container's root file system is {mount.fstype}, not an overlay")
        for option in mount.super_options:
            if option.startswith("upperdir="):
                return _criu.unescape(option[len("upperdir=") :])
    raise LayerProblem(f"no root file system is mounted at {root}")


@dataclass(frozen=True)
class Stamp:
    """What tells whether an entry changed."""

    kind: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of an entry."""
        return cls(status.st_mode, status.st_ino, status.st_size, status.st_ctime_ns)


@dataclass
class Snapshot:
    """The entries of a tree by relative path, and when they were looked at."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    taken_ns: int = 0


def changes(before: Snapshot, now: Snapshot, mapped: Container[int] = ()) -> tuple[list[str], list[str]]:
    """Return the paths to send again (parents first) and those to remove (children first).

    :param mapped: inodes of files that a program may have written through a mapping, which changes no time.
    """
    doubtful = before.taken_ns - CLOCK_GRAIN_NS
    dirty = [
        path
        for path, stamp in now.stamps.items()
        if before.stamps.get(path) != stamp
        or (stamp.changed_ns >= doubtful and not stat.S_ISDIR(stamp.kind))
        or (stamp.size and stat.S_ISREG(stamp.kind) and stamp.inode in mapped)
    ]
    gone = [path for path in before.stamps if path not in now.stamps]
    return sorted(dirty), sorted(gone, reverse=True)


class EveryInode:
    """All inodes: any file of a tmpfs may be written through a mapping."""

    def __contains__(self, inode: object) -> bool:
        """Say yes."""
        return True


class Tree:
    """A directory tree that a container changes while it is read.

    Only descriptors are trusted: the container may put a symbolic link in the place of any directory at any moment, and we are
    root. So every component of a path is opened without following links, from the directory above it.
    """

    def __init__(self, directory: int) -> None:
        """Read below an open directory, which is closed with the tree."""
        self._root = directory
        self.device = os.fstat(directory).st_dev
        self._parent = ("", directory)  # the last directory that an item was opened in

    @classmethod
    def at(cls, directory: str) -> Tree:
        """Return the tree below a directory of the host itself."""
        return cls(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    @classmethod
    def inside(cls, root: str, directory: str) -> Tree:
        """Return the tree below an absolute path that a container sees, where ``root`` is (``/proc/PID/root``).

        :raises OSError: there is a symbolic link in the way.
        """
        top = cls.at(root)
        try:
            return cls(top._open_directory(directory.strip("/")))
        finally:
            top.close()

    def status(self) -> os.stat_result:
        """Return the status of the directory itself."""
        return os.fstat(self._root)

    def fileno(self) -> int:
        """Return the directory's descriptor, which is closed with the tree."""
        return self._root

    def close(self) -> None:
        """Close it."""
        self._leave_parent()
        os.close(self._root)

    def _leave_parent(self) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = ("", self._root)

    def _open_directory(self, path: str) -> int:
        """Return a new descriptor of a directory. :raises OSError: something else is there by now."""
        at = os.dup(self._root)
        for name in path.split("/") if path else ():
            try:
                below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            finally:
                os.close(at)
            at = below
        return at

    def scan(self) -> Snapshot:
        """Return the state of every entry. 0.7 ms for a small tree, 20 ms for 500 files.

        What is mounted inside is an entry, and is not looked into. :raises LayerProblem: the tree is too deep.
        """
        snapshot = Snapshot({ROOT: Stamp.of(self.status())}, time.time_ns())
        self._scan(os.open(".", READ_DIRECTORY, dir_fd=self._root), "", snapshot.stamps, 0)
        return snapshot

    def _scan(self, directory: int, prefix: str, stamps: dict[str, Stamp], depth: int) -> None:
        if depth > DEEPEST:
            raise LayerProblem(f"{prefix!r} lies more than {DEEPEST} directories deep: flatten it")
        try:
            below = []
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # removed since its name was read: it is gone, like one that never was
                        continue
                    if status.st_dev != self.device:
                        stamps[prefix + entry.name] = Stamp(stat.S_IFMT(status.st_mode), 0, 0, 0)
                        continue
                    stamps[prefix + entry.name] = Stamp.of(status)
                    if stat.S_ISDIR(status.st_mode):
                        below.append(entry.name)
            for name in below:
                with contextlib.suppress(
                    FileNotFoundError, NotADirectoryError
                ):  # replaced since: the next scan says so
                    self._scan(os.open(name, READ_DIRECTORY, dir_fd=directory), f"{prefix}{name}/", stamps, depth + 1)
        finally:
            os.close(directory)

    def item(self, path: str) -> Item:
        """Return what is at a path now. :raises OSError: nothing, or a directory on the way was replaced."""
        directory, _, name = path.rpartition("/")
        if directory != self._parent[0]:
            found = self._open_directory(directory)
            self._leave_parent()
            self._parent = (directory, found)
        return Item(self, path, os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parent[1]))


class Item:
    """One entry of a tree, held by a descriptor: what is described is what is read."""

    def __init__(self, tree: Tree, path: str, descriptor: int) -> None:
        self._tree, self.path, self._fd = tree, path, descriptor
        self.status = os.fstat(descriptor)

    def __enter__(self) -> Item:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go."""
        os.close(self._fd)

    @property
    def _again(self) -> str:
        """A name of this very entry, whatever lies at its path by now; of a symbolic link itself, not of where it leads."""
        return f"/proc/self/fd/{self._fd}"

    def _attributes(self) -> dict[str, str]:
        found = {}
        for name in os.listxattr(self._again):
            if name in UNREADABLE:
                raise LayerProblem(
                    f"the overlay stores /{self.path} by reference ({name}); mount Docker's overlays without it"
                )
            if not name.startswith("trusted.overlay."):
                found[name] = os.getxattr(self._again, name).hex()
        return found

    def _opaque(self) -> bool:
        return OPAQUE in os.listxattr(self._again) and os.getxattr(self._again, OPAQUE) == b"y"

    def describe(self, links: dict[tuple[int, int], str]) -> dict:
        """Return what the other side needs to make this entry, without its contents.

        ``links`` remembers the first path of every file with several names; later ones become hard links to it.
        """
        status, path = self.status, self.path
        entry: dict = {"path": path, "mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid}
        if status.st_dev != self._tree.device:  # something is mounted here: what lies below it nobody sees
            mode = stat.S_IFDIR | 0o755 if stat.S_ISDIR(status.st_mode) else stat.S_IFREG | 0o644
            return {**entry, "mode": mode, "uid": 0, "gid": 0, "mtime_ns": status.st_mtime_ns, "xattrs": {}}
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return {"path": path, "whiteout": True}
        entry["mtime_ns"] = status.st_mtime_ns
        entry["xattrs"] = self._attributes()
        if stat.S_ISDIR(status.st_mode):
            entry["opaque"] = self._opaque()
        elif stat.S_ISLNK(status.st_mode):
            entry["target"] = os.readlink("", dir_fd=self._fd)
        elif stat.S_ISREG(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and key in links:
                entry["link"] = links[key]
            else:
                links.setdefault(key, path)
                entry["size"] = status.st_size
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            entry["device"] = status.st_rdev
        return entry

    def has_holes(self, size: int) -> bool:
        """Return whether some of the first ``size`` bytes of a regular file are not stored, or not there any more."""
        with open(self._again, "rb", buffering=0) as file:
            try:
                return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size
            except OSError as error:
                if error.errno != errno.ENXIO:  # that is: it is empty by now
                    raise
                return True

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the first ``size`` bytes of a regular file, a CHUNK at a time, holes as zeros; fewer if it became shorter."""
        with open(self._again, "rb", buffering=0) as file:
            for offset in range(0, size, CHUNK):
                data = os.pread(file.fileno(), min(size - offset, CHUNK), offset)
                if data:
                    yield data
                if len(data) < CHUNK:
                    return

    def contents(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of a regular file, each piece with its offset, without the holes and nothing beyond ``size``.

        (A file that changes while it is read is sent again in the freeze.)
        """
        offset = 0
        if not size:
            return
        with open(self._again, "rb", buffering=0) as file:
            while offset < size:
                try:
                    offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
                    end = min(os.lseek(file.fileno(), offset, os.SEEK_HOLE), size)
                except OSError as error:
                    if error.errno != errno.ENXIO:  # that is: only a hole is left, or it shrank
                        raise
                    return
                while offset < end:
                    data = os.pread(file.fileno(), min(end - offset, CHUNK), offset)
                    if not data:
                        return
                    yield offset, data
                    offset += len(data)
