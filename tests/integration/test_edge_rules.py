# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's modules on real rules, in a network namespace that the test makes and removes. Needs root, nft and iptables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table

from tests.paths import ROOT

pytestmark = [pytest.mark.kernel, pytest.mark.needs("ip", "nft", "iptables", "unshare")]

FOREIGN = """table ip filter_of_others {
	map services {
		type inet_service : ipv4_addr
		elements = { 80 : 192.0.2.1 }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept comment "theirs"
	}
}
"""

#: Called with a directory and a command: runs the command with the directory as /var/lib/relocate.
KEEP_APART = (
    """mount -t tmpfs none /var/lib && mkdir /var/lib/relocate && mount --bind "$0" /var/lib/relocate && exec "$@" """
)


@dataclass
class Edge:
    """A network namespace that stands for the edge."""

    name: str
    state: Path

    def run(self, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command in the namespace and return what it printed."""
        argv = ["ip", "netns", "exec", self.name, *command]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def module(self, module: str, check: bool = False, /, **parameters: Any) -> dict[str, Any]:
        """Run a module in the namespace, as Ansible would, and return its result."""
        arguments = {"ANSIBLE_MODULE_ARGS": {**parameters, "_ansible_check_mode": check}}
        argv = [sys.executable, "-m", f"ansible_collections.relocate.mtd.plugins.modules.{module}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
        # "ip netns exec" has mounts of its own: what the module keeps for the next boot goes to the test's directory
        argv = ["ip", "netns", "exec", self.name, "sh", "-c", KEEP_APART, str(self.state.parent), *argv]
        done = subprocess.run(
            argv, input=json.dumps(arguments), capture_output=True, text=True, env=environment, check=False
        )
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def gateway(self, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run edge_gateway with its usual parameters."""
        parameters: dict[str, Any] = {
            "outside_interface": "out",
            "fleet_network": "10.77.0.0/24",
            "egress_address": "10.88.0.100",
            "virtual_addresses": ["10.88.0.100/24"],
        }
        return self.module("edge_gateway", check, **{**parameters, **changes})

    def service(self, name: str, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run nat_service with its usual parameters."""
        parameters: dict[str, Any] = {
            "virtual_address": "10.88.0.100",
            "virtual_port": 7000,
            "host_address": "10.77.0.11",
        }
        return self.module("nat_service", check, **{**parameters, "name": name, **changes})

    def rules(self) -> str:
        """Return everything nft shows."""
        return self.run("nft", "-s", "list", "ruleset")

    def element(self, line: str) -> None:
        """Add an element, as a relocation under way would."""
        self.run("nft", "-f", "-", stdin=f"add element ip relocate {line}\n")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    """An edge with an outside interface and somebody else's rules."""
    name = f"relocate-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = Edge(name, tmp_path / "edge")
        made.run("ip", "link", "add", "out", "type", "veth", "peer", "name", "world")
        made.run("nft", "-f", "-", stdin=FOREIGN)
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_gateway_converges_and_leaves(edge: Edge) -> None:
    """Predicted, made, found made, removed, found removed; what others have is the same throughout."""
    assert edge.gateway(check=True)["changed"]
    assert edge.rules() == FOREIGN
    first = edge.gateway()
    assert first["changed"] and first["added_addresses"] == ["10.88.0.100/24"]
    assert "10.88.0.100" in edge.run("ip", "-4", "address", "show", "dev", "out")
    assert edge.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"
    second = edge.gateway()
    assert not second["changed"] and second["diff"]["before"] == second["diff"]["after"]
    assert FOREIGN in edge.rules()
    assert edge.gateway(state="absent")["changed"]
    assert not edge.gateway(state="absent")["changed"]
    assert "10.88.0.100" not in edge.run("ip", "-4", "address", "show", "dev", "out")
    assert FOREIGN in edge.rules() and "relocate" not in edge.rules().lower()
    assert list(edge.state.iterdir()) == []


def test_held_packets_have_one_queue_somewhere(edge: Edge) -> None:
    """In nftables where the kernel has queues there, else in iptables: a rule each, all with bypass."""
    where = edge.gateway()["queueing"]
    rules = edge.rules() if where == "nftables" else edge.run("iptables", "-t", "raw", "-S", "RELOCATE")
    assert len([line for line in rules.splitlines() if "bypass" in line]) == len(edge_table.QUEUES)


def test_services_are_published_moved_and_withdrawn(edge: Edge) -> None:
    """Each step is seen in the rules, and in the info module."""
    edge.gateway()
    assert edge.service("counter")["changed"] and not edge.service("counter")["changed"]
    assert edge.service("counter", check=True, host_address="10.77.0.12")["changed"]
    assert 'tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000' in edge.rules()
    moved = edge.service("counter", host_address="10.77.0.12", host_port=7001)
    assert moved["before"]["host_address"] == "10.77.0.11" and moved["after"]["host_port"] == 7001
    assert 'comment "counter" : 10.77.0.12 . 7001' in edge.rules()
    assert edge.module("nat_service_info", name="counter")["services"] == [moved["after"]]
    assert edge.module("nat_service_info", name="nobody")["services"] == []
    refused = edge.service("web")
    assert refused["failed"] and "already belongs to service 'counter'" in refused["msg"]
    assert not edge.service("web", state="absent")["changed"]
    assert edge.service("counter", state="absent")["changed"]
    assert '"counter"' not in edge.rules() and FOREIGN in edge.rules()


def test_a_service_before_the_gateway(edge: Edge) -> None:
    """The table is made for it; the gateway completes it and keeps the service."""
    assert edge.service("counter")["changed"]
    assert "snat" not in edge.rules()
    assert edge.gateway()["services"][0]["name"] == "counter"
    assert "snat to 10.88.0.100" in edge.rules() and "10.77.0.11 . 7000" in edge.rules()


def test_rules_that_were_tampered_with_are_mended(edge: Edge) -> None:
    """Services and packets under way stay as they are."""
    edge.gateway()
    edge.service("counter")
    edge.element("held { tcp . 10.88.0.100 . 7000 : 0x52451450 }")
    edge.run("nft", "flush", "chain", "ip", "relocate", "hold")
    mended = edge.gateway()
    assert mended["changed"] and not edge.gateway()["changed"]
    rules = edge.rules()
    assert "tcp . 10.88.0.100 . 7000 : 0x52451450" in rules and "10.77.0.11 . 7000" in rules
    assert rules.count("@shut drop") == 2


def test_an_old_shape_is_replaced_unless_a_relocation_is_under_way(edge: Edge) -> None:
    """The services go over into the new table; held packets forbid it."""
    edge.gateway()
    edge.service("counter")
    edge.run("nft", "add", "chain", "ip", "relocate", "hold_of_an_old_version")
    edge.element("held { tcp . 10.88.0.100 . 7000 : 0x52451450 }")
    refused = edge.gateway()
    assert refused["failed"] and "while a relocation is under way (elements in held)" in refused["msg"]
    edge.run("nft", "flush", "map", "ip", "relocate", "held")
    assert edge.gateway()["services"][0]["name"] == "counter"
    assert "old_version" not in edge.rules() and "10.77.0.11 . 7000" in edge.rules()


def test_a_table_of_the_version_before_is_completed_though_a_relocation_is_under_way(edge: Edge) -> None:
    """It lacked the set and the chain that keep packets from a copy that may not run. The next boot has them, too."""
    edge.gateway()
    edge.service("counter")
    whole = edge.rules()
    old = "flush chain ip relocate early\ndelete chain ip relocate early\ndelete set ip relocate unborn\n"
    edge.run("nft", "-f", "-", stdin=old)
    edge.element("held { tcp . 10.88.0.100 . 7000 : 0x52451450 }")
    assert edge.gateway()["changed"] and not edge.gateway()["changed"]
    assert "tcp . 10.88.0.100 . 7000 : 0x52451450" in edge.rules()
    edge.run("nft", "flush", "map", "ip", "relocate", "held")
    assert sorted(edge.rules().splitlines()) == sorted(whole.splitlines())
    assert "@unborn drop" in (edge.state / "table.nft").read_text()


def test_a_boot_brings_back_services_but_not_what_was_held(edge: Edge) -> None:
    """The file is loaded as the boot-time unit loads it, twice, into an edge that has lost everything."""
    edge.gateway()
    edge.service("counter")
    edge.service("dns", protocol="udp", virtual_port=53, host_address="10.77.0.12")
    edge.element("shut { tcp . 10.77.0.11 . 7000 }")
    before = edge.run("nft", "-s", "list", "table", "ip", "relocate")
    edge.run("nft", "delete", "table", "ip", "relocate")
    for _boot in range(2):
        edge.run("nft", "-f", str(edge.state / "table.nft"))
    after = edge.run("nft", "-s", "list", "table", "ip", "relocate")
    assert "tcp . 10.77.0.11 . 7000 }" in before and "elements = { tcp . 10.77.0.11 . 7000 }" not in after
    assert {"counter", "dns"} == {entry["name"] for entry in edge.gateway()["services"]}
    assert not edge.gateway()["changed"]
    assert (edge.state / "table.nft").stat().st_mode & 0o777 == 0o600
    assert edge.state.stat().st_mode & 0o777 == 0o700
