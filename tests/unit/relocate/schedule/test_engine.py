# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's decisions, in virtual time on a fleet in memory."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from relocate.schedule import views
from relocate.schedule.discovery import Survey
from relocate.schedule.firings import Phase
from relocate.schedule.records import Pause
from relocate.schedule.store import FencedError

from .fleet import FAST, START, World


def limited(text: str) -> str:
    return FAST + "limits:\n  " + text.replace("; ", "\n  ") + "\n"


WIDE = "in_flight: 9; in_flight_per_host: 9; in_flight_per_edge: 9"


def test_every_alert_is_in_the_record_and_every_move_was_intended_first(tmp_path: Path) -> None:
    world = World(tmp_path, limited(WIDE))
    world.begin()
    world.run(300)
    history = world.store.history()
    assert len(history) > 50
    launched = {firing.id for firing, _ in world.launched}
    assert launched == {firing.id for firing in history if firing.launched_at is not None}
    assert len(launched) == len(world.launched), "nothing is launched twice"
    for firing in history:
        assert firing.stay_ms is not None and firing.clock is not None
        assert json.loads(firing.clock)["kind"] == "truncated-poisson"
    done = [firing for firing in history if firing.outcome == "committed"]
    assert all(firing.source != firing.destination for firing in done)
    assert {tenant["container"]: tenant["host"] for tenant in world.store.tenants()} == world.places


def test_the_audit_passes_over_crashes(tmp_path: Path) -> None:
    """Killed every minute with some seconds of outage, half of the time amid moves: the law of stays is untouched."""
    world = World(tmp_path, limited(WIDE), names=tuple("abcdef"))
    alive = None
    for _ in range(10):
        world.begin(alive)
        for firing in world.engine.firings.of(Phase.IN_DOUBT):
            world.engine.finished(firing, world.result(firing), world.now)
        world.run(60)
        alive = world.now
        world.now += 4.0
    (audit, *others) = views.audits(world.store.history(), world.now)
    assert not others and audit.verdict == "pass" and audit.stays > 200, audit.text()
    assert set(audit.clamped) <= {"outage", "moving", "joined", "limit", "overdue"}


def test_a_move_knows_its_alert_and_nothing_of_the_next(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        FAST + "destination: {policy: uniform}\nvariables: {x: 1}\nmode: auto\nprefer: pause\nstrategy: live\n",
    )
    world.begin()
    world.run(60)
    firing, move = world.launched[0]
    assert move.id == firing.id and move.variables["relocation_id"] == move.id
    assert move.variables["relocation_alert"]["clamp"] == firing.clamp
    assert move.variables["relocate_policy"] == {"policy": "uniform"}
    assert (move.variables["x"], move.variables["mode"], move.reason) == (1, "auto", "clock")
    assert move.variables["relocate_prefer"] == "pause" and move.variables["relocate_strategy"] == "live"
    text = (
        json.dumps(move.variables)
        + repr(world.engine.timetable)
        + json.dumps([f.document() for f, _ in world.launched])
    )
    upcoming = world.engine.timetable.next_due()
    assert upcoming is not None and str(upcoming)[:14] not in text


def test_the_ledger_has_one_line_for_each_move(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.run(120)
    lines = [json.loads(line) for line in world.ledger_file.read_text().splitlines()]
    ended = [firing for firing, _ in world.launched if firing.outcome]
    assert sorted(line["id"] for line in lines) == sorted(firing.id for firing in ended)
    assert all(line["outcome"] == "committed" and "alerted_at" in line and "stay_ms" in line for line in lines)


def test_a_line_that_ansible_wrote_is_not_written_again(tmp_path: Path) -> None:
    world = World(tmp_path, takes=9.0)
    world.begin()
    while not world.launched:
        world.run(1)
    firing, _ = world.launched[0]
    world.ledger_file.write_text(json.dumps({"id": firing.id, "outcome": "committed", "by": "ansible"}) + "\n")
    world.run(12)
    lines = [json.loads(line) for line in world.ledger_file.read_text().splitlines()]
    assert [line.get("by") for line in lines if line["id"] == firing.id] == ["ansible"]


@pytest.mark.parametrize(("policy", "launches"), [("skip", 1), ("coalesce", 2), ("queue", 5)])
def test_overlap(tmp_path: Path, policy: str, launches: int) -> None:
    """Five alerts while the first move is under way: how many moves come of them."""
    text = f"clock: {{kind: periodic, period: 10}}\nlimits: {{overlap: {policy}}}\n"
    world = World(tmp_path, text, names=("a",), takes=49.5)
    world.begin()
    world.run(50.5)
    assert len(world.store.history()) == 5
    world.engine.timetable.leave(["a"])
    world.run(250)
    assert len(world.launched) == launches
    skipped = [firing for firing in world.store.history() if firing.outcome == "skipped"]
    assert len(skipped) == 5 - launches and {firing.msg for firing in skipped} <= {policy}


def test_in_flight_is_never_exceeded_and_what_waited_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, limited("in_flight: 1"), names=tuple("abcdef"), takes=3.0)
    world.begin()
    world.run(120)
    spans = sorted((f.launched_at or 0, f.ended_at or world.now) for f, _ in world.launched)
    assert all(end <= begun for (_, end), (begun, _) in itertools.pairwise(spans))
    assert any(firing.clamp == "limit" for firing, _ in world.launched)


def test_a_paused_fleet_moves_nothing_and_its_clocks_go_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.engine.pause([Pause("all", "", False, START, None)])
    world.run(120)
    assert world.launched == []
    assert {firing.msg for firing in world.store.history()} == {"paused"}
    world.engine.pause([])
    world.run(60)
    assert world.launched


def test_a_drained_host_is_emptied_and_a_cordoned_one_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, "clock: {kind: static}\n")
    world.begin()
    world.engine.pause([Pause("host", "host1", False, START, None)])
    world.run(60)
    assert world.launched == []
    world.engine.pause([Pause("host", "host1", True, START, None)])
    world.run(5)
    assert [(firing.container, firing.reason) for firing, _ in world.launched] == [("a", "drain")]
    assert world.places["a"] != "host1"


def test_failures_back_off_open_the_breaker_and_raise_the_alarm(tmp_path: Path) -> None:
    text = limited("backoff: {first: 1}; breaker: {failures: 3, cool_down: 1000}")
    world = World(tmp_path, text, names=("a",), outcome="rolled-back", takes=0.25)
    world.begin()
    world.run(300)
    assert [opened.host for opened in world.opened] == ["host1"]
    assert len(world.launched) == 3
    assert {f.msg for f in world.store.history() if f.outcome == "skipped"} <= {"back-off", "breaker", "coalesce"}


def crash(world: World) -> None:
    """Run until moves are under way, and begin anew."""
    world.begin()
    while not world.engine.firings.count(Phase.MOVING):
        world.run(0.25)
    world.now += 1.0
    world.begin(world.now - 1.0)


def test_after_a_crash_nothing_is_launched_twice_and_the_container_waits_for_the_truth(tmp_path: Path) -> None:
    world = World(tmp_path, limited(WIDE), takes=1e9)
    crash(world)
    (doubt, *_) = world.engine.firings.of(Phase.IN_DOUBT)
    before = len(world.launched)
    world.run(120)
    assert doubt.container not in {firing.container for firing, _ in world.launched[before:]}
    world.engine.finished(doubt, world.result(doubt), world.now)
    world.engine.flush(world.now)
    assert doubt.id not in {firing.id for firing in world.store.unfinished()}
    world.run(60)
    ids = [firing.id for firing, _ in world.launched]
    assert len(ids) == len(set(ids)) and doubt.container in {f.container for f, _ in world.launched[before:]}


def test_what_waited_before_a_crash_is_launched_after_it(tmp_path: Path) -> None:
    world = World(tmp_path, limited("in_flight: 1"), takes=1e9)
    world.begin()
    while not world.engine.firings.count(Phase.WAITING):
        world.run(0.25)
    waiting = world.engine.firings.ids(Phase.WAITING)
    flying = world.engine.firings.of(Phase.MOVING)[0]
    world.begin(world.now)
    assert world.engine.firings.ids(Phase.WAITING) == waiting
    world.engine.finished(
        {firing.id: firing for firing in world.engine.firings.of(Phase.IN_DOUBT)}[flying.id],
        world.result(flying),
        world.now,
    )
    world.run(0.5)
    assert world.launched[-1][0].id in waiting


def test_who_lost_the_lease_launches_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    other = World(tmp_path, names=world.names)
    assert other.lease.attempt()
    with pytest.raises(FencedError):
        world.run(60)
    assert world.launched == [] and world.store.history() == []


def test_a_store_that_is_away_for_a_while_costs_no_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, limited(WIDE))
    world.begin()
    record = world.store.record

    def away(*_: Any) -> None:
        raise OperationalError("insert", {}, Exception("gone"))

    monkeypatch.setattr(world.store, "record", away)
    failures = 0
    for _ in range(120):
        try:
            world.run(0.25)
        except OperationalError:
            failures += 1
    assert failures and world.launched == [] and world.engine.limits.in_flight == 0
    alerts = world.engine.firings.ids(Phase.ALERTED)
    monkeypatch.setattr(world.store, "record", record)
    world.run(1)
    assert alerts <= {firing.id for firing in world.store.history()} and world.launched


def test_tenants_that_come_go_and_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)
    engine = world.begin()
    world.places["new"], world.since["new"] = "host2", world.now
    del world.places["a"]
    world.labels["b"] = {"relocate.mtd/clock-rate": "5"}
    world.labels["c"] = {"relocate.mtd/clock-rate": "never"}
    engine.survey(world.survey(), world.now)
    assert engine.timetable.names() == {"a", "b", "c", "new"}, "one survey may have missed a container that is moving"
    engine.survey(world.survey(), world.now)
    assert engine.timetable.names() == {"b", "c", "new"}
    assert engine.timetable.clock("b").parameters()["rate"] == 5.0
    assert engine.timetable.clock("c").parameters()["rate"] == 0.1
    assert [tenant["container"] for tenant in world.store.tenants()] == ["b", "c", "new"]
    problems = {tenant["container"]: tenant["problem"] for tenant in world.store.tenants()}
    assert problems["b"] is None and "its labels are passed over" in problems["c"]


def test_a_host_that_does_not_answer_keeps_its_tenants(tmp_path: Path) -> None:
    world = World(tmp_path)
    engine = world.begin()
    world.silent["host1"] = "no route"
    for _ in range(5):
        engine.survey(world.survey(), world.now)
    assert engine.timetable.names() == {"a", "b", "c"}
    engine.survey(Survey(silent={"host1": "", "host2": "", "host3": ""}), world.now)
    assert len(engine.timetable) == 3


def test_a_restart_forgets_who_is_gone_and_not_who_does_not_answer(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin()
    world.silent["host1"] = "no route"
    del world.places["b"]
    engine = world.begin(world.now)
    assert engine.timetable.names() == {"a", "c"}
    assert [tenant["container"] for tenant in world.store.tenants()] == ["a", "c"]
    assert engine.fleet.tenants["a"].host == "host1"


def test_a_container_that_was_started_anew_begins_its_stay_anew(tmp_path: Path) -> None:
    world = World(tmp_path, "clock: {kind: periodic, period: 100}\n", names=("a",))
    engine = world.begin()
    world.run(50)
    world.since["a"] = world.now
    engine.survey(world.survey(), world.now)
    world.run(70)
    assert world.launched == []
    world.run(40)
    assert len(world.launched) == 1


def test_a_changed_configuration_changes_the_clocks(tmp_path: Path) -> None:
    world = World(tmp_path, "clock: {kind: static}\n")
    engine = world.begin()
    world.run(100)
    assert world.launched == []
    from relocate.schedule.config import parse

    engine.use(parse(FAST))
    engine.reload(world.now)
    world.run(60)
    assert world.launched


def test_one_round_takes_the_first_only(tmp_path: Path) -> None:
    world = World(tmp_path)
    engine = world.begin()
    engine.once(world.now)
    assert [firing.reason for firing, _ in world.launched] == ["once"]
    late = World(tmp_path / "late", since=dict.fromkeys("abc", START - 100))
    late.begin().once(late.now)
    assert {firing.clamp for firing, _ in late.launched} == {"overdue"}


# -- projects -------------------------------------------------------------------------------------------------------------


def shop(directory: Path, text: str = FAST) -> World:
    """Return a world with a project of two, db and web, and a container of its own."""
    world = World(directory, text, names=("db", "lone", "web"), leaders={"db": "db", "web": "db"})
    world.places["web"] = world.places["db"]
    return world


def test_a_project_has_one_clock_and_moves_as_one(tmp_path: Path) -> None:
    world = shop(tmp_path, FAST + "mode: post-copy\n" + limited(WIDE).removeprefix(FAST))
    world.begin()
    for _ in range(20):
        world.run(5)
        world.engine.survey(world.survey(), world.now)
        known = world.engine.tenants.known()
        assert known["web"].host == known["db"].host
    moved = {
        (move.container, move.variables.get("relocate_with_project"), move.variables["mode"])
        for _, move in world.launched
    }
    assert moved == {("db", True, "auto"), ("lone", None, "post-copy")}
    assert world.engine.timetable.names() == {"db", "lone"}
    assert {row["container"]: row["host"] for row in world.store.tenants()} == world.places


def test_a_pause_of_one_holds_its_project(tmp_path: Path) -> None:
    world = shop(tmp_path)
    world.begin()
    world.engine.pause([Pause("container", "web", False, world.now, None)])
    world.run(100)
    assert {move.container for _, move in world.launched} == {"lone"}
    assert {firing.msg for firing in world.store.history() if firing.container == "db"} == {"paused"}


def test_a_snapshot_of_one_is_waited_for_by_all(tmp_path: Path) -> None:
    world = shop(tmp_path)
    world.begin()
    world.engine.limits.kept = frozenset({"web"})
    world.run(100)
    assert {move.container for _, move in world.launched} == {"lone"}
    world.engine.limits.kept = frozenset()
    world.run(1)
    assert "db" in {move.container for _, move in world.launched}


def test_a_drain_moves_a_project_once(tmp_path: Path) -> None:
    world = shop(tmp_path, "clock: {kind: static}\n")
    world.begin()
    world.engine.pause([Pause("host", world.places["db"], True, world.now, None)])
    world.run(1)
    assert [move.container for _, move in world.launched] == ["db"]


def test_whose_clock_it_is_may_change(tmp_path: Path) -> None:
    """Its leader ends, another takes over, one comes that is earlier by name: each time there is one clock."""
    world = shop(tmp_path)
    world.begin()
    world.leaders = {"web": ""}
    del world.places["db"]
    for _ in range(2):
        world.engine.survey(world.survey(), world.now)
    assert world.engine.timetable.names() == {"web", "lone"}
    world.leaders = {"app": "app", "web": "app"}
    world.places["app"], world.since["app"] = world.places["web"], world.now
    world.engine.survey(world.survey(), world.now)
    assert world.engine.timetable.names() == {"app", "lone"}
    again = world.begin(world.now)
    assert again.timetable.names() == {"app", "lone"}
