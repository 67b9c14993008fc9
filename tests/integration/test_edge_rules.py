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
from relocate_proxy.host import syscalls
from relocate_proxy.network.conntrack import Conntrack, Endpoint

from tests.paths import ROOT

from .addresses import FOUR, SIX, Plan

pytestmark = [pytest.mark.kernel, pytest.mark.needs("ip", "nft", "iptables", "ip6tables", "unshare")]

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
table ip6 filter_of_others {
	map services {
		type inet_service : ipv6_addr
		elements = { 80 : 2001:db8::1 }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept comment "theirs"
	}
}
"""
IPTABLES = {FOUR: "iptables", SIX: "ip6tables"}
FORWARDING = {FOUR: "/proc/sys/net/ipv4/ip_forward", SIX: "/proc/sys/net/ipv6/conf/all/forwarding"}
#: How IPv6 may be written, and how the kernel writes it.
OTHER_FORMS = {"fd00:77::11": "FD00:0077:0:0::11", "fd00:77::12": "fd00:77:0::12", "fd00:88::100": "fd00:88:0::0100"}

#: Called with a directory and a command: runs the command with the directory as /var/lib/relocate.
KEEP_APART = (
    """mount -t tmpfs none /var/lib && mkdir /var/lib/relocate && mount --bind "$0" /var/lib/relocate && exec "$@" """
)


@dataclass
class Edge:
    """A network namespace that stands for the edge."""

    name: str
    state: Path
    serves: tuple[Plan, ...]

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
            "fleet_network": FOUR.network(FOUR.old),
            "egress_address": FOUR.virtual,
            "virtual_addresses": self.virtual(),
        }
        if SIX in self.serves:
            parameters |= {"fleet_network6": SIX.network(SIX.old), "egress_address6": SIX.virtual}
        return self.module("edge_gateway", check, **{**parameters, **changes})

    def virtual(self) -> list[str]:
        """Return its virtual addresses, with prefix lengths."""
        return [f"{plan.virtual}/{plan.bits}" for plan in self.serves]

    def service(self, name: str, plan: Plan = FOUR, check: bool = False, **changes: Any) -> dict[str, Any]:
        """Run nat_service with its usual parameters."""
        parameters: dict[str, Any] = {
            "virtual_address": plan.virtual,
            "virtual_port": 7000,
            "host_address": plan.old,
        }
        return self.module("nat_service", check, **{**parameters, "name": name, **changes})

    def published(self) -> None:
        """Publish the counter in each family that the edge serves."""
        for plan in self.serves:
            assert self.service("counter", plan)["changed"]

    def rules(self) -> str:
        """Return everything nft shows."""
        return self.run("nft", "-s", "list", "ruleset")

    def raw(self, plan: Plan) -> list[str]:
        """Return what the table raw of a family's iptables says of us."""
        lines = self.run(IPTABLES[plan], "-t", "raw", "-S").splitlines()
        return [line for line in lines if edge_table.RAW_CHAIN in line]

    def in_each(self, commands: str) -> None:
        """Have nft do something with each table of ours, whose head comes in place of ``@``."""
        self.run("nft", "-f", "-", stdin="".join(commands.replace("@", plan.table) for plan in self.serves))

    def element(self, name: str, plan: Plan, element: str) -> None:
        """Add an element, as a relocation under way would."""
        self.run("nft", "-f", "-", stdin=f"add element {plan.table} {name} {{ {element} }}\n")


@pytest.fixture(params=[(FOUR,), (FOUR, SIX)], ids=["IPv4", "both"])
def edge(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Edge]:
    """An edge with an outside interface and somebody else's rules. It may serve IPv4 alone, or both families."""
    name = f"relocate-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = Edge(name, tmp_path / "edge", request.param)
        made.run("ip", "link", "add", "out", "type", "veth", "peer", "name", "world")
        made.run("nft", "-f", "-", stdin=FOREIGN)
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


of_both = pytest.mark.parametrize("edge", [(FOUR, SIX)], ids=["both"], indirect=True)


def test_gateway_converges_and_leaves(edge: Edge) -> None:
    """Predicted, made, found made, removed, found removed; what others have is the same throughout."""
    predicted = edge.gateway(check=True)
    assert predicted["changed"]
    assert edge.rules() == FOREIGN
    first = edge.gateway()
    assert first["changed"] and first["added_addresses"] == edge.virtual()
    assert (first["diff"], first["queueing"]) == (predicted["diff"], predicted["queueing"])
    for plan in (FOUR, SIX):
        served = plan in edge.serves
        assert (plan.virtual in edge.run("ip", plan.flag, "address", "show", "dev", "out")) == served
        assert edge.run("cat", FORWARDING[plan]).strip() == str(int(served))
        assert (f"table {plan.table} {{" in edge.rules()) == served
        snat = f'oifname "out" {plan.table.split()[0]} saddr {plan.network(plan.old)} snat to {plan.virtual}\n'
        assert (snat in edge.rules()) == served
        assert bool(edge.raw(plan)) == (served and first["queueing"] == "iptables")
    second = edge.gateway()
    assert not second["changed"] and second["diff"]["before"] == second["diff"]["after"]
    assert FOREIGN in edge.rules()
    raw_files = {FOUR: "raw.rules", SIX: "raw6.rules"}
    kept = {"table.nft", "addresses.batch", *(raw_files[plan] for plan in edge.serves)}
    assert {path.name for path in edge.state.iterdir()} == kept
    assert edge.gateway(state="absent", check=True)["changed"] and "relocate" in edge.rules()
    gone = [edge.gateway(state="absent") for _ in range(2)]
    assert [each["changed"] for each in gone] == [True, False]
    if SIX not in edge.serves:  # a kernel without IPv6 would not answer ip6tables
        ran = [command for each in (first, second, *gone) for command in each["commands"]]
        assert ran and not any("ip6tables" in command for command in ran)
    for plan in edge.serves:
        assert plan.virtual not in edge.run("ip", plan.flag, "address", "show", "dev", "out")
        assert edge.raw(plan) == []
    assert FOREIGN in edge.rules() and "relocate" not in edge.rules().lower()
    assert list(edge.state.iterdir()) == []


@of_both
def test_an_address_in_another_form_is_the_same(edge: Edge) -> None:
    """IPv6 has many; what the kernel shows is one. The second run finds what the first has made, and all of it goes."""
    spelled = {
        "fleet_network6": "FD00:77:0:0::/64",
        "egress_address6": OTHER_FORMS[SIX.virtual],
        "virtual_addresses": ["10.88.0.100/24", "fd00:88:0::0100/64"],
    }
    assert edge.gateway(**spelled)["added_addresses"] == edge.virtual()
    for again in (edge.gateway(**spelled), edge.gateway()):
        assert not again["changed"] and again["added_addresses"] == []
    assert edge.gateway(state="absent", **spelled)["changed"]
    assert SIX.virtual not in edge.run("ip", "-6", "address", "show", "dev", "out")
    assert "relocate" not in edge.rules().lower()


@of_both
def test_an_edge_learns_ipv6_and_may_be_told_to_serve_ipv4_again(edge: Edge) -> None:
    """Services of IPv4 stay as they are. Those of IPv6 stay, too, and only the fleet's own connections are not led out."""
    four_only = {"fleet_network6": None, "egress_address6": None}
    edge.gateway(**four_only, virtual_addresses=edge.virtual()[:1])
    edge.service("counter")
    edge.element("held", FOUR, "tcp . 10.88.0.100 . 7000 : 0x52451450")
    before = edge.run("nft", "-s", "list", "table", "ip", "relocate")
    assert SIX.table not in edge.rules()
    assert edge.gateway()["added_addresses"] == edge.virtual()[1:]
    assert edge.run("nft", "-s", "list", "table", "ip", "relocate") == before
    edge.service("counter", SIX)
    assert edge.gateway(**four_only)["changed"] and not edge.gateway(**four_only)["changed"]
    rules = edge.run("nft", "-s", "list", "table", "ip6", "relocate")
    assert "snat" not in rules and f"{SIX.old} . 7000" in rules
    assert edge.run("nft", "-s", "list", "table", "ip", "relocate") == before


@of_both
def test_held_packets_have_one_queue_somewhere(edge: Edge) -> None:
    """In nftables where the kernel has queues there, else in iptables: a rule each, all with bypass, for each family."""
    where = edge.gateway()["queueing"]
    for plan in edge.serves:
        table = edge.run("nft", "-s", "list", "table", *plan.table.split())
        rules = table.splitlines() if where == "nftables" else edge.raw(plan)
        assert len([line for line in rules if "bypass" in line]) == len(edge_table.QUEUES)


@of_both
def test_services_are_published_moved_and_withdrawn(edge: Edge, plan: Plan) -> None:
    """Each step is seen in the rules, and in the info module. Beside each is another of the other family."""
    other = SIX if plan is FOUR else FOUR
    edge.gateway()
    assert edge.service("neighbour", other)["changed"]
    assert edge.service("counter", plan)["changed"] and not edge.service("counter", plan)["changed"]
    assert edge.service("counter", plan, check=True, host_address=plan.new)["changed"]
    assert f'tcp . {plan.virtual} . 7000 comment "counter" : {plan.old} . 7000' in edge.rules()
    moved = edge.service("counter", plan, host_address=plan.new, host_port=7001)
    assert moved["before"]["host_address"] == plan.old and moved["after"]["host_port"] == 7001
    assert f'comment "counter" : {plan.new} . 7001' in edge.rules()
    assert edge.module("nat_service_info", name="counter")["services"] == [moved["after"]]
    assert edge.module("nat_service_info", name="nobody")["services"] == []
    everything = edge.module("nat_service_info")
    names = {service["virtual_address"]: service["name"] for service in everything["services"]}
    assert names == {plan.virtual: "counter", other.virtual: "neighbour"}
    assert {FOUR.virtual, SIX.virtual} <= {*everything["addresses"]}
    refused = edge.service("web", plan)
    assert refused["failed"] and "already belongs to service 'counter'" in refused["msg"]
    assert not edge.service("web", plan, state="absent")["changed"]
    assert edge.service("counter", plan, state="absent")["changed"]
    assert '"counter"' not in edge.rules() and '"neighbour"' in edge.rules() and FOREIGN in edge.rules()


@of_both
def test_a_service_in_another_form_is_the_same(edge: Edge) -> None:
    """Published again, it is found; withdrawn, it is gone."""
    edge.gateway()
    edge.service("counter", SIX)
    spelled = {"virtual_address": OTHER_FORMS[SIX.virtual], "host_address": OTHER_FORMS[SIX.old]}
    again = edge.service("counter", SIX, **spelled)
    assert not again["changed"] and again["after"]["virtual_address"] == SIX.virtual
    assert edge.service("web", SIX, **spelled)["failed"]
    assert edge.service("counter", SIX, **spelled, state="absent")["changed"]
    assert edge.module("nat_service_info")["services"] == []


@of_both
def test_a_service_at_a_host_of_the_other_family_is_refused(edge: Edge, plan: Plan) -> None:
    """In one sentence, before anything is touched."""
    other = SIX if plan is FOUR else FOUR
    edge.gateway()
    before = edge.rules()
    refused = edge.service("counter", plan, host_address=other.old)
    assert refused["failed"] and refused["msg"] == (
        f"service 'counter' cannot be published: {plan.virtual} is not of the same family as {other.old}: the edge does "
        "not translate between them"
    )
    assert edge.rules() == before


@of_both
def test_a_service_before_the_gateway(edge: Edge) -> None:
    """The table is made for it; the gateway completes it and keeps the service."""
    edge.published()
    assert "snat" not in edge.rules()
    assert {entry["name"] for entry in edge.gateway()["services"]} == {"counter"}
    for plan in edge.serves:
        table = edge.run("nft", "-s", "list", "table", *plan.table.split())
        assert f"snat to {plan.virtual}" in table and f"{plan.old} . 7000" in table
    assert not edge.gateway()["changed"]


@of_both
def test_rules_that_were_tampered_with_are_mended(edge: Edge) -> None:
    """Services and packets under way stay as they are."""
    edge.gateway()
    edge.published()
    for plan in edge.serves:
        edge.element("held", plan, f"tcp . {plan.virtual} . 7000 : 0x52451450")
    edge.in_each("flush chain @ hold\n")
    mended = edge.gateway()
    assert mended["changed"] and not edge.gateway()["changed"]
    for plan in edge.serves:
        rules = edge.run("nft", "-s", "list", "table", *plan.table.split())
        assert f"tcp . {plan.virtual} . 7000 : 0x52451450" in rules and f"{plan.old} . 7000" in rules
        assert rules.count("@shut drop") == 2


def test_an_old_shape_is_replaced_unless_a_relocation_is_under_way(edge: Edge) -> None:
    """The services go over into the new table; held packets forbid it."""
    edge.gateway()
    edge.published()
    plan = edge.serves[-1]  # one of the tables is enough
    edge.run("nft", "add", "chain", *plan.table.split(), "hold_of_an_old_version")
    edge.element("held", plan, f"tcp . {plan.virtual} . 7000 : 0x52451450")
    refused = edge.gateway()
    assert refused["failed"] and "while a relocation is under way (elements in held)" in refused["msg"]
    edge.run("nft", "flush", "map", *plan.table.split(), "held")
    assert {entry["name"] for entry in edge.gateway()["services"]} == {"counter"}
    assert "old_version" not in edge.rules()
    assert all(f"{each.old} . 7000" in edge.rules() for each in edge.serves)


@of_both
def test_a_table_of_the_version_before_is_completed_though_a_relocation_is_under_way(edge: Edge) -> None:
    """It lacked the set and the chain that keep packets from a copy that may not run. The next boot has them, too."""
    edge.gateway()
    edge.published()
    whole = edge.rules()
    edge.in_each("flush chain @ early\ndelete chain @ early\ndelete set @ unborn\n")
    for plan in edge.serves:
        edge.element("held", plan, f"tcp . {plan.virtual} . 7000 : 0x52451450")
    assert edge.gateway()["changed"] and not edge.gateway()["changed"]
    for plan in edge.serves:
        assert f"tcp . {plan.virtual} . 7000 : 0x52451450" in edge.rules()
    edge.in_each("flush map @ held\n")
    assert sorted(edge.rules().splitlines()) == sorted(whole.splitlines())
    assert (edge.state / "table.nft").read_text().count("daddr . th dport @unborn drop") == len(edge.serves)


@of_both
def test_a_boot_brings_back_services_but_not_what_was_held(edge: Edge) -> None:
    """The files are loaded as the boot-time unit loads them, twice, into an edge that has lost everything."""
    edge.gateway()
    edge.published()
    edge.service("dns", edge.serves[-1], protocol="udp", virtual_port=53, host_address=edge.serves[-1].new)
    for plan in edge.serves:
        edge.element("shut", plan, f"tcp . {plan.old} . 7000")
    tables = [plan.table for plan in edge.serves]
    before = [edge.run("nft", "-s", "list", "table", *table.split()) for table in tables]
    raw = [edge.raw(plan) for plan in edge.serves]
    edge.in_each("delete table @\n")
    for plan in edge.serves:
        if edge.raw(plan):
            edge.run(f"{IPTABLES[plan]}-restore", "--noflush", stdin=edge_table.raw_removal_text(1))
        edge.run("ip", "address", "delete", f"{plan.virtual}/{plan.bits}", "dev", "out")
    for _boot in range(2):
        edge.run("nft", "-f", str(edge.state / "table.nft"))
        edge.run("ip", "-batch", str(edge.state / "addresses.batch"))
    for plan, name in zip(edge.serves, ("raw.rules", "raw6.rules"), strict=False):
        edge.run(f"{IPTABLES[plan]}-restore", "--noflush", stdin=(edge.state / name).read_text())
    after = [edge.run("nft", "-s", "list", "table", *table.split()) for table in tables]
    for plan, was, there in zip(edge.serves, before, after, strict=True):
        assert f"tcp . {plan.old} . 7000 }}" in was and f"elements = {{ tcp . {plan.old} . 7000 }}" not in there
    assert [edge.raw(plan) for plan in edge.serves] == raw
    again = edge.gateway()
    assert {"counter", "dns"} == {entry["name"] for entry in again["services"]}
    assert len(again["services"]) == len(edge.serves) + 1
    assert not again["changed"] and again["added_addresses"] == []
    for file in edge.state.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert edge.state.stat().st_mode & 0o777 == 0o700


FENCE = {"name": "counter", "dead": [FOUR.old, SIX.old], "host_address": FOUR.new, "host_address6": SIX.new}


@of_both
@pytest.mark.needs("conntrack")
def test_a_dead_hosts_services_are_led_away_and_fenced(edge: Edge) -> None:
    """Predicted, done, found done, taken away. Connections to the dead host are forgotten, and no others."""
    edge.gateway()
    edge.published()
    edge.service("web", edge.serves[-1], virtual_port=80)
    table = syscalls.in_network(f"/run/netns/{edge.name}", Conntrack)
    for plan in edge.serves:
        client, virtual = Endpoint(plan.client, 40000), Endpoint(plan.virtual, 7000)
        table.insert("tcp", client, virtual, destination_nat=Endpoint(plan.old, 7000))
        table.insert("tcp", client, Endpoint(plan.virtual, 80), destination_nat=Endpoint(plan.old, 80))
    before = edge.rules()
    assert edge.module("service_fence", True, **FENCE)["changed"] and edge.rules() == before
    done = edge.module("service_fence", **FENCE)
    places = [["tcp", plan.old, 7000] for plan in edge.serves]
    assert done["changed"] and [each["places"] for each in done["fences"]] == [places]
    for _ in range(2):
        assert not edge.module("service_fence", **FENCE)["changed"]
    for plan in edge.serves:
        rules = edge.run("nft", "-s", "list", "table", *plan.table.split())
        assert f"elements = {{ tcp . {plan.old} . 7000 }}" in rules
        assert f'tcp . {plan.virtual} . 7000 comment "counter" : {plan.new} . 7000' in rules
    left = {entry.destination for entry in table.entries()}
    assert left == {Endpoint(plan.virtual, 80) for plan in edge.serves}
    assert f'80 comment "web" : {edge.serves[-1].old} . 80' in edge.rules()
    info = edge.module("nat_service_info", name="counter")
    assert {each["host_address"] for each in info["services"]} == {plan.new for plan in edge.serves}
    assert info["fenced"] == [FOUR.old, SIX.old]
    refused = edge.service("counter", edge.serves[-1])
    assert refused["failed"] and f"while {edge.serves[-1].old} was dead" in refused["msg"]
    assert edge.module("service_fence", True, **FENCE, state="absent")["changed"]
    assert edge.module("service_fence", **FENCE, state="absent")["changed"]
    assert not edge.module("service_fence", **FENCE, state="absent")["changed"]
    for plan in edge.serves:
        assert "elements" not in edge.run("nft", "list", "set", *plan.table.split(), "shut")
    assert edge.service("counter", edge.serves[-1])["changed"]
    table.close()


@of_both
def test_a_fence_in_another_form_is_the_same(edge: Edge) -> None:
    """Whoever restores a container, and whoever recovers its dead host, may write an address differently."""
    edge.gateway()
    edge.published()
    spelled = {**FENCE, "dead": [FOUR.old, OTHER_FORMS[SIX.old]], "host_address6": OTHER_FORMS[SIX.new]}
    assert edge.module("service_fence", **spelled)["changed"]
    for parameters in (spelled, FENCE):
        assert not edge.module("service_fence", **parameters)["changed"]
    refused = edge.service("counter", SIX)
    assert refused["failed"] and f"while {SIX.old} was dead" in refused["msg"]
    assert edge.module("service_fence", **spelled, state="absent")["changed"]
    assert edge.module("service_fence", state="listed")["fences"] == []


@of_both
def test_a_service_cannot_be_fenced_towards_a_host_without_its_family(edge: Edge) -> None:
    """In one sentence, and nothing is led away, of either family."""
    edge.gateway()
    edge.published()
    before = edge.rules()
    refused = edge.module("service_fence", **{**FENCE, "host_address6": None})
    assert refused["failed"] and refused["msg"] == (
        f"counter cannot be fenced: [{SIX.virtual}]:7000/tcp is reached by IPv6, and the host it is to lead to has no such "
        "address (host_address6)"
    )
    assert edge.rules() == before and edge.module("service_fence", state="listed")["fences"] == []
