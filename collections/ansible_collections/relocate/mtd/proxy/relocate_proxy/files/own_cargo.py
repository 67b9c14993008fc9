# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files travel that Docker makes for a container and binds into it: ``/etc/hosts`` and its like, and the ``--init``.

Docker makes its own at the destination, and they are right for that place. What the container has changed in its own is
kept, and what Docker has written into them is renewed: its address in ``/etc/hosts``, the name servers.
The init is carried because the process that runs it maps it, and another version of Docker brings another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel

from ..host.syscalls import write_all
from ..protocol.channel import Outlet
from ..protocol.words import shown

INIT = "docker-init"  # the program's name in Docker's directory of the container
MOST_BYTES = 16 << 20


def merged_hosts(old: str, made: str) -> str:
    """Return ``/etc/hosts`` for the new place: the old one, in which every line that Docker makes is as Docker makes it now.

    :param old: as the container has it. :param made: as Docker has made it here. Lines are the same if their names are, and the
        kind of their address: with IPv6 a container has two.
    """
    here = {_key(line): line for line in _kernel.lines(made) if _key(line)}
    return "".join(here.get(_key(line), line) + "\n" for line in _kernel.lines(old))


def _key(line: str) -> tuple[bool | str, ...]:
    """Return what identifies a line of a hosts file: whether its address is IPv6, and its names; nothing if it has none."""
    address, *names = line.partition("#")[0].split() or [""]
    return (":" in address, *names) if names else ()


class OwnSender:
    """The source's half.

    :param directory: Docker's of the container. :param hostname: that Docker has given it.
    :param init: the program that ``--init`` has put into the container, as this host sees it.
    """

    def __init__(self, channel: Outlet, directory: str, hostname: str, init: str | None = None) -> None:
        self._channel = channel
        self._directory = directory
        self._hostname = hostname
        self._init = init
        self._sent: dict[str, bytes | None] = {}

    def send_first(self) -> int:
        """Send what the container has changed, and its init."""
        sent = 0
        if self._init:
            data = _read(self._init)
            self._channel.send("own", raw=data, name=INIT)
            sent = len(data)
        return sent + self.send_changes()

    def send_changes(self) -> int:
        """Send what the container has changed since."""
        sent = 0
        for name in OwnReceiver.changeable:
            data = self._changed(name)
            if data != self._sent.get(name):
                self._sent[name] = data
                # an empty message: it is Docker's own again
                self._channel.send("own", raw=data or b"", name=name, changed=data is not None)
                sent += len(data or b"")
        return sent

    def _changed(self, name: str) -> bytes | None:
        """Return a file's contents if they are not what Docker has written."""
        path = os.path.join(self._directory, name)
        try:
            data = _read(path)
        except FileNotFoundError:
            return None
        if name == "hostname":
            return None if data.strip() == self._hostname.encode() else data
        if name == "resolv.conf":
            with contextlib.suppress(FileNotFoundError):
                return None if _read(path + ".hash").decode().strip() in _digests(data) else data
        return data


def _digests(data: bytes) -> tuple[str, str]:
    """Return how Docker notes what it has written: the digest, with its kind or, until Docker 24, without."""
    digest = hashlib.sha256(data).hexdigest()
    return digest, f"sha256:{digest}"


def _read(path: str) -> bytes:
    """Return a file's contents. :raises ValueError: it is larger than any that belongs there."""
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{os.path.basename(path)} of the container has more than {MOST_BYTES >> 20} MiB: shorten it")
    return data


class OwnReceiver:
    """The destination's half. :param directory: Docker's of the copy."""

    kinds = frozenset({"own"})
    changeable = ("hosts", "resolv.conf", "hostname")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._made: dict[str, bytes] = {}  # as Docker has made them here

    def take(self, message: dict) -> None:
        """Write one of these files. They are mounted already, so they are written in place."""
        name, data = message["name"], bytes(message.get("raw") or b"")
        if name == INIT:
            fd = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755)
            os.fchmod(fd, 0o755)
        elif name in self.changeable:
            if name not in self._made:
                self._made[name] = _read(self._path(name))
            made = self._made[name]
            if not message.get("changed"):
                data = made
            elif name == "hosts":
                data = merged_hosts(_text(data), _text(made)).encode(errors="surrogateescape")
            fd = os.open(self._path(name), os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        else:
            raise ValueError(f"the source named a file {shown(name)} that Docker does not make")
        try:
            write_all(fd, data)
        finally:
            os.close(fd)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def settle(self) -> None:
        """Nothing is left half-done."""


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
