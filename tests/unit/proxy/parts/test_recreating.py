# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that is made anew, seen from the edge: something goes wrong at every step, and one container is left.

New connections are always led to one that runs; before the commit that is the old one, which nobody has touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.network.conntrack import Endpoint, Entry
from relocate_proxy.network.flows import forget_services
from relocate_proxy.parts import edge, recovery, recreating
from relocate_proxy.parts.edge import PartFailed
from relocate_proxy.parts.recreating import RecreatingEdge, kind_of
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.states import AFTER_COMMIT, FINAL, State

from ..fakes import do_not_sync
from ..tables import FakeTable
from ..world import CLIENT, NEW, OLD, PLAN, VIRTUAL, FakeGateway, FakePeers, StepJournal, Steps, World

ANEW: dict[str, Any] = {**PLAN, "mode": "recreate", "predictions": {"recreate": 0.0}, "drain_limit_s": 30.0}
SPECIFICATION = {"id": "r1", "credentials": {}, "plan": ANEW, "source": [OLD, 1], "destination": [NEW, 1]}


class Killed(BaseException):
    """SIGKILL: no handler of the process runs."""


class Anew(World):
    """Three hosts, and a container that is made anew.

    :ivar left: how many connections the old one has, look by look; then none. :ivar well: the new one becomes healthy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: list[int] = [2, 1]
        self.well = True
        self.dies = False  # the new one, between its health and the verdict

    def undo(self, part: str) -> None:
        """The old one is as it was; the new one is removed."""
        assert self.copies["source"] == "running", "the old one is gone"
        if part == "destination":
            assert self.host == OLD, "clients are led to what is removed"
            self.copies["destination"] = "removed"
        self.states[part] = State.ROLLED_BACK

    def destination_start(self, _: dict) -> None:
        self.copies["destination"] = "running"
        self.enter("destination", State.GATED)
        self.say("destination", "gated", address="172.20.2.2")
        if not self.well:
            self.mail.append(("destination", PartFailed("destination: it is not healthy")))
            return
        self.enter("destination", State.PREPARED)
        self.say("destination", "prepared")

    def source_settle(self, _: dict) -> None:
        self.enter("source", State.VOTED)
        self.say("source", "settled", stop_limit_s=10)

    def destination_commit(self, _: dict) -> None:
        if self.dies:
            self.copies["destination"] = "ended"
            self.mail.append(("destination", PartFailed("destination: the new container does not run")))
            return
        if self.states["destination"] is State.PREPARED:
            self.enter("destination", State.COMMITTED)
        self.say("destination", "accepted")
        self.say("destination", "running", address="172.20.2.2")

    def source_drain(self, _: dict) -> None:
        assert self.host == NEW, "it would get new ones all the time"
        self.say("source", "drained", left=self.left.pop(0) if self.left else 0)

    def kill_source(self) -> None:
        """Stop and remove the old one."""
        assert self.host == NEW and self.copies["destination"] == "running", "clients are led to what is stopped"
        self.copies["source"] = "removed"

    def settle(self, verdict: str) -> None:
        """What ``relocate recover`` does on the Docker hosts."""
        for part in ("destination", "source"):
            if self.states[part] is None or self.states[part] in FINAL:
                continue
            if verdict == recovery.ROLL_BACK:
                self.undo(part)
            elif part == "source":
                self.kill_source()

    def assert_whole(self) -> None:
        """One container is left, and it is led to; no conversation is with the other."""
        running = [part for part, copy in self.copies.items() if copy == "running"]
        assert len(running) == 1, self.copies
        there = running == ["destination"]
        assert self.host == (NEW if there else OLD) and self.boot == (self.host, False)
        gone = OLD if there else NEW
        services = {Endpoint(gone, each["host_port"]) for each in ANEW["services"]}
        assert not services & {entry.reply_source for entry in self.table.held}

    def always(self) -> None:
        """What holds at every moment."""
        led = "destination" if self.host == NEW else "source"
        assert self.copies[led] == "running" or self.dies


class Scene:
    """One relocation, and what happens to the edge's process in it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, **steps: Any) -> None:
        self.world, self.directory, self.journals = Anew(), directory, []
        self.steps = Steps(**steps)
        # time passes by itself: nobody sleeps, and a look at the clock takes as long as it is between two looks at the old one
        clock = iter(range(1 << 30))
        monkeypatch.setattr(recreating, "time", type("Clock", (), {
            "monotonic": staticmethod(lambda: float(next(clock))), "sleep": staticmethod(lambda _: None)
        }))  # fmt: skip

        def gateway(*arguments: Any) -> FakeGateway:
            return FakeGateway(self.world, self.steps)

        for module in (edge, recovery):
            monkeypatch.setattr(module, "Conntrack", lambda: self.world.table)
            monkeypatch.setattr(module, "PacketRules", gateway)
        monkeypatch.setattr(recreating, "Signpost", gateway)
        monkeypatch.setattr(edge, "Peers", lambda *_, needed=True, **__: FakePeers(self.world, self.steps, needed))

    def journal(self) -> StepJournal:
        """Return the edge's journal as a new process reads it."""
        found = StepJournal.at("r1", "edge", str(self.directory / "journal"))
        assert isinstance(found, StepJournal)
        found.steps = self.steps
        self.journals.append(found)
        return found

    def run(self) -> dict | None:
        """Run the edge; None when it was killed."""
        try:
            return RecreatingEdge(SPECIFICATION, self.journal()).run()
        except Killed:
            return None
        finally:
            self.world.always()
            self.world.edge_gone()

    def end(self) -> None:
        """Have it started again, settle what is left, and see that one container is; twice settled is settled."""
        if self.journal().state is not None:
            try:
                edge.resume(SPECIFICATION, self.journal(), kind_of(SPECIFICATION))
            except (OSError, RuntimeError):
                pass
            self.world.always()
            self.world.edge_gone()
        self.settle()

    def settle(self) -> None:
        """What the playbook does, if there is something left to do."""
        answer = recovery.recover({"relocation": "r1", "part": "edge"})
        self.world.settle(answer["verdict"])
        self.close()
        if self.world.states["source"] is not None:
            self.world.assert_whole()

    def close(self) -> None:
        """Close the journals."""
        for each in self.journals:
            if each._fd >= 0:
                os.close(each._fd)
                each._fd = -1


Maker = Callable[..., Scene]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, host: Path) -> Iterator[Maker]:
    """Return a function that makes a scene, each with a directory of its own."""
    do_not_sync(monkeypatch)
    made: list[Scene] = []

    def make(**steps: Any) -> Scene:
        journal = host / "journal"
        for file in journal.glob("*") if journal.is_dir() else ():
            file.unlink()
        made.append(Scene(host, monkeypatch, **steps))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_nothing_disturbs_it(scene: Maker) -> None:
    """Nothing is held; the old one is taken away when it has no connection left, and the result says how many it had."""
    it = scene()
    result = it.run()
    assert result is not None and (result["outcome"], result["problems"]) == ("committed", [])
    assert result["flows"] == {"ingress": 2, "egress": 0, "kept": 2, "lost": 0} and result["downtime_ms"] is None
    assert result["drain"]["connections"] == 2 and result["drain"]["cut"] == 0 and result["source_needed_ms"] > 0
    assert (result["address_before"], result["address_after"]) == ("172.20.1.2", "172.20.2.2")
    names = it.steps.names
    assert [name.split()[1] for name in names if name.startswith("record")] == [
        "staging", "routing", "committed", "draining", "released", "done",
    ]  # fmt: skip
    assert names.index("record committed") < names.index("route") < names.index("tell source drain")
    assert not {"hold", "raise barrier", "shut"} & set(names)
    it.world.assert_whole()


def test_the_drain_has_a_limit(scene: Maker) -> None:
    """What has not ended then is cut, and counted as lost."""
    it = scene()
    it.world.left = [3] * 1000
    result = it.run()
    assert result is not None and result["outcome"] == "committed"
    assert result["drain"]["cut"] == 3 and result["flows"] == {"ingress": 3, "egress": 0, "kept": 0, "lost": 3}
    assert it.world.left, "it is not waited for without end"
    it.world.assert_whole()


def test_a_connection_that_comes_late_is_waited_for(scene: Maker) -> None:
    """It was under way to the old place when the edge turned, and is seen there only now."""
    it = scene()
    it.world.left = [0, 1, 1]
    result = it.run()
    assert result is not None and result["drain"]["connections"] == 1 and not it.world.left


@pytest.mark.parametrize("how", ["never healthy", "ends before the verdict"])
def test_the_old_one_is_kept(scene: Maker, how: str) -> None:
    """Nobody has touched it, and nobody was led away from it for long."""
    it = scene()
    it.world.well, it.world.dies = how != "never healthy", how != "never healthy"
    result = it.run()
    assert result is not None and (result["outcome"], result["rolled_back"]) == ("rolled-back", True)
    assert it.world.host == OLD and it.world.copies == {"source": "running", "destination": "removed"}
    assert it.journal().state is State.ROLLED_BACK


def _steps(scene: Maker) -> int:
    it = scene()
    it.run()
    return len(it.steps.names)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [Killed(), OSError("broken"), ChannelLost("gone"), PartFailed("source: broken")])
def test_every_step_goes_wrong(scene: Maker, when: str, error: BaseException) -> None:
    """One container is left, new connections are led to it, and it is the new one exactly if the journal says so."""
    for at in range(_steps(scene)):
        it = scene(at=at, when=when, error=error)
        it.run()
        committed = it.journal().state in AFTER_COMMIT
        it.end()
        assert (it.world.host == NEW) == committed or it.world.states["source"] is None, it.steps.names[at]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_edge_that_does_not_come_back_is_recovered(scene: Maker, when: str) -> None:
    """Its guardian was killed as well, at any step."""
    for at in range(_steps(scene)):
        it = scene(at=at, when=when, error=Killed())
        it.run()
        it.settle()


def test_conversations_with_the_old_place_are_forgotten() -> None:
    """Of the protocols that are named, and of the services alone."""
    client, dns = CLIENT, Endpoint("10.88.0.100", 53)
    tcp = Entry("tcp", client, VIRTUAL, Endpoint(OLD, 7001), client)
    udp = Entry("udp", client, dns, Endpoint(OLD, 54), client)
    other = Entry("udp", client, dns, Endpoint(NEW, 54), client)
    own = Entry("tcp", Endpoint(OLD, 45000), client, client, Endpoint("10.88.0.100", 45000))
    table: Any = FakeTable(tcp, udp, other, own)
    forget_services(table, Addresses(OLD), ANEW["services"], ["udp"])
    assert table.held == [tcp, other, own]
    forget_services(table, Addresses(OLD), ANEW["services"], ["tcp", "udp"])
    assert table.held == [other, own]


def test_the_clock_is_the_systems() -> None:
    """The scenes have one of their own."""
    assert recreating.time is time
