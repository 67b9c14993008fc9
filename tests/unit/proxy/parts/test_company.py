# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's move: a failure, or the end of the edge's process, at every step of one member, and where all members are then.

Each member has a world of its own (``world``). Whatever goes wrong before the project's verdict, all of them run at the source
afterwards; from then on, all at the destination.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.parts import company, edge, recovery
from relocate_proxy.parts.company import Company
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import AFTER_COMMIT, State

from ..fakes import do_not_sync
from ..world import IN, NEW, OLD, OUT, PLAN, FakeGateway, FakePeers, World

IDS = ("20261128-100000-00000000000a", "20261128-100000-00000000000b", "20261128-100000-00000000000c")
PROJECT = "20261128-100000-000000000000"


class Killed(BaseException):
    """SIGKILL: no handler of the process runs, in any thread."""


class Town:
    """The worlds of all members, and what is true between them."""

    def __init__(self, fault: tuple[int, tuple[str, State, str]] | None = None) -> None:
        faults = dict([fault]) if fault else {}
        self.worlds = {each: MemberWorld(self, faults.get(number)) for number, each in enumerate(IDS)}
        self.steps: list[tuple[str, str]] = []  # whose, and which
        self.at: tuple[str, str, str] | None = None  # of whom, which step, before or after
        self.error: BaseException | None = None
        self.killed = threading.Event()
        self.company: Company | None = None
        self.gate = threading.RLock()  # one thread at a time, so that a kill stops all of them between two steps

    def all(self, part: str, *states: str) -> bool:
        return all(world.copies[part] in states for world in self.worlds.values())

    def take(self, whose: str, name: str, effect: Callable[[], Any]) -> Any:
        with self.gate:
            if self.killed.is_set():
                raise Killed
            self.steps.append((whose, name))
            self._strike(whose, name, "before")
            result = effect()
            self._strike(whose, name, "after")
            return result

    def _strike(self, whose: str, name: str, when: str) -> None:
        if self.error is None or self.at != (whose, name, when):
            return
        error, self.error = self.error, None
        if isinstance(error, Killed):
            self.killed.set()
            assert self.company is not None
            if whose != PROJECT:  # whose lines are written where nobody waits, or end the waiting themselves
                for barrier in self.company._barriers.values():  # who waits there is killed, too
                    barrier.abort()
        raise error


class MemberSteps:
    """The steps of one member. See ``world.Steps``."""

    def __init__(self, town: Town, whose: str) -> None:
        self.town, self.whose = town, whose

    def take(self, name: str, effect: Callable[[], Any]) -> Any:
        return self.town.take(self.whose, name, effect)


class MemberWorld(World):
    """A container that is frozen, dumped and restored with others, which know it."""

    def __init__(self, town: Town, fault: tuple[str, State, str] | None) -> None:
        super().__init__(fault)
        self.town = town

    def source_freeze(self, _: dict) -> None:
        self.enter("source", State.FREEZING)
        self.copies["source"] = "frozen"
        self.say("source", "frozen")

    def source_dump(self, _: dict) -> None:
        assert self.town.all("source", "frozen"), "one still runs, and would miss what it says to this one"
        self.say("source", "dumped", flows=[flow.document() for flow in (IN, OUT)])
        self.enter("source", State.VOTED)
        self.enter("destination", State.RESTORING)
        self.copies["destination"] = "silent"
        self.say("destination", "silent")

    def destination_routed(self, fields: dict) -> None:
        assert self.town.all("destination", "silent", "prepared"), "a member would be answered with a reset"
        super().destination_routed(fields)
        self.enter("destination", State.PREPARED)
        self.copies["destination"] = "prepared"
        self.say("destination", "prepared")

    def run_copy(self) -> None:
        assert self.town.all("destination", "prepared", "running", "gone", "removed"), (
            "it would find the others missing"
        )
        super().run_copy()


class MemberJournal(Journal):
    """The real journal, whose lines are steps."""

    town: Town

    def record(self, state: State, **facts: object) -> None:
        self.town.take(self.relocation, f"record {state.value}", lambda: Journal.record(self, state, **facts))


class TalkingPeers(FakePeers):
    """Channels which can be told that another member has failed."""

    def interrupt(self, reason: str) -> None:
        """Nobody waits here."""


class Scene:
    """One move of a project: its town, and what becomes of it."""

    def __init__(self, town: Town, directory: Path) -> None:
        self.town, self.directory = town, directory
        plans = [{**PLAN, "id": each, "container": each[-1], "together": PROJECT} for each in IDS]
        self.specification = {
            "id": PROJECT,
            "project": "shop",
            "members": [
                {"id": plan["id"], "credentials": {}, "plan": plan, "source": [OLD, 1], "destination": [NEW, 1]}
                for plan in plans
            ],
        }

    def journal(self, relocation: str = PROJECT) -> Journal:
        return Journal.at(relocation, "edge", str(self.directory / "journal"))

    def run(self) -> dict | None:
        """Run the edge's process; None when it was killed."""
        self.town.company = made = Company(self.specification, MemberJournal.at(PROJECT, "edge"))
        try:
            return made.run()
        except Killed:
            for world in self.town.worlds.values():
                if not self.committed:
                    world.nothing_slips_through()
                world.edge_gone()
            return None

    @property
    def committed(self) -> bool:
        return self.journal().state in AFTER_COMMIT

    def resume(self) -> dict:
        """What the guardian does."""
        self.town.killed.clear()
        self.town.company = made = Company(self.specification, MemberJournal.at(PROJECT, "edge"))
        return made.resume()

    def recover(self) -> None:
        """What the playbook does, for each relocation that has no end, the project's own among them."""
        self.town.killed.clear()
        for each in (PROJECT, *IDS):
            answer = recovery.recover({"relocation": each, "part": "edge"})
            if each in self.town.worlds:
                verdict = answer["verdict"] if answer["outcome"] != "unknown" else recovery.ROLL_BACK
                self.town.worlds[each].settle(verdict)

    def assert_whole(self, committed: bool) -> None:
        """All are at one place, and every journal of the edge has its end."""
        for world in self.town.worlds.values():
            world.assert_whole()
            assert (world.copies["destination"] == "running") == committed
        for each in (PROJECT, *IDS):
            journal = self.journal(each)
            assert journal.state is None or journal.finished, (each, journal.state)


Maker = Callable[..., Scene]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, host: Path) -> Iterator[Maker]:
    """Return a function that makes a scene."""
    do_not_sync(monkeypatch)
    opened: list[MemberJournal] = []

    def make(fault: tuple[int, tuple[str, State, str]] | None = None) -> Scene:
        for left in host.glob("journal/*"):
            left.unlink()
        town = Town(fault)
        here = threading.local()

        class Worldly(company.Member):
            """A member that finds its own world, whichever thread it runs in."""

            def __init__(self, specification: dict, *rest: Any) -> None:
                here.id = specification["id"]
                super().__init__(specification, *rest)

        def owner(container: str) -> str:
            return next(each for each in IDS if each[-1] == container)

        def gateway(container: str, *arguments: Any) -> FakeGateway:
            left = arguments[3] if len(arguments) > 3 else None
            whose = owner(container)
            return FakeGateway(town.worlds[whose], MemberSteps(town, whose), left)  # type: ignore[arg-type]

        def peers(relocation: str, *_: Any, needed: bool = True, seconds: float = 1.0) -> FakePeers:
            return TalkingPeers(town.worlds[relocation], MemberSteps(town, relocation), needed)  # type: ignore[arg-type]

        def at(cls: type[MemberJournal], relocation: str, part: str, directory: str = "") -> Journal:
            journal = MemberJournal(str(host / "journal" / f"{relocation}.{part}.jsonl"))
            journal.town = town
            journal._read()
            opened.append(journal)
            return journal

        tables = {each: town.worlds[each].table for each in IDS}
        resumed = edge.resume

        def resume(specification: dict, *rest: Any) -> dict:
            here.id = specification["id"]
            return resumed(specification, *rest)

        def recovered(journal: Journal, *rest: Any) -> None:
            here.id = journal.relocation
            settle(journal, *rest)

        settle = recovery._edge
        monkeypatch.setattr(company, "Member", Worldly)
        monkeypatch.setattr(edge, "resume", resume)
        monkeypatch.setattr(recovery, "_edge", recovered)
        monkeypatch.setattr(MemberJournal, "at", classmethod(at))
        for module in (company, recovery):
            monkeypatch.setattr(module, "Journal", MemberJournal)
        for module in (edge, recovery):
            monkeypatch.setattr(module, "Conntrack", lambda: tables[here.id])
            monkeypatch.setattr(module, "PacketRules", gateway)
        monkeypatch.setattr(edge, "Peers", peers)
        return Scene(town, host)

    yield make
    for each in opened:
        if each._fd >= 0:
            os.close(each._fd)


def clean_steps(it: Scene) -> list[str]:
    """Return the steps of one member in a move that nothing disturbs: those of the project's journal among them."""
    result = it.run()
    assert result is not None and result["outcome"] == "committed", result
    return [name for whose, name in it.town.steps if whose == IDS[1]]


def test_all_move_together_and_the_result_has_each(scene: Maker) -> None:
    it = scene()
    result = it.run()
    assert result is not None
    assert (result["id"], result["project"], result["outcome"], result["problems"]) == (
        PROJECT,
        "shop",
        "committed",
        [],
    )
    assert [each["id"] for each in result["members"]] == [*IDS]
    assert {each["outcome"] for each in result["members"]} == {"committed"}
    it.assert_whole(committed=True)
    names = [name for whose, name in it.town.steps if whose == PROJECT]
    assert names == ["record staging", "record committed", "record done"]
    assert it.journal().facts["everywhere"] is True
    first = it.town.steps.index((PROJECT, "record committed"))
    told = [number for number, (_, name) in enumerate(it.town.steps) if name == "tell destination commit"]
    prepared = [number for number, (_, name) in enumerate(it.town.steps) if name == "expect destination prepared"]
    assert max(prepared) < first < min(told), "the verdict comes when all are restored, and before one may run"


@pytest.mark.parametrize("part", ["source", "destination"])
@pytest.mark.parametrize("number", range(len(IDS)))
def test_one_that_cannot_go_on_takes_all_back(scene: Maker, part: str, number: int) -> None:
    states = {
        "source": (State.STAGING, State.STAGED, State.FREEZING, State.VOTED),
        "destination": (State.STAGING, State.GATED, State.RESTORING, State.PREPARED),
    }
    for state in states[part]:
        for how in ("fails", "dies"):
            it = scene((number, (part, state, how)))
            result = it.run()
            assert result is not None and result["outcome"] == "rolled-back", (state, how, result)
            assert result["problems"][0].startswith(f"{IDS[number][-1]}: "), result["problems"]
            others = [each for each in result["members"] if each["id"] != IDS[number]]
            assert all("or not at all" in each["problems"][0] for each in others), others
            it.recover()
            it.assert_whole(committed=False)


@pytest.mark.parametrize("again", [True, False], ids=["its guardian starts it again", "nobody does"])
def test_the_edge_is_killed_at_every_step(scene: Maker, again: bool) -> None:
    steps = clean_steps(scene())
    places = [(IDS[1], name) for name in dict.fromkeys(steps)]
    places += [(PROJECT, f"record {each}") for each in ("staging", "committed", "done")]
    ends = set()
    for whose, name in places:
        for when in ("before", "after"):
            it = scene()
            it.town.at, it.town.error = (whose, name, when), Killed()
            assert it.run() is None, (whose, name)
            committed = it.committed
            if again and it.journal().state is not None:
                it.resume()
            it.recover()
            it.assert_whole(committed)
            ends.add(committed)
    assert ends == {True, False}


def test_a_verdict_that_may_not_be_on_the_disk_is_taken_back_or_in_doubt(scene: Maker) -> None:
    it = scene()
    it.town.at, it.town.error = (PROJECT, "record committed", "before"), OSError("no space left on device")
    result = it.run()
    assert result is not None and result["outcome"] == "rolled-back"
    it.assert_whole(committed=False)
    it = scene()
    it.town.at, it.town.error = (PROJECT, "record committed", "before"), OSError("no space left on device")
    record = MemberJournal.record

    def refuses(self: MemberJournal, state: State, **facts: object) -> None:
        if self.relocation == PROJECT and state is State.ROUTING:
            raise OSError("no space left on device")
        record(self, state, **facts)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MemberJournal, "record", refuses)
        result = it.run()
    assert result is not None and result["outcome"] == "in-doubt"
    assert {world.copies["source"] for world in it.town.worlds.values()} == {"frozen"}


def test_a_copy_that_dies_while_it_is_resumed_is_given_back_alone(scene: Maker) -> None:
    """Its original is all there is of it. The others have run."""
    it = scene((1, ("destination", State.COMMITTED, "fails")))
    result = it.run()
    assert result is not None and result["outcome"] == "torn"
    assert [each["outcome"] for each in result["members"]] == ["committed", "rolled-back", "committed"]
    for number, each in enumerate(IDS):
        it.town.worlds[each].assert_whole()
        assert (it.town.worlds[each].copies["source"] == "running") == (number == 1)
    it.recover()
    assert it.town.worlds[IDS[1]].copies["source"] == "running"
    assert it.journal().finished
