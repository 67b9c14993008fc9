# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels from source to destination on the data channel: the writable layer, the log, the memory image.

Messages (each with its raw bytes): ``entry`` (make this), ``data`` (more of the entry's contents), ``remove``, ``log``
(append to Docker's log file), ``image`` (one CRIU image file, in pieces), ``end`` (this phase is complete).
"""

from __future__ import annotations

import os

from . import layer
from .channel import Channel

CHUNK = 1 << 20


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
        self.log_sent = 0
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
        self._send_log()
        return self.bytes - sent_before

    def _send_entry(self, path: str, links: dict[tuple[int, int], str]) -> None:
        entry = layer.describe(self.upper, path, links)
        self.channel.send("entry", entry=entry)
        for data in layer.contents(self.upper, entry):
            self.channel.send("data", raw=data)
            self.bytes += len(data)

    def _send_log(self) -> None:
        if not self.log_path:
            return
        with open(self.log_path, "rb") as file:
            file.seek(self.log_sent)
            while data := file.read(CHUNK):
                self.channel.send("log", raw=data)
                self.log_sent += len(data)
                self.bytes += len(data)


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

    def __init__(self, channel: Channel, root: str, log_path: str, images: str) -> None:
        self.channel = channel
        self.writer = layer.Writer(root)
        self.log_path = log_path
        self.images = images
        self._open: dict[str, int] = {}

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
                self._append_log(message["raw"])
            elif kind == "image":
                self._append_image(message["name"], message.get("raw", b""))
            elif kind == "end":
                self.writer.settle()
                for fd in self._open.values():
                    os.close(fd)
                self._open.clear()
                return message

    def _fill_end(self, filling: tuple[str, int, dict]) -> None:
        full, fd, entry = filling
        os.close(fd)
        self.writer.finish(full, entry)

    def _append_log(self, data: bytes) -> None:
        """Docker's logger has the file open for appending, and so do we: earlier lines come first."""
        fd = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
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
