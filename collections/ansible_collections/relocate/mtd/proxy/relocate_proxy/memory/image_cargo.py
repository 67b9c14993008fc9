# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A memory image travels: CRIU's files, its own and those of the pre-dumps that it builds on."""

from __future__ import annotations

import contextlib
import os
import threading

from ..host.syscalls import write_all
from ..protocol.channel import Outlet
from ..protocol.words import shown

CHUNK = 1 << 20
PAGES_SECONDS = 0.0005  # how often to look for new pages: CRIU writes a MiB in about that time
MOST_ROUNDS = 8  # pre-dumps of one relocation
MOST_OPEN = 64  # image files; a container with many processes has thousands
PARENT = "parent"  # CRIU's name for the link from a directory of images to those that it builds on


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

    def __init__(self, channel: Outlet, directory: str, number: int = 0) -> None:
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


class ImageReceiver:
    """The destination's half. :param images: the directory for the dump's own images."""

    kinds = frozenset({"image"})

    def __init__(self, images: str) -> None:
        self.images = images
        self._open: dict[tuple[int, str], int] = {}  # by round and name, the longest unused first
        self._known: set[tuple[int, str]] = set()  # all that were begun in this phase
        self._round = 0  # last pre-dump received from

    def take(self, message: dict) -> None:
        """Append to an image file."""
        number, name = message.get("round", 0), message["name"]
        directory = self._images_of(number)
        if (number, name) not in self._known and ("/" in name or name.startswith(".") or name == PARENT):
            raise ValueError(f"the source named an image file {shown(name)}")
        descriptor = self._descriptor(directory, number, name)
        if message.get("raw"):
            write_all(descriptor, message["raw"])

    def _descriptor(self, directory: str, number: int, name: str) -> int:
        key = (number, name)
        descriptor = self._open.pop(key, -1)
        if descriptor < 0:
            if len(self._open) >= MOST_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            begin = os.O_APPEND if key in self._known else os.O_CREAT | os.O_TRUNC
            descriptor = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_NOFOLLOW | begin, 0o600)
            self._known.add(key)
        self._open[key] = descriptor
        return descriptor

    def settle(self) -> None:
        """Close all: what comes next of the same name is a new file."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._known.clear()

    def _images_of(self, number: object) -> str:
        """Return the directory of a pre-dump's images, or of the dump's own (0).

        The source gives a number and nothing else: names and links are made here. Each pre-dump comes after the one before.

        :raises ValueError: it is no such number.
        """
        if type(number) is not int or number not in (0, self._round, self._round + 1) or number > MOST_ROUNDS:
            raise ValueError(f"the source named a pre-dump {shown(number)} after {self._round}")
        if number == 0:
            return self.images
        directory = os.path.join(self.images, round_directory(number))
        if number > self._round:
            self.settle()
            os.mkdir(directory, 0o700)
            if number > 1:
                os.symlink(parent_of(number), os.path.join(directory, PARENT))
            link = os.path.join(self.images, PARENT)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(round_directory(number), link)
            self._round = number
        return directory
