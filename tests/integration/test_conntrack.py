# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking entries in a real table: what is inserted is what the kernel shows, and clashes are clashes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import pytest
from relocate_proxy.host import syscalls
from relocate_proxy.network import flows
from relocate_proxy.network.conntrack import Conntrack, Endpoint, Entry
from relocate_proxy.network.published import Published, behind_router
from relocate_proxy.protocol.addresses import Addresses

from .addresses import FOUR, SIX, Plan
from .namespaces import Network

pytestmark = pytest.mark.kernel
T = TypeVar("T")

#: Hosts and containers have an address of each family: what comes from the other end tells which one counts.
OLD, NEW, INSIDE = Addresses(FOUR.old, SIX.old), Addresses(FOUR.new, SIX.new), Addresses(FOUR.inside, SIX.inside)


class Ends(NamedTuple):
    """Where a connection is seen to end."""

    plan: Plan
    client: Endpoint
    virtual: Endpoint
    place: Endpoint
    remote: Endpoint
    away: Endpoint

    @property
    def copy(self) -> Endpoint:
        """The service, once it is at the new host."""
        return Endpoint(self.plan.new, 7001)

    def ingress(self, virtual: Endpoint | None = None) -> flows.Flow:
        """Return a client's connection, with or without what the edge knows of it."""
        return flows.Flow(flows.INGRESS, "tcp", Endpoint(self.plan.inside, 7000), self.client, self.place, virtual)

    def egress(self) -> flows.Flow:
        """Return one that the container has opened."""
        inside, host = Endpoint(self.plan.inside, 51000), Endpoint(self.plan.old, 45000)
        return flows.Flow(flows.EGRESS, "tcp", inside, self.remote, host, self.away)


def ends_of(plan: Plan) -> Ends:
    """Return them in one family."""
    return Ends(
        plan,
        client=Endpoint(plan.client, 40000),
        virtual=Endpoint(plan.virtual, 7000),
        place=Endpoint(plan.old, 7001),
        remote=Endpoint(plan.client, 80),
        away=Endpoint(plan.virtual, 45000),
    )


@pytest.fixture
def ends(plan: Plan) -> Ends:
    """Return them in either family."""
    return ends_of(plan)


@pytest.fixture
def table(network: Callable[[], Network]) -> Conntrack:
    """Return the table of a new namespace: its socket belongs there, whoever uses it."""
    return syscalls.in_network(network().path, Conntrack)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_destination_nat_there_and_away_again(table: Conntrack, protocol: str, ends: Ends) -> None:
    """The kernel derives the translated reply itself."""
    assert list(table.entries()) == []
    table.insert(protocol, ends.client, ends.virtual, destination_nat=ends.place)
    assert list(table.entries()) == [Entry(protocol, ends.client, ends.virtual, ends.place, ends.client)]
    table.insert(protocol, ends.client, ends.virtual, destination_nat=ends.copy)  # instead of the first
    assert [entry.reply_source.address for entry in table.entries()] == [ends.plan.new]
    assert table.delete(protocol, ends.client, ends.virtual) is True
    assert table.delete(protocol, ends.client, ends.virtual) is False
    assert list(table.entries()) == []


def test_source_nat(table: Conntrack, ends: Ends) -> None:
    """The remote goes on seeing the egress address and its port."""
    table.insert("tcp", ends.place, ends.remote, source_nat=ends.away)
    assert list(table.entries()) == [Entry("tcp", ends.place, ends.remote, ends.remote, ends.away)]


def test_both_families_are_in_one_listing(table: Conntrack) -> None:
    """Each with its NAT, and each goes by itself."""
    both = [ends_of(plan) for plan in (FOUR, SIX)]
    for each in both:
        table.insert("tcp", each.client, each.virtual, destination_nat=each.place)
    wanted = [Entry("tcp", each.client, each.virtual, each.place, each.client) for each in both]
    assert sorted(table.entries(), key=str) == sorted(wanted, key=str)
    for each, entry in zip(both, wanted, strict=True):
        assert entry in list(table.entries())
        assert table.delete("tcp", each.client, each.virtual)
        assert entry not in list(table.entries())


def test_a_taken_reply_is_a_clash(table: Conntrack, ends: Ends) -> None:
    """Two hosts' connections must not come back to one port."""
    table.insert("tcp", ends.place, ends.remote, source_nat=ends.away)
    with pytest.raises(OSError, match="File exists") as clash:
        table.insert("tcp", Endpoint(ends.plan.new, 1), ends.remote, source_nat=ends.away)
    assert clash.value.errno == errno.EEXIST and len(list(table.entries())) == 1


@pytest.mark.needs("conntrack")
def test_an_established_connection_is_what_was_placed(
    table: Conntrack, network: Callable[[], Network], ends: Ends
) -> None:
    """Assured, liberal about windows nobody told us, and for five days: seen by the kernel's own tool."""
    place = network()
    other = syscalls.in_network(place.path, Conntrack)
    other.insert("tcp", ends.client, ends.virtual, destination_nat=ends.place)
    shown = place.run("conntrack", "-L", "-f", f"ipv{6 if ends.plan is SIX else 4}", "-o", "extended")
    assert "ESTABLISHED" in shown and "[ASSURED]" in shown
    assert int(shown.split("ESTABLISHED")[0].split()[-1]) > 400_000
    assert list(table.entries()) == [], "another namespace's table has it, too"


def test_a_flow_of_each_direction_moves_and_comes_back_on_the_edge(table: Conntrack, ends: Ends) -> None:
    """Repeated, and without being told where it pointed: what recovery does."""
    ingress = ends.ingress(ends.virtual)
    for flow in (ingress, ends.egress()):
        moved = flows.Flow(flow.direction, "tcp", flow.local, flow.remote, Endpoint(ends.plan.new, 50000), flow.virtual)
        for where in (flow, moved, moved, flow, flow):
            flows.place_on_edge(table, where)
            assert flows.on_edge([where], table) == [where]
    assert len(list(table.entries())) == 2


def test_an_entry_that_an_answer_has_made_is_replaced(table: Conntrack, ends: Ends) -> None:
    """As an edge makes it that was started anew: the right way round when the connection moves, and no second one."""
    ingress = ends.ingress()
    table.insert("tcp", ends.place, ends.client, source_nat=ends.virtual)
    (seen,) = flows.on_edge([ingress], table)
    assert seen.virtual == ends.virtual
    for host in (ends.plan.new, ends.plan.old):
        flows.place_on_edge(table, replace(seen, host=Endpoint(host, 7001)))
        assert list(table.entries()) == [Entry("tcp", ends.client, ends.virtual, Endpoint(host, 7001), ends.client)]


def test_a_flow_of_each_direction_on_the_destination(table: Conntrack, ends: Ends) -> None:
    """An egress flow whose port is taken there gets another, and forgetting takes only ours away."""
    table.insert("tcp", Endpoint(ends.plan.neighbour, 1), ends.remote, source_nat=Endpoint(ends.plan.new, 45000))
    pair = (ends.egress(), ends.ingress(ends.virtual))
    moved = [flows.place_on_destination(table, flow, NEW, ends.plan.copy) for flow in pair]
    assert moved[0].host.port != 45000 and moved[1].host == ends.copy
    assert Entry("tcp", ends.client, moved[1].host, Endpoint(ends.plan.copy, 7000), ends.client) in list(
        table.entries()
    )
    for flow in moved:
        flows.forget_on_host(table, flow)
    assert [entry.source for entry in table.entries()] == [Endpoint(ends.plan.neighbour, 1)]


def test_a_connection_that_both_tables_have_lost_is_carried(network: Callable[[], Network], ends: Ends) -> None:
    """Its entries are made as those of a known one are: at its host, at the edge, and at the destination."""
    source, edge, destination = (syscalls.in_network(network().path, Conntrack) for _ in range(3))
    inside = Endpoint(ends.plan.inside, 7000)
    ports = Published(OLD, {("tcp", 7000): {7001}}, lambda: {7000}, lambda _: True)
    found = flows.on_source([flows.Connection("tcp", inside, ends.client)], source, INSIDE, ports)
    assert list(source.entries()) == [Entry("tcp", ends.client, ends.place, inside, ends.client)]
    service = {"protocol": "tcp", "virtual_address": ends.virtual.address, "virtual_port": ends.virtual.port}
    (seen,) = flows.on_edge(found, edge, [{**service, "host_port": 7001, "container_port": 7000}])
    moved = flows.place_on_destination(destination, seen, NEW, ends.plan.copy)
    flows.place_on_edge(edge, moved)
    assert list(edge.entries()) == [Entry("tcp", ends.client, ends.virtual, moved.host, ends.client)]
    assert list(destination.entries()) == [Entry("tcp", ends.client, moved.host, moved.local, ends.client)]
    flows.give_back_on_edge(edge, [seen])
    assert list(edge.entries()) == [Entry("tcp", ends.client, ends.virtual, ends.place, ends.client)]


def test_who_comes_through_the_edge_is_told_by_the_hosts_routes(network: Callable[[], Network], plan: Plan) -> None:
    """Neighbours on the bridge, other hosts and the host itself do not; without a route nobody does."""
    place = network()
    for name, address in (("fabric", plan.old), ("bridge", plan.bridge)):
        place.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-end")
        place.run("ip", "link", "set", f"{name}-end", "up")
        place.run("ip", "link", "set", name, "up")
        place.run("ip", "addr", "add", f"{address}/{plan.bits}", "dev", name)
    through = lambda address: syscalls.in_network(place.path, lambda: behind_router(address))  # noqa: E731
    assert not through(plan.client)
    place.run("ip", plan.flag, "route", "add", "default", "via", plan.edge)
    assert through(plan.client)
    special = ["::1", "fe80::1", "ff02::1"] if plan is SIX else ["127.0.0.1", "172.20.1.255"]
    for address in (plan.inside, plan.bridge, plan.new, plan.old, plan.edge, *special):
        assert not through(address), address
    for kind in ("unreachable", "blackhole", "prohibit"):
        place.run("ip", plan.flag, "route", "replace", kind, plan.network(plan.client))
        assert not through(plan.client), kind


def test_what_was_begun_with_a_copy_that_is_gone_is_forgotten(table: Conntrack, ends: Ends) -> None:
    """Its client tries again, and comes to the source. What the source has, and what is another service's, stays."""
    copy, begun, other = ends.copy, Endpoint(ends.plan.client, 40001), Endpoint(ends.plan.new, 9000)
    table.insert("tcp", ends.client, ends.virtual, destination_nat=ends.place)
    table.insert("tcp", begun, ends.virtual, destination_nat=copy)
    table.insert("tcp", ends.client, Endpoint(ends.plan.virtual, 9000), destination_nat=other)
    service = {"protocol": "tcp", "virtual_address": ends.plan.virtual, "host_port": copy.port}
    flows.forget_services(table, NEW, [service], ("tcp", "udp"))
    assert {(entry.source, entry.reply_source) for entry in table.entries()} == {
        (ends.client, ends.place),
        (ends.client, other),
    }
