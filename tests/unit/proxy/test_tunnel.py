# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes between a local socket and a TLS connection: all of them, in order, both ways, and who hung up."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from relocate_proxy.memory.tunnel import CHUNK, Relay, socket_pair, watch_peer
from relocate_proxy.protocol.channel import Channel, Listener

KEYS = credentials.make("r1")


class Tunnel:
    """``near`` — relay — TLS — relay — ``far``: two hosts in one process."""

    def __init__(self) -> None:
        self.near, near_inner = socket_pair()
        self.far, far_inner = socket_pair()
        listener = Listener("127.0.0.1", KEYS["destination"])
        accepted: list[Channel] = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept(10)))
        thread.start()
        calling = Channel.connect(("127.0.0.1", listener.port), "destination", "r1", KEYS["source"], 10)
        thread.join()
        listener.close()
        self.relays = [Relay(near_inner, calling.detach()), Relay(far_inner, accepted[0].detach())]
        self.ends: dict[int, str] = {}
        self.threads = [threading.Thread(target=self._run, args=(index,)) for index in range(2)]
        for thread in self.threads:
            thread.start()

    def _run(self, index: int) -> None:
        relay = self.relays[index]
        ended = relay.run()
        self.ends[index] = "local" if ended.end is relay.local else "remote"
        relay.local.close()
        relay.remote.close()

    def ended(self) -> list[str]:
        """Wait for both relays; return which end each met first."""
        for thread in self.threads:
            thread.join(10)
        return [self.ends[0], self.ends[1]]


@pytest.fixture
def tunnel(host: Path) -> Iterator[Tunnel]:
    """Return a tunnel, which is taken down afterwards."""
    made = Tunnel()
    yield made
    made.near.close()
    made.far.close()
    made.ended()


def receive(end: socket.socket, count: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        assert piece, f"the end after {len(data)} bytes"
        data += piece
    return data


@pytest.mark.parametrize("size", [1, 16384, CHUNK - 1, CHUNK, 3 * CHUNK + 7, 8 << 20])
def test_every_byte_arrives_both_ways_at_once(tunnel: Tunnel, size: int) -> None:
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    senders = [
        threading.Thread(target=end.sendall, args=(data,)) for end, data in ((tunnel.near, there), (tunnel.far, back))
    ]
    for sender in senders:
        sender.start()
    assert hashlib.sha256(receive(tunnel.far, size)).digest() == hashlib.sha256(there).digest()
    assert hashlib.sha256(receive(tunnel.near, size)).digest() == hashlib.sha256(back).digest()
    for sender in senders:
        sender.join()
    tunnel.near.close()
    tunnel.ended()
    assert tunnel.relays[1].received == size


def test_questions_and_answers_are_not_kept_back(tunnel: Tunnel) -> None:
    """A request for a page must not wait for more bytes to come."""
    for number in range(50):
        question, answer = bytes([number]) * 24, bytes([number]) * 4096
        tunnel.far.sendall(question)
        assert receive(tunnel.near, 24) == question
        tunnel.near.sendall(answer)
        assert receive(tunnel.far, 4096) == answer


def test_what_was_said_before_the_end_arrives(tunnel: Tunnel) -> None:
    last = random.Random(3).randbytes(5 * CHUNK + 3)
    writer = threading.Thread(target=lambda: (tunnel.near.sendall(last), tunnel.near.close()))
    writer.start()
    assert receive(tunnel.far, len(last)) == last
    assert tunnel.far.recv(1) == b""
    writer.join()
    assert tunnel.ended() == ["local", "remote"]


def test_a_tick_comes_while_nothing_does(tunnel: Tunnel) -> None:
    near, inner = socket_pair()
    other, remote = socket_pair()
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            near.close()

    relay = Relay(inner, remote)
    ended = relay.run(tick)
    assert ended.end is inner and str(ended) == "it closed the connection"
    for end in (inner, other, remote):
        end.close()


def test_a_pair_is_within_the_host_and_its_own() -> None:
    near, far = socket_pair()
    assert near.getpeername() == far.getsockname() and near.getsockname()[0] == "127.0.0.1"
    watch_peer(near)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
    near.close()
    far.close()
