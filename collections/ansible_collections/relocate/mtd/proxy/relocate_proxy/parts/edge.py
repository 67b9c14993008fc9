# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's part: coordinates the three, holds the packets, decides the commit.

Read :meth:`Edge.stage`, :meth:`Edge.cutover` and :meth:`Edge.finish` from top to bottom: that is the protocol.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._modes import POST_COPY, RECREATE

from ..network.conntrack import PROTOCOLS, Conntrack
from ..network.flows import (
    EGRESS,
    Flow,
    UntrackedFlow,
    as_placed,
    datagram_flows,
    forget_services,
    of_host,
    on_edge,
    place_on_edge,
)
from ..network.packet_rules import PacketRules
from ..protocol.addresses import Addresses
from ..protocol.channel import ChannelLost
from ..protocol.documents import EdgeSpecification
from ..protocol.facts import EdgeFacts
from ..protocol.journal import Journal
from ..protocol.moments import Moments
from ..protocol.peers import CONNECT_SECONDS, PartFailed, Peers
from ..protocol.states import AFTER_COMMIT, State
from ..protocol.words import sentence
from . import budget, edge_result, endings
from .budget import Deadline, OverBudget
from .endings import Attempts

STAGE_SECONDS = 300.0  # an image pull and a first copy of the writable layer
SETTLE_SECONDS = 2.0
FREEZE_SECONDS = 10.0
CUTOVER_SECONDS = 30.0
FINISH_SECONDS = 30.0
#: While the last pages of a post-copy come, the destination says every second how it goes.
DRAIN_SECONDS = 30.0
ATTEMPTS = 3
KILLED = "the edge's proxy was killed before the commit"


#: The other edge writes a line, while clients wait.
NOTE_SECONDS = 2.0


class Undecided(RuntimeError):
    """Whether the other edge has the verdict is not known: it may act on it when this one is lost."""


class NotWritten(OSError):
    """The verdict could not be written. It may be on the disk all the same: a failed fsync says nothing about that."""


class Edge:
    """One relocation, seen from the edge.

    :ivar alone: no others move together with it.
    :param specification: what the controller hands over (``documents.EdgeSpecification``).
    """

    alone = True

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.specification = EdgeSpecification.read(specification)
        self.id, self.plan = self.specification.id, self.specification.plan
        self.journal = journal
        self.moments = Moments()
        self.armed: list[Flow] = []
        self.flows: list[Flow] = []
        self.moved: list[Flow] = []
        self.routed: list[Flow] = []
        self.report: dict = {}
        self.pages_bytes = 0  # memory that followed after the release
        self.on_drain: Callable[[dict], object] = lambda _: None  # is told how it follows
        self.conntrack = Conntrack()
        self.gateway: PacketRules | None = None
        self.peers: Peers | None = None

    # -- the protocol -----------------------------------------------------------------------------------------------

    def run(self) -> dict:
        """Do the whole relocation and return the plan with results added. Never raises for what can be rolled back."""
        try:
            self.stage()
            self.cutover()
        except NotWritten as error:
            return self._take_back(error)
        except Undecided as error:
            return self._ask_destination(error)
        except Exception as error:
            if self.journal.state is not State.COMMITTED:
                return self.roll_back(error)
        return self.finish()

    def rules(self, left: list[Flow] | None = None) -> PacketRules:
        """Return the edge's table, as this relocation uses it. :param left: see :class:`PacketRules`."""
        plan = self.plan
        return PacketRules(plan.container, plan.services, plan.source, plan.destination, left)

    def stage(self) -> None:
        """Everything that takes time, while the container runs."""
        self.moments.mark("begin")
        plan = self.plan
        self.journal.record(State.STAGING, plan=plan.document)
        self.gateway = self.rules()
        self.peers = peers = Peers(self.id, self.specification.credentials, self.specification.addresses)
        self._follow(State.STAGING)
        peers.on_loss = self._regain_standby
        peers.tell("source", "describe")
        described = peers.expect("source", "described", STAGE_SECONDS)
        peers.tell("destination", "create", document=described["document"])
        created = peers.expect("destination", "lacks_image", STAGE_SECONDS, otherwise="created")
        if created["kind"] == "lacks_image":
            peers.tell("source", "send_image", destination=self.specification.destination)
            self.report["image_bytes"] = peers.expect("source", "image_sent", STAGE_SECONDS)["bytes"]
            peers.tell("destination", "create", document=described["document"])
            created = peers.expect("destination", "created", STAGE_SECONDS)
        peers.tell("source", "copy", destination=self.specification.destination, pages=created.get("pages"))
        peers.tell("destination", "start")
        gated = peers.expect("destination", "gated", STAGE_SECONDS)
        before, after = Addresses.read(described), Addresses.read(gated)
        before.insist_on(after)
        self.report.update(before.document("_before"), **after.document("_after"))
        copied = peers.expect("source", "copied", STAGE_SECONDS)
        self.report["bytes"] = {"writable_layer": copied["bytes"], "volumes": 0}
        self.meet("copied")
        peers.tell("source", "arm", **after.document())
        armed = peers.expect("source", "armed", STAGE_SECONDS)
        # both refuse while all still runs
        self.armed = self._seen(armed["flows"])
        for flow in self.armed:
            if not self.plan.destination.has_like(flow.remote.address):
                raise LookupError(
                    f"the connection {flow} goes by IPv6, and the destination has no such address: set "
                    "relocate_fabric_address6 in the inventory"
                )
        self.report["rounds"] = armed.get("rounds", [])
        self.report |= budget.predict(plan, armed, len(self.armed))
        budget.refuse_over(plan, self.report["predicted_downtime_ms"])

    def cutover(self) -> None:
        """From the first held packet to the commit point. Every millisecond here is a client's."""
        peers, gateway = self.peers, self.gateway
        assert peers is not None and gateway is not None
        peers.on_loss = lambda _: None  # from here to the verdict, clients would wait for it
        armed = [flow.document() for flow in self.armed]
        self._note(State.HOLDING, armed=armed)
        self.journal.record(State.HOLDING, armed=armed)
        gateway.raise_barrier()
        peers.tell("source", "settle")
        peers.expect("source", "settled", budget.wait_seconds(self.plan, SETTLE_SECONDS, FREEZE_SECONDS))
        self._noted(State.HOLDING)
        self.moments.mark("hold")
        deadline = Deadline(self.plan.downtime_limit_ms)
        gateway.hold(self.armed)
        self.moments.mark("held")
        self.meet("held")
        peers.tell("source", "freeze")
        deadline.expect(peers, "source", "frozen", FREEZE_SECONDS)
        self.moments.mark("frozen")
        now = datetime.datetime.now(datetime.timezone.utc)
        self.report["frozen_at"] = now.isoformat(timespec="milliseconds")
        gateway.shut(self.armed)
        if not self.alone:
            self.meet("frozen")
            peers.tell("source", "dump")
        dumped = deadline.expect(peers, "source", "dumped", FREEZE_SECONDS + self.plan.dump_seconds)
        self.moments.mark("dumped")
        # The image is on its way to the destination while we place entries on both sides.
        flows = self._seen(dumped["flows"])
        self._all_held(flows)
        datagrams = datagram_flows(
            self.conntrack, self.plan.source, self.plan.services, Addresses.read(self.report, "_before")
        )
        flows += [flow for flow in datagrams if flow not in flows]  # a server may have connected its socket to a client
        self.flows = flows
        documents = [flow.document() for flow in flows]
        self._note(State.ROUTING, flows=documents)
        self.journal.record(State.ROUTING, flows=documents)
        peers.tell("destination", "place", flows=documents)
        placed = deadline.expect(peers, "destination", "placed", CUTOVER_SECONDS)
        self.moved = as_placed(flows, Flow.read_all(placed["flows"]), self.plan.destination)
        self._noted(State.ROUTING)
        # Before the entries: what gets past the queue from now on must not reach the copy.
        gateway.route(self.plan.destination, born=False)
        for flow, moved in zip(flows, self.moved):
            self.routed.append(flow)
            place_on_edge(self.conntrack, moved)
        if not self.alone:
            deadline.expect(peers, "destination", "silent", CUTOVER_SECONDS + self.plan.dump_seconds)
            self.meet("silent")
        peers.tell(
            "destination", "routed"
        )  # until it hears this, the copy's sockets say nothing, but for a timer's sake
        gateway.let_copy_speak()
        self.moments.mark("routed")
        # While CRIU restores. An edge that is started anew after the commit must not lead the packets to the frozen original,
        # which would acknowledge what the copy never sees.
        gateway.persist()
        deadline.expect(peers, "destination", "prepared", CUTOVER_SECONDS + self.plan.dump_seconds)
        self.moments.mark("prepared")
        self._decide()

    def meet(self, moment: str) -> None:
        """Return when all members of the project that move together (``company``) have come to a moment.

        :raises Abandoned: one of them will not.
        """

    def _decide(self) -> None:
        """Write the verdict: commit. :raises NotWritten: it may not be on this disk; :raises Undecided: or on the other."""
        verdict = {"moved": [flow.document() for flow in self.moved], "report": self.report}
        self._promise(verdict)
        try:
            self.journal.record(State.COMMITTED, **verdict)
        except Exception as error:
            if self.journal.state is State.COMMITTED:
                raise
            raise NotWritten(f"the edge could not write its verdict: {error}") from error

    def _seen(self, documents: list[dict]) -> list[Flow]:
        """Return the flows that the source names, as the peers see them. :raises UntrackedFlow: one would be cut."""
        named = of_host(Flow.read_all(documents), self.plan.source)
        return on_edge(named, self.conntrack, self.plan.services)

    # -- the other edge, if there is one: it goes on from its journal should this one be lost -------------------------------

    def _note(self, state: State, **facts: Any) -> None:
        """Have the other edge write a line as well; :meth:`_noted` waits until it has."""
        if self.specification.standby and self.peers:
            self.peers.tell("standby", "note", state=state.value, facts=facts)

    def _noted(self, state: State) -> None:
        if self.specification.standby and self.peers:
            self.peers.expect("standby", "noted", NOTE_SECONDS, state=state.value)

    def _follow(self, state: State, **facts: Any) -> None:
        """Have it write a line, and return when it has. :raises OSError, PartFailed: it has not, for all that is known."""
        if self.specification.standby:
            self._insist("standby", "note", "noted", seconds=NOTE_SECONDS, state=state.value, facts=facts)

    def _regain(self, part: str) -> None:
        """Connect again to a part that was killed while nobody waits for it: alone, it would give up, or take over.

        If it does not come back, it is missed when it is told something.
        """
        assert self.peers is not None
        with contextlib.suppress(OSError):
            self.peers.reconnect(part)

    def _regain_standby(self, part: str) -> None:
        """Do so for the other edge alone: before the freeze, source and destination roll back when they were killed."""
        if part == "standby":
            self._regain(part)

    def _promise(self, verdict: dict) -> None:
        """Have the other edge write the verdict before this one does: from now on either can bring the move to that end.

        Nobody is told of a commit that the other edge has not: what it has not, it can roll back when this edge is lost.

        :raises Undecided: it may have it, or not.
        """
        try:
            self._follow(State.COMMITTED, **verdict)
        except Exception as error:
            raise Undecided(f"the other edge did not confirm the verdict: {error}") from error

    def _ask_destination(self, error: Exception) -> dict:
        """The other edge may have the verdict, and act on it: what the destination hears first, counts.

        So it is told to remove the copy, and the source may thaw only when it has. If it says that it has heard of a commit
        already, that is the verdict.
        """
        try:
            answer = self._insist(
                "destination", "roll_back", "rolled_back", otherwise="accepted", reason=str(error), unless_accepted=True
            )
            if answer["kind"] == "accepted":
                moved = [flow.document() for flow in self.moved]
                self.journal.record(State.COMMITTED, moved=moved, report=self.report)
                return self.finish()
        except Exception as problem:
            return self._result("in-doubt", {}, {}, [str(error), str(problem)])
        return self.roll_back(error, discarded=answer)

    def _resume_promised(self) -> dict:
        """Go on after a kill, at a moment when the other edge may have had the verdict."""
        gateway = self.gateway
        assert gateway is not None
        try:
            told = self._insist("standby", "tell", "told", seconds=NOTE_SECONDS)
        except Exception as error:
            return self._ask_destination(error)
        if State(told["state"]) not in AFTER_COMMIT:
            endings.turn_to_source(gateway, self.conntrack, self.plan.source, self.routed)
            return self.roll_back(RuntimeError(KILLED))
        moved = told["facts"].get("moved", [])
        self.moved = Flow.read_all(moved)
        self.journal.record(State.COMMITTED, moved=moved, report=self.report)
        endings.turn_to_destination(gateway, self.conntrack, self.plan.destination, self.moved)
        return self.finish()

    def _all_held(self, flows: list[Flow]) -> None:
        """Check that every connection the container opened was held before the freeze.

        The answers to one that was not went on to the frozen source, whose kernel acknowledged what no image holds.

        :raises UntrackedFlow: there is one; the move must be taken back.
        """
        for flow in flows:
            if flow.direction == EGRESS and flow.protocol == "tcp" and flow not in self.armed:
                raise UntrackedFlow(f"the container opened the connection {flow} in the last moment: try again")

    def finish(self) -> dict:
        """Let the destination run, take the source away, then every trace. Can't fail from here: it can only be repeated."""
        gateway = self.gateway
        assert gateway is not None
        self.moments.mark("committed")
        attempts = Attempts()
        source: dict = {}
        destination: dict = {}
        if self.journal.state is not State.RELEASED:  # else it runs: only the cleaning is left
            try:
                self._release(attempts)
            except PartFailed as error:
                return self._take_back(error)
            except Exception as error:  # it is silent or gone for good: nobody may decide
                # the verdict stands, and the copy may run, or be dead
                attempts.take(lambda: gateway.release(born=False))
                return self._result("in-doubt", {}, {}, [str(error), *attempts.problems])
        self.moments.mark("running")
        attempts.take(gateway.persist)
        lost: dict[str, str] = {}
        if self.plan.mode in (POST_COPY, RECREATE) and self.journal.state is not State.RELEASED:
            try:
                lost = self._drain(attempts)
            except Exception as error:  # the copy runs, for all we know, and its source is still needed
                return self._result("in-doubt", {}, {}, [str(error), *attempts.problems])
        # The move itself is done. Whatever fails here keeps nothing else from being done; `recover` can repeat it.
        attempts.take(lambda: self.journal.record(State.RELEASED, **lost))
        attempts.take(lambda: self._follow(State.RELEASED, **lost))
        if attempts.take(
            lambda: source.update(self._insist("source", "finish", "finished", seconds=self.finish_seconds))
        ):
            attempts.take(self._source_gone)
        attempts.take(lambda: destination.update(self._insist("destination", "finish", "finished")))
        attempts.take(lambda: self._follow(State.DONE, everywhere=not attempts.problems))
        if not attempts.problems:
            attempts.take(lambda: self.journal.record(State.DONE, everywhere=True))
        self.moments.mark("end")
        return self._result("committed", source, destination, attempts.problems)

    @property
    def finish_seconds(self) -> float:
        """How long the source may take to remove the original."""
        return FINISH_SECONDS

    def _source_gone(self) -> None:
        """Nothing is left at the source: its place is open again, at the next boot as well."""
        assert self.gateway is not None
        self.gateway.reopen()
        self.gateway.persist()

    def _release(self, attempts: Attempts) -> None:
        """Let the copy run and the packets go to it, and return when it runs.

        They go when the destination has accepted, while CRIU resumes the tasks. Until the copy runs, its peers hear neither an
        acknowledgement nor an end from its kernel: the verdict may have to be taken back.

        :raises PartFailed: the destination says that nothing of the copy is left; :raises OSError: it says nothing.
        """
        gateway = self.gateway
        assert gateway is not None
        self._insist("destination", "commit", "accepted")
        released = Attempts().take(lambda: self.report.update(packets_held=gateway.release(born=False)))
        self.moments.mark("released")
        self._insist("destination", "commit", "running", told=True)
        attempts.take(gateway.let_copy_live if released else gateway.release)

    def _drain(self, attempts: Attempts) -> dict[str, str]:
        """Wait until the copy does not need its source any more; if it died before that, return why, under ``lost``.

        Nobody waits for this but us: the packets flow.

        :raises OSError: the destination does not tell. :raises TimeoutError: it says that nothing comes any more.
        """
        attempts.take(lambda: self.journal.record(State.DRAINING))
        attempts.take(lambda: self._follow(State.DRAINING))
        assert self.peers is not None
        self.peers.on_loss = self._regain
        drained = self._insist("destination", "drain", "drained", seconds=DRAIN_SECONDS)
        while "going" in drained:
            self.on_drain(drained["going"])
            drained = self._insist("destination", "drain", "drained", told=True, seconds=DRAIN_SECONDS)
        if "stands" in drained:
            raise TimeoutError(sentence(drained["stands"]))
        self.moments.mark("drained")
        self.pages_bytes = drained.get("bytes", 0)
        return {"lost": sentence(drained["lost"])} if "lost" in drained else {}

    def _insist(
        self,
        part: str,
        kind: str,
        answer: str,
        told: bool = False,
        seconds: float = FINISH_SECONDS,
        otherwise: str | None = None,
        **fields: Any,
    ) -> dict:
        """Have a part do what the verdict demands of it, and return its answer; a part that was killed is told again.

        :param told: it has heard it already, and only its answer is missing. :param otherwise: another answer that counts.
        :param fields: what it is told; if that is a ``state``, the answer must be about this one, and not a late one.
        :raises PartFailed: it says time and again that it cannot; of a commit it says so once, and means it.
        :raises OSError: it is gone, or silent.
        """
        peers = self.peers
        assert peers is not None
        problem: Exception = ChannelLost(f"the {part}'s proxy is gone")
        for _ in range(ATTEMPTS):
            try:
                if not told:
                    peers.tell(part, kind, **fields)
                told = True
                while True:
                    try:
                        return peers.expect(part, answer, seconds, otherwise, fields.get("state"))
                    except PartFailed as error:
                        if error.part == part:
                            raise
                        continue  # another part's older complaint
            except TimeoutError:
                raise
            except Exception as error:
                if kind == "commit" and isinstance(error, PartFailed):
                    raise
                problem, told = error, False
                if isinstance(error, ChannelLost):
                    peers.reconnect(part)
        raise problem

    def _take_back(self, error: Exception) -> dict:
        """Take the verdict back: the copy died while its tasks were being resumed, or the verdict may not be on the disk.

        The source still stands frozen. The first, only the destination itself can say. In both cases the journal is changed
        before the source may run: whoever reads it after a crash must not let the copy run as well.
        """
        try:
            if isinstance(
                error, NotWritten
            ):  # the destination has not heard anything, and could hear it from the other edge
                self._follow(State.ROUTING, taken_back=str(error))
            self.journal.record(State.ROUTING, taken_back=str(error))
        except Exception as problem:
            return self._result("in-doubt", {}, {}, [str(error), str(problem)])
        return self.roll_back(error)

    def roll_back(self, error: Exception, discarded: dict | None = None) -> dict:
        """Give everything back to the source: first its packets and its life, then tidy up.

        :param discarded: what the destination said, if it has removed the copy already.
        """
        self.moments.mark("failed")
        reason = sentence(error)
        attempts = Attempts()
        gateway, peers = self.gateway, self.peers
        told: dict[str, bool] = {}

        def tell_source() -> None:
            if peers is not None:
                told["source"] = Attempts().take(lambda: peers.tell("source", "roll_back", reason=reason))

        if gateway is None:
            tell_source()
        else:
            host = self.plan.source
            attempts = endings.turn_to_source(gateway, self.conntrack, host, self.routed, reopened=tell_source)
            # What clients have begun since the release leads to a copy that is gone, whose host would refuse it. Their next
            # try comes to the source.
            attempts.take(lambda: self._forget(self.plan.destination, PROTOCOLS))
        self.moments.mark("released")
        answers: dict[str, dict] = {}
        if discarded is not None:
            answers["destination"] = discarded
        if peers is not None:
            if discarded is None:
                told["destination"] = Attempts().take(lambda: peers.tell("destination", "roll_back", reason=reason))
            for part, heard in told.items():
                try:
                    answers[part] = self._insist(part, "roll_back", "rolled_back", heard, reason=reason)
                    if part == "source":
                        self.moments.mark("thawed")
                except Exception as problem:
                    attempts.problems.append(str(problem))
        kept = gateway is None or attempts.take(gateway.persist)
        self.moments.mark("end")
        everywhere = {"everywhere": True} if {"source", "destination"} <= answers.keys() else {}
        if kept:  # else the services would be shut after the next boot, and nobody would ever open them
            attempts.take(lambda: self.journal.record(State.ROLLED_BACK, reason=reason, **everywhere))
        if peers is not None:
            attempts.take(lambda: self._follow(State.ROLLED_BACK, reason=reason, **everywhere))
        outcome = "refused" if isinstance(error, OverBudget) else "rolled-back"
        return self._result(
            outcome, answers.get("source", {}), answers.get("destination", {}), [reason, *attempts.problems]
        )

    def _forget(self, host: Addresses, protocols: Collection[str]) -> None:
        """Have conversations with the services on a host begin anew, wherever they are now."""
        forget_services(self.conntrack, host, self.plan.services, protocols)

    def _result(self, outcome: str, source: dict, destination: dict, problems: list[str]) -> dict:
        return edge_result.make(self, outcome, {"source": source, "destination": destination}, problems)

    def close(self) -> None:
        """Let everything go that only a living process can hold."""
        if self.peers:
            self.peers.close()
        if self.gateway:
            self.gateway.close()
        self.conntrack.close()


def resume(specification: dict, journal: Journal, kind: type[Edge] = Edge) -> dict:
    """Bring a relocation to its end after this part was killed: repeat the commit, or roll back.

    The queue died with the process, and the kernel dropped what it held; what came since was dropped if it led to the copy, and
    else passed on to the original. TCP repairs that.
    """
    edge = kind(specification, journal)
    facts, plan = EdgeFacts.of(journal), edge.plan
    edge.armed, edge.flows, edge.moved = (Flow.read_all(each) for each in (facts.armed, facts.flows, facts.moved))
    edge.report = {"packets_held": 0, **facts.report}
    if journal.finished:  # killed before it could write the result
        done = journal.state is State.DONE
        return edge._result("committed" if done else "rolled-back", {}, {}, [] if done else [facts.reason])
    left = [*edge.armed, *edge.flows]
    edge.gateway = edge.rules(left)
    edge.moments.mark("begin")
    seconds = CONNECT_SECONDS + plan.dump_seconds  # a source in the middle of its dump answers after it
    if journal.state is State.ROUTING and edge.specification.standby:
        edge.routed = list(edge.flows)
        edge.peers = Peers(
            edge.id, edge.specification.credentials, edge.specification.addresses, needed=False, seconds=seconds
        )
        return edge._resume_promised()
    if journal.state not in AFTER_COMMIT:
        # The source may have thawed by itself: its packets must flow before anybody is found.
        if journal.state is State.ROUTING:
            edge.routed = list(edge.flows)
        endings.turn_to_source(edge.gateway, edge.conntrack, plan.source, edge.routed)
    # Before the vote they have rolled back by themselves and are gone: the packets must flow again all the same.
    edge.peers = Peers(
        edge.id, edge.specification.credentials, edge.specification.addresses, needed=False, seconds=seconds
    )
    if journal.state in AFTER_COMMIT:
        endings.turn_to_destination(edge.gateway, edge.conntrack, plan.destination, edge.moved)
        return edge.finish()
    return edge.roll_back(RuntimeError(facts.took_over or KILLED))
