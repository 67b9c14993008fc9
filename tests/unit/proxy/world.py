# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world of three hosts for the edge's part: what is true in it, and who may fail at which moment.

The edge is the real one, with its real journal. Source, destination, packet rules and connection table are simulated after the
table in ``relocate_proxy.protocol.states``: which message leads to which state, and what a part does when its proxy dies there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ansible_collections.relocate.mtd.plugins.module_utils._downtime import Cost
from relocate_proxy.network.conntrack import Endpoint, Entry
from relocate_proxy.network.flows import EGRESS, INGRESS, Flow
from relocate_proxy.parts.edge import PartFailed
from relocate_proxy.parts.recovery import COMMIT
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import AFTER_COMMIT, FINAL, IN_DOUBT, State

from .tables import FakeTable

T = TypeVar("T")

CLIENT, REMOTE = Endpoint("10.88.0.2", 40000), Endpoint("10.88.0.2", 80)
VIRTUAL, EGRESS_PLACE = Endpoint("10.88.0.100", 7000), Endpoint("10.88.0.100", 45000)
OLD, NEW = "10.77.0.11", "10.77.0.12"
OLD6, NEW6 = "fd00:77::11", "fd00:77::12"
IN = Flow(INGRESS, "tcp", Endpoint("172.20.1.2", 7000), CLIENT, Endpoint(OLD, 7001))
OUT = Flow(EGRESS, "tcp", Endpoint("172.20.1.2", 51000), REMOTE, Endpoint(OLD, 45000))
PLAN = {
    "id": "r1",
    "container": "counter",
    "source": {"host": "host1", "address": OLD},
    "destination": {"host": "host2", "address": NEW},
    "edge": {"host": "host0", "address": "10.77.0.10"},
    "services": [
        {
            "protocol": protocol,
            "virtual_address": "10.88.0.100",
            "virtual_port": port,
            "host_port": port + 1,
            "container_port": port,
        }
        for protocol, port in (("tcp", 7000), ("udp", 53))
    ],
    "dump_seconds": 10,
    "mode": "stop-and-copy",
    "memory_bytes": 8 << 20,
    "predictions": {"stop-and-copy": 120.0, "post-copy": 90.0},
    "downtime_limit_ms": 60_000.0,
    "cost": Cost(100.0, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, overlapped=False)._asdict(),
}


class Broken(Exception):
    """A part has failed or died in the middle of its step: it answers nothing more to this message."""


class World:
    """Three hosts and one container.

    :param fault: ``(part, state, "fails" | "dies")``: what happens right after a part has entered a state.
    """

    def __init__(self, fault: tuple[str, State, str] | None = None, drains: bool = False) -> None:
        self.fault = fault
        self.flows6: list[Flow] = []  # those of IPv6
        self.addresses6: dict[str, str] = {}  # by part: what its network gives the container beside an IPv4 address
        self.drains = drains  # a post-copy: pages still come when the copy runs
        self.lost_pages = ""  # why they do not
        self.routed = False  # the destination has heard that the copy's packets find their way
        self.copies = {"source": "running", "destination": "none"}
        self.states: dict[str, State | None] = {"source": None, "destination": None}
        self.reached: set[tuple[str, State]] = set()
        self.mail: list[tuple[str, dict | Exception]] = []
        self.lost: set[str] = set()  # parts whose channel to the edge that now lives is broken
        self.host, self.host6 = OLD, ""
        self.held: list[Flow] | None = None
        self.shut: list[Flow] | None = None
        self.barrier = False
        self.unborn = False  # what is held does not reach the copy, though nobody may be there to hold it
        self.mute = False  # no peer hears an end or an acknowledgement from the copy
        self.silent = False  # nothing that the copy's kernel says leaves the edge
        self.persisted = self.drained = False
        self.boot = OLD, False  # where the table leads that an edge loads when it is started anew, and if that is shut
        self.stands = ""  # why the last pages do not come
        self.table = FakeTable(
            Entry("tcp", CLIENT, VIRTUAL, IN.host, CLIENT),
            Entry("tcp", OUT.host, REMOTE, REMOTE, EGRESS_PLACE),
            Entry("udp", Endpoint("10.88.0.2", 5000), Endpoint("10.88.0.100", 53), Endpoint(OLD, 54), CLIENT),
        )
        self.entries_before = set(self.table.held)

    # -- what the parts do ------------------------------------------------------------------------------------------

    def enter(self, part: str, state: State) -> None:
        """Let a part record a state; then let it fail or die, if that is its moment."""
        self.states[part] = state
        self.reached.add((part, state))
        if self.fault == (part, state, "fails"):
            if part == "destination" and state in (State.COMMITTED, State.DRAINING):
                self.copies[part] = "gone"  # what the destination may only say when nothing of the copy is left
            self.mail.append((part, PartFailed(f"{part}: it broke in {state.value}")))
            raise Broken
        if self.fault == (part, state, "dies"):
            self.lost.add(part)
            self.left_alone(part)
            raise Broken

    def left_alone(self, part: str) -> None:
        """What a part does on its own: its proxy was killed and restarted, or its edge is gone."""
        state = self.states[part]
        if state is not None and state not in FINAL and state not in IN_DOUBT | AFTER_COMMIT:
            self.undo(part)

    def undo(self, part: str) -> None:
        """Take a part's side of the move back."""
        if part == "source":
            assert self.copies["source"] != "killed", "the source was killed and is to run again"
            assert self.copies["destination"] != "running", "two copies run"
            self.copies["source"] = "running"
        else:
            assert self.copies["destination"] != "running", "the only running copy was removed"
            self.copies["destination"] = "removed"
        self.states[part] = State.ROLLED_BACK
        self.reached.add((part, State.ROLLED_BACK))

    def run_copy(self) -> None:
        """Let the restored copy run."""
        assert self.copies == {"source": "frozen", "destination": "prepared"}, self.copies
        assert self.routed, "its sockets wait for the routes"
        self.copies["destination"] = "running"

    def kill_source(self) -> None:
        """Remove the frozen source."""
        assert self.copies["source"] == "frozen", self.copies
        assert self.copies["destination"] in ("running", "died"), self.copies
        assert self.states["destination"] is not State.DRAINING or self.drained, "its memory is still needed"
        self.copies["source"] = "killed"

    def hear(self, part: str, kind: str, fields: dict[str, Any]) -> None:
        """Do what the edge asks of a part."""
        try:
            getattr(self, f"{part}_{kind}")(fields)
        except Broken:
            pass

    def say(self, part: str, kind: str, **fields: Any) -> None:
        """Send something to the edge."""
        self.mail.append((part, {"kind": kind, **fields}))

    def at(self, part: str, address: str) -> dict[str, str]:
        """Return the addresses of a part's container, as they are said."""
        address6 = self.addresses6.get(part)
        return {"address": address, **({"address6": address6} if address6 else {})}

    def source_describe(self, _: dict) -> None:
        self.enter("source", State.STAGING)
        self.say("source", "described", document={}, **self.at("source", "172.20.1.2"))

    def destination_create(self, _: dict) -> None:
        self.enter("destination", State.STAGING)
        self.say("destination", "created")

    def destination_start(self, _: dict) -> None:
        self.copies["destination"] = "gated"
        self.enter("destination", State.GATED)
        self.say("destination", "gated", **self.at("destination", "172.20.2.2"))

    def source_copy(self, _: dict) -> None:
        self.say("source", "copied", bytes=1000)

    def source_arm(self, _: dict) -> None:
        self.enter("source", State.STAGED)
        flows = [flow.document() for flow in (IN, OUT, *self.flows6)]
        self.say("source", "armed", flows=flows, memory_bytes=8 << 20, link_ms_per_mib=0.5)

    def source_settle(self, _: dict) -> None:
        self.say("source", "settled")

    def source_freeze(self, _: dict) -> None:
        self.enter("source", State.FREEZING)
        self.copies["source"] = "frozen"
        self.say("source", "frozen")
        self.say("source", "dumped", flows=[flow.document() for flow in (IN, OUT, *self.flows6)])
        self.enter("source", State.VOTED)
        self.enter("destination", State.RESTORING)
        self.enter("destination", State.PREPARED)
        self.copies["destination"] = "prepared"
        self.say("destination", "prepared")

    def destination_place(self, fields: dict) -> None:
        moved = []
        for document in fields["flows"]:
            port = document["host"]["port"] + (1 if document["direction"] == EGRESS else 0)
            host = NEW6 if ":" in document["remote"]["address"] else NEW
            moved.append({**document, "host": {"address": host, "port": port}})
        self.say("destination", "placed", flows=moved)

    def destination_routed(self, _: dict) -> None:
        self.routed = True

    def destination_commit(self, _: dict) -> None:
        if self.states["destination"] is State.PREPARED:
            self.enter("destination", State.DRAINING if self.drains else State.COMMITTED)
            self.run_copy()
        self.say("destination", "accepted")
        self.say("destination", "running", address="172.20.2.2")

    def destination_drain(self, _: dict) -> None:
        self.say("destination", "drained", going={"left": 4 << 20})
        if self.stands:
            self.say("destination", "drained", stands=self.stands)
            return
        self.say("destination", "drained", going={"left": 1 << 20})
        self.drain()
        self.say("destination", "drained", **({"lost": self.lost_pages} if self.lost_pages else {"bytes": 100}))

    def drain(self) -> None:
        """The last page arrives, or never will."""
        assert self.copies["source"] == "frozen", "there is nothing to read from"
        self.drained = True
        if self.lost_pages:
            self.copies["destination"] = "died"

    def source_finish(self, _: dict) -> None:
        self.enter("source", State.COMMITTED)
        self.kill_source()
        self.enter("source", State.DONE)
        self.say("source", "finished", timings_ns={"freeze": 1}, bytes={"memory": 8}, commands=[["criu", "dump"]])

    def destination_finish(self, _: dict) -> None:
        self.enter("destination", State.DONE)
        create = ["POST", "/containers/create"]
        self.say("destination", "finished", timings_ns={"restore": 2}, commands=[create])

    def source_roll_back(self, _: dict) -> None:
        self.undo("source")
        self.say("source", "rolled_back")
        self.enter("source", State.ROLLED_BACK)

    def destination_roll_back(self, fields: dict) -> None:
        if fields.get("unless_accepted") and self.states["destination"] in AFTER_COMMIT:
            self.say("destination", "accepted")
            return
        self.undo("destination")
        self.say("destination", "rolled_back")
        self.enter("destination", State.ROLLED_BACK)

    # -- afterwards -------------------------------------------------------------------------------------------------

    def nothing_slips_through(self) -> None:
        """The edge's process was killed before the commit: its queue is gone, and lets packets pass."""
        leads_there = self.host == NEW or any(
            NEW in (e.source.address, e.reply_source.address) for e in self.table.held
        )
        assert self.unborn or not leads_there, "the copy acknowledges what its source never sees"

    def may_boot(self, committed: bool) -> None:
        """The edge's machine was lost with its process. What it loads when it is started anew is all that there is then."""
        host, shut = self.boot
        assert shut or host == (NEW if committed else OLD), "one acknowledges what the other never sees"

    def edge_gone(self) -> None:
        """The edge's process has ended: everybody notices, and a new one has a channel of its own."""
        for part in self.states:
            self.left_alone(part)
        self.lost.clear()
        self.mail.clear()

    def settle(self, verdict: str) -> None:
        """What ``relocate recover`` does on the Docker hosts: the destination first."""
        if verdict == COMMIT:
            if self.copies["destination"] == "prepared":
                self.run_copy()
            if self.copies["source"] == "frozen":
                self.drain()
                self.kill_source()
            return
        for part in ("destination", "source"):
            if self.states[part] not in FINAL:
                self.undo(part)

    def assert_whole(self) -> None:
        """One copy runs, the edge leads to it, and nothing is held, shut or half-placed."""
        running = [part for part, copy in self.copies.items() if copy == "running"]
        assert len(running) == 1, self.copies
        there = running == ["destination"]
        assert self.host == (NEW if there else OLD)
        assert (self.held, self.shut, self.barrier) == (None, None, False)
        assert not (self.unborn or self.mute or self.silent)
        assert self.boot == (self.host, False)
        if there:
            assert {entry.source for entry in self.table.held} >= {CLIENT, Endpoint(NEW, 45001)}
            assert OLD not in {entry.reply_source.address for entry in self.table.held}
        else:
            assert set(self.table.held) >= {entry for entry in self.entries_before if entry.protocol == "tcp"}
            assert NEW not in {entry.reply_source.address for entry in self.table.held}


class Steps:
    """Everything the edge does, one call a step; one of them may go wrong, before or after it has had its effect."""

    def __init__(self, at: int | None = None, when: str = "before", error: BaseException | None = None) -> None:
        self.at, self.when, self.error = at, when, error
        self.names: list[str] = []

    def take(self, name: str, effect: Callable[[], T]) -> T:
        """Do one step."""
        index = len(self.names)
        self.names.append(name)
        if self.error and (index, "before") == (self.at, self.when):
            raise self.error
        result = effect()
        if self.error and (index, "after") == (self.at, self.when):
            raise self.error
        return result


class StepJournal(Journal):
    """The real journal, whose lines are steps."""

    steps: Steps

    def record(self, state: State, **facts: object) -> None:
        """Write a line."""
        self.steps.take(f"record {state.value}", lambda: Journal.record(self, state, **facts))


class FakePeers:
    """The edge's channels into the world."""

    def __init__(self, world: World, steps: Steps, needed: bool = True) -> None:
        self.world, self.steps = world, steps
        self.channels = {}
        self.on_loss: Callable[[str], object] = lambda _: None
        for part, state in world.states.items():
            if state in FINAL:
                if needed:
                    raise ConnectionRefusedError(f"the {part} does not listen any more")
                continue
            self.channels[part] = object()

    def reconnect(self, part: str) -> None:
        """Find the part again, if its guardian had a reason to start it."""
        if self.world.states[part] in FINAL:
            raise ChannelLost(f"the {part}'s proxy does not come back")
        self.world.lost.discard(part)
        self.world.mail = [(sender, item) for sender, item in self.world.mail if sender != part]
        self.channels[part] = object()

    def tell(self, part: str, kind: str, **fields: Any) -> None:
        """Send."""
        if part not in self.channels:
            raise ChannelLost(f"the {part} is gone")
        if part in self.world.lost:
            raise ChannelLost(f"the {part} is gone")
        self.steps.take(f"tell {part} {kind}", lambda: self.world.hear(part, kind, fields))

    def expect(
        self, part: str, kind: str, seconds: float, otherwise: str | None = None, state: str | None = None
    ) -> dict:
        """Receive; what is not there will never come."""
        return self.steps.take(f"expect {part} {kind}", lambda: self._find(part, kind, otherwise, state))

    def _find(self, part: str, kind: str, otherwise: str | None, state: str | None) -> dict:
        for position, (sender, item) in enumerate(self.world.mail):
            if isinstance(item, Exception):
                del self.world.mail[position]
                raise item
            if sender == part and item["kind"] in (kind, otherwise) and state in (None, item.get("state")):
                del self.world.mail[position]
                return item
        if part in self.world.lost:
            raise ChannelLost(f"the {part}'s proxy is gone")
        raise TimeoutError(f"the {part} did not report '{kind}'")

    def close(self) -> None:
        """Hang up."""


class FakeGateway:
    """The edge's packet rules, in the world."""

    def __init__(self, world: World, steps: Steps, left: list[Flow] | None = None) -> None:
        self.world, self.steps, self.left = world, steps, left
        self.astray: list[str] = []  # services that are the container's no more

    def _named(self, flows: list[Flow] | None) -> None:
        assert self.left is None or set(flows or []) <= set(self.left), "the journal does not name what is held"

    def _set(self, name: str, **values: Any) -> None:
        self.steps.take(name, lambda: vars(self.world).update(values))

    def raise_barrier(self) -> None:
        """New connections wait."""
        self._set("raise barrier", barrier=True)

    def hold(self, flows: list[Flow]) -> None:
        """Packets wait."""
        self._set("hold", held=list(flows))

    def shut(self, flows: list[Flow]) -> None:
        """The old place is silenced: it must be frozen by now. The new one is, too."""
        assert self.world.copies["source"] == "frozen"
        self._set("shut", shut=list(flows), silent=True)

    def let_copy_speak(self) -> None:
        """The new place has its entries: those that were told to the destination lead there."""
        assert self.world.unborn
        self._set("let copy speak", silent=False)

    def route(self, host: Addresses, *, born: bool = True) -> None:
        """New connections go to a host. Of what a dead process has left this one knows only when it releases."""
        unborn = not born or (self.left is not None and self.world.unborn)
        self._set("route", host=host.ip4, host6=host.ip6, unborn=unborn, mute=unborn)

    def release(self, *, born: bool = True) -> int:
        """Packets flow."""
        self._named(self.world.held)
        mute = self.world.mute and not born
        self._set("release", held=None, barrier=False, unborn=False, silent=False, mute=mute)
        return 7

    def let_copy_live(self) -> None:
        """It runs."""
        assert self.world.copies["destination"] != "prepared", "its kernel speaks for tasks that may never run"
        self._set("let copy live", mute=False)

    def reopen(self) -> None:
        """The old place may speak."""
        self._named(self.world.shut)
        self._set("reopen", shut=None)

    def persist(self) -> None:
        """The table is on the disk."""
        self._set("persist", persisted=True, boot=(self.world.host, self.world.unborn))

    def close(self) -> None:
        """The queue is unbound."""
