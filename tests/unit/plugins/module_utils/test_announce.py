# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Announcements, byte by byte."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._announce import announcement, checksum, mac_bytes

MAC = mac_bytes("02:42:0A:58:00:64")


def test_gratuitous_arp() -> None:
    """A request for one's own address, to everybody."""
    frame = announcement(ipaddress.ip_address("10.88.0.100"), MAC)
    assert frame[:6] == b"\xff" * 6 and frame[6:12] == MAC and frame[12:14] == b"\x08\x06"
    operation, sender, target = frame[20:22], frame[28:32], frame[38:42]
    assert operation == b"\0\x01" and sender == target == bytes([10, 88, 0, 100]) and len(frame) == 42


def test_unsolicited_neighbour_advertisement() -> None:
    """To all nodes, overriding, with a checksum that proves itself."""
    address = ipaddress.IPv6Address("2001:db8::64")
    frame = announcement(address, MAC)
    assert frame[:6].hex() == "333300000001" and frame[12:14] == b"\x86\xdd"
    header, message = frame[14:54], frame[54:]
    assert header[6] == 58 and header[7] == 255  # ICMPv6, and the hop limit that receivers insist on
    assert message[0] == 136 and message[4] == 0x20 and message[8:24] == address.packed and message[-6:] == MAC
    pseudo = header[8:40] + len(message).to_bytes(4, "big") + b"\0\0\0\x3a"
    assert checksum(pseudo + message) == 0


def test_checksum_of_rfc_1071() -> None:
    """The example of the RFC, section 3."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@pytest.mark.parametrize("text", ["", "02:42", "02:42:0a:58:00:6g", "0242.0a58.0064", "02:42:0a:58:00:64:00"])
def test_what_is_no_link_layer_address(text: str) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match="is not a link-layer address"):
        mac_bytes(text)
