# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's part: coordinates the three, holds the packets, decides the commit.

Read :meth:`Edge.stage`, :meth:`Edge.cutover` and :meth:`Edge.finish` from top to bottom: that is the protocol.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from .channel import Channel, ChannelLost
from .conntrack import Conntrack
from .flows import EGRESS, Flow, UntrackedFlow, datagram_flows, on_edge, place_on_edge
from .gateway import Gateway, forget_relocation
from .journal import Journal
from .states import State

CONNECT_SECONDS = 10.0
STAGE_SECONDS = 300.0  # an image pull and a first copy of the writable layer
SETTLE_SECONDS = 2.0
FREEZE_SECONDS = 10.0
CUTOVER_SECONDS = 30.0
FINISH_SECONDS = 30.0


class PartFailed(RuntimeError):
    """Another part said that it cannot go on, and why."""


class Peers:
    """The channels to source and destination, read by one thread each into one mailbox."""

    def __init__(
        self, relocation: str, credentials: dict, addresses: dict[str, tuple[str, int]], needed: bool = True
    ) -> None:
        """Connect to the parts. :raises OSError: when one does not answer and is ``needed``."""
        self._mail: queue.Queue[tuple[str, dict | Exception]] = queue.Queue()
        self._kept: list[tuple[str, dict]] = []
        self._lost: dict[str, Exception] = {}
        self.channels: dict[str, Channel] = {}
        for part, address in addresses.items():
            try:
                channel = Channel.connect(tuple(address), part, relocation, credentials, CONNECT_SECONDS)  # type: ignore[arg-type]
            except OSError:
                if needed:
                    raise
                continue
            self.channels[part] = channel
            threading.Thread(target=self._read, args=(part, channel), daemon=True).start()

    def _read(self, part: str, channel: Channel) -> None:
        while True:
            try:
                self._mail.put((part, channel.receive()))
            except (OSError, ValueError) as error:
                self._mail.put((part, error))
                return

    def tell(self, part: str, kind: str, **fields: Any) -> None:
        """Send one message to one part."""
        self.channels[part].send(kind, **fields)

    def expect(self, part: str, kind: str, seconds: float) -> dict:
        """Return the next message of that kind from that part.

        :raises PartFailed: when any part reports a failure; :raises ChannelLost: when this part is gone;
        :raises TimeoutError: when it stays silent.
        """
        deadline = time.monotonic() + seconds
        while True:
            for position, (sender, message) in enumerate(self._kept):
                if sender == part and message["kind"] == kind:
                    del self._kept[position]
                    return message
            if part in self._lost:
                raise ChannelLost(f"the {part}'s proxy is gone: {self._lost[part]}")
            try:
                sender, item = self._mail.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the {part} did not report '{kind}' within {seconds:g} s") from None
            if isinstance(item, Exception):
                self._lost[sender] = item
            elif item["kind"] == "failed":
                raise PartFailed(f"{sender}: {item['reason']}")
            else:
                self._kept.append((sender, item))

    def close(self) -> None:
        """Close both channels."""
        for channel in self.channels.values():
            channel.close()


class Edge:
    """One relocation, seen from the edge.

    ``specification`` is what the controller hands over: ``id``, ``credentials``, ``plan``, and where the other two listen
    (``source`` and ``destination``: ``[address, port]``).
    """

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.id: str = specification["id"]
        self.plan: dict = specification["plan"]
        self.specification = specification
        self.journal = journal
        self.marks: dict[str, int] = {}
        self.armed: list[Flow] = []
        self.flows: list[Flow] = []
        self.moved: list[Flow] = []
        self.routed: list[Flow] = []
        self.report: dict = {}
        self.conntrack = Conntrack()
        self.gateway: Gateway | None = None
        self.peers: Peers | None = None

    # -- the protocol -----------------------------------------------------------------------------------------------

    def run(self) -> dict:
        """Do the whole relocation and return the plan with results added. Never raises for what can be rolled back."""
        try:
            self.stage()
            self.cutover()
        except Exception as error:
            if self.journal.state is State.COMMITTED:
                return self._after_commit(error)
            return self.roll_back(error)
        return self.finish()

    def _mark(self, name: str) -> None:
        self.marks[name] = time.monotonic_ns()

    def stage(self) -> None:
        """Everything that takes time, while the container runs."""
        self._mark("begin")
        plan = self.plan
        self.journal.record(State.STAGING, plan=plan)
        source, destination = plan["source"]["address"], plan["destination"]["address"]
        self.gateway = Gateway(plan["container"], plan["services"], source, destination)
        addresses = {part: self.specification[part] for part in ("source", "destination")}
        self.peers = peers = Peers(self.id, self.specification["credentials"], addresses)
        peers.tell("source", "describe")
        described = peers.expect("source", "described", STAGE_SECONDS)
        peers.tell("destination", "create", document=described["document"])
        peers.expect("destination", "created", STAGE_SECONDS)
        peers.tell("source", "copy", destination=self.specification["destination"])
        peers.tell("destination", "start")
        gated = peers.expect("destination", "gated", STAGE_SECONDS)
        self.report["address_before"] = described["address"]
        self.report["address_after"] = gated["address"]
        copied = peers.expect("source", "copied", STAGE_SECONDS)
        self.report["bytes"] = {"writable_layer": copied["bytes"], "volumes": 0}
        peers.tell("source", "arm", address=gated["address"])
        armed = peers.expect("source", "armed", STAGE_SECONDS)
        # refuses while all still runs
        self.armed = on_edge([Flow.read(flow) for flow in armed["flows"]], list(self.conntrack.entries()))

    def cutover(self) -> None:
        """From the first held packet to the commit point and the release. Every millisecond here is a client's."""
        peers, gateway = self.peers, self.gateway
        assert peers is not None and gateway is not None
        self.journal.record(State.HOLDING, armed=[flow.document() for flow in self.armed])
        gateway.raise_barrier()
        peers.tell("source", "settle")
        peers.expect("source", "settled", SETTLE_SECONDS)
        self._mark("hold")
        gateway.hold(self.armed)
        peers.tell("source", "freeze")
        peers.expect("source", "frozen", FREEZE_SECONDS)
        gateway.shut(self.armed)
        dumped = peers.expect("source", "dumped", FREEZE_SECONDS + self.plan["dump_seconds"])
        self._mark("dumped")
        # The image is on its way to the destination while we place entries on both sides.
        entries = list(self.conntrack.entries())
        flows = on_edge([Flow.read(flow) for flow in dumped["flows"]], entries)
        self._all_held(flows)
        flows += datagram_flows(
            entries, self.plan["source"]["address"], self.plan["services"], self.report["address_before"]
        )
        self.flows = flows
        self.journal.record(State.ROUTING, flows=[flow.document() for flow in flows])
        peers.tell("destination", "place", flows=[flow.document() for flow in flows])
        placed = peers.expect("destination", "placed", CUTOVER_SECONDS)
        self.moved = [Flow.read(flow) for flow in placed["flows"]]
        for flow, moved in zip(flows, self.moved):
            self.routed.append(flow)
            place_on_edge(self.conntrack, moved)
        gateway.route(self.plan["destination"]["address"])
        self._mark("routed")
        peers.expect("destination", "prepared", CUTOVER_SECONDS + self.plan["dump_seconds"])
        self._mark("prepared")
        self.journal.record(State.COMMITTED, moved=[flow.document() for flow in self.moved], report=self.report)
        # ---- can't fail from this point: it can only be repeated ----
        self._mark("committed")
        peers.tell("destination", "commit")
        self.report["packets_held"] = gateway.release()
        self._mark("released")

    def _all_held(self, flows: list[Flow]) -> None:
        """See that every connection the container opened was held before the freeze.

        The answers to one that was not went on to the frozen source, whose kernel acknowledged what no image holds.

        :raises UntrackedFlow: there is one; the move must be taken back.
        """
        for flow in flows:
            if flow.direction == EGRESS and flow not in self.armed:
                raise UntrackedFlow(f"the container opened the connection {flow} in the last moment: try again")

    def finish(self) -> dict:
        """The destination runs; take the source away, then every trace."""
        peers, gateway = self.peers, self.gateway
        assert peers is not None and gateway is not None
        try:
            running = peers.expect("destination", "running", FINISH_SECONDS)
        except Exception as error:
            return self._after_commit(error)
        self._mark("running")
        problems = []
        source, destination = {}, {"report": running}
        try:
            self.journal.record(State.RELEASED)
            peers.tell("source", "finish")
            source = peers.expect("source", "finished", FINISH_SECONDS)
            gateway.reopen()
            peers.tell("destination", "finish")
            destination = peers.expect("destination", "finished", FINISH_SECONDS)
            gateway.persist()
            self.journal.record(State.DONE)
        except Exception as error:  # the move itself is done; `recover` can repeat the cleaning
            problems.append(str(error) or type(error).__name__)
        self._mark("end")
        return self._result("committed", source, destination, problems)

    def _after_commit(self, error: Exception) -> dict:
        """The copy died while its tasks were being resumed, and the source still stands frozen: it is all there is.

        Only when the destination itself says that nothing of the copy is left; if it is silent nobody may decide.
        """
        if isinstance(error, PartFailed) and str(error).startswith("destination:"):
            return self.roll_back(error)
        return self._result("in-doubt", {}, {}, [str(error)])

    def roll_back(self, error: Exception) -> dict:
        """Give everything back to the source: first its packets and its life, then tidy up."""
        self._mark("failed")
        reason = str(error) or type(error).__name__
        gateway = self.gateway
        for flow in self.routed:
            place_on_edge(self.conntrack, flow)
        problems: list[str] = []
        source: dict = {}
        if gateway is not None:
            if self.routed or "routed" in self.marks:
                gateway.route(self.plan["source"]["address"])
            gateway.reopen()
            problems += self._ask("source", "roll_back", "rolled_back", source)
            gateway.release()
        self._mark("released")
        problems += self._ask("destination", "roll_back", "rolled_back", {}, reason=reason)
        self._mark("end")
        self.journal.record(State.ROLLED_BACK, reason=reason)
        return self._result("rolled-back", source, {}, [reason, *problems])

    def _ask(self, part: str, kind: str, answer: str, into: dict, **fields: Any) -> list[str]:
        """Tell a part something during a rollback and wait for its answer; return what went wrong."""
        if self.peers is None or part not in self.peers.channels:
            return []
        try:
            self.peers.tell(part, kind, **fields)
            while True:
                try:
                    into.update(self.peers.expect(part, answer, FINISH_SECONDS))
                    return []
                except PartFailed:
                    continue  # an older complaint of the same failure
        except (OSError, TimeoutError) as error:
            return [str(error)]

    # -- the result -------------------------------------------------------------------------------------------------

    def _span(self, begin: str, end: str) -> int | None:
        if begin in self.marks and end in self.marks:
            return self.marks[end] - self.marks[begin]
        return None

    def _result(self, outcome: str, source: dict, destination: dict, problems: list[str]) -> dict:
        timings = {
            "stage": self._span("begin", "hold" if "hold" in self.marks else "end"),
            "transfer_restore": self._span("dumped", "prepared"),
            "commit": self._span("prepared", "committed"),
            "release": self._span("committed", "released"),
            "held_total": self._span("hold", "released"),
            "cleanup": self._span("released", "end"),
            **source.get("timings_ns", {}),
            **destination.get("timings_ns", {}),
        }
        held, times = timings["held_total"], self.journal.times
        if held is None and outcome == "committed" and {"holding", "released"} <= times.keys():
            held = times["released"] - times["holding"]  # two processes: only the journal's clock bridges them
        bytes_moved = {**self.report.get("bytes", {}), **source.get("bytes", {})}
        kept = len(self.moved) if outcome == "committed" else 0
        return {
            **self.plan,
            **self.report,
            "bytes": bytes_moved,
            "flows": {
                "ingress": sum(flow.direction != EGRESS for flow in self.flows),
                "egress": sum(flow.direction == EGRESS for flow in self.flows),
                "kept": kept,
                "lost": len(self.flows) - kept if outcome == "committed" else 0,
            },
            "timings_ns": {name: value for name, value in timings.items() if value is not None},
            "downtime_ms": round(held / 1e6, 3) if held is not None else 0.0,
            "rolled_back": outcome == "rolled-back",
            "outcome": outcome,
            "problems": problems,
        }

    def close(self) -> None:
        """Let everything go that only a living process can hold."""
        if self.peers:
            self.peers.close()
        if self.gateway:
            self.gateway.close()
        self.conntrack.close()


def resume(specification: dict, journal: Journal) -> dict:
    """Bring a relocation to its end after this part was killed: repeat the commit, or roll back.

    The queue died with the process, and the kernel dropped what it held or passed it on; TCP repairs that.
    """
    edge = Edge(specification, journal)
    edge.flows = [Flow.read(flow) for flow in journal.facts.get("flows", [])]
    edge.moved = [Flow.read(flow) for flow in journal.facts.get("moved", [])]
    edge.report = {"packets_held": 0, **journal.facts.get("report", {})}
    if journal.finished:  # killed before it could write the result
        done = journal.state is State.DONE
        return edge._result("committed" if done else "rolled-back", {}, {}, [] if done else [journal.facts["reason"]])
    plan = edge.plan
    addresses = {part: specification[part] for part in ("source", "destination")}
    committed = journal.state in (State.COMMITTED, State.RELEASED)
    edge.armed = [Flow.read(flow) for flow in journal.facts.get("armed", [])]
    forget_relocation(plan["services"], plan["source"]["address"], [*edge.armed, *edge.flows])
    edge.gateway = Gateway(
        plan["container"], plan["services"], plan["source"]["address"], plan["destination"]["address"]
    )
    edge._mark("begin")
    # Before the vote they have rolled back by themselves and are gone: the packets must flow again all the same.
    edge.peers = Peers(edge.id, specification["credentials"], addresses, needed=committed)
    if committed:
        for moved in edge.moved:
            place_on_edge(edge.conntrack, moved)
        edge.gateway.route(plan["destination"]["address"])
        edge.peers.tell("destination", "commit")
        return edge.finish()
    if journal.state is State.ROUTING:
        edge.marks["routed"] = edge.marks["begin"]
        edge.routed = list(edge.flows)
    return edge.roll_back(RuntimeError("the edge's proxy was killed before the commit"))
