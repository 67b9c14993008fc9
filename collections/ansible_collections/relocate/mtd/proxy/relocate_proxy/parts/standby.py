# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other edge's part, where there are two: it writes down what the edge that decides does, and goes on if that one is lost.

Two edges never bring one relocation to different ends. Three rules see to that:

* The edge tells nobody of a commit that this part has not on its disk. So this part may roll back what it has no verdict for.
* When it takes over, it writes that down, and hears that edge no more.
* An edge that has sent the verdict, and does not know whether it has arrived, does not roll back as it likes: it asks the
  destination, and what the destination has heard first, counts. (``Edge._ask_destination``)

None of them depends on who has the virtual addresses. If both edges believe to have them, clients suffer, but no container runs
twice.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterable

from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from ..host.secrets import wipe
from ..network.flows import Flow
from ..network.packet_rules import Bystander
from ..protocol.addresses import Addresses
from ..protocol.channel import Channel, ChannelLost
from ..protocol.documents import EdgeSpecification
from ..protocol.facts import EdgeFacts
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from . import edge
from .base import EDGE_SECONDS, Listening
from .recreating import kind_of

#: An edge's proxy that was killed is back within two seconds, and says something with the next line of its journal.
RETURN_SECONDS = 20.0
LOOK_SECONDS = 0.1


class Standby(Listening):
    """One relocation, seen from the edge that does not decide it."""

    name = "standby"

    def __init__(self, specification: dict, journal: Journal) -> None:
        """Begin, or go on after a kill. :raises RuntimeError: this is the edge that packets go to."""
        self.given = specification
        self.plan = EdgeSpecification.read(specification).plan
        self.table = Bystander(self.plan.container, self.plan.services, self.plan.source, self.plan.destination)
        if journal.state is None and has_address(self.plan.gateway):
            raise RuntimeError(f"{self.plan.gateway} has just come to this edge: try again")
        super().__init__(specification, journal)
        self.taking_over = threading.Event()
        self.reason = ""
        if journal.state is None:
            self.journal.record(State.STAGING, plan=self.plan.document)

    # -- following ---------------------------------------------------------------------------------------------------

    def follow(self) -> dict | None:
        """Follow the edge to its end. Return the result if this part had to bring the relocation there."""
        threading.Thread(target=self._look_for_addresses, daemon=True).start()
        seconds = RETURN_SECONDS if self.journal.times.keys() - {State.STAGING.value} else EDGE_SECONDS
        while not self.finished and not self.taking_over.is_set():
            try:
                self.edge = self._await(seconds)
                while not self.finished:
                    self._obey(self.edge.receive())
            except TimeoutError:
                self._decide_to_take_over("the edge that began it is gone")
            except (OSError, ValueError):
                seconds = RETURN_SECONDS
        self.listener.close()
        return None if self.finished else self._take_over()

    def _await(self, seconds: float) -> Channel:
        """Return the edge's channel. :raises TimeoutError: it does not come, or it is no longer waited for."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                channel = self.listener.accept(LOOK_SECONDS)
            except TimeoutError:
                if self.taking_over.is_set() or time.monotonic() > deadline:
                    raise
                continue
            if channel.peer == "edge":
                channel.watch()
                return channel
            channel.close()

    def _look_for_addresses(self) -> None:
        """Take over at once when the virtual addresses come here: the edge that had them holds no packet any more."""
        while not self.finished and not self.taking_over.is_set():
            with contextlib.suppress(OSError):  # no descriptor just now: look again
                if has_address(self.plan.gateway):
                    self._decide_to_take_over(f"{self.plan.gateway} came to the other edge")
                    if self.edge is not None:
                        self.edge.close()
                    return
            time.sleep(LOOK_SECONDS)

    def _decide_to_take_over(self, reason: str) -> None:
        if not self.taking_over.is_set():
            self.reason = reason
            self.taking_over.set()

    def on_note(self, message: dict) -> None:
        """Write a line of the edge's journal; do here what has to be ready when the packets come here."""
        if self.taking_over.is_set():
            raise ChannelLost("the other edge decides now")
        state, facts = State(message["state"]), message["facts"]
        known = EdgeFacts.of(self.journal)
        armed = Flow.read_all(facts.get("armed", known.armed))
        flows = [*armed, *Flow.read_all(facts.get("flows", known.flows))]
        if state in (State.HOLDING, State.ROUTING) and self.plan.mode != RECREATE:  # then both places may be spoken to
            self.table.guard(flows)
        if state is State.DONE:
            self._lead(self.plan.destination, flows)
            self.close(State.DONE, **facts)
        elif state is State.ROLLED_BACK:
            self._lead(self.plan.source, flows)
            self.close(State.ROLLED_BACK, **facts)
        elif self.journal.state is not state or facts:
            self.journal.record(state, **facts)
            if state in (State.DRAINING, State.RELEASED):  # the copy runs: what comes here may reach it
                self._lead(self.plan.destination, flows)
        self.say("noted", state=state.value)

    def on_tell(self, _: dict) -> None:
        """Say what is written here: the edge was killed in a moment when it cannot know."""
        assert self.journal.state is not None
        facts = {"moved": EdgeFacts.of(self.journal).moved}
        self.say("told", state=self.journal.state.value, facts=facts)

    def _lead(self, host: Addresses, flows: Iterable[Flow]) -> None:
        self.table.route(host)
        self.table.lift(flows)

    # -- taking over --------------------------------------------------------------------------------------------------

    def _take_over(self) -> dict:
        """Bring the relocation to the end that its journal demands, in the edge's place, and return the result."""
        state = self.journal.state
        assert state is not None
        end = "after" if state in AFTER_COMMIT else "before"
        self.journal.record(state, took_over=f"{self.reason}, {end} the commit")
        alone = {name: value for name, value in self.given.items() if name != "standby"}
        result = edge.resume(alone, self.journal, kind_of(self.given))
        wipe(self.directory)
        return result


def has_address(address: str) -> bool:
    """Return whether this host has an IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True
