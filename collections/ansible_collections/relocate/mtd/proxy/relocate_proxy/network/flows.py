# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connection tracking entries make a connection survive the move of one of its ends.

An *ingress* flow was opened by a client towards the virtual address; an *egress* flow by the container towards the outside.
With VIP the virtual (or egress) address, S and D the source and destination hosts, c and c' the container's old and new
address::

    ingress   edge:        client -> VIP:port     destination NAT  D:host_port
              destination: client -> D:host_port  destination NAT  c':container_port
    egress    edge:        D:Q' -> remote         source NAT       VIP:V      (V as before: the remote must see no change)
              destination: c':port -> remote      source NAT       D:Q'       (Q' any free port; the old one may be taken)

On the source host the entries stay as they are until the container is removed there, for rollback needs them, and go then.

An ingress flow of a published port is known without either table: see ``published``.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import random
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from ..protocol.addresses import Addresses
from .conntrack import ESTABLISHED_SECONDS, PROTOCOLS, Conntrack, Endpoint

INGRESS, EGRESS, INNER = "ingress", "egress", "inner"
DIRECTIONS = (INGRESS, EGRESS, INNER)
PORT_ATTEMPTS = 64
#: For how long an entry is kept that was placed for a connection which the edge did not know any more. TCP sends again after
#: two minutes at most.
LOST_SECONDS = 300
LEAD_ATTEMPTS = 8  # the next packet of a busy connection comes within microseconds, seldom in between


def _one_of(document: dict, name: str, known: Collection[str]) -> str:
    value = document.get(name)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"a connection has no proper '{name}': run prepare.yml again")
    return value


def _end(document: dict, name: str) -> Endpoint:
    """Return an end of a connection that has come as JSON. :raises ValueError: it is none."""
    end = document.get(name)
    try:
        address, port = end["address"], end["port"]  # type: ignore[index]
        if isinstance(address, str) and type(port) is int and 0 <= port < 65536:
            return Endpoint(str(ipaddress.ip_address(address)), port)
    except (TypeError, KeyError, ValueError):
        pass
    raise ValueError(f"a connection has no proper '{name}': run prepare.yml again")


@dataclass(frozen=True)
class Connection:
    """One connected socket of the container: its own end (as before the move) and the peer's."""

    protocol: str
    local: Endpoint
    remote: Endpoint

    def document(self) -> dict:
        """Return it as JSON-ready data; :meth:`read` is the way back."""
        return asdict(self)

    @classmethod
    def read(cls, document: dict) -> Connection:
        """Rebuild one from :meth:`document`. :raises ValueError: it is none."""
        return cls(_one_of(document, "protocol", PROTOCOLS), _end(document, "local"), _end(document, "remote"))


@dataclass(frozen=True)
class Flow:
    """One connection that has to survive.

    ``local`` is the container's end (its address is the old one), ``remote`` the peer's, ``host`` what the outside of the
    source host sees of the container (published port, or masqueraded port), ``virtual`` what the peer sees. ``routed``: the
    peer is a client whose packets the source's host gets from the edge.
    """

    direction: str
    protocol: str
    local: Endpoint
    remote: Endpoint
    host: Endpoint
    virtual: Endpoint | None = None
    routed: bool = False

    def document(self) -> dict:
        """Return it as JSON-ready data."""
        return asdict(self)

    @classmethod
    def read(cls, document: dict) -> Flow:
        """Rebuild one from :meth:`document`, which may be another host's. :raises ValueError: it is none."""
        ends = {name: _end(document, name) for name in ("local", "remote", "host")}
        virtual = _end(document, "virtual") if document.get("virtual") else None
        direction, protocol = _one_of(document, "direction", DIRECTIONS), _one_of(document, "protocol", PROTOCOLS)
        return cls(direction, protocol, virtual=virtual, routed=document.get("routed") is True, **ends)

    @classmethod
    def read_all(cls, flows: Iterable[dict]) -> list[Flow]:
        """Rebuild several."""
        return [cls.read(each) for each in flows]

    def __str__(self) -> str:
        arrow = "<-" if self.direction == INGRESS else "->"
        return f"{self.protocol} {self.local} {arrow} {self.remote}"


class UntrackedFlow(RuntimeError):
    """A connection does not pass where its NAT could be changed: it would be cut by the move."""


def _untracked(connection: str) -> UntrackedFlow:
    return UntrackedFlow(
        f"the connection {connection} does not pass through the edge and would be cut: close it, or let it go through the "
        "virtual address"
    )


class Ports(Protocol):
    """What the host publishes of the container: see ``published``."""

    def passes_edge(self, remote: Endpoint) -> bool:
        """Return whether a peer's packets come through the edge."""

    def place(self, connection: Connection) -> Endpoint | None:
        """Return where the outside finds the container's end of a connection that the host has forgotten."""


def is_inner(connection: Connection, own: Addresses, companions: Collection[str] = ()) -> bool:
    """Whether both ends are inside of what moves as a whole, so that nobody has to be told.

    :param own: the container's.
    :param companions: addresses that stay as they are: its own, if it keeps them, and those of what moves with it.
    """
    remote = connection.remote.address
    return remote in own or remote.startswith("127.") or remote == "::1" or remote in companions


def on_source(
    connections: Iterable[Connection],
    table: Conntrack,
    own: Addresses,
    published: Ports | None = None,
    companions: Collection[str] = (),
) -> list[Flow]:
    """Match the container's connections with the source host's table.

    :param own, companions: see :func:`is_inner`.

    A connected UDP socket of which the host knows nothing has been silent for long: its next datagram makes a new entry. A
    client's connection to a published port whose entry the host has lost gets it back, whether the move succeeds or not.

    :raises UntrackedFlow: for one that the host does not translate, such as to a neighbour on the same bridge.
    """
    flows = []
    for connection in connections:
        if is_inner(connection, own, companions):
            continue
        key = (connection.protocol, connection.local, connection.remote)
        entry = table.find(*key)
        if entry and (entry.reply_source, entry.source) == key[1:]:
            routed = published is not None and key[0] == "tcp" and published.passes_edge(connection.remote)
            flows.append(Flow(INGRESS, *key, host=entry.destination, routed=routed))
        elif (
            entry
            and (entry.source, entry.destination) == key[1:]
            and entry.reply_destination.address != entry.source.address
        ):
            flows.append(Flow(EGRESS, *key, host=entry.reply_destination))
        elif (
            entry is None
            and published
            and (connection.local.address in own or connection.local.address in companions)
            and (host := published.place(connection))
        ):
            with contextlib.suppress(FileExistsError):  # its next packet has just brought it back
                table.insert(connection.protocol, connection.remote, host, destination_nat=connection.local)
            flows.append(Flow(INGRESS, *key, host=host, routed=True))
        elif connection.protocol != "udp":
            raise _untracked(f"{connection.protocol} {connection.local} - {connection.remote}")
    return flows


def on_edge(flows: Iterable[Flow], table: Conntrack, services: Iterable[dict] = ()) -> list[Flow]:
    """Complete the flows with what the peer sees, read from the edge's table.

    What that has lost of a client's connection, the services tell: it gets its entry when it is placed, or given back.

    :param services: the container's own, as the plan has them: nothing that the source says leads to another's.
    :raises UntrackedFlow: for one that does not pass through the edge.
    """
    complete = []
    for flow in flows:
        virtual = None
        entry = table.find(flow.protocol, flow.host, flow.remote)
        if entry and flow.direction == INGRESS and (entry.reply_source, entry.source) == (flow.host, flow.remote):
            virtual = entry.destination
        elif entry and (entry.source, entry.destination) == (flow.host, flow.remote):
            # One that a client opened looks so, too, if an edge whose table was lost saw an answer first.
            virtual = entry.reply_destination
        elif entry is None:
            virtual = _served(flow, table, services)
        if virtual is None and flow.protocol == "udp":
            continue
        if virtual is None:
            raise _untracked(str(flow))
        complete.append(replace(flow, virtual=virtual))
    return complete


def _served(flow: Flow, table: Conntrack, services: Iterable[dict]) -> Endpoint | None:
    """Return the virtual place of a client's connection that the edge has forgotten; None if it cannot be known.

    It cannot where several places lead to the port, or where the client has a connection to that place which leads elsewhere.
    """
    if flow.direction != INGRESS or flow.protocol != "tcp" or not flow.routed:
        return None
    places = {
        Endpoint(each["virtual_address"], each["virtual_port"])
        for each in services
        if (each["protocol"], each["host_port"], each["container_port"])
        == (flow.protocol, flow.host.port, flow.local.port)
        and (":" in each["virtual_address"]) == (":" in flow.remote.address)
    }
    if len(places) != 1:
        return None
    (place,) = places
    return None if table.find(flow.protocol, flow.remote, place) else place


def of_host(flows: Iterable[Flow], host: Addresses) -> list[Flow]:
    """Return those of a source's flows that are its own to move: its datagrams to and from neighbours concern nobody else.

    :raises UntrackedFlow: one is not: a neighbour's on its bridge, or, if the host lies, another host's, whose clients would be
        led away.
    """
    own = []
    for flow in flows:
        if flow.host.address in host:
            own.append(flow)
        elif flow.protocol != "udp":
            raise _untracked(str(flow))
    return own


def as_placed(flows: Iterable[Flow], placed: Iterable[Flow], host: Addresses) -> list[Flow]:
    """Return flows as the destination has placed them.

    :raises ValueError: it says something of them that only source and edge can know, or names another host's place.
    """
    flows, placed = list(flows), list(placed)
    expected = [replace(flow, local=new.local, host=new.host) for flow, new in zip(flows, placed)]
    if len(flows) != len(placed) or expected != placed or any(new.host.address not in host for new in placed):
        raise ValueError("the destination has placed other connections than it was told: run prepare.yml again")
    return placed


def datagram_flows(table: Conntrack, host: Addresses, services: Iterable[dict], own: Addresses) -> list[Flow]:
    """Return the edge's UDP conversations with the services: their sockets are not connected, so no image names them."""
    ports = {service["host_port"]: service["container_port"] for service in services if service["protocol"] == "udp"}
    if not ports:
        return []  # and the table need not be walked
    return [
        Flow(
            INGRESS,
            "udp",
            Endpoint(own.like(entry.source.address), ports[entry.reply_source.port]),
            entry.source,
            entry.reply_source,
            entry.destination,
        )
        for entry in table.entries()
        if entry.protocol == "udp"
        and entry.reply_source.address in host
        and entry.reply_source.port in ports
        and own.has_like(entry.source.address)  # anybody outside can send to its host by IPv6
    ]


def place_on_destination(table: Conntrack, flow: Flow, host: Addresses, address: str) -> Flow:
    """Place a flow's entry on the destination ``host``, where the container has ``address``; return it as moved.

    :raises OSError: EEXIST when no free port was found for an egress flow.
    :raises LookupError: the host has no address of the flow's family.
    """
    outside = host.like(flow.remote.address)
    local = Endpoint(address, flow.local.port)
    if flow.direction == INGRESS:
        moved = replace(flow, local=local, host=Endpoint(outside, flow.host.port))
        table.insert(flow.protocol, flow.remote, moved.host, destination_nat=local)
        return moved
    port = flow.host.port
    for _ in range(PORT_ATTEMPTS):
        moved = replace(flow, local=local, host=Endpoint(outside, port))
        try:
            table.insert(flow.protocol, local, flow.remote, source_nat=moved.host)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            port = random.randint(32768, 60999)  # no secret: the remote never sees it
            continue
        return moved
    raise OSError(errno.EEXIST, f"no free port on {outside} for the connection {flow}")


def place_on_edge(table: Conntrack, flow: Flow, seconds: int = ESTABLISHED_SECONDS) -> None:
    """Point the edge's entry of a flow at the place ``flow.host`` names, wherever it pointed before. Idempotent.

    :param seconds: see :meth:`Conntrack.insert`.
    """
    if flow.virtual is None:
        raise ValueError(f"the edge has not seen {flow}")
    if flow.direction == INGRESS:
        table.insert(flow.protocol, flow.remote, flow.virtual, destination_nat=flow.host, seconds=seconds)
    else:
        # The kernel finds an entry by either of its tuples. This is the one that never changes: what the remote sends.
        table.delete(flow.protocol, flow.remote, flow.virtual)
        table.insert(flow.protocol, flow.host, flow.remote, source_nat=flow.virtual, seconds=seconds)


def lead_on_edge(table: Conntrack, flow: Flow) -> None:
    """Have the edge's entry of a flow lead to ``flow.host``, and leave one that does.

    Where there is none, the connection may have ended, long after a failure; or the edge was started anew. Then the first word
    of a copy that is not removed yet would make an entry of its own: with the service's own port, for the egress address may be
    the virtual one, and clients would talk to that copy. So the entry is placed, and soon forgotten if no packet comes.

    Packets may flow meanwhile: an entry that was taken away for a moment is made anew by the next packet, and by the other
    edge's conntrackd. So the one that is found in the way is looked at again.

    :raises OSError: EEXIST when what is in the way leads elsewhere time and again.
    """
    if flow.virtual is None:
        raise ValueError(f"the edge has not seen {flow}")
    for left in reversed(range(LEAD_ATTEMPTS)):
        entry = table.find(flow.protocol, flow.remote, flow.virtual)
        if entry is not None and (entry.reply_source if flow.direction == INGRESS else entry.source) == flow.host:
            return
        try:
            place_on_edge(table, flow, ESTABLISHED_SECONDS if entry else LOST_SECONDS)
            return
        except OSError as error:
            if error.errno != errno.EEXIST or not left:
                raise


def give_back_on_edge(table: Conntrack, flows: Iterable[Flow]) -> None:
    """Point the edge's entries of ``flows`` back at the source, if they do not lead there."""
    for flow in flows:
        if flow.virtual is not None:
            lead_on_edge(table, flow)


def forget_on_host(table: Conntrack, flow: Flow) -> None:
    """Remove a flow's entry from the host that ``flow`` names: the destination after a rollback, the source after a move.

    Nothing on a host that a container has left would end its entries: the kernel keeps an established one for five days.
    """
    if flow.direction == INGRESS:
        table.delete(flow.protocol, flow.remote, flow.host)
    else:
        table.delete(flow.protocol, flow.local, flow.remote)


def forget_services(table: Conntrack, host: Addresses, services: Iterable[dict], protocols: Collection[str]) -> None:
    """Remove the edge's entries that lead to ``services`` on a host.

    The next datagram of a conversation makes a new entry, which leads where the service is now; the next packet of a TCP
    connection is answered with a reset there.
    """
    places = {(each["protocol"], Endpoint(host.like(each["virtual_address"]), each["host_port"])) for each in services}
    for entry in list(table.entries()):
        if entry.protocol in protocols and (entry.protocol, entry.reply_source) in places:
            table.delete(entry.protocol, entry.source, entry.destination)


def forget_addresses(table: Conntrack, own: Collection[str]) -> None:
    """Remove every entry of a container on this host that never ran, by its addresses: such were only placed for it."""
    for entry in list(table.entries()):
        if entry.source.address in own or entry.reply_source.address in own:
            table.delete(entry.protocol, entry.source, entry.destination)
