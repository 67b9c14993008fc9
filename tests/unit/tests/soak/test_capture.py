# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capture's reader finds resets and inner addresses wherever a packet can show them."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from capture import Findings, examine, frames

INSIDE = ("172.20.0.0/16", "10.77.0.0/24")
CLIENT, EDGE, INNER = "10.88.0.2", "10.88.0.100", "172.20.1.2"


def ethernet(kind: int, payload: bytes) -> bytes:
    return b"\x02\x00\x00\x00\x00\x01" * 2 + struct.pack("!H", kind) + payload


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, fragment: int = 0, options: bytes = b""
) -> bytes:
    first = 0x40 | (5 + len(options) // 4)
    head = struct.pack("!BBHHHBBH", first, 0, 20 + len(options) + len(payload), 1, fragment, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(destination) + options + payload


def tcp(flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 7000, 40000, 1, 1, 5 << 4, flags, 1000, 0, 0)


def look(*captured: bytes) -> Findings:
    return examine(captured, INSIDE)


def test_an_ordinary_packet_shows_nothing() -> None:
    found = look(ethernet(0x0800, ipv4(CLIENT, EDGE, 6, tcp(0x18))))
    assert (found.packets, found.tcp, found.resets, found.inner) == (1, 1, {}, {})


@pytest.mark.parametrize("flags", [0x04, 0x14])
@pytest.mark.parametrize("options", [b"", b"\x01" * 8])
def test_a_reset_is_found_behind_options_too(flags: int, options: bytes) -> None:
    found = look(ethernet(0x0800, ipv4(EDGE, CLIENT, 6, tcp(flags), options=options)))
    assert found.resets == {(EDGE, CLIENT): 1}


def test_a_later_fragment_has_no_flags() -> None:
    assert not look(ethernet(0x0800, ipv4(EDGE, CLIENT, 6, tcp(0x04), fragment=100))).resets


def test_an_inner_address_is_found_in_the_header_behind_a_vlan_tag_and_in_arp() -> None:
    header = ethernet(0x0800, ipv4(INNER, CLIENT, 6, tcp(0x18)))
    tagged = ethernet(0x8100, struct.pack("!HH", 5, 0x0800) + ipv4(CLIENT, "10.77.0.11", 17, bytes(8)))
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + bytes(6) + socket.inet_aton(INNER) + bytes(6)
    asked = ethernet(0x0806, arp + socket.inet_aton(CLIENT))
    assert look(header, tagged, asked).inner == {INNER: 2, "10.77.0.11": 1}


def test_an_inner_address_is_found_in_what_an_icmp_error_quotes() -> None:
    quoted = ipv4(CLIENT, INNER, 6, tcp(0x02))
    error = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    assert look(ethernet(0x0800, ipv4(EDGE, CLIENT, 1, error))).inner == {INNER: 1}
    echo = struct.pack("!BBHI", 8, 0, 0, 0) + quoted  # an echo's payload is anything
    assert not look(ethernet(0x0800, ipv4(EDGE, CLIENT, 1, echo))).inner


@pytest.mark.parametrize("length", range(0, 54, 3))
def test_a_frame_cut_anywhere_is_read_as_far_as_it_goes(length: int) -> None:
    whole = ethernet(0x0800, ipv4(INNER, CLIENT, 6, tcp(0x04)))
    found = look(whole[:length])
    assert found.packets == 1
    assert bool(found.inner) == (length >= 34)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_a_file_is_read_in_either_byte_order(tmp_path: Path, order: str, magic: int) -> None:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 128, 1)
    records = b"".join(struct.pack(f"{order}IIII", 1, 2, len(frame), 1500) + frame for frame in (b"one", b"three"))
    path = tmp_path / "capture"
    path.write_bytes(head + records + struct.pack(f"{order}IIII", 1, 2, 10, 10) + b"cut")
    assert list(frames(path)) == [b"one", b"three"]


@pytest.mark.parametrize(
    "contents", [b"", b"\x0a\x0d\x0d\x0a" + bytes(40), struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 128, 101)]
)
def test_another_format_is_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "capture"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="not a capture of Ethernet frames"):
        list(frames(path))
