# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What relocation_check says of a container: every reason, of every host, and nobody is told to do anything."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.action import relocation_check

from .test_move_in_four_steps import WEB, Fleet, info


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    found = Fleet(one=info(WEB), two=info(), three=info())
    monkeypatch.setattr(relocation_check, "Remotes", found)
    return found


def check(**options: Any) -> dict[str, Any]:
    """Run the action with the options of a task."""
    task = SimpleNamespace(
        args={name: value for name, value in {"container": "web", **options}.items() if value is not None},
        check_mode=False,
        async_val=0,
        environment=None,
        action="relocation_check",
    )
    action = relocation_check.ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=SimpleNamespace(check_mode=False, diff=False),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={"groups": {"docker_hosts": ["one", "two", "three"], "edge": ["edge"]}})


class Dumping(Fleet):
    """One of which a host makes a dump on trial. :ivar result: what its part leaves."""

    result: dict[str, Any]

    def module(self, host: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        if name != "relocation_session":
            return super().module(host, name, options)
        assert self.as_operator and host == "one"
        self.told.append((host, options["state"]))
        if options["state"] == "started":
            self.specifications["source"] = json.loads(options["specification"])
            return {"port": 0}
        return {"result": self.result}


@pytest.fixture
def dumping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dumping:
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    found = Dumping(one=info(WEB), two=info(), three=info())
    found.result = {"outcome": "recorded", "timings_ns": {"frozen_total": 21_400_000}, "bytes": {"memory": 8 << 20}}
    monkeypatch.setattr(relocation_check, "Remotes", found)
    return found


def test_a_dump_on_trial_is_told(dumping: Dumping) -> None:
    result = check(dump=True)
    assert (result["dump"], result["movable"]) == ({"frozen_ms": 21.4, "memory_bytes": 8 << 20}, True)
    assert dumping.told[-2:] == [("one", "started"), ("one", "finished")]
    recording = dumping.specifications["source"]["recording"]
    assert recording["trial"] is True and "key" not in recording
    assert "dump" not in check() and "source" in dumping.specifications


def test_a_dump_on_trial_that_fails_is_a_reason(dumping: Dumping) -> None:
    dumping.result = {"outcome": "failed", "problems": ["CRIU: no such thing"]}
    result = check(dump=True)
    assert result["refusals"] == ["a dump on trial failed: one: CRIU: no such thing"]
    assert not result["movable"] and "dump" not in result
    dumping.hosts["one"] = info(WEB, memory_available_bytes=1 << 20)
    assert "MiB of memory available and the dump needs" in check(dump=True)["refusals"][0]


def test_nothing_is_dumped_where_something_else_stands_in_the_way(dumping: Dumping) -> None:
    dumping.hosts["one"] = info({**WEB, "refusals": ["web has a terminal"]})
    assert check(dump=True)["refusals"] == ["web has a terminal"]
    assert "nothing of it is dumped: leave the dump out" in check(dump=True, strategy="recreate")["msg"]
    assert check(dump=True, container=None, project="shop")["msg"] == "a dump on trial is of one container: name that"
    assert not dumping.specifications


def by_host(result: dict[str, Any]) -> dict[str, list[str]]:
    return {each["host"]: each["refusals"] for each in result["destinations"]}


def test_every_other_host_is_asked_and_none_is_told(fleet: Fleet) -> None:
    result = check()
    assert (result["source"], result["movable"], result["changed"]) == ("one", True, False)
    assert by_host(result) == {"two": [], "three": []}
    assert result["destinations"][0]["mode"] == "stop-and-copy"
    assert result["destinations"][0]["predicted_downtime_ms"] > 0
    assert {what for _, what in fleet.told} == {"relocation_info", "nat_service_info", "relocation_preflight"}
    assert fleet.closed


def test_all_reasons_are_told_at_once(fleet: Fleet) -> None:
    under_way = {"relocation": "20260101-000000-abcdef", "part": "source", "state": "voted", "container": "web"}
    fleet.hosts["one"] = {**info({**WEB, "refusals": ["web has a terminal"]}), "unfinished": [under_way]}
    fleet.refusing = {"two": ["two: full", "two: cordoned"]}
    fleet.hosts["three"] = None
    result = check()
    assert not result["movable"]
    assert result["refusals"][0] == "web has a terminal" and "relocated already" in result["refusals"][1]
    assert by_host(result) == {"two": ["two: full", "two: cordoned"], "three": ["three is unreachable: no route"]}


def test_a_container_that_cannot_leave_is_not_movable_though_a_host_would_take_it(fleet: Fleet) -> None:
    fleet.hosts["one"] = info({**WEB, "refusals": ["web has a terminal"]})
    result = check(destination="two")
    assert by_host(result) == {"two": []} and not result["movable"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"mode": "pre-copy"}, "pre-copy"), ({"downtime_limit_ms": 1}, "downtime_limit_ms is 1")],
)
def test_a_mode_and_a_limit_count(fleet: Fleet, options: dict[str, Any], sentence: str) -> None:
    result = check(**options)
    assert all(sentence in reasons[0] for reasons in by_host(result).values()) and not result["movable"]


def test_a_host_for_which_no_mode_is_left(fleet: Fleet) -> None:
    """No room for images, and a kernel that fetches no memory on demand."""
    assert fleet.hosts["two"]
    fleet.hosts["two"]["host"] |= {"room": {"images": {"bytes": 0, "inodes": 10**6}}, "userfaultfd": False}
    reasons = by_host(check(destination="two"))["two"]
    assert "two has 0 MiB free" in reasons[0] and "cannot fetch memory on demand" in reasons[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"container": "nobody"}, "no host of the fleet has a container named 'nobody' (there are: web)"),
        ({"container": "{{ x }}"}, "'{{ x }}' is no container's name"),
        ({"destination": "one"}, "the container web is already on one: name another destination"),
        ({"destination": "nine"}, "there is no Docker host 'nine' in the inventory"),
    ],
)
def test_what_cannot_be_judged_is_an_error(fleet: Fleet, options: dict[str, Any], sentence: str) -> None:
    result = check(**options)
    assert result["failed"] and sentence in result["msg"]


def test_an_edge_that_is_silent_is_one_reason_among_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def module(host: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        return {"failed": True, "msg": "no nft"} if name == "nat_service_info" else asked(host, name, options)

    asked = fleet.module
    monkeypatch.setattr(fleet, "module", module)
    fleet.refusing = {"two": ["two: full"]}
    result = check()
    assert "the edge edge cannot tell its services" in result["refusals"][0]
    assert by_host(result)["two"] == ["two: full"] and not result["movable"]


LEASER = {**WEB, "refusals": ["web holds a lease"], "recreate_refusals": []}


def test_where_only_a_live_move_is_refused_the_other_strategy_is_named(fleet: Fleet) -> None:
    fleet.hosts["one"] = info(LEASER)
    result = check()
    assert not result["movable"] and result["strategy"] == "live" and "--strategy recreate" in result["remedy"]
    for change in (
        {"recreate_refusals": ["web has volumes"]},
        {"labels": {"relocate.mtd/strategy": "live"}},
        {"refusals": []},
    ):
        fleet.hosts["one"] = info({**LEASER, **change})
        assert check()["remedy"] == "", change


@pytest.mark.parametrize("how", ["option", "label"])
def test_one_that_is_made_anew_has_its_own_refusals_and_no_pause(fleet: Fleet, how: str) -> None:
    label = {"relocate.mtd/strategy": "recreate"} if how == "label" else {}
    fleet.hosts["one"] = info({**LEASER, "labels": label, "processors": [7], "security_label": "docker-default"})
    fleet.hosts["one"]["host"] = {**fleet.hosts["one"]["host"], "cgroup_version": 1, "security_module": "apparmor"}
    fleet.hosts["two"]["host"] = {**fleet.hosts["two"]["host"], "cgroup_version": 2, "security_module": ""}
    result = check(downtime_limit_ms=1, **({"strategy": "recreate"} if how == "option" else {}))
    assert (result["movable"], result["strategy"], result["refusals"]) == (True, "recreate", [])
    assert {each["mode"] for each in result["destinations"]} == {"recreate"}
    fleet.hosts["one"] = info({**LEASER, "labels": label, "recreate_refusals": ["web has volumes"]})
    assert check(strategy="recreate")["refusals"] == ["web has volumes"]
    fleet.hosts["one"] = info({name: value for name, value in LEASER.items() if name != "recreate_refusals"})
    assert "does not tell whether web can be made anew" in check(strategy="recreate")["refusals"][0]


@pytest.mark.parametrize(("label", "says"), [("live", "never made anew"), ("both", "=both: use one of live, recreate")])
def test_a_label_that_forbids_it_and_one_that_is_none(fleet: Fleet, label: str, says: str) -> None:
    fleet.hosts["one"] = info({**LEASER, "labels": {"relocate.mtd/strategy": label}})
    result = check(strategy="recreate")
    assert result["failed"] and says in result["msg"]


# -- a project ------------------------------------------------------------------------------------------------------------

SHOP = {"com.docker.compose.project": "shop"}
ON_SHOP = {"labels": SHOP, "network": "shop_default"}
DB = {**WEB, **ON_SHOP, "name": "db", "networks": {"shop_default": "172.18.0.2"}, "ports": []}


@pytest.fixture
def shop(fleet: Fleet) -> Fleet:
    web = {**WEB, **ON_SHOP, "networks": {"shop_default": "172.18.0.3"}}
    fleet.hosts["one"] = info(web, DB, {**DB, "name": "once", "state": "exited"})
    return fleet


def test_a_project_is_judged_host_by_host_and_member_by_member(shop: Fleet) -> None:
    shop.refusing = {"two": ["two: full"]}
    result = check(container=None, project="shop")
    assert (result["project"], result["source"], result["movable"]) == ("shop", "one", True)
    assert [each["container"] for each in result["members"]] == ["db", "web"]
    assert by_host(result) == {"two": ["two: full"], "three": []}
    two, three = result["destinations"]
    assert [each["refusals"] for each in two["members"]] == [["two: full"]] * 2
    pauses = [each["predicted_downtime_ms"] for each in three["members"]]
    assert (
        three["predicted_downtime_ms"] == pytest.approx(sum(pauses)) and "no move is known" in three["predicted_from"]
    )
    assert result["left_behind"]["stopped"] == ["once"]
    assert {what for _, what in shop.told} == {"relocation_info", "nat_service_info", "relocation_preflight"}


def test_what_keeps_one_of_them_and_the_limit_of_all_count(shop: Fleet) -> None:
    hosts = shop.hosts["one"]["containers"]
    assert not check(container=None, project="shop", downtime_limit_ms=100)["movable"]
    limited = by_host(check(container=None, project="shop", downtime_limit_ms=100, destination="two"))
    assert "moving the 2 containers of the project shop together is predicted" in limited["two"][-1]
    hosts[1] = {**DB, "refusals": ["db has a terminal"]}
    shop.hosts["three"] = None
    result = check(container=None, project="shop")
    assert result["refusals"] == ["db has a terminal"] and not result["movable"]
    assert by_host(result) == {"two": [], "three": ["three is unreachable: no route"]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"project": "shop"}, "name a container, or a project, and not both"),
        ({"container": None}, "name a container, or a project, and not both"),
        ({"container": None, "project": "none"}, "no container of a project 'none' runs on any host of the fleet"),
        ({"container": None, "project": "shop", "destination": "one"}, "the project shop is already on one"),
    ],
)
def test_what_is_no_project_is_an_error(shop: Fleet, options: dict[str, Any], sentence: str) -> None:
    result = check(**options)
    assert result["failed"] and sentence in result["msg"]
