# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's part of a move in which the container is made anew: new connections are led to the new one, the old one drains.

The protocol is that of a live move, with fewer steps: the same states, journals, verdict, and recovery.

=========  =========  ===========  =====================================================================================
edge       source     destination  what is true in the world
=========  =========  ===========  =====================================================================================
STAGING    STAGING    STAGING      the container runs at the source
STAGING    STAGING    GATED        a new one has been started; no client is led to it
STAGING    STAGING    PREPARED     it is healthy
ROUTING    VOTED      PREPARED     neither may go by itself any more
COMMITTED  VOTED      PREPARED     **the commit point**: new connections are led to the new one from here on
DRAINING   VOTED      COMMITTED    **both run**: the old one serves the connections that it has
RELEASED   COMMITTED  COMMITTED    the old one is stopped, with its own signal and patience, and removed
DONE       DONE       DONE         nothing is left but the journals
=========  =========  ===========  =====================================================================================

Before COMMITTED a failure removes the new container; the old one was never touched.
"""

from __future__ import annotations

import time

from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from ..network.conntrack import PROTOCOLS
from ..network.flows import Flow
from ..network.packet_rules import PacketRules, Signpost
from ..protocol.addresses import Addresses
from ..protocol.states import State
from . import edge
from .edge import CUTOVER_SECONDS, FINISH_SECONDS, STAGE_SECONDS, Edge
from .endings import Attempts

#: Longer than the source's limit of health, so that the destination's own sentence comes first.
PREPARED_SECONDS = 150.0
DRAIN_LOOK_SECONDS = 0.5
#: For so long no connection may be seen at the old place: what was under way there when the edge turned, TCP sends again after
#: a second.
QUIET_SECONDS = 1.5


def kind_of(specification: dict) -> type[Edge]:
    """Return the edge's part that a specification asks for."""
    return RecreatingEdge if specification["plan"].get("mode") == RECREATE else Edge


class RecreatingEdge(Edge):
    """One relocation in which the container is made anew, seen from the edge."""

    def rules(self, left: list[Flow] | None = None) -> PacketRules:
        """Return the edge's table. Nothing is held, and nothing may be left of it."""
        plan = self.plan
        return Signpost(plan.container, plan.services, plan.source, plan.destination)

    def stage(self) -> None:
        """Have the new container made, and return when it is healthy."""
        self.moments.mark("begin")
        self.journal.record(State.STAGING, plan=self.plan.document)
        self.gateway = self.rules()
        self.peers = peers = edge.Peers(self.id, self.specification.credentials, self.specification.addresses)
        self._follow(State.STAGING)
        peers.on_loss = self._regain_standby
        peers.tell("source", "describe")
        described = peers.expect("source", "described", STAGE_SECONDS)
        peers.tell("destination", "create", document=described["document"])
        peers.expect("destination", "created", STAGE_SECONDS)
        peers.tell("destination", "start")
        gated = peers.expect("destination", "gated", STAGE_SECONDS)
        before, after = Addresses.read(described), Addresses.read(gated)
        before.insist_on(after)
        self.report.update(before.document("_before"), **after.document("_after"))
        self.report["bytes"] = {"memory": 0, "writable_layer": 0, "volumes": 0}
        self.report["packets_held"] = 0
        peers.expect("destination", "prepared", PREPARED_SECONDS)
        self.moments.mark("prepared")

    def cutover(self) -> None:
        """From the source's word to the commit point. Nobody waits."""
        peers = self.peers
        assert peers is not None
        peers.tell("source", "settle")
        settled = peers.expect("source", "settled", CUTOVER_SECONDS)
        self.report["stop_limit_s"] = settled.get("stop_limit_s", 0)
        self._note(State.ROUTING, flows=[])
        self.journal.record(State.ROUTING, flows=[])
        self._noted(State.ROUTING)
        self._decide()

    @property
    def finish_seconds(self) -> float:
        """How long the source may take to stop the old container and to remove it."""
        return FINISH_SECONDS + float(self.report.get("stop_limit_s", 0))

    def _release(self, attempts: Attempts) -> None:
        """Lead new connections to the new container. Those that exist have their entries, and go on where they are.

        :raises PartFailed: it has ended; the old one is kept. :raises OSError: the destination says nothing.
        """
        assert self.gateway is not None
        self._insist("destination", "commit", "accepted")
        self._insist("destination", "commit", "running", told=True)
        self.gateway.route(self.plan.destination)
        self.moments.mark("released")

    def _drain(self, attempts: Attempts) -> dict[str, str]:
        """Wait until the old container has no connection left, or for as long as it may have some.

        UDP has no connections: a conversation goes on at the old place while it drains, and is led to the new one then.
        """
        attempts.take(lambda: self.journal.record(State.DRAINING))
        attempts.take(lambda: self._follow(State.DRAINING))
        assert self.peers is not None
        self.peers.on_loss = self._regain
        begun = quiet = time.monotonic()
        left, most = 0, 0
        while True:
            try:
                left = self._insist("source", "drain", "drained")["left"]
            except Exception as error:  # the source is lost, and its connections with it, or `finish` says so again
                attempts.problems.append(str(error))
                break
            most, now = max(most, left), time.monotonic()
            quiet = now if left else quiet
            if now - quiet >= QUIET_SECONDS or now - begun >= self.plan.drain_limit_s:
                break
            self.on_drain({"connections": left, "seconds": round(now - begun, 1), "limit": self.plan.drain_limit_s})
            time.sleep(DRAIN_LOOK_SECONDS)
        self.report["drain"] = {"connections": most, "cut": left, "seconds": round(time.monotonic() - begun, 1)}
        self.moments.mark("drained")
        attempts.take(lambda: self._forget(self.plan.source, ["udp"]))
        return {}

    def _source_gone(self) -> None:
        """What is left in the table of the old container's connections would go on leading there for days."""
        self._forget(self.plan.source, PROTOCOLS)

    def _result(self, outcome: str, source: dict, destination: dict, problems: list[str]) -> dict:
        result = super()._result(outcome, source, destination, problems)
        drain = result.get("drain") or {"connections": 0, "cut": 0}
        kept = drain["connections"] - drain["cut"]
        flows = {"ingress": drain["connections"], "egress": 0, "kept": kept, "lost": drain["cut"]}
        return {**result, "flows": flows, "downtime_ms": None}  # nothing was held: that is no measurement of 0
