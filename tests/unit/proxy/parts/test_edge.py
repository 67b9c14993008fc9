# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's part: a failure injected after every step and in every state of every part, and what must be true then.

Whatever goes wrong, one copy runs in the end, the packets go to it, and nothing is left held or shut. Before the commit
point the move is rolled back; after it, it is completed, or left in doubt for recovery to complete, and never taken back.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.network.conntrack import Endpoint, Entry
from relocate_proxy.network.flows import INGRESS, Flow
from relocate_proxy.parts import edge, recovery
from relocate_proxy.parts.edge import Edge, PartFailed
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.states import AFTER_COMMIT, State

from .. import world
from ..fakes import do_not_sync
from ..protocol_page import documented
from ..world import (
    CLIENT,
    IN,
    NEW,
    NEW6,
    OLD,
    OLD6,
    OUT,
    PLAN,
    VIRTUAL,
    FakeGateway,
    FakePeers,
    StepJournal,
    Steps,
    World,
)

SPECIFICATION = {"id": "r1", "credentials": {}, "plan": PLAN, "source": [OLD, 1], "destination": [NEW, 1]}
POST_COPY = {**SPECIFICATION, "plan": {**PLAN, "mode": "post-copy"}}


class Killed(BaseException):
    """SIGKILL: no handler of the process runs."""


@dataclass
class Scene:
    """One relocation: the world, the edge's steps, and how it ended."""

    world: World
    steps: Steps
    directory: Path
    journals: list[StepJournal] = field(default_factory=list)

    def journal(self) -> StepJournal:
        """Return the edge's journal as a new process reads it."""
        found = StepJournal.at("r1", "edge", str(self.directory / "journal"))
        assert isinstance(found, StepJournal)
        found.steps = self.steps
        self.journals.append(found)
        return found

    def end(self) -> None:
        """Close what its processes had open: hundreds of tests leave no room for a descriptor that ``select`` can take."""
        for each in self.journals:
            if each._fd >= 0:
                os.close(each._fd)

    @property
    def state(self) -> State | None:
        """What is on the edge's disk."""
        return self.journal().state

    @property
    def specification(self) -> dict[str, Any]:
        """What the controller hands over."""
        return POST_COPY if self.world.drains else SPECIFICATION

    def run(self, specification: dict[str, Any] | None = None) -> dict | None:
        """Run the edge; None when it was killed."""
        part = Edge(specification or self.specification, self.journal())
        try:
            result = part.run()
        except Killed:
            result = None
            if self.state not in AFTER_COMMIT:
                self.world.nothing_slips_through()
            self.world.may_boot(self.state in AFTER_COMMIT)
        part.close()
        self.world.edge_gone()
        return result

    def resume(self) -> dict | None:
        """What the edge's guardian does; None when that fails, too."""
        try:
            return edge.resume(self.specification, self.journal())
        except (OSError, RuntimeError):
            return None
        finally:
            self.world.edge_gone()

    def recover(self) -> None:
        """What the playbook does later, if there is still something to do."""
        answer = recovery.recover({"relocation": "r1", "part": "edge"})
        self.world.settle(answer["verdict"])
        self.world.assert_whole()


Maker = Callable[..., Scene]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, host: Path) -> Iterator[Maker]:
    """Return a function that makes a scene; the edge's own code then finds the world where the kernel would be."""
    do_not_sync(monkeypatch)
    scenes: list[Scene] = []

    def make(fault: tuple[str, State, str] | None = None, drains: bool = False, **steps: Any) -> Scene:
        made = Scene(World(fault, drains), Steps(**steps), host)
        scenes.append(made)
        world = made.world

        def gateway(*arguments: Any) -> FakeGateway:
            left: list[Flow] | None = arguments[4] if len(arguments) > 4 else None
            return FakeGateway(world, made.steps, left)

        for module in (edge, recovery):
            monkeypatch.setattr(module, "Conntrack", lambda: world.table)
            monkeypatch.setattr(module, "PacketRules", gateway)
        monkeypatch.setattr(edge, "Peers", lambda *_, needed=True, seconds=1.0: FakePeers(world, made.steps, needed))
        return made

    yield make
    for each in scenes:
        each.end()


def test_a_move_that_nothing_disturbs(scene: Maker) -> None:
    """Every state of the three columns is passed, in the order of the page, and the result says what happened."""
    it = scene()
    result = it.run()
    assert result is not None
    assert (result["outcome"], result["problems"], result["rolled_back"]) == ("committed", [], False)
    assert result["flows"] == {"ingress": 2, "egress": 1, "kept": 3, "lost": 0}
    assert result["bytes"] == {"writable_layer": 1000, "volumes": 0, "memory": 8}
    assert (result["address_before"], result["address_after"]) == ("172.20.1.2", "172.20.2.2")
    assert result["packets_held"] == 7 and result["id"] == "r1" and result["container"] == "counter"
    assert set(result["timings_ns"]) >= {
        "stage", "hold", "freeze", "restore", "commit", "release", "cleanup", "frozen_total", "held_total",
    }  # fmt: skip
    assert datetime.datetime.fromisoformat(result["frozen_at"]).utcoffset() == datetime.timedelta(0)
    assert result["commands"] == [["criu", "dump"], ["POST", "/containers/create"]] and result["source_needed_ms"] == 0
    assert result["downtime_ms"] == round(result["timings_ns"]["held_total"] / 1e6, 3)
    assert [name.split()[1] for name in it.steps.names if name.startswith("record")] == [
        "staging", "holding", "routing", "committed", "released", "done",
    ]  # fmt: skip
    assert it.world.persisted and it.state is State.DONE and it.journal().facts["everywhere"]
    it.world.assert_whole()


CLIENT6, VIRTUAL6 = Endpoint("2001:db8::2", 40000), Endpoint("2001:db8::100", 7000)
IN6 = Flow(INGRESS, "tcp", Endpoint("fd00:20:1::2", 7000), CLIENT6, Endpoint(OLD6, 7001))
WEB6 = {**PLAN["services"][0], "virtual_address": VIRTUAL6.address}
DNS6 = {**PLAN["services"][1], "virtual_address": VIRTUAL6.address}


def by_both_families(it: Scene) -> dict[str, Any]:
    """Give the world's container an IPv6 address, and a connection and a conversation by it; return what the edge is told."""
    it.world.addresses6 = {"source": "fd00:20:1::2", "destination": "fd00:20:2::2"}
    it.world.flows6 = [IN6]
    asking = Endpoint("2001:db8::2", 5000)
    it.world.table.held += [
        Entry("tcp", CLIENT6, VIRTUAL6, IN6.host, CLIENT6),
        Entry("udp", asking, Endpoint(VIRTUAL6.address, 53), Endpoint(OLD6, 54), asking),
    ]
    ends = {"source": {**PLAN["source"], "address6": OLD6}, "destination": {**PLAN["destination"], "address6": NEW6}}
    return {**SPECIFICATION, "plan": {**PLAN, **ends, "services": [*PLAN["services"], WEB6, DNS6]}}


def test_connections_of_both_families_follow_the_container(scene: Maker) -> None:
    """Each to the new host's address of its own family; the source hears both of the copy's, for its sockets have both."""
    it, armed = scene(), []
    specification = by_both_families(it)
    arm = it.world.source_arm

    def noting(fields: dict[str, Any]) -> None:
        armed.append(fields)
        arm(fields)

    it.world.source_arm = noting  # type: ignore[method-assign]
    result = it.run(specification)
    assert result is not None and (result["outcome"], result["problems"]) == ("committed", [])
    assert result["flows"] == {"ingress": 4, "egress": 1, "kept": 5, "lost": 0}
    assert armed == [{"address": "172.20.2.2", "address6": "fd00:20:2::2"}]
    assert (result["address_before"], result["address6_before"]) == ("172.20.1.2", "fd00:20:1::2")
    assert (result["address_after"], result["address6_after"]) == ("172.20.2.2", "fd00:20:2::2")
    assert (it.world.host, it.world.host6) == (NEW, NEW6)
    led = {(entry.protocol, entry.reply_source) for entry in it.world.table.held if ":" in entry.source.address}
    assert led == {("tcp", Endpoint(NEW6, 7001)), ("udp", Endpoint(NEW6, 54))}
    it.world.assert_whole()


@pytest.mark.parametrize("at", ["expect destination placed", "record committed"])
def test_connections_of_both_families_are_given_back(scene: Maker, at: str) -> None:
    """As they were, whether they had been led away or not."""
    it = scene(at=CLEAN.index(at), error=RuntimeError("it broke"))
    specification = by_both_families(it)
    before = {entry for entry in it.world.table.held if entry.protocol == "tcp"}
    result = it.run(specification)
    assert result is not None and result["outcome"] == "rolled-back"
    assert before <= set(it.world.table.held) and it.world.host6 != NEW6
    assert NEW6 not in {entry.reply_source.address for entry in it.world.table.held}
    it.world.assert_whole()


def test_a_container_does_not_lose_its_ipv6_address(scene: Maker) -> None:
    """The destination's network has none: its sockets would be bound to an address that is not there. All still runs."""
    it = scene()
    specification = by_both_families(it)
    del it.world.addresses6["destination"]
    result = it.run(specification)
    assert result is not None and result["outcome"] == "rolled-back"
    assert result["problems"] == ["the container has an IPv6 address, and its network at the destination gives it none"]
    assert "tell source arm" not in it.steps.names and "record holding" not in it.steps.names
    assert it.world.copies == {"source": "running", "destination": "removed"}


def test_a_connection_by_ipv6_does_not_go_to_a_host_without_it(scene: Maker) -> None:
    """The container has opened it, and no service says so. Nothing is held for that, and the remedy is named."""
    it = scene()
    plan = by_both_families(it)["plan"]
    ends = {"destination": PLAN["destination"], "services": PLAN["services"]}
    result = it.run({**SPECIFICATION, "plan": {**plan, **ends}})
    assert result is not None and result["outcome"] == "rolled-back"
    assert "goes by IPv6" in result["problems"][0] and "set relocate_fabric_address6" in result["problems"][0]
    assert "record holding" not in it.steps.names
    assert it.world.copies == {"source": "running", "destination": "removed"}


def test_an_ipv6_address_that_nobody_asked_for_does_no_harm(scene: Maker) -> None:
    """A network of the destination may have IPv6 where the source's has none."""
    it = scene()
    it.world.addresses6 = {"destination": "fd00:20:2::2"}
    result = it.run()
    assert result is not None and result["outcome"] == "committed"
    assert "address6_before" not in result and result["address6_after"] == "fd00:20:2::2"
    it.world.assert_whole()


def test_a_rollback_whose_table_cannot_be_kept_is_left_to_recovery(scene: Maker) -> None:
    """What an edge would load at its next boot still shuts the services: the journal must not say that all is done."""
    it = scene(("destination", State.COMMITTED, "fails"))
    first = iter([None, OSError("no space left on device")])
    persist = FakeGateway.persist

    def fails_the_second_time(self: FakeGateway) -> None:
        if error := next(first, None):
            raise error
        persist(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeGateway, "persist", fails_the_second_time)
        result = it.run()
    assert result is not None and result["outcome"] == "rolled-back" and "no space left" in result["problems"][-1]
    assert it.state is State.ROUTING
    it.recover()


def test_a_post_copy_needs_its_source_until_the_last_page(scene: Maker) -> None:
    """The source is taken away after that, and the result says how long it was needed and what came in that time."""
    it = scene(drains=True)
    result = it.run()
    assert result is not None and (result["outcome"], result["problems"]) == ("committed", [])
    assert result["source_needed_ms"] > 0 and result["bytes"]["memory"] == 108
    assert [name.split()[1] for name in it.steps.names if name.startswith("record")] == [
        "staging", "holding", "routing", "committed", "draining", "released", "done",
    ]  # fmt: skip
    assert DRAINED.index("expect destination drained") < DRAINED.index("tell source finish")
    assert it.world.copies == {"source": "killed", "destination": "running"}


def test_a_copy_whose_last_pages_are_lost_is_dead_and_its_source_never_runs_again(scene: Maker) -> None:
    """The clients have heard the copy: what the source remembers is not true any more. Nobody calls that a move."""
    it = scene(drains=True)
    it.world.lost_pages = "the connection to the source broke"
    result = it.run()
    assert result is not None and (result["outcome"], result["rolled_back"]) == ("failed", False)
    assert result["problems"] == [
        "the copy died before the last of its memory had come from the source: the connection to the source broke"
    ]
    assert (result["flows"]["kept"], result["flows"]["lost"]) == (0, 3)
    assert it.world.copies == {"source": "killed", "destination": "died"} and it.world.host == NEW
    assert it.state is State.DONE and it.journal().facts["lost"] == "the connection to the source broke"
    again = it.resume()  # killed before the result was written
    assert again is not None and again["outcome"] == "failed" and again["problems"] == result["problems"]


def test_the_answers_to_its_own_connections_are_held(scene: Maker) -> None:
    """What the source showed before the freeze is what is held and shut."""
    it = scene(at=CLEAN.index("expect source dumped"), error=Killed())
    it.run()
    assert it.world.held is not None and it.world.shut is not None
    assert [flow.host for flow in it.world.held if flow.direction == "egress"] == [OUT.host]
    assert it.world.shut == it.world.held


def test_a_connection_opened_in_the_last_moment_takes_the_move_back(
    scene: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers were not held: what the frozen kernel acknowledged is in no image."""
    it = scene()
    monkeypatch.setattr(
        it.world, "source_arm", lambda _: it.world.say("source", "armed", flows=[], memory_bytes=1, link_ms_per_mib=1.0)
    )
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert (
        "opened the connection tcp 172.20.1.2:51000 -> 10.88.0.2:80 in the last moment: try again"
        in result["problems"][0]
    )
    it.recover()


def test_a_connection_that_passes_elsewhere_is_refused_before_anything_is_held(scene: Maker) -> None:
    """The edge has never seen it: it would be cut."""
    it = scene()
    it.world.table.held.pop(1)
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert "does not pass through the edge and would be cut" in result["problems"][0]
    assert "hold" not in it.steps.names and "record holding" not in it.steps.names
    assert it.world.copies["source"] == "running"


def test_a_clients_connection_that_the_edge_has_forgotten_is_moved_all_the_same(
    scene: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table was lost while the connection was idle: the service leads to the container, and says what the client knows."""
    it = scene()
    it.world.table.held.pop(0)
    monkeypatch.setattr(world, "IN", replace(IN, routed=True))
    result = it.run()
    assert result is not None and result["outcome"] == "committed"
    it.world.assert_whole()


def test_a_source_that_names_another_hosts_connection_gets_nothing_moved(
    scene: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a neighbour's on its bridge: the edge would lead its client away from it."""
    it = scene()
    other = Endpoint("10.77.0.13", 7001)
    it.world.table.held.append(Entry("tcp", CLIENT, Endpoint("10.88.0.100", 9000), other, CLIENT))
    monkeypatch.setattr(world, "IN", replace(IN, host=other))
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert "does not pass through the edge and would be cut" in result["problems"][0]
    assert "record holding" not in it.steps.names


def test_a_destination_that_places_something_else_gets_nothing(scene: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge would lead the clients of another service to it."""
    it = scene()

    def place(fields: dict[str, Any]) -> None:
        stolen = {"host": {"address": NEW, "port": 7001}, "virtual": {"address": "10.88.0.100", "port": 9000}}
        it.world.say("destination", "placed", flows=[{**each, **stolen} for each in fields["flows"]])

    monkeypatch.setattr(it.world, "destination_place", place)
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert "the destination has placed other connections than it was told" in result["problems"][0]
    it.recover()
    it.world.assert_whole()


def limited(limit_ms: float) -> dict[str, Any]:
    """Return a specification whose plan has a limit."""
    return {**SPECIFICATION, "plan": {**PLAN, "downtime_limit_ms": limit_ms}}


def test_what_was_measured_while_staging_is_predicted_with(scene: Maker) -> None:
    """8 MiB at 1 + 0.5 + 1 ms, two connections at 0.5 ms, and 100 ms: the link's speed is the measured one."""
    result = scene().run()
    assert result is not None and result["predicted_downtime_ms"] == 121.0
    assert result["measured"] == {"memory_bytes": 8 << 20, "link_ms_per_mib": 0.5, "connections": 2}
    assert result["cost"]["link_ms"] == 0.5


def test_a_pre_copy_is_predicted_with_what_its_last_round_found(scene: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 of 8 MiB are left: they go at 1 + 0.5 ms, all 8 are restored at 1 ms; the rounds are in the result."""
    it = scene()
    rounds = [{"bytes": 8 << 20, "stopped_ms": 3.0}, {"bytes": 2 << 20, "stopped_ms": 1.0}]
    flows = [flow.document() for flow in (IN, OUT)]
    told = {"flows": flows, "memory_bytes": 8 << 20, "link_ms_per_mib": 0.5, "rounds": rounds, "left_bytes": 2 << 20}
    monkeypatch.setattr(it.world, "source_arm", lambda _: it.world.say("source", "armed", **told))
    result = it.run()
    assert result is not None and result["predicted_downtime_ms"] == 100 + 1 + 3 + 8
    assert (result["rounds"], result["measured"]["left_bytes"]) == (rounds, 2 << 20)
    assert (result["cost"]["share"], result["cost"]["ahead"]) == (0.25, 0.75)


def test_a_move_over_the_limit_is_refused_with_nothing_held(scene: Maker) -> None:
    """It was within it when it was planned. The sentence says what was predicted, the limit, and what fits."""
    it = scene()
    result = it.run(limited(120.5))
    assert result is not None and (result["outcome"], result["rolled_back"]) == ("refused", False)
    assert result["problems"] == [
        "moving counter by stop-and-copy is predicted to stop it for 121 ms and downtime_limit_ms is 120.5: "
        "use mode post-copy (90 ms), or raise downtime_limit_ms"
    ]
    assert not {"hold", "raise barrier", "record holding", "tell source freeze"} & set(it.steps.names)
    assert it.state is State.ROLLED_BACK and it.world.copies == {"source": "running", "destination": "removed"}
    assert "frozen_at" not in result and result["downtime_ms"] == 0.0
    it.recover()


@pytest.mark.parametrize(("limit_ms", "seconds"), [(121.0, 2.0), (5000.0, 5.0), (600_000.0, 10.0)])
def test_who_allows_a_long_pause_has_new_connections_wait_as_long(
    scene: Maker, monkeypatch: pytest.MonkeyPatch, limit_ms: float, seconds: float
) -> None:
    """A source that is slow to settle on a busy host is not given up while the limit is far away."""
    it = scene()
    expect, waited = FakePeers.expect, {}

    def noting(peers: FakePeers, part: str, kind: str, *rest: Any, **more: Any) -> dict:
        waited[kind] = rest
        return expect(peers, part, kind, *rest, **more)

    monkeypatch.setattr(FakePeers, "expect", noting)
    it.run(limited(limit_ms))
    assert waited["settled"] == (seconds,)
    it.recover()


@pytest.mark.parametrize("silent", ["frozen", "dumped", "placed", "prepared"])
def test_a_cutover_that_lasts_too_long_is_taken_back(scene: Maker, silent: str) -> None:
    """Whoever it is that does not answer in time: a minute would have been given, the limit is of 121 ms."""
    it = scene()
    say = it.world.say

    def not_in_time(part: str, kind: str, **fields: Any) -> None:
        if kind != silent:
            say(part, kind, **fields)

    it.world.say = not_in_time  # type: ignore[method-assign]
    result = it.run(limited(121.0))
    assert result is not None and result["outcome"] == "rolled-back"
    assert "the cutover was not over after 242 ms, 2 times downtime_limit_ms" in result["problems"][0]
    assert f"had not reported '{silent}'" in result["problems"][0]
    assert it.world.copies["source"] == "running"
    it.world.assert_whole()
    it.recover()


def test_a_verdict_that_could_not_be_written_is_taken_back_on_the_disk_first(
    scene: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed fsync may have written all the same. Whoever reads the journal after a crash must read what was done."""
    it = scene()
    broken = {"record committed"}

    def sync(_: int) -> None:
        if it.steps.names[-1] in broken:
            broken.clear()
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", sync)
    result = it.run()
    assert result is not None and (result["outcome"], result["rolled_back"]) == ("rolled-back", True)
    assert "the edge could not write its verdict: [Errno 5] Input/output error" in result["problems"][0]
    names = it.steps.names
    taken_back = names.index("record committed") + 1
    assert names[taken_back] == "record routing" and taken_back < names.index("tell source roll_back")
    it.world.assert_whole()


def test_a_verdict_that_cannot_be_taken_back_on_the_disk_either_leaves_all_in_doubt(
    scene: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is gone. Nobody may run until somebody has seen to that."""
    it = scene()

    def sync(_: int) -> None:
        if "record committed" in it.steps.names:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", sync)
    result = it.run()
    assert result is not None and result["outcome"] == "in-doubt"
    assert it.world.copies == {"source": "frozen", "destination": "prepared"}


def test_a_verdict_is_not_taken_back_for_being_late(scene: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is ready in the last moment; that it is resumed later than the deadline changes nothing."""
    it = scene()
    resume, clock = it.world.run_copy, time.monotonic

    def late() -> None:
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600.0)
        resume()

    monkeypatch.setattr(it.world, "run_copy", late)
    result = it.run(limited(121.0))
    assert result is not None and result["outcome"] == "committed"


class PaperlessJournal(StepJournal):
    """A journal without a disk: there is no test yet whose directory it could be in."""

    def record(self, state: State, **facts: object) -> None:
        """Take the step alone."""
        self.steps.take(f"record {state.value}", lambda: self._absorb({"state": state, "at_ns": 0, **facts}))


def _clean_steps(specification: dict[str, Any]) -> list[str]:
    """Return the steps of a move that nothing disturbs, to have one test for each."""
    world, steps = World(drains=specification is POST_COPY), Steps()
    journal = PaperlessJournal("/nowhere")
    journal.steps = steps
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(edge, "Conntrack", lambda: world.table)
        patched.setattr(edge, "PacketRules", lambda *_: FakeGateway(world, steps))
        patched.setattr(edge, "Peers", lambda *_: FakePeers(world, steps))
        assert Edge(specification, journal).run()["outcome"] == "committed"
    return steps.names


CLEAN, DRAINED = _clean_steps(SPECIFICATION), _clean_steps(POST_COPY)
COMMIT_AT = CLEAN.index("record committed")
STEPS = [  # a post-copy differs after the commit only
    (drains, at, name)
    for drains, names in ((False, CLEAN), (True, DRAINED))
    for at, name in enumerate(names)
    if not drains or at >= COMMIT_AT
]
ERRORS = (
    ChannelLost("the source's proxy is gone"),
    PartFailed("source: it broke"),
    TimeoutError("silence"),
)
MOMENTS = [
    pytest.param(drains, at, when, id=f"{'post-copy-' * drains}{at:02}-{when}-{name.replace(' ', '-')}")
    for drains, at, name in STEPS
    for when in ("before", "after")
]


@pytest.mark.parametrize(("drains", "at", "when"), MOMENTS)
def test_a_failure_at_every_step(scene: Maker, drains: bool, at: int, when: str) -> None:
    """Rolled back before the commit point; after it never."""
    _fail(scene, drains, at, when, RuntimeError("it broke"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("drains", "at"), [(drains, at) for drains, at, name in STEPS if name.startswith("expect")])
def test_every_way_in_which_an_answer_does_not_come(scene: Maker, drains: bool, at: int, error: Exception) -> None:
    """What is reported, lost or late counts the same."""
    _fail(scene, drains, at, "before", error)


def test_a_drain_that_stands_still_keeps_both(scene: Maker) -> None:
    """What has stopped is left to recover: the copy runs, the source is kept."""
    it = scene(drains=True)
    it.world.stands = "1.0 MiB are still at the source"
    result = it.run()
    assert result is not None
    assert result["outcome"] == "in-doubt" and result["problems"] == ["1.0 MiB are still at the source"]
    assert it.state is State.DRAINING and it.world.copies == {"source": "frozen", "destination": "running"}


@pytest.mark.parametrize(
    ("waits_for", "killed", "found"),
    [
        ("drained", "source", True),
        ("drained", "standby", True),
        ("copied", "standby", True),
        ("copied", "destination", False),
        ("prepared", "standby", False),
    ],
)
def test_a_part_that_is_killed_while_nobody_waits_for_it_is_found_again(
    scene: Maker, monkeypatch: pytest.MonkeyPatch, waits_for: str, killed: str, found: bool
) -> None:
    """In a long drain its next process would give up, or take over. In the cutover, clients would wait for it."""
    it = scene(drains=True)
    expect, again = FakePeers.expect, []

    def interrupted(peers: FakePeers, part: str, kind: str, *rest: Any, **more: Any) -> dict:
        if kind == waits_for:
            peers.on_loss(killed)
        return expect(peers, part, kind, *rest, **more)

    monkeypatch.setattr(FakePeers, "expect", interrupted)
    monkeypatch.setattr(FakePeers, "reconnect", lambda _, part: again.append(part))
    result = it.run()
    assert result is not None and (result["outcome"], result["problems"]) == ("committed", [])
    assert set(again) == ({killed} if found else set())


def _fail(scene: Maker, drains: bool, at: int, when: str, error: Exception) -> None:
    it = scene(drains=drains, at=at, when=when, error=error)
    result = it.run()
    assert result is not None
    committed = (at, when) > (COMMIT_AT, "before") if at == COMMIT_AT else at > COMMIT_AT
    if when == "after" and at == COMMIT_AT:  # the line may be on the disk: that is the verdict
        committed = True
    if committed:
        assert result["outcome"] in ("committed", "in-doubt") and not result["rolled_back"]
        assert it.state in AFTER_COMMIT
        assert it.world.copies["source"] in ("frozen", "killed")
        assert it.world.copies["destination"] in ("prepared", "running")
        decisive = tuple(f"expect destination {answer}" for answer in ("accepted", "running", "drained"))
        silent = isinstance(error, TimeoutError) and (DRAINED if drains else CLEAN)[at] in decisive
        assert result["outcome"] == ("in-doubt" if silent else "committed"), "what can be repeated was repeated"
    else:
        assert result["outcome"] == "rolled-back" and result["rolled_back"] and result["flows"]["lost"] == 0
        assert str(error) in result["problems"][0]
        assert it.state is State.ROLLED_BACK
        assert it.world.copies["source"] == "running"
        it.world.assert_whole()
    if it.journal().facts.get("everywhere"):  # nobody will need this journal's verdict
        assert set(it.world.copies.values()) in ({"running", "removed"}, {"killed", "running"}, {"running"})
    it.recover()


@pytest.mark.parametrize(("drains", "at", "when"), MOMENTS)
def test_the_edge_killed_at_every_step(scene: Maker, drains: bool, at: int, when: str) -> None:
    """Its guardian brings the move to an end; if that is killed as well, recovery does."""
    it = scene(drains=drains, at=at, when=when, error=Killed())
    assert it.run() is None
    on_disk = it.state
    if on_disk is None:  # killed before its first line: it never began
        return
    before = it.world.copies.copy()
    result = it.resume()
    if on_disk not in AFTER_COMMIT:
        assert result is not None and result["outcome"] == "rolled-back"
        assert it.state is State.ROLLED_BACK
        it.world.assert_whole()
    elif result is not None:
        assert result["outcome"] == "committed", before
        assert result["address_after"] == "172.20.2.2" and result["packets_held"] >= 0, "who shows it needs these"
        assert result["downtime_ms"] > 0 and result["flows"]["kept"] == 3
    it.recover()


@pytest.mark.parametrize(("drains", "at", "when"), MOMENTS)
def test_recovery_without_a_guardian_at_every_step(scene: Maker, drains: bool, at: int, when: str) -> None:
    """The edge's host was restarted: only its journal is left."""
    it = scene(drains=drains, at=at, when=when, error=Killed())
    assert it.run() is None
    it.recover()
    assert it.state in (None, State.DONE, State.ROLLED_BACK)


PART_STATES = [
    (part, state)
    for part in ("source", "destination")
    for state in State
    if state in documented(part) and state is not State.ROLLED_BACK
]


@pytest.mark.parametrize("how", ["fails", "dies"])
@pytest.mark.parametrize(("part", "state"), PART_STATES, ids=lambda value: getattr(value, "value", value))
def test_a_part_that_breaks_in_every_state(scene: Maker, part: str, state: State, how: str) -> None:
    """What the other two believe, and that recovery ends in one place."""
    it = scene(fault=(part, state, how), drains=state is State.DRAINING)
    result = it.run()
    assert result is not None
    assert (part, state) in it.world.reached, "this state was never reached: the test has tested nothing"
    dies_at_once = part == "destination" and state in (State.COMMITTED, State.DRAINING) and how == "fails"
    if state in AFTER_COMMIT and not dies_at_once:
        assert result["outcome"] in ("committed", "in-doubt") and not result["rolled_back"]
        assert result["problems"], "somebody has to be told"
    else:  # before the vote, after it, and a copy that died while it was being resumed
        assert result["outcome"] == "rolled-back" and it.state is State.ROLLED_BACK
    it.recover()


@pytest.mark.parametrize("how", ["fails", "dies"])
@pytest.mark.parametrize("part", ["source", "destination"])
def test_a_part_that_breaks_while_it_is_rolled_back(scene: Maker, part: str, how: str) -> None:
    """Two things go wrong: the first is what the result speaks of first."""
    it = scene(
        fault=(part, State.ROLLED_BACK, how), at=CLEAN.index("expect destination placed"), error=RuntimeError("disk")
    )
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back" and result["problems"][0] == "disk"
    it.recover()


def test_a_source_that_is_killed_after_its_vote_is_thawed_by_its_next_process(scene: Maker) -> None:
    """The edge finds it again and repeats the verdict: nobody has to be called."""
    it = scene(fault=("source", State.VOTED, "dies"))
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back" and len(result["problems"]) == 1
    assert it.world.copies["source"] == "running"


def test_a_source_that_does_not_come_back_is_told_of(scene: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its guardian is dead, too: frozen until recovery, and the result says so. The packets are not held for it."""
    it = scene(fault=("source", State.VOTED, "dies"))

    def gone(_: FakePeers, part: str) -> None:
        raise ChannelLost(f"the {part}'s proxy does not come back")

    monkeypatch.setattr(FakePeers, "reconnect", gone)
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert result["problems"][1:] == ["the source's proxy does not come back"]
    assert it.world.copies["source"] == "frozen" and it.world.held is None
    it.recover()
    assert it.world.copies["source"] == "running"


def test_a_verdict_that_is_taken_back_is_taken_back_on_the_disk_first(scene: Maker) -> None:
    """Killed in the middle of it, the next process must not find `committed` and let the copy run beside the source."""
    it = scene(fault=("destination", State.COMMITTED, "fails"))
    tell = FakePeers.tell

    def kill(peers: FakePeers, part: str, kind: str, **fields: Any) -> None:
        tell(peers, part, kind, **fields)
        if (part, kind) == ("source", "roll_back"):
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakePeers, "tell", kill)
        assert it.run() is None
    assert it.state is State.ROUTING and it.world.copies["source"] == "running"
    result = it.resume()
    assert result is not None and result["outcome"] == "rolled-back"
    it.world.assert_whole()


def test_the_copy_that_died_is_no_truth(scene: Maker) -> None:
    """Only the destination's own word takes a commit back, and only because the source still stands there frozen."""
    it = scene(fault=("destination", State.COMMITTED, "fails"))
    result = it.run()
    assert result is not None
    assert (result["outcome"], it.world.copies["source"], it.world.host) == ("rolled-back", "running", OLD)
    names = it.steps.names
    assert names.index("release") > names.index("tell source roll_back"), (
        "what the dead copy acknowledged would be lost"
    )


def test_what_a_client_has_begun_with_a_copy_that_died_comes_to_the_source(scene: Maker) -> None:
    """Released to the copy, it has an entry that leads there; its host would refuse the next try."""
    it = scene(fault=("destination", State.COMMITTED, "fails"))
    client, place = Endpoint("10.88.0.2", 40999), Endpoint(NEW, IN.host.port)
    it.world.table.held.append(Entry("tcp", client, VIRTUAL, place, client))
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    assert client not in {entry.source for entry in it.world.table.held}
    it.world.assert_whole()


def test_no_state_was_forgotten(scene: Maker) -> None:
    """A state that is added to the protocol must be reached and broken here, too."""
    edges = {State(name.split()[1]) for name in CLEAN + DRAINED if name.startswith("record")} | {State.ROLLED_BACK}
    assert edges == documented("edge")
    assert edges | {state for _, state in PART_STATES} == set(State)
    reached = set()
    for drains in (False, True):
        it = scene(drains=drains)
        it.run()
        reached |= it.world.reached
    assert reached == set(PART_STATES)
