# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch on the edge names the host of every answer that leaves, and is silent on what does not leave."""

from __future__ import annotations

import socket
import struct

from origins import Origins, segment

VIRTUAL, CLIENT = ("10.88.0.100", 7100), ("10.88.0.2", 40000)
ONE, OTHER = ("10.77.0.11", 7100), ("10.77.0.12", 7100)


def packet(source: tuple[str, int], sequence: int, payload: bytes, destination: tuple[str, int] = CLIENT) -> bytes:
    """Return an answer; its checksum depends on its addresses, as a real one does."""
    options = struct.pack("!BBBBII", 1, 1, 8, 10, sequence, 7)
    checksum = sum(socket.inet_aton(source[0])) & 0xFFFF
    tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], sequence, 9, 8 << 4, 0x18, 500, checksum, 0) + options
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(payload), sequence & 0xFFFF, 0, 64, 6, checksum)
    return head + socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + tcp + payload


def answer(host: tuple[str, int] | None, number: int) -> dict[str, object]:
    """Return what is told of an answer."""
    return {"host": host[0] if host else "?", "port": 7100, "connection": "10.88.0.2:40000", "number": number}


def test_an_answer_is_paired_with_where_it_came_in() -> None:
    """Whatever NAT and the checksum have made of it; two hosts' answers of one number are told apart."""
    watch = Origins(*VIRTUAL)
    assert watch.take(packet(ONE, 100, b"5\n"), outgoing=False) == []
    assert watch.take(packet(OTHER, 102, b"5\n"), outgoing=False) == []
    assert watch.take(packet(VIRTUAL, 102, b"5\n"), outgoing=True) == [answer(OTHER, 5)]
    assert watch.take(packet(VIRTUAL, 100, b"5\n"), outgoing=True) == [answer(ONE, 5)]


def test_what_the_edge_drops_is_not_told() -> None:
    """A frozen container's kernel repeats itself; nobody hears it."""
    watch = Origins(*VIRTUAL)
    for _ in range(3):
        assert watch.take(packet(ONE, 100, b"5\n"), outgoing=False) == []
    assert watch.take(packet(VIRTUAL, 102, b"6\n"), outgoing=True) == [answer(None, 6)], "it has come from nowhere"


def test_services_are_told_apart() -> None:
    """By their ports; one that is not watched is not told."""
    watch = Origins(VIRTUAL[0], 7100, 7101)
    for port, told in ((7101, True), (7102, False)):
        assert watch.take(packet((ONE[0], port), 100, b"5\n"), outgoing=False) == []
        expected = [{**answer(ONE, 5), "port": port}] if told else []
        assert watch.take(packet((VIRTUAL[0], port), 100, b"5\n"), outgoing=True) == expected


def test_what_is_no_answer() -> None:
    """Requests, acknowledgements, other ports, other protocols."""
    watch = Origins(*VIRTUAL)
    assert watch.take(packet(CLIENT, 1, b"x\n", VIRTUAL), outgoing=False) == []
    assert watch.take(packet(VIRTUAL, 1, b""), outgoing=True) == []
    assert watch.take(packet(("10.88.0.100", 22), 1, b"1\n"), outgoing=True) == []
    assert segment(b"\x60" + bytes(60)) is None and segment(b"\x45" + bytes(10)) is None


def test_numbers_that_come_together() -> None:
    """TCP may repeat two answers in one packet; padding behind a short one is not part of it."""
    watch = Origins(*VIRTUAL)
    both = packet(ONE, 100, b"5\n6\n")
    assert watch.take(both + b"\0\0", outgoing=False) == []
    assert watch.take(packet(VIRTUAL, 100, b"5\n6\n"), outgoing=True) == [answer(ONE, 5), answer(ONE, 6)]
