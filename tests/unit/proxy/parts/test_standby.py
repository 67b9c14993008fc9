# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two edges: whichever is lost, at whichever step, the relocation has one end, and both edges know it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.action.relocations_recover import verdict_of
from relocate_proxy.host import paths
from relocate_proxy.network.conntrack import Entry
from relocate_proxy.network.flows import Flow
from relocate_proxy.parts import edge, recovery, standby
from relocate_proxy.parts.edge import Edge
from relocate_proxy.parts.standby import Standby
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.documents import Plan
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import AFTER_COMMIT, State

from ..fakes import do_not_sync
from ..tables import FakeTable
from ..world import NEW, OLD, PLAN, FakeGateway, FakePeers, StepJournal, Steps, World

PAIR = {**PLAN, "standby": {"host": "edge2", "address": "10.77.0.9", "gateway": "10.77.0.8"}}
SPECIFICATION = {"id": "r1", "credentials": {}, "plan": PAIR, "source": [OLD, 1], "destination": [NEW, 1]}
PLACES = {**SPECIFICATION, "standby": ["10.77.0.9", 1], "listen": "10.77.0.9"}


class Killed(BaseException):
    """The edge's host lost its power."""


@dataclass
class Other:
    """The table of the other edge."""

    copies: dict[str, str]
    host: str = OLD
    guarded: bool = False
    held: Any = None
    shut: Any = None
    barrier: bool = False
    unborn: bool = False
    mute: bool = False
    persisted: bool = False

    def guard(self, _: Any) -> None:
        """Nothing passes."""
        self.guarded = True

    def lift(self, _: Any) -> None:
        """All passes."""
        self.guarded = False

    def route(self, host: Addresses) -> None:
        """New connections go there."""
        self.host = host.ip4


class OtherGateway(FakeGateway):
    """What the other edge takes over with: releasing and reopening lift the guard."""

    def release(self, *, born: bool = True) -> int:
        """Packets flow."""
        self.world.guarded = False  # type: ignore[attr-defined]
        return super().release(born=born)


class PairWorld(World):
    """A world with an edge more, which follows the first with its own code."""

    def __init__(self, journal: Callable[[], Journal], drains: bool = False) -> None:
        super().__init__(drains=drains)
        self.other = Other(self.copies)
        self.states["standby"] = State.STAGING
        self.follower = follower = Standby.__new__(Standby)
        follower.given, follower.plan, follower.table = PLACES, Plan.read(PAIR), self.other  # type: ignore[assignment]
        follower.taking_over, follower.reason, follower.finished = threading.Event(), "it is gone", False
        follower.journal, follower.directory, follower.edge = journal(), "/nowhere", None
        follower.say = lambda kind, **fields: self.say("standby", kind, **fields)  # type: ignore[method-assign]
        if follower.journal.state is None:
            follower.journal.record(State.STAGING, plan=PAIR)

    def hear(self, part: str, kind: str, fields: dict[str, Any]) -> None:
        """The follower is real."""
        if part != "standby":
            super().hear(part, kind, fields)
            return
        try:
            getattr(self.follower, f"on_{kind}")(fields)
        except Exception as error:
            self.say("standby", "failed", reason=str(error))
        self.states["standby"] = self.follower.journal.state

    def left_alone(self, part: str) -> None:
        """The follower waits, or takes over: that is a step of the test's."""
        if part != "standby":
            super().left_alone(part)

    def settle(self, verdict: str) -> None:
        """The follower is settled by the test."""
        state = self.states.pop("standby")
        super().settle(verdict)
        self.states["standby"] = state


@dataclass
class Scene:
    """One relocation between two edges."""

    world: PairWorld
    steps: Steps
    directory: Path
    patch: pytest.MonkeyPatch
    journals: list[Journal] = field(default_factory=list)

    def journal(self, part: str = "edge") -> StepJournal:
        """Return a journal as a new process reads it."""
        found = StepJournal.at("r1", part, str(self.directory / "journal"))
        assert isinstance(found, StepJournal)
        found.steps = self.steps if part == "edge" else Steps()
        self.journals.append(found)
        return found

    def on(self, place: Any, table: FakeTable, gateway: type[FakeGateway], steps: Steps) -> None:
        """What an edge's code finds where the kernel would be."""
        for module in (edge, recovery):
            self.patch.setattr(module, "Conntrack", lambda: table)
            self.patch.setattr(module, "PacketRules", lambda *a: gateway(place, steps, a[4] if len(a) > 4 else None))
        self.patch.setattr(edge, "Peers", lambda *_, needed=True, seconds=1.0: FakePeers(self.world, steps, needed))

    def run(self) -> dict | None:
        """Run the first edge; None when its host is lost."""
        self.on(self.world, self.world.table, FakeGateway, self.steps)
        part = Edge(PLACES, self.journal())
        try:
            return part.run()
        except Killed:
            return None
        finally:
            self.world.edge_gone()

    def take_over(self) -> dict | None:
        """The other edge notices, and goes on. Connection tracking has followed."""
        follower = self.world.follower
        if follower.finished:
            return None
        follower.taking_over.set()
        table = FakeTable(*self.world.table.held)
        self.on(self.world.other, table, OtherGateway, Steps())
        result = follower._take_over()
        self.world.edge_gone()
        return result

    def recover(self) -> str:
        """What the playbook does when all hosts answer; return the verdict."""
        edges = {part: self.journal(part).state for part in ("edge", "standby")}
        copy = self.world.states["destination"]
        known = [state.value for state in edges.values() if state]
        verdict = verdict_of(known, copy.value if copy else None)
        assert verdict is not None
        order = {"relocation": "r1", "verdict": verdict, "decided": True}
        self.on(self.world, self.world.table, FakeGateway, Steps())
        if edges["edge"] is State.ROUTING and verdict == "commit":  # conntrackd brings what the other edge knows
            self.world.table.held = self.there()
        recovery.recover({**order, "part": "edge"})
        self.on(self.world.other, FakeTable(*self.world.table.held), OtherGateway, Steps())
        session = paths.private_directory(paths.session("r1"))
        if recovery.recover({**order, "part": "standby"})["changed"]:
            assert not Path(session).exists(), "its part listened, and had one"
        self.world.settle(verdict)
        return verdict

    def there(self) -> list[Entry]:
        """Return the entries that lead to the destination."""
        table = FakeTable(*self.world.table.held)
        for flow in Flow.read_all(self.journal("standby").facts["moved"]):
            edge.place_on_edge(table, flow)  # type: ignore[arg-type]
        return table.held

    def assert_alike(self) -> None:
        """One copy runs, and both edges lead to it."""
        self.world.assert_whole()
        assert self.world.other.host == self.world.host
        assert not self.world.other.guarded and self.world.other.shut is None and self.world.other.held is None


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, host: Path) -> Iterator[Callable[..., Scene]]:
    """Return a function that makes a scene."""
    do_not_sync(monkeypatch)
    monkeypatch.setattr(standby, "wipe", lambda _: None)
    monkeypatch.setattr("relocate_proxy.parts.base.wipe", lambda _: None)
    made: list[Scene] = []

    def make(drains: bool = False, **steps: Any) -> Scene:
        it = Scene(None, Steps(**steps), host, monkeypatch)  # type: ignore[arg-type]
        it.world = PairWorld(lambda: it.journal("standby"), drains)
        made.append(it)
        return it

    yield make
    for it in made:
        for each in it.journals:
            if each._fd >= 0:
                os.close(each._fd)


def clean_steps() -> list[str]:
    """Return the steps of a move that nothing disturbs: one test for each."""
    names = "/nowhere"
    patch = pytest.MonkeyPatch()
    steps = Steps()

    class Paperless(StepJournal):
        def record(self, state: State, **facts: object) -> None:
            self.steps.take(f"record {state.value}", lambda: self._absorb({"state": state, "at_ns": 0, **facts}))

    def journal(its: Steps) -> Paperless:
        found = Paperless(names)
        found.steps = its
        return found

    with patch.context() as patched:
        patched.setattr("relocate_proxy.parts.base.wipe", lambda _: None)
        world = PairWorld(lambda: journal(Steps()))
        patched.setattr(edge, "Conntrack", lambda: world.table)
        patched.setattr(edge, "PacketRules", lambda *_: FakeGateway(world, steps))
        patched.setattr(edge, "Peers", lambda *_: FakePeers(world, steps))
        assert Edge(PLACES, journal(steps)).run()["outcome"] == "committed"
    return steps.names


CLEAN = clean_steps()
NOTES = [at for at, name in enumerate(CLEAN) if "standby" in name]
MOMENTS = [
    pytest.param(at, when, id=f"{at:02}-{when}-{name.replace(' ', '-')}")
    for at, name in enumerate(CLEAN)
    for when in ("before", "after")
]
PROMISE = NOTES[CLEAN[: CLEAN.index("record committed")].count("tell standby note") * 2 - 2]


def test_both_edges_lead_to_the_copy_after_a_move(scene: Callable[..., Scene]) -> None:
    """The other edge has every line before the first acts on it, the verdict above all."""
    it = scene()
    result = it.run()
    assert result is not None and (result["outcome"], result["problems"]) == ("committed", [])
    it.assert_alike()
    assert it.journal("standby").state is State.DONE
    assert CLEAN[PROMISE] == "tell standby note"
    assert CLEAN.index("record committed") == PROMISE + 2
    assert it.take_over() is None


@pytest.mark.parametrize(("at", "when"), MOMENTS)
def test_the_edge_is_lost_at_every_step(scene: Callable[..., Scene], at: int, when: str) -> None:
    """The other one brings the move to an end alone; when the first is back, it learns of that."""
    it = scene(at=at, when=when, error=Killed())
    assert it.run() is None
    state = it.journal("standby").state
    began, promised = it.journal().state, state in AFTER_COMMIT
    if state in (State.HOLDING, State.ROUTING, State.COMMITTED):
        assert it.world.other.guarded, "packets come here before it has taken over"
    elif state is State.RELEASED:
        assert (it.world.other.host, it.world.other.guarded) == (NEW, False), "the copy runs, and nobody reaches it"
    over = it.take_over()
    ended = it.journal("standby").state
    if it.world.states["source"] is State.DONE:  # which has ended, and cannot say so twice: recovery closes the journal
        assert ended in (State.RELEASED, State.DONE)
    else:
        assert ended is (State.DONE if promised else State.ROLLED_BACK)
    assert over is None or over["outcome"] == ("committed" if promised else "rolled-back"), over
    running = [part for part, copy in it.world.copies.items() if copy == "running"]
    assert running == ["destination" if promised else "source"]
    assert it.world.other.host == (NEW if promised else OLD) and not it.world.other.guarded
    if began is not None:
        assert it.recover() == ("commit" if promised else "roll-back")
        it.assert_alike()


@pytest.mark.parametrize("error", [ChannelLost("it is gone"), TimeoutError("silence")], ids=["lost", "silent"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", NOTES)
def test_the_other_edge_is_lost_at_every_step(
    scene: Callable[..., Scene], at: int, when: str, error: Exception
) -> None:
    """The first one comes to an end alone, and the other learns of that, whatever it had heard."""
    it = scene(at=at, when=when, error=error)
    result = it.run()
    assert result is not None and result["outcome"] in ("committed", "rolled-back")
    if at <= PROMISE + 1 and isinstance(error, TimeoutError):
        assert result["outcome"] == "rolled-back"
    running = [part for part, copy in it.world.copies.items() if copy == "running"]
    assert running == ["destination" if result["outcome"] == "committed" else "source"]
    it.recover()
    it.assert_alike()


@pytest.mark.parametrize("first", ["edge", "standby"])
def test_a_verdict_that_one_edge_does_not_know_of(scene: Callable[..., Scene], first: str) -> None:
    """The note has arrived and its answer has not: whoever reaches the destination first decides for both."""
    it = scene(at=PROMISE + 1, when="before", error=TimeoutError("silence"))
    hear, world = it.world.hear, it.world

    def cut_off(part: str, kind: str, fields: dict[str, Any]) -> None:
        if part == "standby" and world.follower.journal.state is State.COMMITTED:
            raise ChannelLost("the standby's proxy is gone")
        if (part, kind, first) == ("destination", "roll_back", "standby") and world.copies["destination"] == "prepared":
            world.states["destination"] = State.COMMITTED
            world.run_copy()
        hear(part, kind, fields)

    world.hear = cut_off  # type: ignore[method-assign]
    result = it.run()
    world.hear = hear  # type: ignore[method-assign]
    assert it.journal("standby").state in AFTER_COMMIT
    assert result is not None and result["outcome"] == ("committed" if first == "standby" else "rolled-back")
    it.take_over()
    it.recover()
    it.assert_alike()


def test_an_answer_that_nobody_waited_for_is_not_the_next_one_s(scene: Callable[..., Scene]) -> None:
    """The move failed while the other edge wrote a line. It is killed at the next: its new process must be told again.

    Else it would have waited for an edge that had ended, and taken over from it.
    """
    it = scene()
    world = it.world
    world.fault = ("source", State.VOTED, "fails")
    hear, killed = world.hear, []

    def killed_once(part: str, kind: str, fields: dict[str, Any]) -> None:
        if (part, fields.get("state")) == ("standby", State.ROLLED_BACK.value) and not killed:
            killed.append(part)
            world.lost.add(part)
            return
        hear(part, kind, fields)

    world.hear = killed_once  # type: ignore[method-assign]
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back" and killed
    assert it.journal("standby").state is State.ROLLED_BACK and it.take_over() is None
    it.assert_alike()


def test_an_edge_that_was_taken_over_from_is_heard_no_more(scene: Callable[..., Scene]) -> None:
    """It lives, and cannot reach the other one for a while: what it says then comes too late."""
    it = scene(at=PROMISE, when="before", error=Killed())
    assert it.run() is None
    it.world.follower.taking_over.set()
    with pytest.raises(ChannelLost, match="the other edge decides now"):
        it.world.follower.on_note({"state": "committed", "facts": {"moved": [], "report": {}}})
    assert it.journal("standby").state is State.ROUTING


def test_killed_between_the_other_edge_and_its_own_disk_it_asks(scene: Callable[..., Scene]) -> None:
    """Its guardian starts it again: the other edge has the verdict, and so has the move."""
    it = scene(at=CLEAN.index("record committed"), when="before", error=Killed())
    assert it.run() is None and it.journal().state is State.ROUTING
    again = Steps()
    it.on(it.world, it.world.table, FakeGateway, again)
    result = edge.resume(PLACES, it.journal())
    assert result["outcome"] == "committed" and "tell standby tell" in again.names
    it.assert_alike()


@pytest.mark.parametrize(
    ("edges", "copy", "verdict"),
    [
        (["routing", "committed"], "prepared", "commit"),
        (["routing", "routing"], "prepared", "roll-back"),
        (["routing"], "committed", "commit"),
        (["rolled-back", "committed"], "rolled-back", "roll-back"),
        (["rolled-back", "committed"], None, "roll-back"),
        (["routing", "done"], "done", "commit"),
        ([], "lost", "commit"),
        (["committed", "committed"], "dead", "roll-back"),
        (["committed", "draining"], "dead", "commit"),
        ([], None, None),
    ],
)
def test_the_verdict_of_all_journals(edges: list[str], copy: str | None, verdict: str | None) -> None:
    """What the destination has done counts first, then what an edge has brought to its end, then a verdict."""
    assert verdict_of(edges, copy) == verdict


def test_whose_the_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel binds to addresses of this host alone."""
    assert standby.has_address("127.0.0.1") and not standby.has_address("192.0.2.77")


def test_addresses_are_looked_for_again_where_a_look_fails(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor nobody knows whose they are; the next look tells."""
    looks = iter([OSError(errno.EMFILE, "too many open files"), False, True])

    def has_address(_: str) -> bool:
        found = next(looks)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(standby, "has_address", has_address)
    monkeypatch.setattr(standby, "LOOK_SECONDS", 0.0)
    follower = PairWorld(lambda: Journal.at("r1", "standby")).follower
    follower._look_for_addresses()
    assert follower.taking_over.is_set() and follower.reason.endswith("came to the other edge")


def test_both_places_may_be_spoken_to_where_a_container_is_made_anew(host: Path) -> None:
    """So nothing is dropped here; and once the old one drains, new connections that come here are led to the new one."""
    world = PairWorld(lambda: Journal.at("r1", "standby"))
    follower = world.follower
    follower.plan = Plan.read({**PAIR, "mode": "recreate", "predictions": {"recreate": 0.0}})
    follower.on_note({"state": "routing", "facts": {"flows": []}})
    assert not world.other.guarded and world.other.host == OLD
    follower.on_note({"state": "committed", "facts": {"moved": [], "report": {"stop_limit_s": 10}}})
    assert world.other.host == OLD
    follower.on_note({"state": "draining", "facts": {}})
    assert world.other.host == NEW
