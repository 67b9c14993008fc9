# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels from source to destination on the data channel: the container's files, the log, the memory image.

Four phases, each closed by ``end``: the log so far, before Docker's logger opens the file; the files, once the container's
file systems are mounted; what the restore needs to get ready; in the freeze what changed since, and the memory image.
Messages (each with its raw bytes): ``log`` (append to Docker's log file), ``entry`` (make this), ``data`` (contents of the
entry, from offset ``at``), ``remove``, ``words`` (what the container said last, for Docker's logger), ``image`` (one CRIU
image file, in pieces; ``round`` says of which pre-dump, counted from 1, and is missing in the dump's own), ``probe`` (nothing:
it is answered, and timed). ``tree`` says which file system an entry is in: the writable layer if it is empty, else the tmpfs
that the container has there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from ..protocol.channel import Channel
from . import trees

CHUNK = 1 << 20
WORDS = 64  # lines per message
PAGES_SECONDS = 0.0005  # how often to look for new pages: CRIU writes a MiB in about that time
PROBES = (1 << 16, 1 << 18, 1 << 20, 4 << 20, 4 << 20)  # bytes
PROBE_SECONDS = 0.1
MOST_ROUNDS = 8  # pre-dumps of one relocation
PARENT = "parent"  # CRIU's name for the link from a directory of images to those that it builds on


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: the kernel may take less at once. :raises OSError: when the file system is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Tree:
    """One file system of the container, and what of it has been sent."""

    def __init__(self, name: str, directory: str) -> None:
        self.name = name
        self.directory = directory
        self.before = trees.Snapshot()


class LayerSender:
    """The source's half of carrying the files and the log: a first copy, then the delta in the freeze.

    :param upper: the writable layer's directory.
    :param memory: directories of the container's file systems in memory, by mount point.
    """

    def __init__(
        self, channel: Channel, upper: str, log_path: str | None, memory: dict[str, str] | None = None
    ) -> None:
        self.channel = channel
        self._trees = [_Tree("", upper), *(_Tree(point, path) for point, path in (memory or {}).items())]
        self.log_path = log_path
        self._log: BinaryIO | None = None
        self.bytes = 0

    def send_changes(self) -> int:
        """Send everything that changed since the last call (all of it at the first); return the bytes of contents."""
        sent_before = self.bytes
        for tree in self._trees:
            self._send_tree(tree)
        return self.bytes - sent_before

    def _send_tree(self, tree: _Tree) -> None:
        now = trees.scan(tree.directory)
        dirty, gone = trees.changes(tree.before, now, mapped=bool(tree.name))
        for path in gone:
            self.channel.send("remove", path=path, tree=tree.name)
        links: dict[tuple[int, int], str] = {}
        for path in dirty:
            try:
                self._send_entry(tree, path, links)
            except FileNotFoundError:  # removed since the scan: the next one says so
                now.stamps.pop(path, None)
        tree.before = now

    def _send_entry(self, tree: _Tree, path: str, links: dict[tuple[int, int], str]) -> None:
        entry = trees.describe(tree.directory, path, links)
        self.channel.send("entry", entry=entry, tree=tree.name)
        for offset, data in trees.contents(tree.directory, entry):
            self.channel.send("data", raw=data, at=offset)
            self.bytes += len(data)

    def _log_since(self) -> Iterator[bytes]:
        """Yield the log's bytes since the last call, up to the last whole line, through a rotation if there was one."""
        if not self.log_path:
            return
        if self._log is None:
            self._log = open(self.log_path, "rb")  # noqa: SIM115  kept: rotation renames the file under us
        yield from self._whole_lines(self._log)
        while os.stat(self.log_path).st_ino != os.fstat(self._log.fileno()).st_ino:
            self._log.close()
            self._log = open(self.log_path, "rb")  # noqa: SIM115
            yield from self._whole_lines(self._log)

    def _whole_lines(self, file: BinaryIO) -> Iterator[bytes]:
        while data := file.read(CHUNK):
            whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == CHUNK else b"")
            file.seek(len(whole) - len(data), os.SEEK_CUR)
            if not whole:
                return
            self.bytes += len(whole)
            yield whole

    def send_log(self) -> None:
        """Send the log so far, as it is in Docker's files: those it has rotated away first."""
        if not self.log_path:
            return
        directory, name = os.path.split(self.log_path)
        for rotated in sorted(entry for entry in os.listdir(directory) if entry.startswith(name + ".")):
            with open(os.path.join(directory, rotated), "rb") as file:
                while data := file.read(CHUNK):
                    self.channel.send("log", raw=data, rotated=rotated[len(name) :])
                    self.bytes += len(data)
        for data in self._log_since():
            self.channel.send("log", raw=data, rotated="")

    def send_last_words(self) -> None:
        """Send what was logged since, as the container said it.

        Docker's logger counts the bytes of its own file: what others append to it is cut off when it is read. So these
        lines go through the destination's logger, which gives them the time of the move.
        """
        said = [json.loads(line) for data in self._log_since() for line in data.splitlines()]
        for begin in range(0, len(said), WORDS):
            words = [[each.get("stream", "stdout"), each.get("log", "")] for each in said[begin : begin + WORDS]]
            self.channel.send("words", words=words)


def measure_link(channel: Channel) -> float:
    """Return the milliseconds that a MiB takes to the destination, acknowledged: the best of some probes.

    They grow until one takes long enough to be measured, so that neither a slow link waits nor a fast one is underrated.
    The destination must be receiving. :raises ChannelLost: when it is gone.
    """
    data = bytes(PROBES[-1])
    best = math.inf
    for size in PROBES:
        begin = time.monotonic()
        channel.send("probe", raw=data[:size])
        channel.receive()
        took = time.monotonic() - begin
        best = min(best, took * 1e3 * (1 << 20) / size)
        if took > PROBE_SECONDS:
            break
    return round(best, 4)


def round_directory(number: int) -> str:
    """Return where a pre-dump lies, relative to the images of the dump that builds on it."""
    return f"round-{number}"


def parent_of(number: int) -> str:
    """Return where the pre-dump before a pre-dump lies, relative to the latter."""
    return f"../{round_directory(number - 1)}"


class ImageSender:
    """Sends the files of a memory image. Those with the pages only grow, and can go while CRIU still writes them.

    :param number: of the pre-dump whose images these are; 0 for the dump's own.
    """

    def __init__(self, channel: Channel, directory: str, number: int = 0) -> None:
        self.channel = channel
        self.directory = directory
        self._round = {"round": number} if number else {}
        self.bytes = 0
        self._sent: dict[str, int] = {}

    def _send(self, name: str) -> None:
        """Send what is new in a file; of an empty one, that it is there."""
        with open(os.path.join(self.directory, name), "rb", buffering=0) as file:
            offset = self._sent.get(name, 0)
            while (data := os.pread(file.fileno(), CHUNK, offset)) or name not in self._sent:
                self.channel.send("image", raw=data, name=name, **self._round)
                offset += len(data)
                self.bytes += len(data)
                self._sent[name] = offset

    def send_pages(self, dumped: threading.Event) -> None:
        """Send pages as they come, until the dump has ended."""
        while not dumped.wait(PAGES_SECONDS):
            for name in os.listdir(self.directory):
                if name.startswith("pages-"):
                    self._send(name)

    def send_rest(self) -> None:
        """Send all that is not sent yet, when the image is complete; the pre-dumps below it, and the link to them, are not."""
        for name in sorted(entry.name for entry in os.scandir(self.directory) if entry.is_file(follow_symlinks=False)):
            self._send(name)


class _Filling:
    """A file whose contents are on their way."""

    def __init__(self, writer: trees.Writer, full: str, entry: dict) -> None:
        self._writer, self._full, self._entry = writer, full, entry
        self._fd = os.open(full, os.O_WRONLY | os.O_NOFOLLOW)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        os.lseek(self._fd, offset, os.SEEK_SET)
        write_all(self._fd, data)

    def end(self) -> None:
        os.ftruncate(self._fd, self._entry.get("size", 0))  # it may end with a hole, or be shorter than it was
        os.close(self._fd)
        self._writer.finish(self._full, self._entry)


class Receiver:
    """The destination's half: applies what the source sends, until ``end``."""

    def __init__(self, channel: Channel, log_path: str, images: str) -> None:
        self.channel = channel
        self._writers: dict[str, trees.Writer] = {}
        self.log_path = log_path
        self.images = images
        self._open: dict[tuple[int, str], int] = {}  # round and name
        self._round = 0  # of the last pre-dump that something came of
        self.words: list[list[str]] = []  # stream and text, in order

    def mounted(self, root: str, memory: dict[str, str] | None = None) -> None:
        """The container's file systems are mounted, the root at ``root``: entries can be made."""
        self._writers = {tree: trees.Writer(path) for tree, path in {"": root, **(memory or {})}.items()}

    def _writer(self, message: dict) -> trees.Writer:
        """Return what makes a message's entry. :raises ValueError: the source sent one too early, or for another place."""
        try:
            return self._writers[message.get("tree", "")]
        except KeyError:
            raise ValueError("the source sent files before the destination was ready for them") from None

    def receive(self) -> dict:
        """Apply messages until the phase ends; return its ``end`` message.

        :raises ChannelLost: when the source is gone; :raises OSError: when this host cannot store what comes.
        """
        filling: _Filling | None = None
        while True:
            message = self.channel.receive()
            kind = message["kind"]
            if filling and kind != "data":
                filling.end()
                filling = None
            if kind == "entry":
                writer = self._writer(message)
                full = writer.make(message["entry"])
                filling = _Filling(writer, full, message["entry"]) if full else None
            elif kind == "data" and filling:
                filling.write(message["raw"], message["at"])
            elif kind == "remove":
                self._writer(message).remove(message["path"])
            elif kind == "log":
                self._append_log(message["raw"], message["rotated"])
            elif kind == "words":
                self.words += message["words"]
            elif kind == "image":
                self._append_image(message["name"], message.get("raw", b""), message.get("round", 0))
            elif kind == "probe":
                self.channel.send("probed")
            elif kind == "end":
                for writer in self._writers.values():
                    writer.settle()
                self._close_images()
                return message

    def _close_images(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _append_log(self, data: bytes, rotated: str) -> None:
        """Docker's logger opens the file later, and continues it."""
        if not re.fullmatch(r"(\.[0-9]+(\.gz)?)?", rotated):
            raise ValueError(f"the source named a log file {rotated!r}")
        fd = os.open(self.log_path + rotated, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)

    def _append_image(self, name: str, data: bytes, number: int) -> None:
        directory = self._images_of(number)
        if (number, name) not in self._open:
            if "/" in name or name.startswith(".") or name == PARENT:
                raise ValueError(f"the source named an image file {name!r}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            self._open[number, name] = os.open(os.path.join(directory, name), flags, 0o600)
        if data:
            write_all(self._open[number, name], data)

    def _images_of(self, number: object) -> str:
        """Return the directory of a pre-dump's images, or of the dump's own (0).

        The source gives a number and nothing else: names and links are made here. Each pre-dump comes after the one before.

        :raises ValueError: it is no such number.
        """
        if type(number) is not int or number not in (0, self._round, self._round + 1) or number > MOST_ROUNDS:
            raise ValueError(f"the source named a pre-dump {number!r} after {self._round}")
        if number == 0:
            return self.images
        directory = os.path.join(self.images, round_directory(number))
        if number > self._round:
            self._close_images()  # those of the one before: a container with many processes has many
            os.mkdir(directory, 0o700)
            if number > 1:
                os.symlink(parent_of(number), os.path.join(directory, PARENT))
            link = os.path.join(self.images, PARENT)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(round_directory(number), link)
            self._round = number
        return directory
