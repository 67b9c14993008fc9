# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host did an answer come from? Watched on the edge, where answers leave the fleet.

``python3 origins.py VIRTUAL_ADDRESS PORT…``, as root on the edge, until its standard input ends. Outside, every answer has the
service's virtual address. So each packet is seen twice: when it comes in from a host, and when it goes out. What comes in and
is dropped by the edge has never been said to anybody, and is not told. Prints JSON lines: ``at`` (when the kernel saw it, by
its clock),
``host`` (its address, "?" if it did not come in), ``connection`` (the client's address and port), ``number``; at the end
``{"missed": N}``, the packets that the kernel could not hand over.

Standard library only: it is sent to the edge as it is.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
from collections import OrderedDict
from typing import NamedTuple

ALL_PROTOCOLS, IPV4, TCP = 0x0003, 0x0800, 6
OUTGOING = 4  # of packet(7)
PACKET, STATISTICS = 263, 6  # SOL_PACKET, PACKET_STATISTICS
TIMESTAMP = 35  # SO_TIMESTAMPNS
REMEMBERED = 4096


class Segment(NamedTuple):
    """A TCP segment. ``same`` is what NAT does not change."""

    source: tuple[str, int]
    destination: tuple[str, int]
    same: bytes
    payload: bytes


def segment(packet: bytes) -> Segment | None:
    """Return the TCP segment in an IPv4 packet, None if there is none."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != TCP:
        return None
    begin, length = 4 * (packet[0] & 15), struct.unpack_from("!H", packet, 2)[0]
    header = 4 * (packet[begin + 12] >> 4)
    ports = struct.unpack_from("!HH", packet, begin)
    addresses = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    payload = packet[begin + header : length]
    without_checksum = packet[begin + 4 : begin + 16] + packet[begin + 18 : begin + header]
    return Segment((addresses[0], ports[0]), (addresses[1], ports[1]), without_checksum + payload, payload)


class Origins:
    """Pairs what comes in with what goes out."""

    def __init__(self, address: str, *ports: int) -> None:
        self.services = {(address, port) for port in ports}
        self.ports = set(ports)
        self._inside: OrderedDict[tuple[tuple[str, int], bytes], str] = OrderedDict()

    def take(self, packet: bytes, outgoing: bool) -> list[dict[str, object]]:
        """Take a packet; return the answers in it if it leaves the fleet."""
        found = segment(packet)
        if found is None or not found.payload or found.source[1] not in self.ports:
            return []
        key = (found.destination, found.same)
        if not outgoing:
            if found.source not in self.services:
                self._inside[key] = found.source[0]
                if len(self._inside) > REMEMBERED:
                    self._inside.popitem(last=False)
            return []
        if found.source not in self.services:
            return []
        host = self._inside.pop(key, "?")
        connection = f"{found.destination[0]}:{found.destination[1]}"
        words = found.payload.split()
        told = {"host": host, "port": found.source[1], "connection": connection}
        return [{**told, "number": int(word)} for word in words if word.isdigit()]


def main() -> None:
    """Watch until standard input ends."""
    origins = Origins(sys.argv[1], *map(int, sys.argv[2:]))
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS)) as watch:
        watch.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 64 << 20
        )
        watch.setsockopt(socket.SOL_SOCKET, TIMESTAMP, 1)
        print(json.dumps({"watching": True}), flush=True)
        while True:
            ready, _, _ = select.select([watch, sys.stdin], [], [])
            if watch in ready:
                packet, control, _, (_, protocol, kind, *_) = watch.recvmsg(65536, 64)
                seconds, nanoseconds = struct.unpack("qq", control[0][2])
                at = seconds + nanoseconds / 1e9
                if protocol == IPV4:
                    for answer in origins.take(packet, kind == OUTGOING):
                        print(json.dumps({"at": at, **answer}), flush=True)
            elif sys.stdin in ready and not sys.stdin.read(1):
                break
        dropped = struct.unpack("II", watch.getsockopt(PACKET, STATISTICS, 8))[1]
        print(json.dumps({"missed": dropped}), flush=True)


if __name__ == "__main__":
    main()
