# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows: which of a container's connections can follow it, and what is written into which table for that."""

from __future__ import annotations

import errno
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from relocate_proxy.network import flows
from relocate_proxy.network.conntrack import Endpoint, Entry
from relocate_proxy.network.flows import EGRESS, INGRESS, Connection, Flow, UntrackedFlow
from relocate_proxy.network.published import Published
from relocate_proxy.protocol.addresses import Addresses

from ..tables import FakeTable

OLD, NEW = "10.77.0.11", "10.77.0.12"
OLD_HOST, NEW_HOST, OWN = Addresses(OLD), Addresses(NEW), Addresses("172.20.1.2")
HERE, THERE = Endpoint("172.20.1.2", 7000), Endpoint("10.88.0.2", 40000)
CALL, CALLED = Endpoint("172.20.1.2", 51000), Endpoint("10.88.0.2", 80)
VIRTUAL = Endpoint("10.88.0.100", 7000)
AWAY = Endpoint("10.88.0.100", 45000)

SOURCE_TABLE = [
    Entry("tcp", THERE, Endpoint(OLD, 7001), HERE, THERE),
    Entry("tcp", CALL, CALLED, CALLED, Endpoint(OLD, 45000)),
]
EDGE_TABLE = [
    Entry("tcp", THERE, VIRTUAL, Endpoint(OLD, 7001), THERE),
    Entry("tcp", Endpoint(OLD, 45000), CALLED, CALLED, AWAY),
]
INGRESS_FLOW = Flow(INGRESS, "tcp", HERE, THERE, Endpoint(OLD, 7001))
EGRESS_FLOW = Flow(EGRESS, "tcp", CALL, CALLED, Endpoint(OLD, 45000))
INGRESS_SEEN = Flow(INGRESS, "tcp", HERE, THERE, Endpoint(OLD, 7001), VIRTUAL)
EGRESS_SEEN = Flow(EGRESS, "tcp", CALL, CALLED, Endpoint(OLD, 45000), AWAY)

# The same fleet, where hosts and containers have an IPv6 address, too.
OLD6, NEW6 = "fd00:77::11", "fd00:77::12"
OLD_BOTH, NEW_BOTH = Addresses(OLD, OLD6), Addresses(NEW, NEW6)
OWN_BOTH = Addresses("172.20.1.2", "fd00:20:1::2")
HERE6, THERE6 = Endpoint("fd00:20:1::2", 7000), Endpoint("2001:db8::2", 40000)
CALL6, CALLED6 = Endpoint("fd00:20:1::2", 51000), Endpoint("2001:db8::2", 80)
VIRTUAL6, AWAY6 = Endpoint("2001:db8::100", 7000), Endpoint("2001:db8::100", 45000)
INGRESS_SEEN6 = Flow(INGRESS, "tcp", HERE6, THERE6, Endpoint(OLD6, 7001), VIRTUAL6)
EGRESS_SEEN6 = Flow(EGRESS, "tcp", CALL6, CALLED6, Endpoint(OLD6, 45000), AWAY6)


def test_connections_of_both_directions_are_found_in_both_tables() -> None:
    """The source's table tells the host's port, the edge's what the peer sees."""
    connections = [Connection("tcp", HERE, THERE), Connection("tcp", CALL, CALLED)]
    found = flows.on_source(connections, FakeTable(*SOURCE_TABLE), OWN)
    assert found == [INGRESS_FLOW, EGRESS_FLOW]
    assert flows.on_edge(found, FakeTable(*EDGE_TABLE)) == [INGRESS_SEEN, EGRESS_SEEN]


def test_connections_of_both_families_are_found_beside_each_other() -> None:
    """One socket listens for both, so a container may be talked to by either at once."""
    table = FakeTable(
        *SOURCE_TABLE,
        Entry("tcp", THERE6, Endpoint(OLD6, 7001), HERE6, THERE6),
        Entry("tcp", CALL6, CALLED6, CALLED6, Endpoint(OLD6, 45000)),
    )
    ends = [(HERE, THERE), (CALL, CALLED), (HERE6, THERE6), (CALL6, CALLED6)]
    found = flows.on_source([Connection("tcp", *each) for each in ends], table, OWN_BOTH)
    assert found == [
        INGRESS_FLOW,
        EGRESS_FLOW,
        *(replace(each, virtual=None) for each in (INGRESS_SEEN6, EGRESS_SEEN6)),
    ]
    edge = FakeTable(
        *EDGE_TABLE,
        Entry("tcp", THERE6, VIRTUAL6, Endpoint(OLD6, 7001), THERE6),
        Entry("tcp", Endpoint(OLD6, 45000), CALLED6, CALLED6, AWAY6),
    )
    assert flows.on_edge(found, edge) == [INGRESS_SEEN, EGRESS_SEEN, INGRESS_SEEN6, EGRESS_SEEN6]


def test_a_connection_whose_answer_an_edge_saw_first_is_carried() -> None:
    """An edge that is started anew takes it for one that the container has opened; its entry then leads to the copy."""
    answered_first = Entry("tcp", Endpoint(OLD, 7001), THERE, THERE, VIRTUAL)
    table = FakeTable(answered_first)
    (seen,) = flows.on_edge([INGRESS_FLOW], table)
    assert seen == INGRESS_SEEN
    flows.place_on_edge(table, replace(seen, host=Endpoint(NEW, 7001)))
    assert list(table.held) == [Entry("tcp", THERE, VIRTUAL, Endpoint(NEW, 7001), THERE)]


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.9.1", "172.20.1.2", "::1"])
def test_what_stays_inside_needs_nobody(remote: str) -> None:
    """Both ends move together."""
    inner = Connection("tcp", HERE, Endpoint(remote, 9))
    assert flows.is_inner(inner, OWN)
    assert flows.on_source([inner], FakeTable(), OWN) == []
    assert not flows.is_inner(Connection("tcp", HERE, THERE), OWN)


@pytest.mark.parametrize("remote", ["172.20.1.2", "fd00:20:1::2", "::1"])
def test_a_container_may_talk_to_itself_by_either_of_its_addresses(remote: str) -> None:
    """And an address that it has not is nobody's: an empty one is not looked for."""
    inner = Connection("tcp", HERE6, Endpoint(remote, 9))
    assert flows.is_inner(inner, OWN_BOTH)
    assert not flows.is_inner(Connection("tcp", HERE6, THERE6), OWN_BOTH)
    assert flows.is_inner(inner, OWN) == (remote != OWN_BOTH.ip6)


def test_a_neighbour_on_the_bridge_would_be_cut() -> None:
    """Its packets are not translated: the host's table shows the inner addresses on both sides."""
    neighbour = Endpoint("172.20.1.3", 5432)
    table = [Entry("tcp", CALL, neighbour, neighbour, CALL)]
    with pytest.raises(UntrackedFlow) as refused:
        flows.on_source([Connection("tcp", CALL, neighbour)], FakeTable(*table), OWN)
    assert str(refused.value) == (
        "the connection tcp 172.20.1.2:51000 - 172.20.1.3:5432 does not pass through the edge and would be cut: close it, "
        "or let it go through the virtual address"
    )


def test_a_neighbour_on_another_of_its_networks_would_be_cut() -> None:
    """Its own address there is one of those that stay, and so is no host's that the packets were given on the way out."""
    here, neighbour = Endpoint("172.30.0.2", 51000), Endpoint("172.30.0.3", 5432)
    table = FakeTable(Entry("tcp", here, neighbour, neighbour, here))
    with pytest.raises(UntrackedFlow):
        flows.on_source([Connection("tcp", here, neighbour)], table, OWN, companions=[here.address])
    itself = Connection("tcp", here, Endpoint(HERE.address, 7000))
    assert flows.on_source([itself], FakeTable(), OWN, companions=[here.address]) == []


def test_a_neighbour_that_is_talked_to_by_ipv6_would_be_cut() -> None:
    """The sentence has addresses in brackets: a port after a colon could be read as a part of them."""
    neighbour = Endpoint("fd00:20:1::3", 5432)
    table = FakeTable(Entry("tcp", CALL6, neighbour, neighbour, CALL6))
    with pytest.raises(
        UntrackedFlow, match=r"the connection tcp \[fd00:20:1::2\]:51000 - \[fd00:20:1::3\]:5432 does not"
    ):
        flows.on_source([Connection("tcp", CALL6, neighbour)], table, OWN_BOTH)


def test_a_connection_that_no_table_has_would_be_cut() -> None:
    """On the source, and on the edge; the same words in the other direction's form."""
    with pytest.raises(
        UntrackedFlow, match=r"^the connection tcp 172\.20\.1\.2:7000 - 10\.88\.0\.2:40001 does not pass"
    ):
        away = Endpoint(THERE.address, THERE.port + 1)
        flows.on_source([Connection("tcp", HERE, away)], FakeTable(*SOURCE_TABLE), OWN)
    for flow, arrow in ((INGRESS_FLOW, "172.20.1.2:7000 <- 10.88.0.2:40000"), (EGRESS_FLOW, "-> 10.88.0.2:80")):
        with pytest.raises(UntrackedFlow) as refused:
            flows.on_edge([flow], FakeTable())
        assert str(refused.value).endswith(
            f"{arrow} does not pass through the edge and would be cut: close it, or let it go through the virtual address"
        )


def test_a_connected_udp_socket_that_has_been_silent_stops_nothing() -> None:
    """Its entries have ended; its next datagram makes new ones."""
    assert flows.on_source([Connection("udp", HERE, THERE)], FakeTable(*SOURCE_TABLE), OWN) == []
    assert flows.on_edge([replace(EGRESS_FLOW, protocol="udp")], FakeTable()) == []


def test_udp_conversations_are_read_from_the_edge() -> None:
    """Their sockets are not connected. Only those of this container's services, on this host, count."""
    client, virtual, place = Endpoint("10.88.0.2", 5000), Endpoint("10.88.0.100", 53), Endpoint(OLD, 5353)
    services = [
        {"protocol": "udp", "host_port": 5353, "container_port": 53},
        {"protocol": "tcp", "host_port": 7001, "container_port": 7000},
    ]
    table = [
        Entry("udp", client, virtual, place, client),
        Entry("udp", client, virtual, Endpoint("10.77.0.13", 5353), client),
        Entry("udp", client, virtual, Endpoint(OLD, 7001), client),
        Entry("tcp", client, virtual, place, client),
    ]
    assert flows.datagram_flows(FakeTable(*table), OLD_HOST, services, OWN) == [
        Flow(INGRESS, "udp", Endpoint("172.20.1.2", 53), client, place, virtual)
    ]


def test_datagrams_of_either_family_belong_to_the_address_of_theirs() -> None:
    """A datagram socket is not connected: only the client's address says by which of its own the container is talked to."""
    client, virtual, place = Endpoint("2001:db8::2", 5000), Endpoint("2001:db8::100", 53), Endpoint(OLD6, 5353)
    client4, virtual4, place4 = Endpoint("10.88.0.2", 5000), Endpoint("10.88.0.100", 53), Endpoint(OLD, 5353)
    services = [{"protocol": "udp", "host_port": 5353, "container_port": 53}]
    table = FakeTable(
        Entry("udp", client, virtual, place, client),
        Entry("udp", client, virtual, Endpoint("fd00:77::13", 5353), client),
        Entry("udp", client4, virtual4, place4, client4),
    )
    assert flows.datagram_flows(table, OLD_BOTH, services, OWN_BOTH) == [
        Flow(INGRESS, "udp", Endpoint("fd00:20:1::2", 53), client, place, virtual),
        Flow(INGRESS, "udp", Endpoint("172.20.1.2", 53), client4, place4, virtual4),
    ]
    # anybody outside can send to the port of the host by IPv6, and the container has no such address
    assert [flow.remote for flow in flows.datagram_flows(table, OLD_BOTH, services, OWN)] == [client4]


def test_documents_survive_json() -> None:
    """What crosses the channel and the journal is the same flow afterwards."""
    for flow in (INGRESS_FLOW, EGRESS_SEEN, INGRESS_SEEN6, replace(INGRESS_SEEN, routed=True)):
        assert Flow.read(json.loads(json.dumps(flow.document()))) == flow
    connection = Connection("tcp", HERE, THERE)
    assert Connection.read(json.loads(json.dumps(connection.document()))) == connection


def test_an_ingress_flow_on_the_destination() -> None:
    """The client's packets come to the new host's port and go to the new inner address."""
    table = FakeTable()
    moved = flows.place_on_destination(table, INGRESS_SEEN, NEW_HOST, "172.20.2.9")
    assert (moved.host, moved.local, moved.virtual) == (Endpoint(NEW, 7001), Endpoint("172.20.2.9", 7000), VIRTUAL)
    assert table.calls == ["insert tcp 10.88.0.2:40000 > 10.77.0.12:7001 snat None dnat 172.20.2.9:7000"]
    flows.forget_on_host(table, moved)
    assert table.calls[1:] == ["delete tcp 10.88.0.2:40000 > 10.77.0.12:7001"] and table.held == []


def test_an_egress_flow_on_the_destination_keeps_its_port_if_it_is_free() -> None:
    """The remote's packets come to the new host and are led back to the new inner address."""
    table = FakeTable()
    moved = flows.place_on_destination(table, EGRESS_SEEN, NEW_HOST, "172.20.2.9")
    assert moved.host == Endpoint(NEW, 45000)
    assert table.calls == ["insert tcp 172.20.2.9:51000 > 10.88.0.2:80 snat 10.77.0.12:45000 dnat None"]
    flows.forget_on_host(table, moved)
    assert table.held == []


def test_flows_of_ipv6_on_the_destination() -> None:
    """They come to the host's own IPv6 address: nothing on the way translates between the families."""
    table = FakeTable()
    moved = flows.place_on_destination(table, INGRESS_SEEN6, NEW_BOTH, "fd00:20:2::9")
    assert (moved.host, moved.local) == (Endpoint(NEW6, 7001), Endpoint("fd00:20:2::9", 7000))
    called = flows.place_on_destination(table, EGRESS_SEEN6, NEW_BOTH, "fd00:20:2::9")
    assert called.host == Endpoint(NEW6, 45000)
    assert table.calls == [
        "insert tcp [2001:db8::2]:40000 > [fd00:77::12]:7001 snat None dnat [fd00:20:2::9]:7000",
        "insert tcp [fd00:20:2::9]:51000 > [2001:db8::2]:80 snat [fd00:77::12]:45000 dnat None",
    ]
    for each in (moved, called):
        flows.forget_on_host(table, each)
    assert table.held == []


@pytest.mark.parametrize("flow", [INGRESS_SEEN6, EGRESS_SEEN6], ids=["ingress", "egress"])
def test_a_destination_without_an_address_of_the_flows_family_cannot_have_it(flow: Flow) -> None:
    """Nothing is placed at the address that it has: no packet of the flow would ever come there."""
    table = FakeTable()
    with pytest.raises(LookupError, match=r"10\.77\.0\.12 has no address of the family of 2001:db8::2"):
        flows.place_on_destination(table, flow, NEW_HOST, "fd00:20:2::9")
    assert not table.calls


def test_an_egress_flow_whose_port_is_taken_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote never sees it."""
    taken = Entry("tcp", Endpoint("172.20.2.3", 1), CALLED, CALLED, Endpoint(NEW, 45000))
    table = FakeTable(taken)
    monkeypatch.setattr(random, "randint", lambda low, high: low)
    moved = flows.place_on_destination(table, EGRESS_SEEN, NEW_HOST, "172.20.2.9")
    assert moved.host == Endpoint(NEW, 32768) and taken in table.held and len(table.held) == 2


def test_a_host_without_a_free_port_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried often enough, and not for ever."""
    table = FakeTable(Entry("tcp", Endpoint("172.20.2.3", 1), CALLED, CALLED, Endpoint(NEW, 45000)))
    monkeypatch.setattr(random, "randint", lambda *_: 45000)
    with pytest.raises(OSError, match=r"no free port on 10.77.0.12 for the connection tcp 172.20.1.2:51000 ->") as full:
        flows.place_on_destination(table, EGRESS_SEEN, NEW_HOST, "172.20.2.9")
    assert full.value.errno == errno.EEXIST
    assert len(table.calls) == flows.PORT_ATTEMPTS


def test_what_the_kernel_refuses_for_another_reason_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to write the table is no port clash."""
    table = FakeTable()
    monkeypatch.setattr(table, "insert", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    with pytest.raises(PermissionError):
        flows.place_on_destination(table, EGRESS_SEEN, NEW_HOST, "172.20.2.9")


@pytest.mark.parametrize("flow", [INGRESS_SEEN, EGRESS_SEEN], ids=["ingress", "egress"])
def test_the_edges_entry_goes_there_and_back_and_there_again(flow: Flow) -> None:
    """The peer's side of it never changes, and neither repeating nor undoing needs to know where it pointed."""
    table = FakeTable(*EDGE_TABLE)
    moved = Flow(flow.direction, "tcp", flow.local, flow.remote, Endpoint(NEW, flow.host.port + 1), flow.virtual)
    for where in (moved, moved, flow, flow, moved):
        flows.place_on_edge(table, where)
        assert len(table.held) == 2
        assert flows.on_edge([where], table) == [where]


def test_a_flow_that_the_edge_has_not_seen_cannot_be_placed_there() -> None:
    """A programming error, told as one."""
    with pytest.raises(ValueError, match="the edge has not seen tcp"):
        flows.place_on_edge(FakeTable(), INGRESS_FLOW)


class BusyTable(FakeTable):
    """Connections go on while their entries are changed: packets make new ones between a deletion and an insertion."""

    def __init__(self, *made: Entry) -> None:
        """Hold the edge's entries; each of ``made`` is made once, when an entry is to be inserted."""
        super().__init__(*EDGE_TABLE)
        self.made = list(made)

    def insert(self, *place: Any, **nat: Any) -> None:
        """Find what a packet has made in the way."""
        self.delete(*place)
        if self.made:
            self.held.append(self.made.pop(0))
            raise OSError(errno.EEXIST, "File exists")
        super().insert(*place, **nat)


OLD_WAY, NEW_WAY = (Entry("tcp", THERE, VIRTUAL, Endpoint(host, 7001), THERE) for host in (OLD, NEW))


@pytest.mark.parametrize("made", [[NEW_WAY], [OLD_WAY], [OLD_WAY, OLD_WAY, NEW_WAY]], ids=["right", "wrong", "both"])
def test_an_entry_is_led_elsewhere_while_packets_flow(made: list[Entry]) -> None:
    """Recovery turns an edge to a copy that runs already."""
    table = BusyTable(*made)
    flows.lead_on_edge(table, replace(INGRESS_SEEN, host=Endpoint(NEW, 7001)))
    assert NEW_WAY in table.held and OLD_WAY not in table.held


def test_an_entry_that_leads_there_is_not_touched() -> None:
    """Taken away for a moment, it would be made anew by the next packet, and be in the way of ours."""
    table = BusyTable()
    flows.lead_on_edge(table, INGRESS_SEEN)
    flows.lead_on_edge(table, EGRESS_SEEN)
    assert table.calls == []


def test_what_stays_in_the_way_is_told() -> None:
    """Not for ever: its recovery can be tried again."""
    with pytest.raises(FileExistsError):
        flows.lead_on_edge(BusyTable(*[OLD_WAY] * 100), replace(INGRESS_SEEN, host=Endpoint(NEW, 7001)))


SERVICE = {
    "protocol": "tcp",
    "virtual_address": VIRTUAL.address,
    "virtual_port": VIRTUAL.port,
    "host_port": 7001,
    "container_port": 7000,
}
ROUTED = replace(INGRESS_FLOW, routed=True)


def published(
    *, ports: tuple[int, ...] = (7001,), listening: tuple[int, ...] = (7000,), routed: bool = True
) -> Published:
    """Return what the source's host publishes of the container."""
    return Published(OLD_HOST, {("tcp", 7000): ports, ("tcp", 51000): (51001,)}, lambda: listening, lambda _: routed)


def test_a_clients_connection_that_its_host_has_forgotten_is_known_by_its_port() -> None:
    """It gets its entry back at once: the container can speak to its client again, wherever it runs."""
    table = FakeTable()
    connections = [Connection("tcp", HERE, THERE)]
    assert flows.on_source(connections, table, OWN, published()) == [ROUTED]
    assert table.held == [SOURCE_TABLE[0]]
    assert flows.on_source(connections, table, OWN, published()) == [ROUTED]
    assert len(table.calls) == 1, "it is there now"


def test_a_packet_may_have_been_faster() -> None:
    """It has made the entry between the look and the insertion."""
    table = FakeTable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "insert", lambda *_, **__: (_ for _ in ()).throw(FileExistsError(errno.EEXIST, "")))
        assert flows.on_source([Connection("tcp", HERE, THERE)], table, OWN, published()) == [ROUTED]


@pytest.mark.parametrize(
    ("connection", "ports"),
    [
        (Connection("tcp", CALL, CALLED), published()),  # the container's own: what port it has outside, nobody knows
        (Connection("tcp", HERE, THERE), published(listening=())),  # may be its own, by a port that it has bound
        (Connection("tcp", HERE, THERE), published(ports=(7001, 7002))),
        (Connection("tcp", HERE, THERE), published(ports=())),
        (Connection("tcp", HERE, THERE), published(routed=False)),  # a neighbour on the bridge
        (Connection("tcp", HERE6, THERE6), published()),  # its host is reached by IPv4 alone
        (
            Connection("tcp", Endpoint("172.20.1.9", 7000), THERE),
            published(),
        ),  # no port of the host leads to that address
    ],
)
def test_what_cannot_be_known_of_a_forgotten_connection_is_refused(connection: Connection, ports: Published) -> None:
    table = FakeTable()
    with pytest.raises(UntrackedFlow, match="does not pass through the edge"):
        flows.on_source([connection], table, OWN, ports)
    assert table.held == []


def test_a_clients_connection_by_ipv6_that_its_host_has_forgotten_is_known_as_well() -> None:
    """The port is the same, at the host's address of that family."""
    table = FakeTable()
    ports = Published(OLD_BOTH, {("tcp", 7000): (7001,)}, lambda: (7000,), lambda _: True)
    assert ports.place(Connection("tcp", HERE, THERE)) == Endpoint(OLD, 7001)
    (found,) = flows.on_source([Connection("tcp", HERE6, THERE6)], table, OWN_BOTH, ports)
    assert found == replace(INGRESS_SEEN6, virtual=None, routed=True)
    assert table.held == [Entry("tcp", THERE6, Endpoint(OLD6, 7001), HERE6, THERE6)]


def test_a_clients_connection_that_the_edge_has_forgotten_is_known_by_its_service() -> None:
    table = FakeTable()
    other = {**SERVICE, "virtual_port": 7070, "host_port": 7071, "container_port": 7070}
    assert flows.on_edge([ROUTED], table, [SERVICE, other]) == [replace(ROUTED, virtual=VIRTUAL)]
    moved = replace(ROUTED, virtual=VIRTUAL, host=Endpoint(NEW, 7001))
    flows.place_on_edge(table, moved)
    assert table.held == [Entry("tcp", THERE, VIRTUAL, Endpoint(NEW, 7001), THERE)]


def test_a_service_that_is_reached_by_both_families_is_two_places() -> None:
    """They lead to one port, and the client's address says which of them it knows."""
    table, service6 = FakeTable(), {**SERVICE, "virtual_address": VIRTUAL6.address}
    routed6 = replace(INGRESS_SEEN6, virtual=None, routed=True)
    assert flows.on_edge([ROUTED, routed6], table, [SERVICE, service6]) == [
        replace(ROUTED, virtual=VIRTUAL),
        replace(routed6, virtual=VIRTUAL6),
    ]
    with pytest.raises(UntrackedFlow, match="does not pass through the edge"):
        flows.on_edge([routed6], table, [SERVICE])


@pytest.mark.parametrize(
    ("flow", "services", "entries"),
    [
        (INGRESS_FLOW, [SERVICE], []),  # a neighbour's, for all that the source knows
        (replace(EGRESS_FLOW, routed=True), [SERVICE], []),
        (ROUTED, [], []),
        (ROUTED, [{**SERVICE, "host_port": 7002}], []),  # a host that lies names a port that is not the container's
        (ROUTED, [{**SERVICE, "container_port": 7002}], []),
        (ROUTED, [{**SERVICE, "protocol": "udp"}], []),
        (ROUTED, [SERVICE, {**SERVICE, "virtual_port": 7070}], []),  # either may be what the client knows
        (ROUTED, [SERVICE], [Entry("tcp", THERE, VIRTUAL, Endpoint("10.77.0.13", 7001), THERE)]),  # another's
    ],
)
def test_what_cannot_be_known_at_the_edge_is_refused(flow: Flow, services: list[dict], entries: list[Entry]) -> None:
    """No word of a source makes the edge take a connection for its container's that may be another's."""
    table = FakeTable(*entries)
    with pytest.raises(UntrackedFlow, match="does not pass through the edge"):
        flows.on_edge([flow], table, services)
    assert table.held == entries and not table.calls


def test_a_source_moves_its_own_connections_only() -> None:
    """One that names another host's would lead that host's clients away; a neighbour's has no place outside at all."""
    assert flows.of_host([INGRESS_FLOW, EGRESS_FLOW], OLD_HOST) == [INGRESS_FLOW, EGRESS_FLOW]
    for address in ("10.77.0.13", HERE.address):
        for flow in (INGRESS_FLOW, EGRESS_FLOW):
            strange = replace(flow, host=Endpoint(address, flow.host.port))
            with pytest.raises(UntrackedFlow, match="does not pass through the edge"):
                flows.of_host([strange], OLD_HOST)
            assert flows.of_host([replace(strange, protocol="udp")], OLD_HOST) == []


def test_a_host_is_known_by_both_of_its_addresses() -> None:
    """Each may be in the entries of its containers. Without the second, it is somebody else's."""
    assert flows.of_host([INGRESS_SEEN, INGRESS_SEEN6], OLD_BOTH) == [INGRESS_SEEN, INGRESS_SEEN6]
    with pytest.raises(UntrackedFlow, match="does not pass through the edge"):
        flows.of_host([INGRESS_SEEN6], OLD_HOST)
    moved = [replace(INGRESS_SEEN, host=Endpoint(NEW, 7001)), replace(INGRESS_SEEN6, host=Endpoint(NEW6, 7001))]
    assert flows.as_placed([INGRESS_SEEN, INGRESS_SEEN6], moved, NEW_BOTH) == moved
    with pytest.raises(ValueError, match="the destination has placed other connections than it was told"):
        flows.as_placed([INGRESS_SEEN, INGRESS_SEEN6], moved, NEW_HOST)


@pytest.mark.parametrize(
    "change",
    [
        {"virtual": Endpoint("10.88.0.100", 22)},
        {"remote": Endpoint("10.88.0.3", 40000)},
        {"direction": EGRESS},
        {"protocol": "udp"},
        {"host": Endpoint("10.77.0.13", 7001)},
    ],
)
def test_a_destination_places_what_it_was_told_on_itself(change: dict[str, Any]) -> None:
    """One that lies would have the edge lead another service's clients to it."""
    right = replace(INGRESS_SEEN, host=Endpoint(NEW, 7001), local=Endpoint("172.20.2.9", 7000))
    assert flows.as_placed([INGRESS_SEEN], [right], NEW_HOST) == [right]
    for placed in ([replace(right, **change)], [], [right, right]):
        with pytest.raises(ValueError, match="the destination has placed other connections than it was told"):
            flows.as_placed([INGRESS_SEEN], placed, NEW_HOST)


def test_the_way_to_an_address_is_asked_once() -> None:
    """Much of it in the freeze."""
    asked: list[str] = []

    def routed(address: str) -> bool:
        asked.append(address)
        return True

    ports = Published(OLD_HOST, {}, tuple, routed)
    assert ports.passes_edge(THERE) and ports.passes_edge(Endpoint(THERE.address, 1)) and asked == [THERE.address]


SERVICES = [
    {"protocol": "tcp", "virtual_address": "10.88.0.100", "host_port": 7001},
    {"protocol": "tcp", "virtual_address": "2001:db8::100", "host_port": 7001},
]


def test_conversations_of_both_families_are_forgotten() -> None:
    """Each service leads to the host's address of its own family, and an entry there is of that service."""
    ours = [
        Entry("tcp", THERE, VIRTUAL, Endpoint(OLD, 7001), THERE),
        Entry("tcp", THERE6, VIRTUAL6, Endpoint(OLD6, 7001), THERE6),
    ]
    others = [
        Entry("tcp", THERE6, VIRTUAL6, Endpoint(NEW6, 7001), THERE6),
        Entry("tcp", THERE6, VIRTUAL6, Endpoint(OLD6, 7002), THERE6),
    ]
    for each in (0, 1):
        table = FakeTable(ours[each], *others)
        flows.forget_services(table, OLD_BOTH, [SERVICES[1 - each]], ["tcp"])
        assert table.held == [ours[each], *others], "a service of the other family"
        flows.forget_services(table, OLD_BOTH, SERVICES, ["udp"])
        flows.forget_services(table, OLD_BOTH, SERVICES, ["tcp"])
        assert table.held == others


def test_a_copy_is_forgotten_by_both_of_its_addresses() -> None:
    """Whoever gets either of them next must not get its packets."""
    placed = [
        Entry("tcp", THERE, Endpoint(OLD, 7001), HERE, THERE),
        Entry("tcp", CALL6, CALLED6, CALLED6, Endpoint(OLD6, 45000)),
        Entry("tcp", THERE6, Endpoint(OLD6, 7001), HERE6, THERE6),
    ]
    neighbour = Entry("tcp", THERE6, Endpoint(OLD6, 8080), Endpoint("fd00:20:1::3", 80), THERE6)
    table = FakeTable(*placed, neighbour)
    flows.forget_addresses(table, OWN)
    assert table.held == [*placed[1:], neighbour]
    flows.forget_addresses(table, OWN_BOTH)
    assert table.held == [neighbour]
