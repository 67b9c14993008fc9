# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's nftables tables ``ip relocate`` and ``ip6 relocate``: their one definition, elements, and form on disk.

Pure functions: text and parsed JSON in, text for ``nft -f -`` and plain values out. The modules use it on the edge,
and a copy of this very file is installed beside the proxy, under this very name. Standard library only, Python 3.9.

An edge has the second where it serves IPv6. The two differ in nothing but the kind of address: an element is in the one that
its address belongs to. What a table does, in the order in which a packet meets it:

* ``hold`` (before conntrack) drops what an abandoned place still says, and marks packets of services under way;
* the mark's queue keeps them: ``hold`` leads what is marked into the chain ``queues``, or, on kernels whose nftables has no
  ``queue``, it is led into an iptables chain ``RELOCATE`` of the table ``raw`` (priority -300: after the mark, still before
  conntrack, so that NAT is decided when the packets are released). A queue nobody listens on lets packets pass (``bypass``);
* ``early`` (after the queues, still before conntrack) drops those that have passed so while they lead to a copy that
  may not run yet. What is released on purpose has lost its mark. It also drops what ends a connection of such a copy,
  which somebody has killed: the original has that connection still;
* ``destination`` sends new connections to the host that runs the service now;
* ``source`` gives the fleet's own connections the egress address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

TABLE = "relocate"
SERVICES, HELD, BARRIER, SHUT, UNBORN = "services", "held", "barrier", "shut", "unborn"
VOLATILE = (HELD, BARRIER, SHUT, UNBORN)  # what lives only as long as a relocation

# One queue per container under way; a packet's mark names its queue. 0x5245 is "RE".
QUEUES = tuple(range(5200, 5232))
MARK_PREFIX, MARK_MASK = 0x52450000, 0xFFFF0000

RAW_CHAIN = "RELOCATE"
RAW_JUMP = f"-A PREROUTING -m mark --mark {MARK_PREFIX:#x}/{MARK_MASK:#x} -j {RAW_CHAIN}"


class Family(NamedTuple):
    """What the two tables differ in."""

    name: str  # nft's
    version: int
    address: str  # nft's type of an address
    headers: str  # matches a packet of headers alone: without options of its own, TCP with all that it can have

    @property
    def head(self) -> str:
        """The table's name, for nft: ``ip relocate``."""
        return f"{self.name} {TABLE}"


IP4 = Family("ip", 4, "ipv4_addr", "ip length <= 80")
IP6 = Family("ip6", 6, "ipv6_addr", "ip6 length <= 60")  # which does not count the 40 bytes of IPv6
FAMILIES = (IP4, IP6)

_TYPES = {
    SERVICES: ("map", "type inet_proto . {0} . inet_service : {0} . inet_service"),
    HELD: ("map", "type inet_proto . {0} . inet_service : mark"),
    BARRIER: ("map", "type inet_proto . {0} . inet_service : mark"),
    SHUT: ("set", "type inet_proto . {0} . inet_service"),
    UNBORN: ("set", "type inet_proto . {0} . inet_service"),
}
_CHAINS = {
    "queues": "",  # no hook: only what is marked comes here, by a jump
    "hold": "type filter hook prerouting priority -350; policy accept;",
    "early": "type filter hook prerouting priority -250; policy accept;",
    "destination": "type nat hook prerouting priority dstnat; policy accept;",
    "source": "type nat hook postrouting priority srcnat; policy accept;",
}
# Docker's own rule for container names, which are the names of services
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class Gateway(NamedTuple):
    """Where the edge meets the outside world."""

    outside_interface: str
    fleet_network: str  # CIDR of the hosts behind the edge
    egress_address: str  # source address of their own connections to the outside


class Service(NamedTuple):
    """One element of the map ``services``. ``name`` is the owner: a container's name."""

    name: str
    protocol: str
    virtual_address: str
    virtual_port: int
    host_address: str
    host_port: int

    @property
    def virtual(self) -> str:
        """The place the outside world knows, for people: ``10.88.0.100:7000/tcp``."""
        return f"{bracketed(self.virtual_address)}:{self.virtual_port}/{self.protocol}"

    @property
    def key(self) -> str:
        """The element's key, for nft."""
        return key(self.protocol, self.virtual_address, self.virtual_port)


def key(protocol: str, address: str, port: int) -> str:
    """Return the key of an element of any of our sets, as nft writes it.

    :raises ValueError: what is no address, a port outside 1..65535, a protocol other than tcp and udp.
    """
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"protocol {protocol!r} is neither tcp nor udp")
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is outside 1..65535")
    return f"{protocol} . {_plain(address)} . {port}"


def _plain(address: str) -> str:
    """Return an address as nft writes it.

    :raises ValueError: it is none, of one link alone (``fe80::1%eth0``), or IPv4 written as IPv6 (``::ffff:192.0.2.1``).
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_link_local or "%" in address:
            raise ValueError(f"{address!r} is an address of one link alone")
        if found.ipv4_mapped:
            raise ValueError(f"{address!r} is IPv4 written as IPv6: write {found.ipv4_mapped}")
    return str(found)


def bracketed(address: str) -> str:
    """Return an address as it is written before a port."""
    return f"[{address}]" if ":" in address else address


def family(address: str) -> Family:
    """Return the family of an address or a network."""
    return IP6 if ":" in address else IP4


def _head(element: str) -> str:
    """Return the table that an element belongs to: of all that it says, by its address."""
    return family(element.split(" . ", 2)[1]).head


def add(name: str, element: str) -> str:
    """Return the line that adds an element to one of our sets: in the table of its family."""
    return f"add element {_head(element)} {name} {{ {element} }}\n"


def delete(name: str, element: str) -> str:
    """Return the line that deletes an element of one of our sets."""
    return f"delete element {_head(element)} {name} {{ {element} }}\n"


def queue_mark(queue: int) -> int:
    """Return the packet mark that sends a packet to an NFQUEUE of :data:`QUEUES`."""
    if queue not in QUEUES:
        raise ValueError(f"queue {queue} is not one of {QUEUES[0]}..{QUEUES[-1]}")
    return MARK_PREFIX + queue


def _rules(kind: Family, gateway: Gateway | None, nft_queue: bool) -> dict[str, list[str]]:
    sender = f"meta l4proto . {kind.name} saddr . th sport"
    receiver = f"meta l4proto . {kind.name} daddr . th dport"
    hold = [
        f"{sender} @{SHUT} drop",
        f"{receiver} @{SHUT} drop",
        f"tcp flags & (syn | ack) == syn meta mark set {receiver} map @{BARRIER}",
        f"meta mark set {receiver} map @{HELD}",
    ]
    queues = []
    if nft_queue:
        hold.append(f"meta mark & {MARK_MASK:#x} == {MARK_PREFIX:#x} jump queues")
        queues = [f"meta mark {queue_mark(queue):#x} queue flags bypass to {queue}" for queue in QUEUES]
    early = [
        f"meta mark & {MARK_MASK:#x} == {MARK_PREFIX:#x} {receiver} @{UNBORN} drop",
        f"tcp flags & (fin | rst) != 0x0 {sender} @{UNBORN} drop",
        # An acknowledgement alone: its kernel gives it for tasks that do not run yet. Their first answer has the same in it.
        f"tcp flags == ack {kind.headers} {sender} @{UNBORN} drop",
    ]
    source = []
    if gateway is not None:
        network, egress = ipaddress.ip_network(gateway.fleet_network), _plain(gateway.egress_address)
        source.append(f'oifname "{gateway.outside_interface}" {kind.name} saddr {network} snat to {egress}')
    destination = [f"dnat {kind.name} to {receiver} map @{SERVICES}"]
    return {"queues": queues, "hold": hold, "early": early, "destination": destination, "source": source}


def table_text(kind: Family, gateway: Gateway | None, nft_queue: bool, services: Iterable[Service] = ()) -> str:
    """Return the whole table of a family as nft text. Loading it where it exists adds what is missing.

    :param gateway: None leaves the chain ``source`` empty (a table made before the gateway's own settings are known).
    :param nft_queue: the queue rules are nftables' own; else :func:`raw_text` has them.
    :param services: of this family.
    """
    lines = [f"table {kind.head} {{"]
    for name, (what, declaration) in _TYPES.items():
        lines.append(f"\t{what} {name} {{")
        lines.append(f"\t\t{declaration.format(kind.address)}")
        elements = [_element(service) for service in services] if name == SERVICES else []
        if elements:
            lines.append("\t\telements = { " + ", ".join(elements) + " }")
        lines.append("\t}")
    for name, rules in _rules(kind, gateway, nft_queue).items():
        lines.append(f"\tchain {name} {{")
        lines += [f"\t\t{line}" for line in (_CHAINS[name], *rules) if line]
        lines.append("\t}")
    lines.append("}")
    return "\n".join(lines) + "\n"


def update_text(kind: Family, gateway: Gateway | None, nft_queue: bool, present: Iterable[str]) -> str:
    """Return the transaction that gives the chains their rules anew and leaves every element alone.

    :param present: names of the chains that exist and are emptied first.
    """
    flushes = "".join(f"flush chain {kind.head} {name}\n" for name in present)
    return flushes + table_text(kind, gateway, nft_queue)


def replace_text(kind: Family, gateway: Gateway | None, nft_queue: bool, services: Iterable[Service]) -> str:
    """Return the transaction that throws the table away and makes it anew with the services it had."""
    return f"delete table {kind.head}\n" + table_text(kind, gateway, nft_queue, services)


def queue_probe_text() -> str:
    """Return what ``nft --check`` accepts only on a kernel whose nftables has ``queue``."""
    rule = _rules(IP4, None, True)["queues"][-1]
    return f"table ip relocate_probe {{\n\tchain probe {{\n\t\t{_CHAINS['hold']}\n\t\t{rule}\n\t}}\n}}\n"


def _element(service: Service) -> str:
    if not _NAME.fullmatch(service.name):
        raise ValueError(f"{service.name!r} is not a name Docker would give a container")
    if not 1 <= service.host_port <= 65535:
        raise ValueError(f"port {service.host_port} is outside 1..65535")
    host = _plain(service.host_address)
    if family(host) != family(service.virtual_address):
        raise ValueError(
            f"{service.virtual_address} is not of the same family as {host}: the edge does not translate between them"
        )
    return f'{service.key} comment "{service.name}" : {host} . {service.host_port}'


def is_owner(name: str) -> bool:
    """Return whether a name can be that of a container, and so own a service."""
    return _NAME.fullmatch(name) is not None


def add_service(service: Service) -> str:
    """Return the line that adds a service."""
    return add(SERVICES, _element(service))


def delete_service(service: Service) -> str:
    """Return the line that deletes a service, wherever it points to."""
    return delete(SERVICES, service.key)


def _objects(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (kind, object) of everything in a ``nft -j list`` document that is part of our table."""
    found = []
    for entry in document["nftables"]:
        for kind, value in entry.items():
            if kind != "metainfo":
                found.append((kind, value))
    return found


def headers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return one table's sets, maps and chains by name, without what varies (handles, elements)."""
    return {
        value["name"]: {
            "kind": kind,
            **{field: value[field] for field in sorted(value) if field not in ("handle", "elem")},
        }
        for kind, value in _objects(document)
        if kind in ("map", "set", "chain")
    }


def lacking(document: dict[str, Any]) -> list[str]:
    """Return the names of our sets and chains that are not in the tables of a document: they are of an older version."""
    there = {(value["family"], value["name"]) for kind, value in _objects(document) if kind in ("map", "set", "chain")}
    tables = {name for name, _ in there} or {IP4.name}
    return sorted({name for name in (*_TYPES, *_CHAINS) for table in tables if (table, name) not in there})


def rules(document: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the rules of each chain of one table, as nft's own expressions, in order."""
    found: dict[str, list[Any]] = {value["name"]: [] for kind, value in _objects(document) if kind == "chain"}
    for kind, value in _objects(document):
        if kind == "rule":
            found[value["chain"]].append(value["expr"])
    return found


def elements(document: dict[str, Any], name: str) -> list[Any]:
    """Return the raw elements of the sets or maps of a name, in the tables of a document; empty where there is none."""
    sets = [value for kind, value in _objects(document) if kind in ("map", "set") and value["name"] == name]
    return [element for value in sets for element in value.get("elem", [])]


def services(document: dict[str, Any]) -> list[Service]:
    """Return the services in a ``nft -j list`` document, by virtual address, port and protocol."""
    found = []
    for left, right in elements(document, SERVICES):
        # nft wraps a key in "elem" only if there is more to say about it than its value
        name = left["elem"].get("comment", "") if "elem" in left else ""
        protocol, address, port = (left["elem"]["val"] if "elem" in left else left)["concat"]
        host, host_port = right["concat"]
        found.append(Service(name, str(protocol), address, int(port), host, int(host_port)))
    return sorted(found, key=_order)


def _order(service: Service) -> tuple[int, int, int, str]:
    virtual = ipaddress.ip_address(service.virtual_address)
    return virtual.version, int(virtual), service.virtual_port, service.protocol


def lasting_text(listing: str) -> str:
    """Return a ``nft -s list table`` listing with its services in order, less what lives only for a relocation.

    The kernel lists elements in the order of its hash table, which says nothing and changes at every boot.
    """
    return _told_apart(listing)[0]


def _told_apart(listing: str) -> tuple[str, dict[str, list[str]]]:
    """Return what lasts of a listing, and by name the elements of the sets that live only for a relocation."""
    kept: list[str] = []
    volatile: dict[str, list[str]] = {}
    name, collected = "", None
    for line in listing.splitlines():
        words = line.split()
        if words[:1] in (["map"], ["set"]):
            name = words[1]
        if collected is None and words[:2] == ["elements", "="]:
            collected = ""
        if collected is None:
            kept.append(line)
            continue
        collected += line.strip() + " "
        if line.rstrip().endswith("}"):
            inside = collected[collected.index("{") + 1 : collected.rindex("}")]
            found = sorted(filter(None, (element.strip() for element in inside.split(","))))
            if name in VOLATILE:
                volatile.setdefault(name, []).extend(found)
            else:
                kept += ["\t\telements = {", *[f"\t\t\t{element}," for element in found], "\t\t}"]
            collected = None
    return "\n".join(kept) + "\n", volatile


def boot_text(listing: str) -> str:
    """Return the file that ``nft -f`` loads at boot: the tables as listed, in place of whatever is there.

    What leads to a copy that may not run yet (``unborn``) is shut out until the relocation is settled: nobody will hold it
    then. Whichever kernel got it would acknowledge what the container, should it run on elsewhere, never sees. A place that is
    shut now stays so: the edge has lost its connections, and the first word of a frozen original would make an entry for the
    one that its copy has.
    """
    lasting, volatile = _told_apart(listing)
    closed = sorted({*volatile.get(UNBORN, []), *volatile.get(SHUT, [])})
    waiting = [add(SHUT, element) for element in closed]
    heads = [kind.head for kind in FAMILIES if f"table {kind.head} {{" in listing]
    return (
        "# The services of the edge, rewritten after every change. Load with nft -f.\n"
        + "".join(f"table {head}\ndelete table {head}\n" for head in heads)
        + f"{lasting}{''.join(waiting)}"
    )


def raw_chain() -> list[str]:
    """Return the rules of the iptables chain, as ``iptables -t raw -S RELOCATE`` prints them."""
    return [
        f"-A {RAW_CHAIN} -m mark --mark {queue_mark(queue):#x} -j NFQUEUE --queue-num {queue} --queue-bypass"
        for queue in QUEUES
    ]


def raw_text(with_jump: bool) -> str:
    """Return the transaction for ``iptables-restore --noflush`` that makes (or remakes) the chain.

    :param with_jump: also lead PREROUTING into it; not idempotent, so only where no jump is.
    """
    lines = ["*raw", f":{RAW_CHAIN} - [0:0]", *raw_chain()]
    if with_jump:
        lines.append(RAW_JUMP)
    return "\n".join([*lines, "COMMIT"]) + "\n"


def raw_removal_text(jumps: int) -> str:
    """Return the transaction for ``iptables-restore --noflush`` that removes the chain and the jumps into it."""
    lines = ["*raw", *[RAW_JUMP.replace("-A", "-D", 1)] * jumps, f"-F {RAW_CHAIN}", f"-X {RAW_CHAIN}", "COMMIT"]
    return "\n".join(lines) + "\n"
