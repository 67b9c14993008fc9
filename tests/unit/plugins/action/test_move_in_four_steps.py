# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What container_relocate asks of whom, in which order, and what it returns for each way in which a move can end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.action import container_relocate
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Unreachable

HOST: dict[str, Any] = {
    "docker_version": "28.5.2",
    "docker_problem": None,
    "criu_version": "4.2.1",
    "kernel": "6.18.0",
    "pycriu": True,
    "proxy": True,
    "runtime": True,
    "cordoned": False,
    "architecture": "x86_64",
    "cpu_flags": "fpu sse2",
    "networks": ["bridge"],
    "userfaultfd": True,
    "dirty_tracking": False,
    "memory_available_bytes": 4 << 30,
    "disk_available_bytes": 4 << 30,
}
WEB: dict[str, Any] = {
    "name": "web",
    "state": "running",
    "labels": {},
    "refusals": [],
    "image": "r:5000/web:1",
    "address": "172.20.1.2",
    "memory_bytes": 8 << 20,
    "layer_bytes": 0,
    "network": None,
    "id": "5e" * 32,
    "image_layers": [],
    "image_digests": [],
    "ports": [{"protocol": "tcp", "host_port": 8080, "container_port": 80}],
}


def info(*containers: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"host": {**HOST, **other}, "containers": list(containers), "unfinished": [], "used_ports": []}


class Fleet:
    """Stands for the inventory's hosts; ``told`` is what was asked of them, in order."""

    def __init__(self, **hosts: Any) -> None:
        self.hosts = hosts
        self.told: list[tuple[str, str]] = []
        self.refusing: dict[str, list[str]] = {}
        self.outcome: dict[str, Any] | None = {"outcome": "committed"}
        self.specifications: dict[str, dict[str, Any]] = {}
        self.addresses6: dict[str, str] = {}
        self.services: list[dict[str, Any]] = []
        self.closed = self.as_operator = False

    def __call__(self, *_: Any, as_operator: bool = False) -> Fleet:
        self.as_operator = as_operator
        return self

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def of(self, host: str) -> Any:
        return SimpleNamespace(
            host=host,
            get=lambda name, default=None: {
                "relocate_fabric_address": f"10.77.0.{host}",
                "relocate_fabric_address6": self.addresses6.get(host),
            }.get(name, default),
            fact=lambda name: None,
            module=lambda name, /, **options: self.module(host, name.rpartition(".")[2], options),
        )

    def module(self, host: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        self.told.append((host, options.get("part") or options.get("state") or name))
        if name == "relocation_info":
            if self.hosts[host] is None:
                raise Unreachable(f"{host} is unreachable: no route")
            return {"relocation_info": self.hosts[host]}
        if name == "relocation_preflight":
            return {"refusals": self.refusing.get(host, [])}
        if name == "nat_service_info":
            return {"table": True, "services": self.services}
        if options["state"] == "started":
            self.specifications[options["part"]] = json.loads(options["specification"])
            return {"port": 4000 + len(self.specifications)}
        order = self.specifications["edge"]
        plans = [each["plan"] for each in order.get("members", [order])]
        results = [{**plan, **self.outcome} for plan in plans] if self.outcome else [None]
        if "members" not in order:
            return {"result": results[0]}
        return {"result": {"id": options["relocation"], "problems": [], **(self.outcome or {}), "members": results}}


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    for variable in ("RELOCATE_LEDGER", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    found = Fleet(one=info(WEB), two=info(), three=info())
    monkeypatch.setattr(container_relocate, "Remotes", found)
    return found


def move(check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Run the action with the options of a task."""
    options = {"container": "web", "policy": {"policy": "uniform"}, **options}
    task = SimpleNamespace(
        args=options, check_mode=check_mode, async_val=0, environment=None, action="container_relocate"
    )
    action = container_relocate.ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=SimpleNamespace(check_mode=check_mode, diff=True),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={"groups": {"docker_hosts": ["one", "two", "three"], "edge": ["edge"]}})


def test_a_move_asks_first_and_starts_the_edge_last(fleet: Fleet) -> None:
    result = move(destination="two")
    assert (result["outcome"], result["changed"], result["failed"]) == ("committed", True, False)
    assert fleet.told == [
        *((host, "relocation_info") for host in ("one", "two", "three")),
        ("edge", "nat_service_info"),
        ("two", "relocation_preflight"),
        *((("one", "source")), ("two", "destination"), ("edge", "edge"), ("edge", "finished")),
    ]
    assert fleet.specifications["edge"]["source"] == ["10.77.0.one", 4001]
    assert fleet.closed


BY_IPV6 = {
    "name": "web",
    "protocol": "tcp",
    "virtual_address": "2001:db8::100",
    "virtual_port": 80,
    "host_address": "fd00:77::1",
    "host_port": 8080,
}


def test_each_part_is_told_both_addresses_of_its_host(fleet: Fleet) -> None:
    """The edge has them in the plan. Where somebody listens is an IPv4 address."""
    fleet.addresses6, fleet.services = {"one": "fd00:77::1", "two": "fd00:77::2"}, [BY_IPV6]
    result = move(destination="two")
    assert result["outcome"] == "committed"
    assert {part: fleet.specifications[part].get("listen6") for part in fleet.specifications} == {
        "source": "fd00:77::1",
        "destination": "fd00:77::2",
        "edge": None,
    }
    plan = fleet.specifications["edge"]["plan"]
    assert plan["destination"] == {"host": "two", "address": "10.77.0.two", "address6": "fd00:77::2"}
    assert plan["services"][0]["virtual_address"] == "2001:db8::100"
    assert fleet.specifications["edge"]["destination"] == ["10.77.0.two", 4002]
    fleet.specifications.clear()
    fleet.addresses6, fleet.services = {}, []
    move(destination="two")
    assert not any("listen6" in each for each in fleet.specifications.values())


def test_a_host_without_ipv6_is_not_drawn_for_what_is_reached_so(fleet: Fleet) -> None:
    """Named by the operator, it refuses, and says what is to be done."""
    fleet.addresses6, fleet.services = {"one": "fd00:77::1", "three": "fd00:77::3"}, [BY_IPV6]
    for _ in range(5):
        assert move(check_mode=True)["destination"]["host"] == "three"
    refused = move(destination="two")
    assert "web is reached at 2001:db8::100, and two has no IPv6 address to lead that to" in refused["msg"]
    assert not fleet.specifications and ("two", "relocation_preflight") not in fleet.told


def test_check_mode_ends_with_the_plan(fleet: Fleet) -> None:
    result = move(check_mode=True)
    assert (result["outcome"], result["changed"]) == ("planned", True)
    assert not fleet.specifications
    assert result["diff"]["after"].startswith("container    web")
    assert set(result["choice"]["distribution"]) == {"two", "three"}


def test_a_host_that_refuses_is_not_drawn_again(fleet: Fleet) -> None:
    fleet.refusing = {"two": ["two: full"]}
    for _ in range(5):
        assert move(check_mode=True)["destination"]["host"] == "three"
    fleet.refusing["three"] = ["three: full"]
    refused = move(check_mode=True)
    assert refused["outcome"] == "refused" and "full" in refused["msg"]


@pytest.mark.parametrize(
    ("hosts", "options", "sentence"),
    [
        ({}, {"destination": "nine"}, "there is no Docker host 'nine' in the inventory (there are: one, two, three)"),
        ({}, {"destination": "one"}, "the container web is already on one: name another destination"),
        ({"two": None}, {"destination": "two"}, "the destination two is unreachable: no route"),
        ({"one": None}, {}, "(no container runs anywhere); not heard: one is unreachable: no route"),
        ({}, {"downtime_limit_ms": -1}, "downtime_limit_ms is -1: it must be a number of milliseconds above 0"),
        ({}, {"mode": "pre-copy", "destination": "two"}, "pre-copy"),
        ({"one": info({**WEB, "refusals": ["web has a terminal"]})}, {}, "web has a terminal"),
    ],
)
def test_a_refusal_has_no_plan_and_touches_nothing(
    fleet: Fleet, hosts: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    fleet.hosts.update(hosts)
    result = move(identifier="20260101-000000-abcdef", **options)
    assert sentence in result["msg"]
    assert (result["failed"], result["outcome"], result["id"]) == (True, "refused", "20260101-000000-abcdef")
    assert not fleet.specifications and fleet.closed


def test_a_move_under_way_is_not_begun_twice(fleet: Fleet) -> None:
    under_way = {"relocation": "20260101-000000-abcdef", "part": "source", "state": "voted", "container": "web"}
    fleet.hosts["one"]["unfinished"] = [under_way]
    assert "web is being relocated already (20260101-000000-abcdef, voted)" in move()["msg"]


def test_one_over_budget_is_refused_with_its_plan(fleet: Fleet) -> None:
    result = move(destination="two", downtime_limit_ms=1)
    assert (result["outcome"], result["failed"], result["commands"]) == ("refused", True, [])
    assert "downtime_limit_ms is 1" in result["msg"] and result["diff"]["after"]


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ({"outcome": "refused"}, "it broke"),
        ({"outcome": "rolled-back"}, "the move of web was rolled back and it runs on at one: it broke"),
        ({"outcome": "failed"}, "web was moved to two and lost there: it broke"),
        ({"outcome": "in-doubt"}, "did not come to an end: it broke; run recover.yml to settle it"),
    ],
)
def test_an_end_that_is_no_commit_has_a_sentence(fleet: Fleet, outcome: dict[str, Any], sentence: str) -> None:
    fleet.outcome = {**outcome, "problems": ["it broke"]}
    result = move(destination="two")
    assert sentence in result["msg"] and result["failed"] and not result["changed"]


def test_an_edge_that_reports_nothing_leaves_a_doubt(fleet: Fleet) -> None:
    fleet.outcome = None
    result = move(destination="two", timeout=1)
    assert ("edge", "finished") in fleet.told
    assert result["outcome"] == "in-doubt" and "no result within 1 s" in result["msg"]


def test_a_container_that_is_made_anew(fleet: Fleet) -> None:
    """The parts hear of it as of a mode; the plan says what is lost; what binds running programs alone is not asked about."""
    leaser = {**WEB, "refusals": ["web holds a lease"], "recreate_refusals": [], "processors": [7]}
    fleet.hosts["one"] = info(leaser)
    refused = move(destination="two")
    assert refused["msg"] == (
        "web holds a lease; or have it made anew at the destination (--strategy recreate), which loses its memory and the "
        "files that are in no shared directory"
    )
    planned = move(check_mode=True, destination="two", strategy="recreate")["diff"]["after"]
    assert "\nlost         its memory" in planned and "at one for at most 60 s" in planned and "\nmode " not in planned
    result = move(destination="two", strategy="recreate", drain_limit_s=5, downtime_limit_ms=1)
    assert (result["outcome"], result["strategy"], result["drain_limit_s"]) == ("committed", "recreate", 5)
    assert {
        part: each.get("mode", each.get("plan", {}).get("mode")) for part, each in fleet.specifications.items()
    } == {
        "source": "recreate",
        "destination": "recreate",
        "edge": "recreate",
    }


def test_what_is_on_several_networks_keeps_its_addresses(fleet: Fleet) -> None:
    """The parts are told of them, the destination is asked for them, and the plan says so."""
    several = {
        "network": "front",
        "networks": {"back": "172.31.0.2", "front": "172.30.0.2"},
        "networks6": {"front": "fd00:30::2"},
    }
    fleet.hosts["one"] = info({**WEB, **several}, subnets={"front": ["172.30.0.0/24", "fd00:30::/64"]})
    planned = move(check_mode=True, destination="two")
    assert "\nto           two (10.77.0.two), with the same address\n" in planned["diff"]["after"]
    result = move(destination="two")
    kept = ["172.31.0.2", "172.30.0.2", "fd00:30::2"]
    assert [each["address"] for each in result["kept_addresses"]] == kept
    for part in ("source", "destination"):
        assert (fleet.specifications[part]["kept_addresses"], "together" in fleet.specifications[part]) == (kept, False)
    fleet.hosts["one"] = info({**WEB, "networks": {"bridge": "172.17.0.2", "back": "172.31.0.2"}})
    assert "is on Docker's own bridge and on other networks (back)" in move(destination="two")["msg"]


# -- with the project -----------------------------------------------------------------------------------------------------

SHOP = {"com.docker.compose.project": "shop"}
OF_SHOP: dict[str, Any] = {
    **WEB,
    "labels": SHOP,
    "network": "shop_default",
    "networks": {"shop_default": "172.18.0.3"},
}
DB: dict[str, Any] = {**OF_SHOP, "name": "db", "networks": {"shop_default": "172.18.0.2"}, "ports": []}
ALERT = {"at": "2026-01-01T00:00:00+00:00", "stay_ms": 5000.0, "clamp": "none"}
ID = "20260101-000000-abcdef"


def test_with_its_project_a_container_takes_the_others_along(fleet: Fleet) -> None:
    """The result is its own, under the id that it was given, so that whoever asked for it alone finds it again."""
    fleet.hosts["one"] = info(OF_SHOP, DB)
    assert "(--project shop)" in move(destination="two")["msg"]
    result = move(destination="two", with_project=True, identifier=ID, alert=ALERT, downtime_limit_ms=1000)
    assert (result["outcome"], result["container"], result["id"]) == ("committed", "web", ID)
    assert (result["changed"], result["failed"], result["alerted_at"]) == (True, False, ALERT["at"])
    assert [(each["container"], each["stay_ms"]) for each in result["members"]] == [("db", 5000), ("web", 5000)]
    assert len({each["together"] for each in result["members"]}) == 1
    assert {each["id"] for each in result["members"]} > {ID}
    planned = move(check_mode=True, with_project=True, downtime_limit_ms=1000)
    assert planned["outcome"] == "planned" and "db" in planned["diff"]["after"]


def test_without_others_it_moves_as_always(fleet: Fleet) -> None:
    fleet.hosts["one"] = info({**OF_SHOP, "labels": {**SHOP, "relocate.mtd/project": "apart"}}, DB)
    fleet.hosts["two"] = info(networks=["bridge", "shop_default"])
    result = move(destination="two", with_project=True)
    assert result["outcome"] == "committed" and "members" not in result


def test_a_project_that_is_rolled_back(fleet: Fleet) -> None:
    fleet.hosts["one"] = info(OF_SHOP, DB)
    fleet.outcome = {"outcome": "rolled-back", "problems": ["two is full"], "rolled_back": True}
    result = move(destination="two", with_project=True, downtime_limit_ms=1000)
    assert (result["outcome"], result["failed"]) == ("rolled-back", True)
    assert result["msg"] == "the move of the project shop was rolled back and all of it runs on at one: two is full"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strategy": "recreate"}, "the project shop only moves live, and web only with it"),
        ({"mode": "post-copy"}, "the project shop cannot move by post-copy: leave the mode out"),
        ({"downtime_limit_ms": 1}, "moving the 2 containers of the project shop together is predicted"),
        ({"destination": "one"}, "the project shop is already on one"),
        ({"container": "none"}, "no host of the fleet has a container named 'none'"),
    ],
)
def test_what_no_project_can(fleet: Fleet, options: dict[str, Any], sentence: str) -> None:
    fleet.hosts["one"] = info(OF_SHOP, DB)
    result = move(with_project=True, identifier=ID, **options)
    assert (result["outcome"], result["id"]) == ("refused", ID)
    assert sentence in result["msg"]
    assert not fleet.specifications
