# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container on several networks that moves alone: it is on all of them afterwards, with the addresses that it had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import python_image
from direct import EDGE, Heart
from fleet import NO_LIMIT, REPOSITORY, VIRTUAL, Fleet
from waiting import until

pytestmark = pytest.mark.lab

HERE, THERE = "host1", "host3"  # of different Docker versions
PORT = 7670
#: The first by name leads nowhere, so that Docker publishes on the second. Docker chooses the IPv4 subnet of that one.
NETWORKS = {
    "inner": "--internal --subnet 10.99.80.0/24 --label whose=ours",
    "outer": "--ipv6 --subnet fd20:7::/64",
}

#: Counts over connections with itself, to each of its addresses: as Docker tells them in ``/etc/hosts``.
ITSELF = """
import socket, sys, threading, time
name = socket.gethostname()
addresses = sorted({line.split()[0] for line in open("/etc/hosts") if line.split()[1:] == [name]})
def serve(server):
    connection = server.accept()[0]
    while data := connection.recv(64):
        connection.sendall(data)
ends = []
for address in addresses:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, 7000), family=family)
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    ends.append(socket.create_connection((address, 7000)))
print(*addresses, flush=True)
for number in range(1 << 30):
    for end in ends:
        end.sendall(b"%d" % number)
        assert end.recv(64) == b"%d" % number
    print(number, flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def networks(fleet: Fleet) -> Iterator[None]:
    """The networks on the host where the containers begin; the user's command makes them elsewhere."""
    for name, options in NETWORKS.items():
        fleet.on(HERE, f"docker network create {options} {name}")
    yield
    fleet.remove_tenants()
    for host in (HERE, THERE):
        fleet.on(host, f"docker network rm -f {' '.join(NETWORKS)}")


def places(fleet: Fleet, host: str, name: str) -> dict[str, Any]:
    """Return by network the addresses of a container and its names there."""
    (told,) = json.loads(fleet.on(host, f"docker inspect {name}"))
    return {
        network: (each["IPAddress"], each["GlobalIPv6Address"], sorted({*(each["Aliases"] or [])} - {told["Id"][:12]}))
        for network, each in told["NetworkSettings"]["Networks"].items()
    }


def links(fleet: Fleet, host: str, name: str) -> dict[str, list[str]]:
    """Return by link the addresses that a container sees: Docker knows nothing of their names."""
    seen = fleet.on(
        host, f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {name}) -n ip -j addr show scope global"
    )
    found = {
        each["ifname"]: [place["local"] for place in each["addr_info"] if place] for each in json.loads(seen) if each
    }
    return {name: addresses for name, addresses in found.items() if addresses}


def test_clients_of_one_of_the_networks_are_served_throughout(fleet: Fleet, networks: None) -> None:
    """To and fro, so that each host has to make the networks once, or anew: no number is missing and none comes twice."""
    fleet.tenants.append("several")
    ports = " ".join(f"-p {PORT}:{PORT}/{protocol}" for protocol in ("tcp", "udp"))
    fleet.on(HERE, f"docker create --name several --network outer {ports} {REPOSITORY}/counter:1 {PORT} 8")
    fleet.on(HERE, "docker network connect --alias back inner several; docker start several")
    fleet.await_listener(HERE, "several", PORT)
    address = fleet.variables(HERE)["ansible_host"]
    for protocol in ("tcp", "udp"):
        service = (
            f"name=several virtual_address={VIRTUAL} virtual_port={PORT} protocol={protocol} host_address={address}"
        )
        fleet.run("ansible", "-i", "inventories/lab", EDGE, "-b", "-m", "relocate.mtd.nat_service", "-a", service)
    before, seen = places(fleet, HERE, "several"), links(fleet, HERE, "several")
    assert set(before) == set(NETWORKS) and len(seen) == 2
    hearts = [Heart(fleet, PORT, kind) for kind in ("tcp", "udp")]
    try:
        for to in (THERE, HERE, THERE):
            result = fleet.move("several", to)
            assert result["flows"] == {"ingress": 2, "egress": 0, "kept": 2, "lost": 0}
            assert result["address_before"] == result["address_after"] == before["outer"][0]
            assert (places(fleet, to, "several"), links(fleet, to, "several")) == (before, seen)
            for each in hearts:
                each.assert_beats()
            Heart(fleet, PORT).end()
    finally:
        for each in hearts:
            each.end()


def test_links_that_docker_26_cannot_give_are_refused_before_the_freeze(fleet: Fleet, networks: None) -> None:
    """It numbers them in one order only; Docker 28 in any."""
    fleet.on(HERE, f"docker network rm {' '.join(NETWORKS)}")
    for name, options in NETWORKS.items():
        fleet.on(THERE, f"docker network create {options} {name}")
    fleet.tenants.append("turned")
    fleet.on(THERE, f"docker create --name turned --network inner {REPOSITORY}/counter:1 {PORT} 8")
    fleet.on(THERE, "docker network connect outer turned; docker start turned")
    for _ in range(60):
        if links(fleet, THERE, "turned")["eth0"][0].startswith("10.99.80."):
            break
        fleet.on(THERE, "docker restart -t 0 turned")
    else:
        pytest.fail("Docker 28 never gave the internal network the first link: it has an order now?")
    result = fleet.move("turned", HERE, check=False)
    assert (result["outcome"], result.get("frozen_at")) == ("rolled-back", None), result["msg"]
    assert result["msg"].endswith("and never will: choose a host with Docker 28")
    assert fleet.where("turned") == [THERE]


def test_a_container_that_is_made_anew_is_on_them_too(fleet: Fleet, networks: None) -> None:
    """Under the same addresses. Its links have no names that anything running could know."""
    fleet.tenants.append("anew")
    fleet.on(HERE, f"docker create --name anew --network outer -p {PORT}:{PORT} {REPOSITORY}/counter:1 {PORT} 8")
    fleet.on(HERE, "docker network connect inner anew; docker start anew")
    fleet.await_listener(HERE, "anew", PORT)
    before = places(fleet, HERE, "anew")
    fleet.move("anew", THERE, "--strategy", "recreate")
    assert fleet.where("anew") == [THERE] and places(fleet, THERE, "anew") == before


def test_what_it_says_to_itself_is_kept_on_each(fleet: Fleet, networks: None) -> None:
    """By either family: its addresses stay, and with them both ends of such a connection."""
    python_image.make(fleet)
    fleet.tenants.append("itself")
    create = (
        f'program=$(cat); docker create --name itself --network outer {python_image.IMAGE} python3 -u -c "$program"'
    )
    fleet.on(HERE, f"{create}; docker network connect inner itself; docker start itself", data=ITSELF)
    count = lambda host: fleet.on(host, "docker logs --tail 1 itself").split()  # noqa: E731
    until(lambda: count(HERE), "a number", lambda seen: len(seen) == 1 and seen[0].isdigit())
    addresses = fleet.on(HERE, "docker logs itself | head -1").split()
    assert len(addresses) == 3 and sum(":" in each for each in addresses) == 1, addresses
    for to in (THERE, HERE):
        fleet.move("itself", to)
        begin = int(count(to)[0])
        until(lambda host=to: int(count(host)[0]), "more numbers", lambda number, old=begin: number > old + 3)


def test_docker_s_own_bridge_is_refused_beside_another(fleet: Fleet, networks: None) -> None:
    """There Docker gives nobody the address that is asked for."""
    fleet.tenants.append("bridged")
    fleet.on(
        HERE, f"docker run -d --name bridged {REPOSITORY}/counter:1 {PORT} 8; docker network connect inner bridged"
    )
    command = ["relocate", "move", "bridged", "--to", THERE, "--downtime-limit", NO_LIMIT, "--json"]
    refused = json.loads(fleet.run(*command, check=False).stdout)
    assert (
        refused["outcome"] == "refused" and "is on Docker's own bridge and on other networks (inner)" in refused["msg"]
    )
