# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container's bind mounts: nothing of them travels, and the destination sees that its own show the same.

A shared directory gets a probe: a file that the source makes in it, with a secret that only the source's description has. A
host that reads the secret there has the same file system mounted. Files that all hosts have alike are compared by their
contents, as the container sees them: what the host has at that path by now may be something newer.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _binds

from ..host import syscalls
from .trees import READ_DIRECTORY, Tree

Identity = tuple[int, int]  # device and inode
PROBE_BYTES = 128


class BindProblem(RuntimeError):
    """A bind mount would not show the same at the destination, and the message says why."""


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def opened(root: str, path: str) -> int:
    """Return a descriptor of what is at an absolute path below ``root``. :raises OSError: nothing, or a symbolic link."""
    directory, _, name = path.rpartition("/")
    tree = Tree.inside(root, directory)
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree.fileno())
    finally:
        tree.close()
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(f"{path} is a symbolic link")
    return found


class Offered:
    """The source's half, which travels in the description. In the freeze, it writes out what other hosts are to read.

    :ivar probes: the paths of the probes, for whoever has to remove them if this process cannot.
    :param root: the container's root as this host sees it (``/proc/PID/root``).
    :raises BindProblem: a bind mount is none that travels.
    """

    def __init__(self, binds: list[_binds.Bind], root: str, relocation: str) -> None:
        self.document: list[dict[str, Any]] = []
        self.probes: list[str] = []
        self._directories: list[int] = []  # of shared ones that the container may write to
        mine = _binds.policy()
        for bind in binds:
            rule = mine.rule(bind.source, bind.read_only)
            if rule is None:
                raise BindProblem(
                    f"this host's policy for bind mounts does not name {bind.source} any more: see relocate_binds"
                )
            entry = {"source": bind.source, "point": bind.point, "rule": rule}
            seen = opened(root, bind.point)
            try:
                if rule == _binds.SAME:
                    entry["digest"] = _binds.digest(f"/proc/self/fd/{seen}")
                else:
                    self._share(bind, seen, relocation, entry)
            finally:
                os.close(seen)
            self.document.append(entry)

    def _share(self, bind: _binds.Bind, seen: int, relocation: str, entry: dict[str, Any]) -> None:
        directory = opened("/", bind.source)
        try:
            if _identity(os.fstat(directory)) != _identity(os.fstat(seen)):
                raise BindProblem(
                    f"{bind.source} is not the directory any more that the container was shown at {bind.point}: restart it"
                )
            if not bind.read_only:
                self._directories.append(os.open(".", READ_DIRECTORY, dir_fd=directory))
        finally:
            os.close(directory)
        probe = f".relocate-{relocation}-{len(self.probes)}"
        entry.update(inode=os.fstat(seen).st_ino, probe=probe, secret=secrets.token_hex(16))
        self.probes.append(f"{bind.source}/{probe}")

    def place_probes(self) -> None:
        """Make the probes. :raises BindProblem: one cannot be made."""
        for entry in self.document:
            if entry["rule"] != _binds.SHARED:
                continue
            try:
                directory = opened("/", entry["source"])
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    with open(os.open(entry["probe"], flags, 0o644, dir_fd=directory), "w", encoding="ascii") as file:
                        file.write(entry["secret"])
                        file.flush()
                        os.fsync(file.fileno())
                finally:
                    os.close(directory)
            except OSError as error:
                raise BindProblem(
                    f"no file can be made in {entry['source']} to see that both hosts have the same file system there: {error}"
                ) from error

    @property
    def written(self) -> bool:
        """Whether the container may write to a shared directory."""
        return bool(self._directories)

    def send_first(self) -> int:
        """Write out what the container has written to shared directories; nothing travels."""
        return self.send_changes()

    def send_changes(self) -> int:
        """Do so again: what is only in this host's memory the destination does not see."""
        for directory in self._directories:
            syscalls.syncfs(directory)
        return 0

    def close(self) -> None:
        """Let the directories go."""
        while self._directories:
            os.close(self._directories.pop())


def remove_probes(probes: list[str]) -> None:
    """Remove probes, by their paths. Idempotent."""
    for path in probes:
        directory, _, name = path.rpartition("/")
        with contextlib.suppress(OSError):
            fd = opened("/", directory)
            try:
                os.unlink(name, dir_fd=fd)
            finally:
                os.close(fd)


def find(described: list[dict[str, Any]], name: str) -> dict[str, Identity]:
    """Return what the copy is to be shown, by mount point.

    :param described: the source's :attr:`Offered.document`, whose form was checked. :param name: of this host.
    :raises BindProblem: this host would not show it, or another.
    """
    problems = _binds.refusals(name, described, _binds.policy())
    if problems:
        raise BindProblem("; ".join(problems))
    found = {}
    for each in described:
        shared = each["rule"] == _binds.SHARED
        fd = opened("/", each["source"] if shared else os.path.realpath(each["source"]))
        try:
            if shared and not hmac.compare_digest(_read(fd, each["probe"]), each["secret"].encode()):
                raise BindProblem(
                    f"{each['source']} on {name} is not the file system that the source has there: mount the same on both hosts"
                )
            found[each["point"]] = _identity(os.fstat(fd))
        finally:
            os.close(fd)
    return found


def _read(directory: int, name: str) -> bytes:
    """Return what a probe says; nothing, if it is not there."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""
    with open(fd, "rb") as file:
        return file.read(PROBE_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


def insist(found: dict[str, Identity], root: str) -> None:
    """See that the copy was shown what :func:`find` has looked at: somebody may have put a link in its place since.

    :param root: the copy's root as this host sees it. :raises BindProblem: it was not.
    """
    for point, identity in found.items():
        fd = opened(root, point)
        try:
            if _identity(os.fstat(fd)) != identity:
                raise BindProblem(f"what the copy was shown at {point} is not what was looked at before: try again")
        finally:
            os.close(fd)
