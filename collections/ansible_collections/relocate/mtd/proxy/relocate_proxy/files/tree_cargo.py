# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file tree travels: the writable layer, a file system in memory, or a volume."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from ..host.syscalls import write_all
from ..protocol.channel import Outlet
from .disk import Disk
from .trees import Item, Snapshot, Stamp, Tree, changes
from .writer import Writer

UNKNOWN = Stamp(0, 0, 0, 0)  # like no entry's: it is sent again, or removed
BLOCK = 1 << 17  # bytes of a file that are sent again together


@dataclass
class _Sent:
    """A regular file as the other side has it: its attributes, and the digest of each block."""

    xattrs: dict[str, str]
    blocks: list[bytes] = field(default_factory=list)


class TreeSender:
    """The source's half.

    :param name: the mount point of a file system in memory or of a volume, "" for the writable layer.
    :param mapped: returns the inodes of files that programs have mapped and may write without a change of their times.
    """

    def __init__(
        self, channel: Outlet, tree: Tree, name: str = "", mapped: Callable[[], Container[int]] = frozenset
    ) -> None:
        self._channel = channel
        self.tree = tree
        self.name = name
        self._find_mapped = mapped
        self._mapped: Container[int] = ()
        self.before = Snapshot()
        # large files without holes and other names: of them, blocks can be sent again
        self._sent: dict[str, _Sent] = {}
        self._opaque: set[str] = set()  # directories that the other side has made anew already

    def send_first(self) -> int:
        """Send all; return the bytes of contents.

        What is mapped is asked before anything is looked at: a mapping that is made later is first written later, and the
        first write to a page does change the time.
        """
        self._mapped = self._find_mapped()
        return self.send_changes()

    def send_changes(self) -> int:
        """Send what has changed since the last call; return the bytes of contents."""
        now = self.tree.scan()
        dirty, gone = changes(self.before, now, self._mapped)
        for path in gone:
            self._sent.pop(path, None)
            self._opaque.discard(path)
            self._channel.send("remove", path=path, tree=self.name)
        links: dict[tuple[int, int], str] = {}
        sent = 0
        for path in dirty:
            try:
                with self.tree.item(path) as item:
                    sent += self._send(item, links)
                    as_scanned = Stamp.of(item.status) == now.stamps[path]
            except (FileNotFoundError, NotADirectoryError):  # gone since the scan: the next one says so
                as_scanned = False
            if not as_scanned:
                now.stamps[path] = UNKNOWN
        self.before = now
        return sent

    def send_link(self, path: str, target: str) -> None:
        """Have one more name made for a file that was sent. :raises OSError: it is gone."""
        with self.tree.item(target) as item:
            self._channel.send("entry", entry={**item.describe({}), "path": path, "link": target}, tree=self.name)

    def sockets_of(self, inode: int) -> list[str]:
        """Return the paths in the container of the files of unix sockets that had an inode when they were sent."""
        return [
            f"{self.name}/{path}"
            for path, stamp in self.before.stamps.items()
            if stamp.inode == inode and stat.S_ISSOCK(stamp.kind)
        ]

    def _send(self, item: Item, links: dict[tuple[int, int], str]) -> int:
        entry = item.describe(links)
        size = entry.get("size", 0)
        before = self._sent.pop(item.path, None)  # an error leaves nothing known of it
        self._make_once(entry)
        if size > BLOCK and item.status.st_nlink == 1 and not item.has_holes(size):
            return self._send_blocks(item, entry, before)
        self._channel.send("entry", entry=entry, tree=self.name)
        sent = 0
        for offset, data in item.contents(size):
            self._channel.send("data", raw=data, at=offset)
            sent += len(data)
        return sent

    def _make_once(self, entry: dict) -> None:
        """Have the other side make an opaque directory anew, with nothing in it, only if it is not what that has made already.

        What comes or goes in a directory changes its time. It is told again then, but not what has not changed in it.
        """
        path = entry["path"]
        if not entry.get("opaque"):
            self._opaque.discard(path)
        elif path in self._opaque:
            entry["opaque"] = False
        else:
            below = f"{path}/"
            self._sent = {each: sent for each, sent in self._sent.items() if not each.startswith(below)}
            self._opaque = {each for each in self._opaque if not each.startswith(below)} | {path}

    def _send_blocks(self, item: Item, entry: dict, before: _Sent | None) -> int:
        """Send what differs of a file from what the other side has of it; return the bytes.

        A database writes a few pages of a large file: to read all of it again is cheaper than to send it, and to have the
        other side's disk take it.
        """
        if before is None or before.xattrs != entry["xattrs"]:
            before = None
        self._channel.send("patch" if before else "entry", entry=entry, tree=self.name)
        old, now, sent, offset = before.blocks if before else [], _Sent(entry["xattrs"]), 0, 0
        for data in item.pieces(entry["size"]):
            digests = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
            known = old[len(now.blocks) : len(now.blocks) + len(digests)]
            for begin, end in _different(known, digests):
                piece = data[begin * BLOCK : end * BLOCK]
                self._channel.send("data", raw=piece, at=offset + begin * BLOCK)
                sent += len(piece)
            now.blocks += digests
            offset += len(data)
        self._sent[item.path] = now
        return sent


def _different(old: list[bytes], now: list[bytes]) -> list[tuple[int, int]]:
    """Return where ``now`` differs from ``old``: the first of each run, and the one after its last."""
    runs: list[tuple[int, int]] = []
    for number, each in enumerate(now):
        if number < len(old) and old[number] == each:
            continue
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


class _Filling:
    """A file whose contents are on their way."""

    def __init__(self, writer: Writer, full: str, entry: dict) -> None:
        self._writer, self._full, self._entry = writer, full, entry
        self._fd = os.open(full, os.O_WRONLY | os.O_NOFOLLOW)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        os.lseek(self._fd, offset, os.SEEK_SET)
        write_all(self._fd, data)

    def end(self) -> None:
        os.ftruncate(self._fd, self._entry.get("size", 0))  # it may end with a hole, or be shorter than it was
        self._writer.finish(self._full, self._entry)
        self._writer.synchronize(self._fd)
        os.close(self._fd)


class TreeReceiver:
    """The destination's half, for all trees of a container.

    :param disk: what volumes have been brought is on its way there after :meth:`settle`, and there when it has been waited for.
    """

    kinds = frozenset({"entry", "patch", "data", "remove", "flush"})

    def __init__(self, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()
        self._writers: dict[str, Writer] = {}
        self._filling: _Filling | None = None

    def mounted(self, root: str, memory: dict[str, str] | None = None, volumes: dict[str, str] | None = None) -> None:
        """The container's file systems are mounted, the root at ``root``, the others by their points: entries can be made."""
        self._writers = {tree: Writer(path) for tree, path in {"": root, **(memory or {})}.items()}
        self._writers.update({tree: Writer(path, self._disk) for tree, path in (volumes or {}).items()})

    def _writer(self, message: dict) -> Writer:
        """Return what makes a message's entry. :raises ValueError: the source sent one too early, or for another place."""
        try:
            return self._writers[message.get("tree", "")]
        except KeyError:
            raise ValueError("the source sent files before the destination was ready for them") from None

    def take(self, message: dict) -> None:
        """Make or remove an entry, or go on with its contents."""
        if message["kind"] == "data":
            if self._filling:
                self._filling.write(message["raw"], message["at"])
            return
        self._end_filling()
        if message["kind"] == "flush":
            self._disk.wait()
            return
        writer = self._writer(message)
        if message["kind"] == "remove":
            writer.remove(message["path"])
            return
        full = writer.again(message["entry"]) if message["kind"] == "patch" else writer.make(message["entry"])
        self._filling = _Filling(writer, full, message["entry"]) if full else None

    def _end_filling(self) -> None:
        if self._filling:
            self._filling.end()
            self._filling = None

    def settle(self) -> None:
        """Finish the last file, and give directories their times."""
        self._end_filling()
        for writer in self._writers.values():
            writer.settle()
