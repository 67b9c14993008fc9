# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tracking entries, placed rather than hoped for.

NAT is decided once, when an entry is NEW. A connection that already exists when its packets reach a new host would be NEW
there in the middle of its life: its NAT would be wrong or refused. So the entry, with its NAT, is inserted before the first
packet. In process over netlink (0.1 ms each); the ``conntrack`` program costs 3-5 ms a call. Formats:
``<linux/netfilter/nfnetlink_conntrack.h>``.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .netlink import NLM_F_CREATE, NLM_F_EXCL, NetfilterSocket, attribute, attributes, nested, unreadable

SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
NEW, GET, DELETE = 0, 1, 2  # IPCTNL_MSG_CT_*
TUPLE_ORIGINAL, TUPLE_REPLY, STATUS, PROTOCOL_INFO, NAT_SOURCE, TIMEOUT, NAT_DESTINATION = 1, 2, 3, 4, 6, 7, 13  # CTA_*
SEEN_REPLY, ASSURED, CONFIRMED = 1 << 1, 1 << 2, 1 << 3  # IPS_*
TCP_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
BE_LIBERAL = 0x08  # IP_CT_TCP_FLAG_BE_LIBERAL: we know neither window; do not call packets INVALID for it
ESTABLISHED_SECONDS = 432000  # the kernel's own default, five days
UDP_SECONDS = 120

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


@dataclass(frozen=True)
class Endpoint:
    """An address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Entry:
    """One tracked connection. ``reply`` is its tuple as the answers show it: that is where NAT can be read."""

    protocol: str
    source: Endpoint
    destination: Endpoint
    reply_source: Endpoint
    reply_destination: Endpoint


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _tuple(kind: int, protocol: str, source: Endpoint, destination: Endpoint) -> bytes:
    family = _family(source.address)
    first = 3 if family == socket.AF_INET6 else 1  # CTA_IP_V6_SRC, CTA_IP_V4_SRC; the destination's follows
    return nested(
        kind,
        nested(
            1,  # CTA_TUPLE_IP
            attribute(first, socket.inet_pton(family, source.address)),
            attribute(first + 1, socket.inet_pton(family, destination.address)),
        ),
        nested(
            2,  # CTA_TUPLE_PROTO
            attribute(1, struct.pack("!B", PROTOCOLS[protocol])),
            attribute(2, struct.pack("!H", source.port)),
            attribute(3, struct.pack("!H", destination.port)),
        ),
    )


def _nat(kind: int, to: Endpoint) -> bytes:
    family = _family(to.address)
    low = 4 if family == socket.AF_INET6 else 1  # CTA_NAT_V6_MINIP, CTA_NAT_V4_MINIP; MAXIP follows
    packed, port = socket.inet_pton(family, to.address), struct.pack("!H", to.port)
    return nested(
        kind,
        attribute(low, packed),
        attribute(low + 1, packed),
        nested(3, attribute(1, port), attribute(2, port)),  # CTA_NAT_PROTO: port range of one
    )


def _endpoints(payload: memoryview) -> tuple[str, Endpoint, Endpoint] | None:
    """Read a tuple; None for protocols without ports."""
    parts = attributes(payload)
    addresses, transport = attributes(parts[1]), attributes(parts[2])
    protocol = {number: name for name, number in PROTOCOLS.items()}.get(transport[1][0])
    if protocol is None:
        return None
    family, first = (socket.AF_INET, 1) if 1 in addresses else (socket.AF_INET6, 3)
    ends = [
        Endpoint(socket.inet_ntop(family, bytes(addresses[first + i])), struct.unpack("!H", transport[2 + i])[0])
        for i in range(2)
    ]
    return protocol, ends[0], ends[1]


def entry_of(payload: memoryview) -> Entry | None:
    """Return the connection that an object of the table describes; None for protocols without ports.

    :raises OSError: EBADMSG: it cannot be read.
    """
    parts = attributes(payload)
    try:
        original, reply = _endpoints(parts[TUPLE_ORIGINAL]), _endpoints(parts[TUPLE_REPLY])
    except (KeyError, IndexError, struct.error, ValueError) as error:
        raise unreadable("an entry of the connection table lacks a part") from error
    return Entry(original[0], original[1], original[2], reply[1], reply[2]) if original and reply else None


class Conntrack:
    """The connection table of the network namespace this was made in."""

    def __init__(self) -> None:
        self._socket = NetfilterSocket(SUBSYSTEM)

    def entries(self) -> Iterator[Entry]:
        """Yield every tracked TCP and UDP connection.

        The kernel walks its whole hash table, however empty: 12 ms for each family on a host with a large one.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            for payload in self._socket.dump(GET, family=family):
                entry = entry_of(payload)
                if entry:
                    yield entry

    def find(self, protocol: str, source: Endpoint, destination: Endpoint) -> Entry | None:
        """Return the connection of which packets go, in either direction, from ``source`` to ``destination`` (0.1 ms)."""
        payload = _tuple(TUPLE_ORIGINAL, protocol, source, destination)
        try:
            answer = self._socket.request(GET, payload, family=_family(source.address))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return entry_of(answer) if answer is not None else None

    def delete(self, protocol: str, source: Endpoint, destination: Endpoint) -> bool:
        """Forget the connection with this original tuple; False when there was none."""
        payload = _tuple(TUPLE_ORIGINAL, protocol, source, destination)
        try:
            self._socket.request(DELETE, payload, family=_family(source.address))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def insert(
        self,
        protocol: str,
        source: Endpoint,
        destination: Endpoint,
        *,
        source_nat: Endpoint | None = None,
        destination_nat: Endpoint | None = None,
        seconds: int = ESTABLISHED_SECONDS,
    ) -> None:
        """Place an established connection, with its NAT, instead of whatever has the same original tuple.

        The reply tuple is given un-translated: the kernel derives the translated one from the NAT attributes, as it would
        for a packet, and it refuses an entry whose reply tuple is taken.

        :param seconds: for how long a TCP connection is remembered without a packet; the first one makes that the kernel's own.
        :raises OSError: EEXIST when the reply tuple is in use (a port clash), else what the kernel says.
        """
        self.delete(protocol, source, destination)
        parts = [
            _tuple(TUPLE_ORIGINAL, protocol, source, destination),
            _tuple(TUPLE_REPLY, protocol, destination, source),
            attribute(STATUS, struct.pack("!I", SEEN_REPLY | ASSURED | CONFIRMED)),
            attribute(TIMEOUT, struct.pack("!I", seconds if protocol == "tcp" else UDP_SECONDS)),
        ]
        if protocol == "tcp":
            liberal = struct.pack("BB", BE_LIBERAL, BE_LIBERAL)
            parts.append(
                nested(
                    PROTOCOL_INFO,
                    nested(1, attribute(1, bytes([TCP_ESTABLISHED])), attribute(4, liberal), attribute(5, liberal)),
                )
            )
        if source_nat:
            parts.append(_nat(NAT_SOURCE, source_nat))
        if destination_nat:
            parts.append(_nat(NAT_DESTINATION, destination_nat))
        self._socket.request(NEW, b"".join(parts), NLM_F_CREATE | NLM_F_EXCL, _family(source.address))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
