# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data channel whose other end comes later: what a source sends is recorded, and a destination takes it from there.

The messages are those of a move, in the order of a move (see ``files.cargo``), in one sealed file. The first, ``snapshot``, has
what the destination otherwise hears from the edge: the document from which the container is made, and its address.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _paths

from ..host.sealing import Opener, Sealer
from .channel import frame, message_from
from .documents import Specification

NAME = re.compile(r"relocate-[0-9a-z-]{1,64}\.sealed")
DIRECTORY = _paths.RECORDINGS


def path_of(specification: Specification) -> str:
    """Return where the recording of a specification lies. :raises ValueError: its name is none that we give."""
    name = specification.recording.get("name", "")
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a recording")
    return f"{DIRECTORY}/{name}"


def key_of(specification: Specification) -> bytes:
    """Return the key of the recording of a specification."""
    return bytes.fromhex(specification.recording["key"])


class Recorder:
    """What the source sends on. Nobody answers, and nobody has to.

    Besides root, whoever has logged in to become root by sudo may read the file: it is fetched by that user.

    :raises OSError: it cannot be made here, or is there already.
    """

    def __init__(self, path: str, key: bytes) -> None:
        self.path = path
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        os.fchown(fd, int(os.environ.get("SUDO_UID") or 0), -1)
        self._sealer = Sealer(fd, key)
        self._open = True

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Record one message. :raises OSError: the disk refuses."""
        self._sealer.write(frame(kind, raw, **fields))
        if raw:
            self._sealer.write(raw)

    def receive(self) -> dict:
        """Agree."""
        return {"kind": "recorded"}

    def finish(self) -> None:
        """Return when the recording is whole and on the disk. :raises OSError: the disk refuses."""
        self._sealer.finish()

    def close(self) -> None:
        """Close it, whole or not."""
        if self._open:
            self._open = False
            self._sealer.close()


class Recording:
    """What the destination takes its cargo from.

    :raises OSError: there is none; :raises Broken: it is no recording.
    """

    def __init__(self, path: str, key: bytes) -> None:
        self._opener = Opener(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), key)

    def receive(self) -> dict:
        """Return the next message. :raises Broken: it was changed, or there is none."""
        return message_from(self._opener.read, "snapshot")

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Nobody listens."""

    def finish(self) -> None:
        """See that this was all of it. :raises Broken: it was not."""
        self._opener.finish()

    def close(self) -> None:
        """Close it."""
        self._opener.close()
