# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a relocation: where the container is, what the edge knows of it, and what is refused before anything begins."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import plan, prediction
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused

SOURCE = {"host": "host1", "address": "10.77.0.11"}
SOURCE6 = {**SOURCE, "address6": "fd00:77::11"}
BY_IPV6 = {"virtual_address": "2001:db8::100", "host_address": "fd00:77::11"}


def container(name: str = "web", state: str = "running", **other: Any) -> dict[str, Any]:
    """Return a container as relocation_info describes it."""
    return {
        "name": name,
        "state": state,
        "labels": {"relocate.mtd/tenant": "shop"},
        "image": "r:5000/web:1",
        "address": "172.20.1.2",
        "memory_bytes": 100 << 20,
        "ports": [{"protocol": "tcp", "host_port": 8080, "container_port": 80}],
        **other,
    }


def service(**other: Any) -> dict[str, Any]:
    """Return one of the edge's services."""
    return {
        "name": "web",
        "protocol": "tcp",
        "virtual_address": "10.88.0.100",
        "virtual_port": 80,
        "host_address": "10.77.0.11",
        "host_port": 8080,
        **other,
    }


def fleet(**hosts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return descriptions by host name."""
    return {host: {"containers": containers} for host, containers in hosts.items()}


def test_the_running_one_counts() -> None:
    """A stopped one of the same name elsewhere is a left-over; where none runs, the stopped one is found."""
    stopped, running = container(state="exited"), container()
    assert plan.find_container("web", fleet(host1=[stopped], host2=[running])) == ("host2", running)
    assert plan.find_container("web", fleet(host1=[container("db")], host2=[stopped])) == ("host2", stopped)


@pytest.mark.parametrize(
    ("hosts", "sentence"),
    [
        (
            fleet(host1=[container()], host2=[container()]),
            "the container web runs on host1 and host2 at once: stop the wrong one",
        ),
        (
            fleet(host1=[container("db"), container("old", "exited")], host2=[container("app")]),
            "no host of the fleet has a container named 'web' (there are: app, db)",
        ),
        (fleet(host1=[]), "no host of the fleet has a container named 'web' (no container runs anywhere)"),
    ],
)
def test_a_container_that_is_nowhere_or_everywhere(hosts: dict[str, dict[str, Any]], sentence: str) -> None:
    """The sentence says what there is instead."""
    with pytest.raises(Refused, match=f"^{re.escape(sentence)}"):
        plan.find_container("web", hosts)


def test_services_get_the_containers_port() -> None:
    """Others' services are none of ours; a container without any has none."""
    found = plan.container_services(container(), [service(name="db"), service()], SOURCE)
    assert found == [
        {
            "protocol": "tcp",
            "virtual_address": "10.88.0.100",
            "virtual_port": 80,
            "host_port": 8080,
            "container_port": 80,
        }
    ]
    assert plan.container_services(container(), [], SOURCE) == []


def test_services_lead_to_either_address_of_the_host() -> None:
    """One of IPv6 to the other: it is the container's as well, with the same port."""
    found = plan.container_services(container(), [service(), service(**BY_IPV6)], SOURCE6)
    assert [each["virtual_address"] for each in found] == ["10.88.0.100", "2001:db8::100"]
    assert {each["container_port"] for each in found} == {80} and not any("host_address" in each for each in found)


@pytest.mark.parametrize(
    ("host", "leads", "sentence"),
    [
        (SOURCE6, "fd00:77::12", "the edge sends [2001:db8::100]:80/tcp of web to fd00:77::12, where it does not run"),
        (SOURCE, "fd00:77::11", "the edge sends [2001:db8::100]:80/tcp of web to fd00:77::11, where it does not run"),
    ],
)
def test_an_edge_that_leads_elsewhere_by_ipv6(host: dict[str, str], leads: str, sentence: str) -> None:
    """To another host, or to an address that the inventory does not know as this one's. A place is written as in a URL."""
    with pytest.raises(Refused, match=re.escape(sentence)):
        plan.container_services(container(), [service(**{**BY_IPV6, "host_address": leads})], host)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"host_address": "10.77.0.12"},
            "the edge sends 10.88.0.100:80/tcp of web to 10.77.0.12, where it does not run: run recover.yml, or set it "
            "right with nat_service",
        ),
        (
            {"host_port": 9},
            "the edge sends 10.88.0.100:80/tcp to port 9, which web does not publish: set it right with nat_service",
        ),
        (
            {"protocol": "udp"},
            "the edge sends 10.88.0.100:80/udp to port 8080, which web does not publish: set it right with nat_service",
        ),
    ],
)
def test_an_edge_that_leads_elsewhere(change: dict[str, Any], sentence: str) -> None:
    """Moving on top of that would make it worse."""
    with pytest.raises(Refused) as refused:
        plan.container_services(container(), [service(**change)], SOURCE)
    assert str(refused.value) == sentence


DECISION: dict[str, Any] = {
    "mode": "stop-and-copy",
    "mode_asked": "auto",
    "mode_why": "the shortest pause",
    "predictions": {"stop-and-copy": 180.4, "post-copy": 190.0},
    "predicted_downtime_ms": 180.4,
    "predicted_from": "from the last 12 moves in this mode",
    "downtime_limit_ms": 300.0,
    "cost": {"fixed_ms": 100.0},
    "modes_unavailable": {"pre-copy": "the kernel of host1 does not tell"},
}


def made(**other: Any) -> dict[str, Any]:
    """Return a plan."""
    services = plan.container_services(container(), [service()], SOURCE)
    return plan.make(
        container(**other),
        SOURCE,
        {"host": "host2", "address": "10.77.0.12"},
        {"host": "host0", "address": "10.77.0.10"},
        services,
        reason="manual",
        decision=DECISION,
        choice={"policy": "given", "candidates": 1},
        identifier="r1",
    )


def test_the_document() -> None:
    """Everything that the parts and the ledger need, and nothing secret."""
    document = made()
    started = datetime.datetime.fromisoformat(document.pop("started_at"))
    assert abs(datetime.datetime.now(datetime.UTC) - started) < datetime.timedelta(minutes=1)
    assert document == {
        "id": "r1",
        "container": "web",
        "tenant": "shop",
        "source": {"host": "host1", "address": "10.77.0.11"},
        "destination": {"host": "host2", "address": "10.77.0.12"},
        "edge": {"host": "host0", "address": "10.77.0.10"},
        "reason": "manual",
        **DECISION,
        "image": "r:5000/web:1",
        "address_before": "172.20.1.2",
        "memory_bytes": 100 << 20,
        "volumes": [],
        "services": plan.container_services(container(), [service()], SOURCE),
        "choice": {"policy": "given", "candidates": 1},
        "dump_seconds": 12,
    }
    assert made(labels={})["tenant"] is None


def test_large_containers_have_more_time() -> None:
    """And an empty one has some."""
    assert (made(memory_bytes=0)["dump_seconds"], made(memory_bytes=50 << 30)["dump_seconds"]) == (10, 10 + 1024)


def test_the_plan_for_people() -> None:
    """What --check --diff prints."""
    assert plan.steps(made()) == [
        "container    web (image r:5000/web:1, 100 MiB resident)",
        "from         host1 (10.77.0.11), address 172.20.1.2",
        "to           host2 (10.77.0.12), with a new address",
        "mode         stop-and-copy: the shortest pause",
        "downtime     180 ms predicted, from the last 12 moves in this mode; at most 300 ms allowed; post-copy 190 ms",
        "no           pre-copy: the kernel of host1 does not tell",
        "service      10.88.0.100:80/tcp -> 10.77.0.12:8080, held at host0",
    ]


def test_the_plan_of_a_container_that_has_both_families() -> None:
    """Where each service leads is said in its own; what one has not is not in the document."""
    destination = {"host": "host2", "address": "10.77.0.12", "address6": "fd00:77::12"}
    services = plan.container_services(container(), [service(), service(**BY_IPV6)], SOURCE6)
    edge = {"host": "host0", "address": "10.77.0.10"}
    document = plan.make(
        container(address6="fd00:20:1::2"), SOURCE6, destination, edge, services,
        reason="manual", decision=DECISION, choice={"policy": "given", "candidates": 1},
    )  # fmt: skip
    assert (document["source"], document["destination"], document["edge"]) == (SOURCE6, destination, edge)
    assert (document["address_before"], document["address6_before"]) == ("172.20.1.2", "fd00:20:1::2")
    assert plan.steps(document)[-2:] == [
        "service      10.88.0.100:80/tcp -> 10.77.0.12:8080, held at host0",
        "service      [2001:db8::100]:80/tcp -> [fd00:77::12]:8080, held at host0",
    ]
    assert "address6_before" not in made() and "address6_before" not in made(address6=None)


def test_an_image_that_is_to_be_sent() -> None:
    """With what it takes, as far as that is known before."""
    sent = prediction.image_sent({"image_bytes": 100 << 20}, {"cost": {"link_ms": 8.0}})
    assert sent == {"bytes": 100 << 20, "ms": 2000.0}
    assert (
        plan.steps({**made(), "image_sent": sent})[-2]
        == "image        sent by host1 (100 MiB, about 2 s), while it runs"
    )


def test_identifiers_sort_by_time_and_never_meet() -> None:
    """They are file names and parts of certificates' names."""
    now = datetime.datetime(2026, 11, 23, 13, 5, 9, tzinfo=datetime.UTC)
    found = {plan.new_id(now) for _ in range(200)}
    assert len(found) == 200 and all(re.fullmatch(r"20261123-130509-[0-9a-f]{12}", each) for each in found)
    assert "." not in plan.new_id()
