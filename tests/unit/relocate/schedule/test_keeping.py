# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots on a clock, and containers whose host is lost: restored, or named once; never while their host may live."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import ledger

from relocate.schedule.discovery import INFO, Listener, Survey
from relocate.schedule.keeping import Fate, Job, Keeping, Result, carry_out
from relocate.schedule.launchers.base import LaunchError
from relocate.schedule.launchers.keeping import NothingKept, StillAlive
from relocate.schedule.launchers.null import NullLauncher
from relocate.schedule.launchers.settings import NullSettings
from relocate.schedule.limits import Asked, Kind, Limits, Pauses
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Tenant
from relocate.schedule.service import Service
from relocate.schedule.settings import Configuration, Discovery, LimitSettings, LostHosts

HOSTS = ("host1", "host2", "host3")
MADE = {"bank": "2026-11-28T06:00:00+00:00"}


class World:
    """A fleet in which hosts fall silent, and a keeper that is told what comes of its jobs."""

    def __init__(self, **sections: Any) -> None:
        self.told: list[Fate] = []
        self.meter = Metrics()
        self.keeping = Keeping(Configuration(**sections), self.meter, lambda fate, _: self.told.append(fate))
        self.tenants = {
            name: Tenant(name, host, 0.0, {"relocate.mtd/tenant": group})
            for name, host, group in (("bank", "host1", "payments"), ("web", "host1", "shop"), ("db", "host2", "shop"))
        }
        self.busy: set[str] = set()
        self.pauses = Pauses()

    def survey(self, now: float, unreachable: Collection[str] = (), silent: Collection[str] = ()) -> list[str]:
        told = dict.fromkeys([*unreachable, *silent], "it does not answer")
        answered = {host for host in HOSTS if host not in told}
        return self.keeping.survey(Survey(answered=answered, silent=told, unreachable=set(unreachable)), now)

    def job(self, now: float) -> Job | None:
        return self.keeping.job(self.tenants, self.busy.__contains__, self.pauses, now)

    def done(
        self, job: Job, now: float, problem: str = "", alive: str = "", nothing: bool = False, **document: Any
    ) -> str | None:
        host = self.keeping.done(job, Result(document, problem, alive, nothing), self.tenants, now)
        if host:
            self.tenants[job.container] = Tenant(job.container, host, now, self.tenants[job.container].labels)
        return host

    def metric(self, name: str, **labels: str) -> float | None:
        return self.meter.registry.get_sample_value(name, labels)


def lose(**more: Any) -> World:
    """Return a world in which host1 has been silent for long enough, and the store was listed."""
    world = World(lost_hosts={"after": 30}, **more)
    world.survey(100, ["host1"])
    assert world.job(129) is None
    listing = world.job(130)
    assert listing == Job("list")
    world.done(listing, 131, **MADE)
    return world


# -- snapshots ----------------------------------------------------------------------------------------------------------


def test_each_container_has_its_snapshots_by_its_group() -> None:
    world = World(
        snapshots={"every": 600, "keep": 3}, groups={"payments": {"snapshots": {"every": 60, "days": 2}}, "x": {}}
    )
    world.survey(0)
    made: list[tuple[str, int | None, float | None]] = []
    for now in range(1900):
        if job := world.job(float(now)):
            made.append((job.container, job.keep, job.days))
            world.done(job, now + 0.5)
    assert {(name, keep, days) for name, keep, days in made} == {("bank", None, 2.0), ("web", 3, None), ("db", 3, None)}
    assert 30 <= sum(name == "bank" for name, *_ in made) <= 33
    assert [sum(name == each for name, *_ in made) for each in ("web", "db")] == [4, 4]
    assert world.metric("relocate_snapshots_total", outcome="made") == len(made)


def test_without_a_word_of_it_none_is_made() -> None:
    world = World(groups={"payments": {"snapshots": {"keep": 2}}})
    assert not Configuration().keeps_snapshots
    assert all(world.job(float(now)) is None for now in range(0, 10_000, 100))


def test_none_is_made_of_a_container_that_moves_or_whose_host_is_silent() -> None:
    world = World(snapshots={"every": 60})
    world.survey(0, ["host1"])
    world.busy.add("db")
    world.job(0)
    assert world.job(1000) is None
    world.busy.clear()
    assert (job := world.job(1000)) is not None and job.container == "db"


def test_a_snapshot_that_fails_is_counted_and_made_next_time(caplog: pytest.LogCaptureFixture) -> None:
    world = World(snapshots={"every": 600})
    del world.tenants["web"], world.tenants["db"]
    world.job(0)
    job = world.job(60)
    assert job is not None
    world.done(job, 61, problem="bank has a shared directory")
    assert "there is no snapshot of bank: bank has a shared directory" in caplog.text
    assert world.metric("relocate_snapshots_total", outcome="failed") == 1
    assert world.job(500) is None and world.job(700) is not None


# -- lost hosts ---------------------------------------------------------------------------------------------------------


def test_who_has_a_snapshot_is_restored_and_the_other_is_named_once() -> None:
    world = lose()
    job = world.job(132)
    assert job == Job("restore", "bank", "host1", ("host1",))
    assert world.done(job, 150, host="host3", at=MADE["bank"], snapshot="s1") == "host3"
    assert all(world.job(float(now)) is None for now in range(151, 5000, 10))
    assert [(each.container, each.outcome, each.destination) for each in world.told] == [
        ("bank", "restored", "host3"),
        ("web", "lost", None),
    ]
    assert "web is lost with host1 until that host is back: it has no snapshot" in world.told[1].message
    assert world.metric("relocate_lost_hosts") == 1


def test_nobody_is_called_lost_before_it_is_known_that_the_host_is_dead() -> None:
    """The controller may be cut off from it alone; of a host without any snapshot, too."""
    world = World(lost_hosts={"after": 30})
    world.survey(0, ["host2"])
    listing = world.job(30)
    assert listing == Job("list")
    world.done(listing, 31, **MADE)
    job = world.job(32)
    assert job == Job("restore", "db", "host2", ("host2",)) and world.told == []
    world.done(job, 33, problem="host2 is not dead: host0 hears it", alive="host2")
    assert world.told == [] and world.job(34) is None
    again = world.job(63)
    assert again == job
    world.done(again, 64, problem="the store has no snapshot of db", nothing=True)
    assert all(world.job(float(now)) is None for now in range(65, 9000, 10))
    assert [(each.container, each.outcome) for each in world.told] == [("db", "lost")]


def test_a_host_that_answers_in_time_is_not_lost() -> None:
    world = World(lost_hosts={"after": 30})
    for begin in (0, 100):
        world.survey(begin, ["host1"])
        assert 0 < (world.keeping.look_after(begin) or 0) <= 10
        assert world.survey(begin + 29) == ["host1"]
        assert world.job(begin + 50) is None and world.keeping.look_after(begin + 50) is None


def test_only_a_host_that_cannot_be_reached_is_lost() -> None:
    """One whose Docker does not answer, or that says nonsense, lives."""
    world = World(lost_hosts={"after": 30})
    for now in range(0, 600, 10):
        world.survey(now, silent=["host1"])
        assert world.job(now) is None


def test_without_a_policy_nothing_is_restored() -> None:
    world = World()
    for now in range(0, 10_000, 60):
        world.survey(now, ["host1"])
        assert world.job(now) is None and world.keeping.look_after(now) is None


def test_a_host_that_another_one_hears_keeps_its_containers(caplog: pytest.LogCaptureFixture) -> None:
    """Asked again more and more seldom, for it may die later; said once; and its other containers do not ask at once."""
    world = lose()
    world.keeping._kept = {**MADE, "web": MADE["bank"]}
    tried: list[float] = []
    for now in range(132, 4000):
        if job := world.job(float(now)):
            tried.append(now)
            world.done(job, float(now), problem="host1 is not dead: host0 hears it", alive="host1")
    assert 5 <= len(tried) <= 8 and world.told == []
    assert caplog.text.count("host1 is not dead") == 1


def test_only_hosts_that_are_lost_are_called_dead() -> None:
    """host2 has been silent for a moment: the restore itself is refused then, for it may have the container."""
    world = lose()
    world.survey(132, ["host1", "host2"])
    job = world.job(133)
    assert job is not None and job.dead == ("host1",)


@pytest.mark.parametrize(
    "pauses",
    [Pauses(everything=True), Pauses(hosts=frozenset(["host1"])), Pauses(containers=frozenset(["bank", "web"]))],
)
def test_what_is_paused_is_left_to_the_operator(pauses: Pauses) -> None:
    """A host is rebooted while it is cordoned."""
    world = World(lost_hosts={"after": 30})
    world.pauses = pauses
    world.survey(0, ["host1"])
    assert world.job(1000) is None and world.told == []


def test_nobody_is_given_up_because_the_store_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    world = World(lost_hosts={"after": 30})
    world.survey(0, ["host1"])
    listing = world.job(30)
    assert listing is not None
    world.done(listing, 31, problem="there is no key")
    assert world.job(32) is None and world.told == [] and "there is no key" in caplog.text
    assert world.job(62) == Job("list")


def test_a_move_whose_end_nobody_knows_is_not_restored_over() -> None:
    world = lose()
    del world.tenants["web"]
    world.busy.add("bank")
    assert world.job(200) is None
    world.busy.clear()
    assert (job := world.job(201)) is not None and job.container == "bank"


def test_a_host_that_comes_back_is_told_and_can_be_lost_again() -> None:
    world = lose()
    assert world.survey(200, ["host1"]) == []
    assert world.survey(210) == ["host1"] and world.survey(220) == []
    assert world.metric("relocate_lost_hosts") == 0
    world.survey(300, ["host1"])
    assert world.job(330) == Job("list")  # not what the store had then


def test_who_was_given_up_at_one_loss_is_restored_at_the_next() -> None:
    """There may be a snapshot by then; and who is lost again is named again."""
    world = lose()
    job = world.job(132)
    assert job is not None
    world.done(job, 133, problem="the store has no snapshot of bank", nothing=True)
    assert world.job(134) is None and world.survey(200) == ["host1"]
    world.survey(300, ["host1"])
    listing = world.job(330)
    assert listing == Job("list")
    world.done(listing, 331, web=MADE["bank"])
    job = world.job(332)
    assert job is not None and job.container == "web"
    world.done(job, 333, host="host3", at=MADE["bank"], snapshot="s2")
    assert world.job(334) is None
    assert [(each.container, each.outcome) for each in world.told] == [
        ("bank", "lost"),
        ("web", "lost"),
        ("web", "restored"),
        ("bank", "lost"),
    ]


def test_a_restore_that_failed_at_one_loss_is_not_waited_for_at_the_next(caplog: pytest.LogCaptureFixture) -> None:
    world = lose()
    del world.tenants["web"]
    for now in (132, 162, 222):
        job = world.job(now)
        assert job is not None
        world.done(job, now, problem="no host can have it")
    assert world.survey(230) == ["host1"]
    world.survey(240, ["host1"])
    listing = world.job(270)
    assert listing == Job("list")
    world.done(listing, 271, **MADE)
    assert world.job(272) == job
    world.done(job, 273, problem="no host can have it")
    assert caplog.text.count("no host can have it") == 2, "once for each loss"


def test_a_host_that_leaves_the_inventory_is_forgotten() -> None:
    world = lose()
    world.keeping.survey(Survey(answered={"host2", "host3"}), 200)
    assert world.job(300) is None and world.metric("relocate_lost_hosts") == 0


# -- carrying out -------------------------------------------------------------------------------------------------------


class Scripted:
    """A keeper that answers, or fails, as it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def _say(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def snapshot(self, container: str, keep: int | None, days: float | None) -> dict[str, Any]:
        return dict(self._say())

    def kept(self) -> dict[str, str]:
        return dict(self._say())

    def restore(self, container: str, dead: Sequence[str], policy: dict[str, Any]) -> dict[str, Any]:
        return {"dead": list(dead), "policy": policy, **self._say()}


def test_what_is_carried_out_always_ends_with_a_result(caplog: pytest.LogCaptureFixture) -> None:
    restore = Job("restore", "bank", "host1", ("host1",))
    result = carry_out(Scripted({"host": "host2"}), restore, {"policy": "uniform"})
    assert result == Result({"dead": ["host1"], "policy": {"policy": "uniform"}, "host": "host2"})
    assert carry_out(Scripted(LaunchError("no room")), restore, {}) == Result({}, "no room")
    assert carry_out(Scripted(StillAlive("host1", "it lives")), restore, {}) == Result({}, "it lives", "host1")
    assert carry_out(Scripted(NothingKept("none")), restore, {}) == Result({}, "none", nothing=True)
    with caplog.at_level(logging.CRITICAL):
        assert carry_out(Scripted(KeyError("x")), Job("list"), {}).problem == "KeyError: 'x'"


@pytest.mark.parametrize(
    "kind", [{"kind": "null"}, {"kind": "stream", "node": "n"}, {"kind": "awx", "url": "https://a"}]
)
@pytest.mark.parametrize(
    "wish",
    [{"snapshots": {"every": 60}}, {"lost_hosts": {"after": 60}}, {"groups": {"a": {"snapshots": {"every": 60}}}}],
)
def test_a_launcher_that_keeps_nothing_is_refused(kind: dict[str, Any], wish: dict[str, Any]) -> None:
    if kind["kind"] == "awx":
        kind = {**kind, "template": "relocate", "recover_template": "recover"}
    Configuration(launcher=kind)
    with pytest.raises(ValueError, match="use the runner, or leave snapshots and lost_hosts out"):
        Configuration(launcher=kind, **wish)


# -- in the service -----------------------------------------------------------------------------------------------------


class Watched(NullLauncher):
    """Moves nothing, and counts how often it was asked to recover."""

    def __init__(self) -> None:
        super().__init__(NullSettings(kind="null", seconds=0))
        self.recovered = 0

    def recover(self) -> dict[str, list[Any]]:
        self.recovered += 1
        return super().recover()


def test_the_service_restores_tells_everybody_and_recovers_when_the_host_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    tenants = {name: Tenant(name, "host1", 0.0, {}) for name in ("bank", "web")}
    silent: set[str] = set()

    def survey(_: Collection[str]) -> Survey:
        here = {name: each for name, each in tenants.items() if each.host not in silent}
        reasons = dict.fromkeys(silent, "no route")
        return Survey(here, set(HOSTS) - silent, reasons, set(silent), "host0")

    class Keeps(Scripted):
        def restore(self, container: str, dead: Sequence[str], policy: dict[str, Any]) -> dict[str, Any]:
            asked.append((container, *dead, str(policy)))
            tenants[container] = Tenant(container, "host2", time.time(), {})
            return {"host": "host2", "at": MADE["bank"], "snapshot": "s1"}

    asked: list[tuple[str, ...]] = []
    configuration = Configuration(
        store={"url": f"sqlite:///{tmp_path}/schedule.sqlite"},
        clock={"kind": "static"},
        destination={"policy": "uniform"},
        alerts={"command": ["sh", "-c", f"cat > {tmp_path}/$$ && mv {tmp_path}/$$ {tmp_path}/$$.alert"]},
    ).model_copy(
        update={"lost_hosts": LostHosts.model_construct(after=0.5), "discovery": Discovery.model_construct(every=0.2)}
    )
    launcher = Watched()
    service = Service(configuration, launcher=launcher, surveyor=survey, keeper=Keeps(MADE))
    thread = threading.Thread(target=service.run)
    thread.start()

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline and thread.is_alive()
            time.sleep(0.02)

    def lines() -> list[dict[str, Any]]:
        return ledger.latest(tmp_path / "ledger.jsonl")

    try:
        until(lambda: service.engine is not None)
        before = launcher.recovered
        silent.add("host1")
        until(lambda: len(lines()) == 2)
        assert asked == [("bank", "host1", "{'policy': 'uniform'}")]
        until(lambda: len(list(tmp_path.glob("*.alert"))) == 2)
        until(lambda: service.engine is not None and service.engine.tenants.known()["bank"].host == "host2")
        assert launcher.recovered == before
        silent.clear()
        until(lambda: launcher.recovered > before)
        time.sleep(1)
        assert launcher.recovered == before + 1 and len(lines()) == 2
    finally:
        service.stop()
        thread.join()
    told = {line["container"]: (line["outcome"], line.get("destination"), line["source"]["host"]) for line in lines()}
    assert told == {"bank": ("restored", {"host": "host2"}, "host1"), "web": ("lost", None, "host1")}
    assert not ledger.committed_between(lines(), {("host1", "a"), ("host2", "a")})
    alerts = [json.loads(path.read_text()) for path in tmp_path.glob("*.alert")]
    assert {(each["event"], each["container"], each["outcome"]) for each in alerts} == {
        ("host-lost", "bank", "restored"),
        ("host-lost", "web", "lost"),
    }


def test_a_clock_waits_for_a_snapshot_of_its_container() -> None:
    limits = Limits(LimitSettings())
    asked = Asked("bank", "host1", "host0")
    limits.kept = frozenset(["bank"])
    assert (
        limits.judge(asked, 0.0).kind is Kind.WAIT and limits.judge(Asked("web", "host1", "host0"), 0.0).kind is Kind.GO
    )
    limits.kept = frozenset()
    assert limits.judge(asked, 0.0).kind is Kind.GO


def test_only_docker_hosts_that_were_not_reached_at_all_may_be_lost() -> None:
    listen = Listener(0.0)
    facts = {"relocate_edge": "host0", "relocate_asked": ["host1", "host2"]}
    listen({"event": "runner_on_ok", "event_data": {"host": "localhost", "res": {"ansible_facts": facts}}})
    for kind, host in (("unreachable", "host0"), ("unreachable", "host1"), ("failed", "host2")):
        told = {"host": host, "task_action": INFO, "res": {"msg": "x"}}
        listen({"event": f"runner_on_{kind}", "event_data": told})
    seen = listen.ended()
    assert seen.unreachable == {"host1"} and set(seen.silent) == {"host0", "host1", "host2"}
