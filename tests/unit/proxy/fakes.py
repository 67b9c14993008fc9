# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for what a part talks to: channels and listeners that follow a script."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State


def note_records(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    """Have every line of a journal noted among the calls."""
    record = Journal.record

    def recorded(self: Journal, state: State, **facts: object) -> None:
        calls.append(f"record {state.value}")
        record(self, state, **facts)

    monkeypatch.setattr(Journal, "record", recorded)


def do_not_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing forced to the disk: that it is, is the journal's test; elsewhere it costs seconds."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)


class ScriptedChannel:
    """A channel whose peer says what is in ``script``, in order, and then hangs up. What we say is in ``sent``."""

    def __init__(self, peer: str, script: Iterable[dict | Exception] = (), deaf: bool = False) -> None:
        """Be the channel to ``peer``; a ``deaf`` one is gone when we speak."""
        self.peer = peer
        self.script: list[Any] = list(script)
        self.deaf = deaf
        self.sent: list[dict] = []
        self.closed = False

    def send(self, kind: str, raw: bytes = b"", **fields: Any) -> None:
        """Keep what is said."""
        if self.deaf:
            raise ChannelLost(f"the {self.peer} is gone")
        self.sent.append({"kind": kind, **fields, **({"raw": bytes(raw)} if raw else {})})

    def receive(self) -> dict:
        """Return the next line of the script."""
        if not self.script:
            raise ChannelLost(f"the {self.peer} closed the channel")
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Hang up."""
        self.closed = True


class ScriptedListener:
    """A listener at which the channels of ``script`` arrive, in order; then nobody comes any more."""

    port = 4711

    def __init__(self, script: Iterable[ScriptedChannel | Exception | Callable[[], None]]) -> None:
        """Offer ``script``; a function in it is called when it is its turn."""
        self.script = list(script)
        self.closed = False

    def accept(self, timeout: float | None) -> ScriptedChannel:
        """Return the next channel."""
        while self.script:
            item = self.script.pop(0)
            if isinstance(item, Exception):
                raise item
            if isinstance(item, ScriptedChannel):
                return item
            item()
        raise TimeoutError(f"nobody came in {timeout} s")

    def close(self) -> None:
        """Stop listening."""
        self.closed = True
