# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination of a container that is made anew: it is started like any other, and no client is led to it before it is well.

It is the destination of a live move with other steps in between, and ends by the same ``endings``. What is true in each state
stands in ``parts.recreating``, which has the edge's part.
"""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.module_utils._docker import own_addresses

from ..protocol.addresses import Addresses
from ..protocol.channel import Channel
from ..protocol.states import State
from . import endings, leaving
from .base import Part
from .destination import Destination


class RecreatedDestination(Destination):
    """The host that has the new container."""

    sent_images = False

    def await_edge(self) -> Channel:
        """Return the edge's channel. The source has nothing to send here."""
        return Part.await_edge(self)

    def on_start(self, _: dict) -> None:
        """Start it like any other, and give the word when it is healthy. No client is led to it yet."""
        self.docker.start(self.container_id)
        self.addresses = Addresses(*own_addresses(leaving.insist_that_it_runs(self.docker, self.container_id)))
        self.journal.record(State.GATED, **self.addresses.document())
        self.say("gated", container_id=self.container_id, **self.addresses.document())
        leaving.await_health(self.docker, self.container_id)
        with self._deciding:
            self.journal.record(State.PREPARED, ran=True)
        self.say("prepared")

    def on_commit(self, _: dict) -> None:
        """Clients may be led to it, and Docker may restart it, for the drain may be long. Idempotent: an edge may say it again.

        :raises Unhealthy: it has ended meanwhile. The old one still runs, and is kept.
        """
        leaving.insist_that_it_runs(self.docker, self.container_id)
        endings.accept(self.journal, self.directory)
        endings.adopt_copy(self.journal, self.docker)
        self.say("accepted")
        self.say("running", address=self.addresses.ip4)
