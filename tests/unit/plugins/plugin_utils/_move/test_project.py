# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are a project, in which order, and what keeps them together."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import project
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused


def container(service: str, depends_on: str = "", *, of: str = "shop", **more: Any) -> dict[str, Any]:
    labels = {project.PROJECT: of, project.SERVICE: service, **more.pop("labels", {})}
    if depends_on:
        labels[project.DEPENDS_ON] = depends_on
    networks = {f"{of}_default": f"172.30.0.{len(service)}"}
    told = {
        "name": f"{of}-{service}-1",
        "state": "running",
        "labels": labels,
        "networks": networks,
        "memory_bytes": 1 << 20,
    }
    return {**told, **more}


def hosts(*containers: dict[str, Any], on: str = "host1") -> dict[str, dict[str, Any]]:
    return {on: {"containers": list(containers)}}


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["labels"][project.SERVICE] for each in found]


WEB = container("web", "worker:service_started:false,db:service_healthy:true")
WORKER = container("worker", "db:service_started:false")
DB = container("db")


def test_each_comes_after_those_that_it_depends_on() -> None:
    assert names(project.ordered([WEB, WORKER, DB])) == ["db", "worker", "web"]
    assert names(project.ordered([container("b"), container("a")])) == ["a", "b"]
    assert names(project.ordered([container("a", "gone:service_started:false")])) == ["a"], "it does not run"
    ring = [container("a", "b:service_started:false"), container("b", "a:service_started:false")]
    assert names(project.ordered(ring)) == ["a", "b"]
    assert names(project.ordered([container("a", "a:service_started:false")])) == ["a"]


def test_two_of_one_service_come_before_what_depends_on_it() -> None:
    two = [{**DB, "name": "shop-db-2"}, DB]
    assert [each["name"] for each in project.ordered([WORKER, *two])] == ["shop-db-1", "shop-db-2", "shop-worker-1"]


def test_what_runs_moves_and_the_rest_is_named() -> None:
    once = container("migrate", state="exited")
    apart = container("cache", labels={project.APART_LABEL: project.APART})
    found = project.members("shop", hosts(WEB, once, apart, DB, container("web", of="other")))
    assert (found.host, names(found.running), found.stopped) == ("host1", ["db", "web"], ["shop-migrate-1"])


def test_a_project_that_is_not_there_or_on_two_hosts_is_refused() -> None:
    with pytest.raises(Refused, match=r"no container of a project 'shop' runs on any host .* \(there are: other\)"):
        project.members("shop", hosts(container("web", of="other"), container("db", state="exited")))
    with pytest.raises(Refused, match="no project runs anywhere"):
        project.members("shop", hosts({**WEB, "labels": {}}))
    both = {**hosts(WEB), **hosts(DB, on="host2")}
    with pytest.raises(Refused, match=r"runs on host1 and host2: name the host that it is to leave \(--from\)"):
        project.members("shop", both)
    assert names(project.members("shop", both, source="host2").running) == ["db"]
    many = [{**DB, "name": f"shop-db-{number}"} for number in range(project.MOST_MEMBERS + 1)]
    with pytest.raises(Refused, match="has 25 containers, and at most 24 can move together"):
        project.members("shop", hosts(*many))


def test_a_container_is_not_torn_away_from_its_project() -> None:
    (said,) = project.torn(WEB, [WEB, WORKER, DB])
    assert "(shop-db-1, shop-worker-1), and would lose them: move all of them (--project shop)" in said
    assert project.torn(DB, [DB]) == []
    assert project.torn(DB, [DB, container("web", state="exited")]) == []
    assert project.torn(DB, [DB, {**WEB, "networks": {"front": "172.31.0.2"}}]) == []
    assert project.torn(DB, [DB, {**container("web", of="other"), "networks": DB["networks"]}]) == []
    assert (
        project.torn({**DB, "networks": {"bridge": "172.17.0.2"}}, [{**WEB, "networks": {"bridge": "172.17.0.3"}}])
        == []
    )
    assert project.torn({**DB, "labels": {}}, [WEB]) == []
    alone = container("db", labels={project.APART_LABEL: project.APART})
    assert project.torn(alone, [alone, WEB]) == []
    assert project.torn({"name": "old", "state": "running", "labels": None}, [WEB]) == []


def test_addresses_of_private_networks_are_kept() -> None:
    on_three = {
        **DB,
        "networks": {"shop_default": "172.30.0.2", "bridge": "172.17.0.2", "back": "172.31.0.2", "none": None},
    }
    assert project.kept_addresses(on_three, {"shop_default": ["172.30.0.0/24"]}) == [
        {"network": "shop_default", "address": "172.30.0.2", "subnet": "172.30.0.0/24"},
        {"network": "back", "address": "172.31.0.2", "subnet": ""},
    ]


def test_an_address_of_ipv6_is_kept_with_the_subnet_that_it_is_from() -> None:
    both = {**DB, "networks6": {"shop_default": "fd00:30::2", "back": None}}
    kept = project.kept_addresses(both, {"shop_default": ["172.30.0.0/24", "fd00:30::/64"]})
    assert [each["subnet"] for each in kept] == ["172.30.0.0/24", "fd00:30::/64"]
    assert kept[1]["address"] == "fd00:30::2"


def test_several_networks_may_not_be_dockers_own_bridge() -> None:
    """It gives no address that is asked for, and what has several keeps them."""
    several = {**DB, "networks": {"back": "172.31.0.2", "bridge": "172.17.0.2"}}
    (said,) = project.bridged(several)
    assert "is on Docker's own bridge and on other networks (back)" in said
    assert said.endswith("make it anew without that (docker run --network)")
    for networks in ({"bridge": "172.17.0.2"}, {}, None):
        assert project.bridged({**DB, "network": None, "networks": networks}) == []
    others = {"back": "172.31.0.2", "front": "172.30.0.2"}
    assert project.bridged({**DB, "network": "back", "networks": others}) == []
    (said,) = project.bridged({**DB, "network": None, "networks": others})
    assert "was made for Docker's own bridge and is on other networks now (back, front)" in said


def test_what_stays_on_a_private_network_is_told() -> None:
    proxy = {**container("proxy", of="front"), "networks": {"shop_default": "172.30.0.9"}}
    assert project.clashes(
        [WEB, DB], [WEB, DB, proxy, container("x", of="else"), {**proxy, "name": "o", "state": "exited"}]
    ) == ["front-proxy-1"]


def test_memory_is_counted_for_all() -> None:
    needed = int(3 * (1 << 20) * project.MEMORY_FACTOR) + project.MEMORY_RESERVE
    assert project.too_much("host2", needed, [WEB, WORKER, DB]) == []
    (said,) = project.too_much("host2", needed - 1, [WEB, WORKER, DB])
    assert said.startswith("host2 has 134 MiB of memory available and the move of all needs 134 MiB")
    assert project.too_much("host2", None, [WEB]) == []
