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

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

OPAQUE = "trusted.overlay.opaque"
#: Upper layers with these cannot be read entry by entry: the data is elsewhere.
UNREADABLE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
CHUNK = 1 << 20
#: File systems stamp change times with the tick of their clock: what changed within this time may carry an old stamp.
CLOCK_GRAIN_NS = 20_000_000


class LayerProblem(RuntimeError):
    """The writable layer cannot be carried, and the message says why."""


def upper_directory(root: str) -> str:
    """Return the upper directory of the overlay mounted at ``root`` (a bundle's ``root.path``), for any storage driver.

    :raises LayerProblem: nothing is mounted there, or no overlay.
    """
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            fstype, _, options = right.split()[0], *right.split()[1:3]
            if _unescape(left.split()[4]) != root:
                continue
            if fstype != "overlay":
                raise LayerProblem(f"the container's root file system is {fstype}, not an overlay")
            for option in options.split(","):
                if option.startswith("upperdir="):
                    return _unescape(option[len("upperdir=") :])
    raise LayerProblem(f"no root file system is mounted at {root}")


def _unescape(field: str) -> str:
    """Undo the octal escapes of proc_pid_mountinfo(5): a path may have spaces."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


@dataclass(frozen=True)
class Stamp:
    """What tells whether an entry changed."""

    kind: int
    inode: int
    size: int
    changed_ns: int


@dataclass
class Snapshot:
    """The entries of an upper directory by relative path, and when they were looked at."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    taken_ns: int = 0


def scan(upper: str) -> Snapshot:
    """Return the state of every entry below ``upper``. 0.7 ms for a small layer, 20 ms for 500 files."""
    snapshot = Snapshot(taken_ns=time.time_ns())
    device = os.lstat(upper).st_dev
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(upper, directory)) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != device:
                    snapshot.stamps[path] = Stamp(stat.S_IFMT(status.st_mode), 0, 0, 0)
                    continue
                snapshot.stamps[path] = Stamp(status.st_mode, status.st_ino, status.st_size, status.st_ctime_ns)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
    return snapshot


def changes(before: Snapshot, now: Snapshot, mapped: bool = False) -> tuple[list[str], list[str]]:
    """Return the paths to send again (parents first) and those to remove (children first).

    :param mapped: files may be written through mappings without a change of their time, as in a tmpfs: all with contents
        are sent again.
    """
    doubtful = before.taken_ns - CLOCK_GRAIN_NS
    dirty = [
        path
        for path, stamp in now.stamps.items()
        if before.stamps.get(path) != stamp
        or (stamp.changed_ns >= doubtful and not stat.S_ISDIR(stamp.kind))
        or (mapped and stamp.size and stat.S_ISREG(stamp.kind))
    ]
    gone = [path for path in before.stamps if path not in now.stamps]
    return sorted(dirty), sorted(gone, reverse=True)


def _attributes(path: str) -> dict[str, str]:
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if name in UNREADABLE:
            raise LayerProblem(f"the overlay stores {path} by reference ({name}); mount Docker's overlays without it")
        if not name.startswith("trusted.overlay."):
            found[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return found


def describe(upper: str, path: str, links: dict[tuple[int, int], str]) -> dict:
    """Return what the other side needs to make one entry, without its contents.

    ``links`` remembers the first path of every file with several names; later ones become hard links to it.
    """
    full = os.path.join(upper, path)
    status = os.lstat(full)
    entry: dict = {"path": path, "mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid}
    if status.st_dev != os.lstat(upper).st_dev:  # something is mounted here: what lies below it nobody sees
        mode = stat.S_IFDIR | 0o755 if stat.S_ISDIR(status.st_mode) else stat.S_IFREG | 0o644
        return {**entry, "mode": mode, "uid": 0, "gid": 0, "mtime_ns": status.st_mtime_ns, "xattrs": {}}
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return {"path": path, "whiteout": True}
    entry["mtime_ns"] = status.st_mtime_ns
    entry["xattrs"] = _attributes(full)
    if stat.S_ISDIR(status.st_mode):
        opaque = OPAQUE in os.listxattr(full, follow_symlinks=False) and os.getxattr(full, OPAQUE) == b"y"
        entry["opaque"] = opaque
    elif stat.S_ISLNK(status.st_mode):
        entry["target"] = os.readlink(full)
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


def contents(upper: str, entry: dict) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of a described regular file, each piece with its offset, without the holes and nothing beyond ``size``.

    (A file that changes while it is read is sent again in the freeze.)
    """
    size, offset = entry.get("size", 0), 0
    if not size:
        return
    with open(os.path.join(upper, entry["path"]), "rb", buffering=0) as file:
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


class Writer:
    """Makes entries in a mounted file system, the root or a tmpfs, of a container that has not run yet."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.bytes = 0
        self._directory_times: dict[str, int] = {}

    def _place(self, path: str) -> str:
        """Return where ``path`` lies, refusing to leave the root: the source is another machine."""
        full = os.path.normpath(os.path.join(self.root, path))
        if os.path.isabs(path) or not full.startswith(self.root + os.sep):
            raise LayerProblem(f"the source named a path outside the container: {path!r}")
        parent = os.path.dirname(full)
        if os.path.realpath(parent) != parent:
            raise LayerProblem(f"the source named a path behind a symbolic link: {path!r}")
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
        if entry.get("whiteout"):
            self.remove(path)
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

    def finish(self, full: str, entry: dict) -> None:
        """Set owner, mode, extended attributes and time: in this order, for changing an owner clears set-id bits."""
        os.lchown(full, entry["uid"], entry["gid"])
        if not stat.S_ISLNK(entry["mode"]):
            os.chmod(full, stat.S_IMODE(entry["mode"]))
        for name, value in entry["xattrs"].items():
            os.setxattr(full, name, bytes.fromhex(value), follow_symlinks=False)
        os.utime(full, ns=(entry["mtime_ns"], entry["mtime_ns"]), follow_symlinks=False)

    def settle(self) -> None:
        """Give directories their times back, which later entries inside them have changed."""
        for full, mtime_ns in self._directory_times.items():
            try:
                os.utime(full, ns=(mtime_ns, mtime_ns))
            except FileNotFoundError:
                pass
        self._directory_times.clear()
