# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is believed of moves whose end nobody recorded, what surveys are made of, and the ledger's lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relocate.schedule.discovery import Listener, Roster, Survey
from relocate.schedule.ledger_writer import Ledger
from relocate.schedule.reconcile import GONE, GRACE, Abandoned, resolve, settled_outcomes
from relocate.schedule.records import Firing, Tenant

NOW = 10_000.0


def firing(age: float = 1.0) -> Firing:
    return Firing("r1", "web", "host1", "clock", "launched", NOW - age - 1, launched_at=NOW - age)


def seen(host: str | None = "host1", **more: Any) -> Survey:
    tenants = {} if host is None else {"web": Tenant("web", host, 0.0, {})}
    return Survey(tenants=tenants, answered={"host1", "host2"}, **more)


def outcome(survey: Survey, age: float = 1.0, entry: Any = None, settled: Any = None, in_progress: Any = ()) -> Any:
    found = resolve(firing(age), entry=entry, seen=survey, settled=settled or {}, in_progress=in_progress, now=NOW)
    return None if found is None else found["outcome"]


def test_the_ledger_is_believed_first() -> None:
    assert outcome(seen(), entry={"id": "r1", "outcome": "rolled-back"}) == "rolled-back"
    assert outcome(seen(), entry={"id": "r1", "outcome": "in-doubt"}) is None


def test_then_the_result_at_the_edge_with_all_its_figures() -> None:
    document = {"id": "r1", "outcome": "committed", "downtime_ms": 80.0}
    found = resolve(firing(), entry=None, seen=seen(results={"r1": document}), settled={}, in_progress=(), now=NOW)
    assert found == document


def test_then_recovery_s_verdict_from_the_journals() -> None:
    settled = settled_outcomes(
        [
            {"relocation": "r1", "part": "source", "verdict": "commit"},
            {"relocation": "r2", "verdict": "roll-back"},
            {"relocation": "r3", "verdict": None},
            "odd",
        ]
    )
    assert settled == {"r1": "committed", "r2": "rolled-back"}
    assert outcome(seen(), settled=settled) == "committed"


def test_what_is_under_way_is_waited_for() -> None:
    assert outcome(seen("host2", unfinished={"r1"}), age=1e6) is None
    assert outcome(seen("host2"), age=1e6, in_progress=["r1"]) is None


def test_at_last_the_place_tells() -> None:
    assert outcome(seen("host2")) == "committed"
    assert outcome(seen("host1"), age=GRACE - 1) is None, "Ansible may still be on its way to the hosts"
    assert outcome(seen("host1"), age=GRACE + 1) == "failed"
    assert outcome(seen("host1", silent={"host3": "down"}), age=GRACE + 1) is None
    assert outcome(seen(None), age=GONE - 1) is None
    assert outcome(seen(None), age=GONE + 1) == "failed"


def event(kind: str, action: str, host: str, **result: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": {"task_action": action, "host": host, "res": result}}


INFO = "relocate.mtd.relocation_info"


def container(
    name: str, state: str = "running", enabled: str = "true", at: str = "2026-11-23T12:00:00.123456789Z"
) -> Any:
    return {"name": name, "state": state, "labels": {"relocate.mtd/enabled": enabled}, "started_at": at}


def test_a_survey_is_made_of_ansible_s_events() -> None:
    now = 2_000_000_000.0
    listen = Listener(now)
    containers = [
        container("web"),
        container("stopped", state="exited"),
        container("other", enabled="false"),
        container("odd", at="soon"),
        container("ahead", at="2099-01-01T00:00:00Z"),
    ]
    unfinished = [{"relocation": "r1", "part": "source", "state": "voted"}]
    info = {"host": {"docker_version": "28"}, "containers": containers, "unfinished": unfinished}
    listen(event("runner_on_ok", INFO, "host1", relocation_info=info))
    listen(event("runner_on_ok", INFO, "host2", relocation_info={"host": {"docker_problem": "it is down"}}))
    listen(event("runner_on_unreachable", INFO, "host3", msg="no route"))
    listen(event("runner_on_ok", "ansible.builtin.set_fact", "localhost", ansible_facts={"relocate_edge": "host0"}))
    listen(event("runner_item_on_ok", "relocate.mtd.relocation_session", "host0", result={"id": "r9", "outcome": "x"}))
    listen(event("runner_item_on_ok", "relocate.mtd.relocation_session", "host0", result=None))
    found = listen.survey
    assert set(found.tenants) == {"web", "odd", "ahead"} and found.tenants["web"].host == "host1"
    assert found.tenants["web"].since == pytest.approx(1_795_435_200.12, abs=0.01)
    assert found.tenants["odd"].since == found.tenants["ahead"].since == now
    assert (found.answered, found.edge, found.unfinished) == ({"host1"}, "host0", {"r1"})
    assert found.silent == {"host2": "it is down", "host3": "no route"}
    assert set(found.results) == {"r9"}


def test_what_no_process_works_on_is_told_from_what_is_under_way() -> None:
    """One living part, on whichever host, brings the others to an end; the edge is asked for its journals alone."""

    def said(*entries: tuple[str, str, bool | None]) -> dict[str, Any]:
        parts = [
            {"relocation": each, "part": part, "state": "voted", **({} if living is None else {"living": living})}
            for each, part, living in entries
        ]
        return {"host": {"docker_version": "28"}, "containers": [container("web")], "unfinished": parts}

    listen = Listener(0.0)
    facts = {"relocate_edge": "host0", "relocate_asked": ["host1"]}
    listen(event("runner_on_ok", "ansible.builtin.set_fact", "localhost", ansible_facts=facts))
    parts = [("r1", "source", False), ("r2", "source", False), ("r3", "destination", True), ("old", "source", None)]
    listen(event("runner_on_ok", INFO, "host1", relocation_info=said(*parts)))
    edge = {**said(("r2", "edge", True), ("r4", "edge", False)), "host": {"docker_problem": "there is none"}}
    listen(event("runner_on_ok", INFO, "host0", relocation_info=edge))
    found = listen.ended()
    assert found.unfinished == {"r1", "r2", "r3", "r4", "old"} and found.abandoned == {"r1", "r4"}
    assert (found.answered, found.silent, found.contested) == ({"host1"}, {}, {})


def test_an_edge_that_is_a_docker_host_too_claims_its_containers_once() -> None:
    """It is asked twice."""
    listen = Listener(0.0)
    facts = {"relocate_edge": "host1", "relocate_asked": ["host1"]}
    listen(event("runner_on_ok", "ansible.builtin.set_fact", "localhost", ansible_facts=facts))
    info = {"host": {"docker_version": "28"}, "containers": [container("web")], "unfinished": []}
    for _ in range(2):
        listen(event("runner_on_ok", INFO, "host1", relocation_info=info))
    assert set(listen.ended().tenants) == {"web"} and not listen.survey.contested


def test_recovery_is_tried_at_once_and_then_more_and_more_seldom() -> None:
    """What it could not settle must not have it run all the time; what is new does not wait for that."""
    abandoned, tried = Abandoned(), []
    for now in range(4000):
        abandoned.seen({"r1"}, now)
        if abandoned.due(now):
            abandoned.tried(now)
            tried.append(now)
    assert tried == [0, 10, 30, 70, 150, 310, 630, 1270, 2550]
    assert abandoned.seen({"r1", "r2"}, 4000) and abandoned.due(4000) and not abandoned.seen({"r2"}, 4000)
    abandoned.tried(4000)
    assert not abandoned.due(4000) and abandoned.seen({"r1"}, 4001) and abandoned.due(4001), "it was gone meanwhile"


def test_a_container_that_is_just_moving_is_not_taken_for_gone() -> None:
    fleet = Roster()
    fleet.learn(seen(), ())
    for _ in range(3):
        assert fleet.learn(seen(None), {"web"}) == ([], [])
    assert fleet.learn(seen(None), ()) == ([], [])
    assert fleet.learn(seen(None), ()) == ([], ["web"])


def test_a_ledger_is_read_as_it_grows_and_a_torn_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.expect("r1")
    assert ledger.entry("r1") is None
    ledger.ensure([(firing(), {"outcome": "failed", "diff": "long"})], NOW)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["outcome"] == "failed" and "diff" not in line
    assert path.stat().st_mode & 0o077 == 0
    with path.open("a") as file:
        file.write('{"id": "r2", "outco')  # its writer was killed
    other = Firing("r3", "db", "host1", "clock", "launched", NOW)
    ledger.expect("r3")
    ledger.ensure([(other, {"outcome": "committed"})], NOW)
    ledger.ensure([(other, {"outcome": "committed"})], NOW)
    readable = []
    for text in path.read_text().splitlines():
        try:
            readable.append(json.loads(text)["id"])
        except ValueError:
            continue
    assert readable == ["r1", "r3"]


def test_a_project_s_move_has_a_line_of_each_that_moved(tmp_path: Path) -> None:
    """Where nobody else has written them, as a controller's job does not."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    move = firing()
    ledger.expect(move.id)
    members = [
        {"id": each, "container": name, "outcome": "committed"} for each, name in ((move.id, "web"), ("r9", "db"))
    ]
    for _ in range(2):
        ledger.ensure([(move, {**members[0], "members": members})], NOW)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [(each["id"], each["container"]) for each in lines] == [(move.id, "web"), ("r9", "db")]
    assert all("alerted_at" in each and "members" not in each for each in lines)


def test_a_doubt_in_the_ledger_gets_its_end_in_a_second_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps({"id": "r1", "outcome": "in-doubt"}) + "\n")
    ledger = Ledger(path)
    ledger.expect("r1")
    ledger.ensure([(firing(), {"outcome": "rolled-back"})], NOW)
    assert [json.loads(line)["outcome"] for line in path.read_text().splitlines()] == ["in-doubt", "rolled-back"]
