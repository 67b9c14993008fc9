# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The source of a container that is made anew: nothing is frozen, and the old one runs until its connections are over.

It is the source of a live move with other steps in between, and ends by the same ``endings``. What is true in each state
stands in ``parts.recreating``, which has the edge's part.
"""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from ..files.binds import remove_probes
from ..host.docker import stop_seconds
from ..protocol.states import State
from . import leaving
from .base import Part
from .source import Source


class RecreatedSource(Source):
    """The host that has the old container, which runs until its connections are over."""

    def record(self, state: State, **facts: object) -> None:
        """Write a state, and that nothing is frozen."""
        super().record(state, mode=RECREATE, **facts)

    def _warm_up(self) -> None:
        """There is no freeze to be quick in."""

    def _carried(self) -> dict:
        """Nothing is."""
        return {"masked": [], "memory": [], "plain_cgroups": True, "volumes": [], "init": False}

    def renounce(self) -> bool:
        """Give up the right to vote; False when the word is given already."""
        return Part.renounce(self)

    def on_settle(self, _: dict) -> None:
        """Give the word: from now on only the edge may say what becomes of the container. It runs on.

        :raises Unhealthy: it does not; then there is nothing to replace. :raises RuntimeError: it is not what it was.
        """
        inspected = leaving.insist_that_it_runs(self.docker, self.container.id)
        self.insist_unchanged(inspected)
        if self.binds is not None:
            remove_probes(self.binds.probes)  # the destination has seen them
        self.record(State.VOTED)
        self.say("settled", stop_limit_s=stop_seconds(inspected))

    def on_drain(self, _: dict) -> None:
        """Say how many connections are left."""
        self.say("drained", left=leaving.visits(self.docker, self.container.id))
