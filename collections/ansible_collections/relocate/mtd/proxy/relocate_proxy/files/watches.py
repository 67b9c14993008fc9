# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container watches with inotify: CRIU is told the paths, which the kernel does not tell.

A watch knows its file by inode and by a handle. CRIU opens the handle to learn the path that the watch is to have at the
destination. An overlay that is not exported gives handles that nobody can open, and CRIU would go through whole directories in
the freeze. So the files are looked for before it, and CRIU's preloaded object opens a handle by the path that was found.
CRIU compares the inode afterwards: a path that has become another file's by then ends in a rollback.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import termios
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils import _criu

from ..host import syscalls

PROC = "/proc"
INOTIFY = "anon_inode:inotify"
SEARCH_SECONDS = 10.0
_LINE = re.compile(r"inotify wd:\S+ ino:(\w+) sdev:(\w+) .*?f_handle:(\w+)")
_ANY = re.compile(r"inotify wd:")


class Watch(NamedTuple):
    """One watch of the kernel's."""

    device: int
    inode: int
    handle: str  # as the kernel prints it


class Unfollowable(RuntimeError):
    """A watch cannot be carried, and the message says why."""


def _kernel_device(device: int) -> int:
    """Return a device's number as the kernel prints it in fdinfo."""
    return os.major(device) << 20 | os.minor(device)


def watches_of(fdinfo: str) -> list[Watch]:
    """Return the watches of one inotify descriptor, from its ``/proc/PID/fdinfo/N``.

    :raises Unfollowable: this kernel does not tell what they watch.
    """
    found = [Watch(int(dev, 16), int(ino, 16), handle) for ino, dev, handle in _LINE.findall(fdinfo)]
    if len(found) != len(_ANY.findall(fdinfo)):
        raise Unfollowable(
            "the container watches files with inotify, and this kernel does not tell which (a kernel of 6.6 or newer does): "
            "end the program that watches"
        )
    return found


def descriptors(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield process and number of every inotify descriptor."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for number in os.listdir(f"{PROC}/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"{PROC}/{pid}/fd/{number}") == INOTIFY:
                        yield pid, int(number)


def forget(pids: Iterable[int]) -> None:
    """Empty the queues of a copy that has not run yet: what is in them is what the restore itself has done to its files."""
    for pid, number in descriptors(pids):
        process = os.pidfd_open(pid)
        try:
            queue = syscalls.pidfd_getfd(process, number)
        finally:
            os.close(process)
        try:
            while waiting := _unread(queue):
                os.read(queue, waiting)
        finally:
            os.close(queue)


def count(pids: Iterable[int]) -> int:
    """Return how many watches processes have."""
    found = 0
    for pid, number in descriptors(pids):
        with open(f"{PROC}/{pid}/fdinfo/{number}", encoding="ascii") as file:
            found += len(_ANY.findall(file.read()))
    return found


def _unread(queue: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(queue, termios.FIONREAD, bytes(4)))[0])


class Watches:
    """The watches of a container, found before the freeze.

    :param root: the container's root, as this host sees it (``/proc/PID/root``).
    :param mounts: its mounts. :raises Unfollowable: a watch cannot be carried.
    """

    def __init__(self, pids: Iterable[int], root: str, mounts: list[_criu.Mount]) -> None:
        self._root = root
        self._points = {mount.point for mount in mounts}
        self._queues: list[int] = []
        found: list[Watch] = []
        for pid, number in descriptors(pids):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"{PROC}/{pid}/fdinfo/{number}", encoding="ascii") as file:
                    found += watches_of(file.read())
                process = os.pidfd_open(pid)
                try:
                    self._queues.append(syscalls.pidfd_getfd(process, number))
                finally:
                    os.close(process)
        self.watches = list(dict.fromkeys(found))
        self.paths = self._paths(mounts) if self.watches else {}

    def _paths(self, mounts: list[_criu.Mount]) -> dict[Watch, str]:
        """Return the path of each watch whose handle cannot be opened, in the container."""
        paths: dict[Watch, str] = {}
        wanted: dict[int, dict[int, list[Watch]]] = {}
        for watch in self.watches:
            wanted.setdefault(watch.device, {}).setdefault(watch.inode, []).append(watch)
        deadline = time.monotonic() + SEARCH_SECONDS
        for mount in mounts:
            inodes = wanted.get(_kernel_device(os.makedev(*map(int, mount.device.split(":")))))
            if not inodes or mount.fstype == "tmpfs":
                continue
            for path, inode in self._entries(mount.point, deadline):
                for watch in inodes.pop(inode, ()):
                    paths[watch] = path
                if not inodes:
                    break
        known = {mount.device for mount in mounts if mount.fstype == "tmpfs"}
        for watch in self.watches:
            device = f"{watch.device >> 20}:{watch.device & 0xFFFFF}"
            if watch not in paths and device not in known:
                raise Unfollowable(
                    "the container watches a file with inotify that has no name any more, or none that could be found in time: "
                    "end the program that watches"
                )
        if any("\n" in path for path in paths.values()):
            raise Unfollowable(
                "the container watches a file with a line break in its name: end the program that watches"
            )
        return paths

    def _entries(self, point: str, deadline: float) -> Iterator[tuple[str, int]]:
        """Yield path and inode of what is below a mount point, on its own file system, from the top down."""
        top = os.lstat(self._root + point)
        yield point, top.st_ino
        level = [point.rstrip("/")] if os.path.isdir(self._root + point) else []
        while level and time.monotonic() < deadline:
            below = []
            for directory in level:
                with contextlib.suppress(OSError), os.scandir(f"{self._root}{directory}/") as entries:
                    for entry in entries:
                        path = f"{directory}/{entry.name}"
                        if not entry.is_dir(follow_symlinks=False):
                            yield path, entry.inode()
                        elif (status := entry.stat(follow_symlinks=False)).st_dev == top.st_dev:
                            yield path, status.st_ino
                            below.append(path)
            level = below

    def table(self) -> str:
        """Return what the preloaded object reads: the container's root, then handle and path of each watch."""
        return "".join([f"{self._root}\n", *(f"{watch.handle} {path}\n" for watch, path in self.paths.items())])

    def lonely_files(self) -> list[str]:
        """Return the watched files that are mounted one by one: CRIU tries handles in mounted directories only."""
        return sorted(
            {path for path in self.paths.values() if path in self._points and not os.path.isdir(self._root + path)}
        )

    def unread(self) -> int:
        """Return how many bytes of events wait to be read: CRIU would drop them."""
        return sum(map(_unread, self._queues))

    def close(self) -> None:
        """Let the descriptors go."""
        for queue in self._queues:
            os.close(queue)
        self._queues.clear()
