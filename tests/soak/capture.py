# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet capture shows that nobody outside may ever see: resets, and addresses from inside.

Reads the classic pcap format of Ethernet frames (https://www.tcpdump.org/manpages/pcap-savefile.5.html). Pure functions over
bytes; standard library only.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
ETHERNET = 1
IPV4, ARP, VLAN = 0x0800, 0x0806, 0x8100
ICMP, TCP = 1, 6
RESET = 0x04
QUOTING = (3, 4, 5, 11, 12)  # ICMP messages that carry the beginning of the packet they are about


@dataclass
class Findings:
    """What was seen. ``inner``: address → number of packets that show it anywhere; ``resets``: (from, to) → TCP resets."""

    packets: int = 0
    tcp: int = 0
    resets: Counter[tuple[str, str]] = field(default_factory=Counter)
    inner: Counter[str] = field(default_factory=Counter)


def frames(path: Path) -> Iterator[bytes]:
    """Yield the frames of a capture file, as far as they were captured; a last one cut off by the end is left out.

    :raises ValueError: it is no pcap file of Ethernet frames.
    """
    with path.open("rb") as file:
        header = file.read(24)
        order = next(
            (
                mark
                for mark in "<>"
                if len(header) == 24 and struct.unpack_from(f"{mark}I", header)[0] in (MICROSECONDS, NANOSECONDS)
            ),
            None,
        )
        if order is None or struct.unpack_from(f"{order}I", header, 20)[0] & 0xFFFF != ETHERNET:
            raise ValueError(f"{path} is not a capture of Ethernet frames in the pcap format")
        record = struct.Struct(f"{order}IIII")
        while len(head := file.read(record.size)) == record.size:
            length = record.unpack(head)[2]
            frame = file.read(length)
            if len(frame) < length:
                return
            yield frame


def shown_addresses(frame: bytes) -> tuple[list[str], bool]:
    """Return every IPv4 address that a frame shows (ARP, header, what an ICMP error quotes), and whether it is a reset."""
    offset, kind = 14, int.from_bytes(frame[12:14], "big")
    if kind == VLAN:
        offset, kind = 18, int.from_bytes(frame[16:18], "big")
    if kind == ARP and len(frame) >= offset + 28:
        return [_text(frame, offset + 14), _text(frame, offset + 24)], False
    if kind != IPV4:
        return [], False
    return _ipv4(frame, offset)


def _ipv4(frame: bytes, offset: int) -> tuple[list[str], bool]:
    if len(frame) < offset + 20:
        return [], False
    found = [_text(frame, offset + 12), _text(frame, offset + 16)]
    transport = offset + 4 * (frame[offset] & 15)
    first_fragment = int.from_bytes(frame[offset + 6 : offset + 8], "big") & 0x1FFF == 0
    if not first_fragment:
        return found, False
    if frame[offset + 9] == TCP and len(frame) > transport + 13:
        return found, bool(frame[transport + 13] & RESET)
    if frame[offset + 9] == ICMP and len(frame) > transport + 8 and frame[transport] in QUOTING:
        return found + _ipv4(frame, transport + 8)[0], False
    return found, False


def _text(frame: bytes, offset: int) -> str:
    return ".".join(map(str, frame[offset : offset + 4]))


def examine(captured: Iterable[bytes], inside: Iterable[str]) -> Findings:
    """Look through frames.

    :param inside: networks (CIDR) of which no address may be seen.
    """
    networks = [ipaddress.IPv4Network(each) for each in inside]
    known: dict[str, bool] = {}  # a capture has few addresses and millions of packets
    findings = Findings()
    for frame in captured:
        addresses, reset = shown_addresses(frame)
        findings.packets += 1
        findings.tcp += len(frame) > 23 and frame[12:14] == b"\x08\x00" and frame[23] == TCP
        if reset:
            findings.resets[addresses[0], addresses[1]] += 1
        for address in set(addresses):
            if address not in known:
                parsed = ipaddress.IPv4Address(address)
                known[address] = any(parsed in network for network in networks)
            if known[address]:
                findings.inner[address] += 1
    return findings
