# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels from source to destination on the data channel: the writable layer, the log, the memory image.

Three phases, each closed by ``end``: the log so far, before Docker's logger opens the file; the writable layer, once it is
mounted; in the freeze what changed since, and the memory image. Messages (each with its raw bytes): ``log`` (append to
Docker's log file), ``entry`` (make this), ``data`` (more of the entry's contents), ``remove``, ``words`` (what the container
said last, for Docker's logger), ``image`` (one CRIU image file, in pieces).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from . import layer
from .channel import Channel

CHUNK = 1 << 20
WORDS = 64  # lines per message


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: the kernel may take less at once. :raises OSError: when the file system is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class LayerSender:
    """The source's half of carrying the writable layer and the log: a first copy, then the delta in the freeze."""

    def __init__(self, channel: Channel, upper: str, log_path: str | None) -> None:
        self.channel = channel
        self.upper = upper
        self.log_path = log_path
        self.before = layer.Snapshot()
        self._log: BinaryIO | None = None
        self.bytes = 0

    def send_changes(self) -> int:
        """Send everything that changed since the last call (all of it at the first); return the bytes of contents."""
        sent_before = self.bytes
        now = layer.scan(self.upper)
        dirty, gone = layer.changes(self.before, now)
        for path in gone:
            self.channel.send("remove", path=path)
        links: dict[tuple[int, int], str] = {}
        for path in dirty:
            try:
                self._send_entry(path, links)
            except FileNotFoundError:  # removed since the scan: the next one says so
                now.stamps.pop(path, None)
        self.before = now
        return self.bytes - sent_before

    def _send_entry(self, path: str, links: dict[tuple[int, int], str]) -> None:
        entry = layer.describe(self.upper, path, links)
        self.channel.send("entry", entry=entry)
        for data in layer.contents(self.upper, entry):
            self.channel.send("data", raw=data)
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


def send_images(channel: Channel, directory: str) -> int:
    """Send every file of a memory image; return the bytes."""
    total = 0
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            first = True
            while (data := file.read(CHUNK)) or first:
                channel.send("image", raw=data, name=name)
                total += len(data)
                first = False
    return total


class Receiver:
    """The destination's half: applies what the source sends, until ``end``."""

    def __init__(self, channel: Channel, log_path: str, images: str) -> None:
        self.channel = channel
        self._writer: layer.Writer | None = None
        self.log_path = log_path
        self.images = images
        self._open: dict[str, int] = {}
        self.words: list[list[str]] = []  # stream and text, in order

    def mounted(self, root: str) -> None:
        """The container's root file system is mounted at ``root``: entries can be made."""
        self._writer = layer.Writer(root)

    @property
    def writer(self) -> layer.Writer:
        """What makes the entries. :raises ValueError: the source sent one too early."""
        if self._writer is None:
            raise ValueError("the source sent files before the destination was ready for them")
        return self._writer

    def receive(self) -> dict:
        """Apply messages until the phase ends; return its ``end`` message.

        :raises ChannelLost: when the source is gone; :raises OSError: when this host cannot store what comes.
        """
        filling: tuple[str, int, dict] | None = None
        while True:
            message = self.channel.receive()
            kind = message["kind"]
            if filling and kind != "data":
                self._fill_end(filling)
                filling = None
            if kind == "entry":
                full = self.writer.make(message["entry"])
                if full:
                    filling = (full, os.open(full, os.O_WRONLY | os.O_NOFOLLOW), message["entry"])
            elif kind == "data" and filling:
                write_all(filling[1], message["raw"])
            elif kind == "remove":
                self.writer.remove(message["path"])
            elif kind == "log":
                self._append_log(message["raw"], message["rotated"])
            elif kind == "words":
                self.words += message["words"]
            elif kind == "image":
                self._append_image(message["name"], message.get("raw", b""))
            elif kind == "end":
                if self._writer:
                    self._writer.settle()
                for fd in self._open.values():
                    os.close(fd)
                self._open.clear()
                return message

    def _fill_end(self, filling: tuple[str, int, dict]) -> None:
        full, fd, entry = filling
        os.close(fd)
        self.writer.finish(full, entry)

    def _append_log(self, data: bytes, rotated: str) -> None:
        """Docker's logger opens the file later, and continues it."""
        if not re.fullmatch(r"(\.[0-9]+(\.gz)?)?", rotated):
            raise ValueError(f"the source named a log file {rotated!r}")
        fd = os.open(self.log_path + rotated, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)

    def _append_image(self, name: str, data: bytes) -> None:
        if name not in self._open:
            if "/" in name or name.startswith("."):
                raise ValueError(f"the source named an image file {name!r}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            self._open[name] = os.open(os.path.join(self.images, name), flags, 0o600)
        if data:
            write_all(self._open[name], data)
