# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's channels to the other parts: one mailbox, and a way back to a part that was killed and started again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from .channel import Channel, ChannelLost
from .messages import check
from .words import sentence

CONNECT_SECONDS = 10.0
PROJECT = "project"  # speaks for the other members of what moves together; no part
AGAIN_SECONDS = 3.0  # a guardian starts a part again within a second


class PartFailed(RuntimeError):
    """Another part said that it cannot go on, and why: ``PART: reason``."""

    @property
    def part(self) -> str:
        """Who said it."""
        return str(self).partition(":")[0]


class Peers:
    """The channels to the other parts, read by one thread each into one mailbox."""

    def __init__(
        self,
        relocation: str,
        credentials: dict,
        addresses: dict[str, tuple[str, int]],
        needed: bool = True,
        seconds: float = CONNECT_SECONDS,
    ) -> None:
        """Connect to the parts. :raises ConnectionError: when one does not answer in ``seconds`` and is ``needed``."""
        self.relocation, self.credentials, self.addresses = relocation, credentials, addresses
        self._mail: queue.Queue[tuple[str, Channel | None, dict | Exception]] = queue.Queue()
        self._kept: list[tuple[str, dict]] = []
        self._lost: dict[str, Exception] = {}
        self.channels: dict[str, Channel] = {}
        self.on_loss: Callable[[str], object] = lambda _: None  # of a part while :meth:`expect` waits for another one
        for part in addresses:
            try:
                self._connect(part, seconds)
            except OSError as error:
                if needed:
                    reason = error.strerror or str(error)
                    raise ConnectionError(
                        f"the {part}'s proxy does not answer ({reason}): it gives up when the controller takes too long to "
                        "start the edge's, or its host is cut off; try again when both can be reached and are less busy"
                    ) from error

    def _connect(self, part: str, seconds: float) -> None:
        host, port = self.addresses[part]
        channel = Channel.connect((host, port), part, self.relocation, self.credentials, seconds)
        self.channels[part] = channel
        threading.Thread(target=self._read, args=(part, channel), daemon=True).start()

    def reconnect(self, part: str) -> None:
        """Connect to a part that was lost, as soon as its guardian has started it again.

        :raises ChannelLost: nobody has within ``AGAIN_SECONDS``: it has ended, or its host is gone.
        """
        if part in self.channels:
            self.channels.pop(part).close()
        deadline = time.monotonic() + AGAIN_SECONDS
        while True:
            try:
                self._connect(part, CONNECT_SECONDS)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ChannelLost(f"the {part}'s proxy does not come back: {error}") from error
                time.sleep(0.05)
        self._lost.pop(part, None)
        self._kept = [(sender, message) for sender, message in self._kept if sender != part]

    def _read(self, part: str, channel: Channel) -> None:
        while True:
            try:
                self._mail.put((part, channel, check(part, "edge", channel.receive())))
            except (OSError, ValueError) as error:
                self._mail.put((part, channel, error))
                return

    def tell(self, part: str, kind: str, **fields: Any) -> None:
        """Send one message to one part. :raises ChannelLost: it is gone."""
        if part not in self.channels:
            raise ChannelLost(f"the {part}'s proxy is gone")
        self.channels[part].send(kind, **fields)

    def expect(
        self, part: str, kind: str, seconds: float, otherwise: str | None = None, state: str | None = None
    ) -> dict:
        """Return the next message of that kind from that part, or of the kind ``otherwise``.

        :param state: the one that the message must name; the answer about another, for which nobody waited to the end, is none.
        :raises PartFailed: when any part reports a failure; :raises ChannelLost: when this part is gone;
        :raises TimeoutError: when it stays silent.
        """
        deadline = time.monotonic() + seconds
        while True:
            for position, (sender, message) in enumerate(self._kept):
                right = message["kind"] in (kind, otherwise) and state in (None, message.get("state"))
                if sender == part and right:
                    del self._kept[position]
                    return message
            if part in self._lost:
                raise ChannelLost(f"the {part}'s proxy is gone: {self._lost[part]}")
            try:
                sender, channel, item = self._mail.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the {part} did not report '{kind}' within {seconds:g} s") from None
            if self.channels.get(sender) is not channel:
                continue  # the last words of a process that has been replaced
            if isinstance(item, Exception):
                self._lost[sender] = item
                if sender != part:
                    self.on_loss(sender)
            elif item["kind"] == "failed":
                raise PartFailed(f"{sender}: {sentence(item['reason'])}")
            else:
                self._kept.append((sender, item))

    def interrupt(self, reason: str) -> None:
        """Have whoever waits for a part hear that the project does not move: one of its members cannot."""
        self._mail.put((PROJECT, None, {"kind": "failed", "reason": reason}))

    def close(self) -> None:
        """Close both channels."""
        for channel in self.channels.values():
            channel.close()
