# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump on trial: a snapshot of which nobody keeps anything. It tells whether CRIU can dump the container, and in what time.

The container is frozen for as long as its memory and its registers are written to this host's tmpfs, and runs on. Its files are
not read: what stands against those is known before.
"""

from __future__ import annotations

from typing import Any

from ..files import binds
from ..memory.image_cargo import ImageSender
from ..protocol.journal import Journal
from .alone import ended
from .restarted import resume as resume_part
from .snapshot import Snapshot


class Nowhere:
    """In place of a recording: what is sent is forgotten."""

    def send(self, kind: str, raw: bytes | bytearray = b"", **fields: Any) -> None:
        """Forget it."""

    def receive(self) -> dict:
        """Agree."""
        return {"kind": "forgotten"}

    def close(self) -> None:
        """Nothing is open."""


class Trial(Snapshot):
    """The host of a container that is dumped on trial."""

    def _record_all(self) -> None:
        self.data, self.bytes["volumes"] = Nowhere(), 0
        self.on_describe({})
        if self.binds:
            binds.remove_probes(self.binds.probes)
        self.on_arm(self.addresses.document())
        self.on_settle({})
        self._freeze_and_dump(ImageSender(self.data, self.images))
        self.bytes["memory"] = self.container.memory_bytes()

    def _send_link_remaps(self) -> None:
        """No file was sent that a link could be made to."""

    def _recorded_bytes(self) -> int:
        return 0


def resume(specification: dict, journal: Journal) -> None:
    """After a kill: thaw the container."""
    resume_part("source", specification, journal)
    ended(specification, journal, "the proxy that made the dump was killed; the container runs on: try again")
