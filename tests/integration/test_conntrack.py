# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking entries in a real table: what is inserted is what the kernel shows, and clashes are clashes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest
from relocate_proxy.host import syscalls
from relocate_proxy.network import flows
from relocate_proxy.network.conntrack import Conntrack, Endpoint, Entry
from relocate_proxy.network.published import Published, behind_router

from .namespaces import Network

pytestmark = pytest.mark.kernel
T = TypeVar("T")

CLIENT, VIRTUAL, PLACE = Endpoint("10.88.0.2", 40000), Endpoint("10.88.0.100", 7000), Endpoint("10.77.0.11", 7001)
REMOTE, AWAY = Endpoint("10.88.0.2", 80), Endpoint("10.88.0.100", 45000)


@pytest.fixture
def table(network: Callable[[], Network]) -> Conntrack:
    """Return the table of a new namespace: its socket belongs there, whoever uses it."""
    return syscalls.in_network(network().path, Conntrack)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_destination_nat_there_and_away_again(table: Conntrack, protocol: str) -> None:
    """The kernel derives the translated reply itself."""
    assert list(table.entries()) == []
    table.insert(protocol, CLIENT, VIRTUAL, destination_nat=PLACE)
    assert list(table.entries()) == [Entry(protocol, CLIENT, VIRTUAL, PLACE, CLIENT)]
    table.insert(protocol, CLIENT, VIRTUAL, destination_nat=Endpoint("10.77.0.12", 7001))  # instead of the first
    assert [entry.reply_source.address for entry in table.entries()] == ["10.77.0.12"]
    assert table.delete(protocol, CLIENT, VIRTUAL) is True
    assert table.delete(protocol, CLIENT, VIRTUAL) is False
    assert list(table.entries()) == []


def test_source_nat(table: Conntrack) -> None:
    """The remote goes on seeing the egress address and its port."""
    table.insert("tcp", PLACE, REMOTE, source_nat=AWAY)
    assert list(table.entries()) == [Entry("tcp", PLACE, REMOTE, REMOTE, AWAY)]


def test_ipv6(table: Conntrack) -> None:
    """The other family, in the same listing."""
    one, two = Endpoint("2001:db8::1", 1), Endpoint("2001:db8::2", 2)
    table.insert("tcp", one, two)
    table.insert("tcp", CLIENT, VIRTUAL)
    assert {entry.source for entry in table.entries()} == {one, CLIENT}
    assert table.delete("tcp", one, two)


def test_a_taken_reply_is_a_clash(table: Conntrack) -> None:
    """Two hosts' connections must not come back to one port."""
    table.insert("tcp", PLACE, REMOTE, source_nat=AWAY)
    with pytest.raises(OSError, match="File exists") as clash:
        table.insert("tcp", Endpoint("10.77.0.12", 1), REMOTE, source_nat=AWAY)
    assert clash.value.errno == errno.EEXIST and len(list(table.entries())) == 1


@pytest.mark.needs("conntrack")
def test_an_established_connection_is_what_was_placed(table: Conntrack, network: Callable[[], Network]) -> None:
    """Assured, liberal about windows nobody told us, and for five days: seen by the kernel's own tool."""
    place = network()
    other = syscalls.in_network(place.path, Conntrack)
    other.insert("tcp", CLIENT, VIRTUAL, destination_nat=PLACE)
    shown = place.run("conntrack", "-L", "-o", "extended")
    assert "ESTABLISHED" in shown and "[ASSURED]" in shown
    assert int(shown.split("ESTABLISHED")[0].split()[-1]) > 400_000
    assert list(table.entries()) == [], "another namespace's table has it, too"


def test_a_flow_of_each_direction_moves_and_comes_back_on_the_edge(table: Conntrack) -> None:
    """Repeated, and without being told where it pointed: what recovery does."""
    ingress = flows.Flow(flows.INGRESS, "tcp", Endpoint("172.20.1.2", 7000), CLIENT, PLACE, VIRTUAL)
    old = Endpoint("10.77.0.11", 45000)
    egress = flows.Flow(flows.EGRESS, "tcp", Endpoint("172.20.1.2", 51000), REMOTE, old, AWAY)
    for flow in (ingress, egress):
        moved = flows.Flow(flow.direction, "tcp", flow.local, flow.remote, Endpoint("10.77.0.12", 50000), flow.virtual)
        for where in (flow, moved, moved, flow, flow):
            flows.place_on_edge(table, where)
            assert flows.on_edge([where], table) == [where]
    assert len(list(table.entries())) == 2


def test_an_entry_that_an_answer_has_made_is_replaced(table: Conntrack) -> None:
    """As an edge makes it that was started anew: the right way round when the connection moves, and no second one."""
    ingress = flows.Flow(flows.INGRESS, "tcp", Endpoint("172.20.1.2", 7000), CLIENT, PLACE)
    table.insert("tcp", PLACE, CLIENT, source_nat=VIRTUAL)
    (seen,) = flows.on_edge([ingress], table)
    assert seen.virtual == VIRTUAL
    for host in ("10.77.0.12", "10.77.0.11"):
        flows.place_on_edge(table, replace(seen, host=Endpoint(host, 7001)))
        assert list(table.entries()) == [Entry("tcp", CLIENT, VIRTUAL, Endpoint(host, 7001), CLIENT)]


def test_a_flow_of_each_direction_on_the_destination(table: Conntrack) -> None:
    """An egress flow whose port is taken there gets another, and forgetting takes only ours away."""
    table.insert("tcp", Endpoint("172.20.2.3", 1), REMOTE, source_nat=Endpoint("10.77.0.12", 45000))
    egress = flows.Flow(flows.EGRESS, "tcp", Endpoint("172.20.1.2", 51000), REMOTE, Endpoint("10.77.0.11", 45000), AWAY)
    ingress = flows.Flow(flows.INGRESS, "tcp", Endpoint("172.20.1.2", 7000), CLIENT, PLACE, VIRTUAL)
    moved = [flows.place_on_destination(table, flow, "10.77.0.12", "172.20.2.9") for flow in (egress, ingress)]
    assert moved[0].host.port != 45000 and moved[1].host == Endpoint("10.77.0.12", 7001)
    assert Entry("tcp", CLIENT, moved[1].host, Endpoint("172.20.2.9", 7000), CLIENT) in list(table.entries())
    for flow in moved:
        flows.forget_on_host(table, flow)
    assert [entry.source for entry in table.entries()] == [Endpoint("172.20.2.3", 1)]


def test_a_connection_that_both_tables_have_lost_is_carried(network: Callable[[], Network]) -> None:
    """Its entries are made as those of a known one are: at its host, at the edge, and at the destination."""
    source, edge, destination = (syscalls.in_network(network().path, Conntrack) for _ in range(3))
    inside = Endpoint("172.20.1.2", 7000)
    ports = Published(PLACE.address, {("tcp", 7000): {7001}}, lambda: {7000}, lambda _: True)
    found = flows.on_source([flows.Connection("tcp", inside, CLIENT)], source, inside.address, ports)
    assert list(source.entries()) == [Entry("tcp", CLIENT, PLACE, inside, CLIENT)]
    service = {"protocol": "tcp", "virtual_address": VIRTUAL.address, "virtual_port": VIRTUAL.port}
    (seen,) = flows.on_edge(found, edge, [{**service, "host_port": 7001, "container_port": 7000}])
    moved = flows.place_on_destination(destination, seen, "10.77.0.12", "172.20.2.9")
    flows.place_on_edge(edge, moved)
    assert list(edge.entries()) == [Entry("tcp", CLIENT, VIRTUAL, moved.host, CLIENT)]
    assert list(destination.entries()) == [Entry("tcp", CLIENT, moved.host, moved.local, CLIENT)]
    flows.give_back_on_edge(edge, [seen])
    assert list(edge.entries()) == [Entry("tcp", CLIENT, VIRTUAL, PLACE, CLIENT)]


def test_who_comes_through_the_edge_is_told_by_the_hosts_routes(network: Callable[[], Network]) -> None:
    """Neighbours on the bridge, other hosts and the host itself do not; without a route nobody does."""
    place = network()
    for name, address in (("fabric", "10.77.0.11/24"), ("bridge", "172.20.1.1/24")):
        place.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-end")
        place.run("ip", "link", "set", f"{name}-end", "up")
        place.run("ip", "addr", "add", address, "dev", name)
        place.run("ip", "link", "set", name, "up")
    through = lambda address: syscalls.in_network(place.path, lambda: behind_router(address))  # noqa: E731
    assert not through(CLIENT.address)
    place.run("ip", "route", "add", "default", "via", "10.77.0.10")
    assert through(CLIENT.address)
    for address in ("172.20.1.3", "172.20.1.1", "10.77.0.12", "10.77.0.11", "127.0.0.1", "172.20.1.255"):
        assert not through(address), address
    place.run("ip", "route", "add", "unreachable", "10.88.0.0/24")
    assert not through(CLIENT.address)


def test_what_was_begun_with_a_copy_that_is_gone_is_forgotten(table: Conntrack) -> None:
    """Its client tries again, and comes to the source. What the source has, and what is another service's, stays."""
    copy, begun, other = Endpoint("10.77.0.12", 7001), Endpoint("10.88.0.2", 40001), Endpoint("10.77.0.12", 9000)
    table.insert("tcp", CLIENT, VIRTUAL, destination_nat=PLACE)
    table.insert("tcp", begun, VIRTUAL, destination_nat=copy)
    table.insert("tcp", CLIENT, Endpoint("10.88.0.100", 9000), destination_nat=other)
    flows.forget_services(table, copy.address, [{"protocol": "tcp", "host_port": copy.port}], ("tcp", "udp"))
    assert {(entry.source, entry.reply_source) for entry in table.entries()} == {(CLIENT, PLACE), (CLIENT, other)}
