# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ethernet frames that tell neighbours where an address is. Pure functions: addresses in, bytes out."""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Union

_BROADCAST = b"\xff" * 6
_ARP, _IPV6 = 0x0806, 0x86DD
_ICMPV6 = 58
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def mac_bytes(text: str) -> bytes:
    """Return a link-layer address as six bytes.

    :raises ValueError: not six pairs of hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", text):
        raise ValueError(f"{text!r} is not a link-layer address such as 02:42:ac:14:01:02")
    return bytes.fromhex(re.sub("[:-]", "", text))


def announcement(address: Address, mac: bytes) -> bytes:
    """Return the frame that announces an address: gratuitous ARP or an unsolicited neighbour advertisement."""
    if isinstance(address, ipaddress.IPv4Address):
        return _gratuitous_arp(address, mac)
    return _advertisement(address, mac)


def _gratuitous_arp(address: ipaddress.IPv4Address, mac: bytes) -> bytes:
    """Return an ARP request for one's own address (RFC 5227, section 3: requests are understood more widely)."""
    packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + b"\x00" * 6 + address.packed
    return _BROADCAST + mac + struct.pack("!H", _ARP) + packet


def _advertisement(address: ipaddress.IPv6Address, mac: bytes) -> bytes:
    """Return an unsolicited neighbour advertisement with the override flag (RFC 4861, section 7.2.6)."""
    override = 0x20000000
    option = struct.pack("!BB", 2, 1) + mac  # target link-layer address, one unit of eight bytes
    message = struct.pack("!BBHI", 136, 0, 0, override) + address.packed + option
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + struct.pack("!H", _IPV6) + header + message


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
