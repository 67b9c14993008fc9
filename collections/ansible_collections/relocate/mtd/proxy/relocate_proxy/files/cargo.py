# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels from source to destination on the data channel: one interface, and the same verbs for every kind.

Each kind of cargo has two halves. The source's half sends it first while the container runs, and in the freeze what has changed
since. The destination's half takes the messages of its kinds, in the order in which they come. A new kind is one more file with
these two halves, one more line in ``entry.CARGO``, and one where ``parts.source`` and ``parts.destination`` list their cargo.

============  ===========================  =============================================================================
cargo         halves                       messages
============  ===========================  =============================================================================
a file tree   ``tree_cargo``               ``entry`` (make this), ``patch`` (have some of this file's contents anew),
                                           ``data`` (its contents, from offset ``at``), ``remove``; ``tree`` says which: the
                                           writable layer if empty, else where a tmpfs or a volume is mounted; ``flush``
                                           (have the disk take all that has come of volumes)
Docker's own  ``own_cargo``                ``own`` (``/etc/hosts`` and the other files that Docker binds into it)
Docker's log  ``log_cargo``                ``log`` (append to the file), ``words`` (what the container said last)
memory image  ``memory.image_cargo``       ``image`` (one CRIU image file, in pieces; ``round`` says of which pre-dump)
Docker image  ``saved_image``              ``blob`` (the next has ``size`` bytes), ``piece``: only where the destination lacks
                                           it, before all else, and not through :class:`Receiver`
============  ===========================  =============================================================================

Four phases, each closed by ``end``: the log so far, before Docker's logger opens the file; the trees, once the container's file
systems are mounted; what the restore needs to get ready; in the freeze what changed since, and the image. Beside the cargo,
``probe`` is answered, and timed (:func:`measure_link`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Protocol

from ..protocol.channel import Outlet
from ..protocol.words import shown
from .entry import check

PROBES = (1 << 16, 1 << 18, 1 << 20, 4 << 20, 4 << 20)  # bytes
PROBE_SECONDS = 0.1


class Outgoing(Protocol):
    """The source's half of a cargo."""

    def send_first(self) -> int:
        """Send all of it, while the container runs; return the bytes of contents."""

    def send_changes(self) -> int:
        """Send what has changed since the last call, in the freeze; return the bytes of contents."""


class Incoming(Protocol):
    """The destination's half of a cargo."""

    kinds: frozenset[str]

    def take(self, message: dict) -> None:
        """Apply one message of these kinds.

        :raises ValueError: the source sent what it must not; :raises OSError: this host cannot store it.
        """

    def settle(self) -> None:
        """A phase has ended: nothing may be left half-done."""


class Receiver:
    """The destination's end of the data channel."""

    def __init__(self, channel: Outlet, cargo: Iterable[Incoming]) -> None:
        self._channel = channel
        self._cargo = list(cargo)
        self._by_kind = {kind: each for each in self._cargo for kind in each.kinds}

    def receive(self) -> dict:
        """Apply messages until the phase ends; return its ``end`` message.

        :raises ChannelLost: the source is gone; :raises ValueError: it sent what it must not; :raises OSError: this host cannot
            store what comes.
        """
        while True:
            message = check(self._channel.receive())
            kind = message["kind"]
            if kind == "probe":
                self._channel.send("probed")
            elif kind == "end":
                for each in self._cargo:
                    each.settle()
                return message
            elif kind in self._by_kind:
                self._by_kind[kind].take(message)
            else:
                raise ValueError(f"the source sent {shown(kind)}, which this host does not know: run prepare.yml again")


def measure_link(channel: Outlet) -> float:
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
