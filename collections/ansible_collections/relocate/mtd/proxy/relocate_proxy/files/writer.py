# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination's half of a tree: makes what the source names, in a file system that nothing runs in yet."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

from ..host import syscalls
from ..host.unix_sockets import OF_ONE_HOST
from ..protocol.words import shown
from .disk import Disk
from .trees import ROOT, LayerProblem


def _attributes(full: str) -> list[str]:
    """Return the names of an entry's extended attributes, without those that the host gives it."""
    try:
        names = os.listxattr(full, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # that is: its file system knows none
            raise
        return []
    return [name for name in names if not name.startswith(OF_ONE_HOST)]


class Writer:
    """Makes entries in a mounted file system, the root, a tmpfs or a volume, of a container that has not run yet.

    :param disk: has to take what is written. A database has been told that it did; the host that told it so may be gone
        before this kernel writes by itself.
    """

    def __init__(self, root: str, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk
        self._settled = False
        self.bytes = 0
        self._directory_times: dict[str, int] = {}

    def _place(self, path: str) -> str:
        """Return where ``path`` lies, refusing to leave the root: the source is another machine."""
        full = os.path.normpath(os.path.join(self.root, path))
        if os.path.isabs(path) or not full.startswith(self.root + os.sep):
            raise LayerProblem(f"the source named a path outside the container: {shown(path)}")
        parent = os.path.dirname(full)
        if os.path.realpath(parent) != parent:
            raise LayerProblem(f"the source named a path behind a symbolic link: {shown(path)}")
        return full

    def _keep_time_of_parent(self, full: str) -> None:
        """What changes in a directory changes its time, which is the container's: :meth:`settle` gives it back."""
        parent = os.path.dirname(full)
        if parent not in self._directory_times:
            self._directory_times[parent] = os.stat(parent).st_mtime_ns

    def remove(self, path: str) -> None:
        """Remove an entry, whatever it is; nothing there is fine."""
        full = self._place(path)
        if not os.path.lexists(full):
            return
        self._keep_time_of_parent(full)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)

    def make(self, entry: dict) -> str | None:
        """Make one entry; for a regular file with contents return the path to fill (see :meth:`finish`)."""
        path = entry["path"]
        if entry.get("whiteout"):  # it has a path alone
            self.remove(path)
            return None
        if path == ROOT and stat.S_ISDIR(entry["mode"]):
            self.finish(self.root, entry)
            self._directory_times[self.root] = entry["mtime_ns"]
            return None
        full, mode = self._place(path), entry["mode"]
        self._keep_time_of_parent(full)
        is_directory = os.path.isdir(full) and not os.path.islink(full)
        if stat.S_ISDIR(mode):
            if entry.get("opaque") or not is_directory:
                self.remove(path)
                os.mkdir(full)
            self._directory_times[full] = entry["mtime_ns"]
        else:
            self.remove(path)
            if "link" in entry:
                os.link(self._place(entry["link"]), full, follow_symlinks=False)
                return None
            if stat.S_ISLNK(mode):
                os.symlink(entry["target"], full)
            elif stat.S_ISREG(mode):
                os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                return full
            else:
                os.mknod(full, mode, entry.get("device", 0))
        self.finish(full, entry)
        return None

    def again(self, entry: dict) -> str:
        """Return the path of a regular file that was made before, and gets some of its contents anew (see :meth:`finish`).

        :raises LayerProblem: there is none: the source may be anybody, and what it names a device.
        """
        full = self._place(entry["path"])
        if not os.path.lexists(full) or not stat.S_ISREG(os.lstat(full).st_mode):
            raise LayerProblem(f"the source sent a part of a file that is not here: {shown(entry['path'])}")
        return full

    def finish(self, full: str, entry: dict) -> None:
        """Set owner, mode, extended attributes and time: in this order, for changing an owner clears set-id bits.

        What is there may have attributes that the entry has not: of the image, whose directories stay, or an access list that
        it has inherited from its directory.
        """
        os.lchown(full, entry["uid"], entry["gid"])
        if not stat.S_ISLNK(entry["mode"]):
            os.chmod(full, stat.S_IMODE(entry["mode"]))
        for name in _attributes(full):
            if name not in entry["xattrs"]:
                os.removexattr(full, name, follow_symlinks=False)
        for name, value in entry["xattrs"].items():
            os.setxattr(full, name, bytes.fromhex(value), follow_symlinks=False)
        os.utime(full, ns=(entry["mtime_ns"], entry["mtime_ns"]), follow_symlinks=False)

    def synchronize(self, fd: int) -> None:
        """Have the disk take a file that is complete, if that is asked for and will not be done for all of them at once."""
        if self._disk and self._settled:
            self._disk.take(fd)

    def settle(self) -> None:
        """Give directories their times back, which later entries inside them have changed."""
        changed = list(self._directory_times)
        for full, mtime_ns in self._directory_times.items():
            try:
                os.utime(full, ns=(mtime_ns, mtime_ns))
            except FileNotFoundError:
                pass
        self._directory_times.clear()
        if self._disk:
            self._synchronize(self._disk, changed)
        self._settled = True

    def _synchronize(self, disk: Disk, changed: list[str]) -> None:
        """Have the disk take directories; the first time the whole file system, which is faster after a first copy."""
        for directory in changed if self._settled else [self.root]:
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    disk.take(fd, os.fsync if self._settled else syscalls.syncfs)
                finally:
                    os.close(fd)
