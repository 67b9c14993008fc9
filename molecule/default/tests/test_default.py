# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What converge must have brought about, seen on the hosts themselves."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

INVENTORY = Path(__file__).resolve().parents[3] / "inventories" / "lab"
DOCKER_HOSTS = ("host1", "host2", "host3")
HERE, THERE = "host1", "host3"


def _on(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def _inspect(name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(_on(name).check_output("docker inspect counter"))
    return found[0]


def test_the_container_runs_on_the_new_host_alone() -> None:
    """docker ps is true on every side."""
    for name in DOCKER_HOSTS:
        lines = _on(name).check_output("docker ps -a --format json").splitlines()
        states = {shown["Names"]: shown["State"] for shown in map(json.loads, lines)}
        assert states.get("counter") == ("running" if name == THERE else None), name


def test_its_address_is_one_of_the_new_host() -> None:
    """docker0 of host N is subnet N of the plan."""
    networks = _inspect(THERE)["NetworkSettings"]["Networks"]
    addresses = [ipaddress.ip_address(each["IPAddress"]) for each in networks.values()]
    assert addresses and all(address in ipaddress.ip_network("172.20.3.0/24") for address in addresses)


def test_the_edge_leads_to_the_new_host() -> None:
    """One element, with its owner, and nothing held or shut any more."""
    edge = _on("host0")
    listed = json.loads(edge.check_output("nft -j list table ip relocate"))["nftables"]
    maps = {
        value["name"]: value.get("elem", [])
        for entry in listed
        for kind, value in entry.items()
        if kind in ("map", "set")
    }
    assert maps == {
        "services": [
            [
                {"elem": {"val": {"concat": ["tcp", "10.88.0.100", 7000]}, "comment": "counter"}},
                {"concat": ["10.77.0.13", 7000]},
            ]
        ],
        "held": [],
        "barrier": [],
        "shut": [],
        "unborn": [],
    }


def test_the_edge_would_come_back_from_a_boot() -> None:
    """The form on disk has the service where it is now, for root's eyes only."""
    kept = _on("host0").file("/var/lib/relocate/edge/table.nft")
    assert kept.mode == 0o600 and kept.user == "root"
    assert 'comment "counter" : 10.77.0.13 . 7000' in kept.content_string


@pytest.mark.parametrize("name", DOCKER_HOSTS)
def test_a_host_is_prepared(name: str) -> None:
    """Docker knows the runtime, the bridge has its subnet, the program is there and its state is private."""
    host = _on(name)
    assert host.service("docker").is_running
    assert "relocate" in json.loads(host.check_output("docker info --format json"))["Runtimes"]
    assert f"172.20.{name[-1]}.1/24" in host.check_output("ip -4 -br address show docker0")
    assert host.file("/usr/local/lib/relocate/relocate_proxy/__main__.py").exists
    assert host.file("/usr/local/lib/relocate/restore_shim.so").exists
    assert host.file("/usr/local/bin/relocate-runtime").mode == 0o755
    for directory in ("/run/relocate", "/var/lib/relocate"):
        assert host.file(directory).mode == 0o700
    assert json.loads(host.file("/etc/ansible/facts.d/relocate.fact").content_string)["index"] == int(name[-1])


def test_the_repository_serves() -> None:
    """A real registry, on the fabric."""
    host = _on("host0")
    assert host.socket("tcp://10.77.0.10:5000").is_listening
    catalogue = json.loads(_on(HERE).check_output("python3 -c %s", _CATALOGUE))
    assert "counter" in catalogue["repositories"]


_CATALOGUE = "import urllib.request as u; print(u.urlopen('http://10.77.0.10:5000/v2/_catalog').read().decode())"
