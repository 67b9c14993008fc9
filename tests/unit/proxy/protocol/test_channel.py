# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels: mutual TLS between threads of this process, on loopback."""

from __future__ import annotations

import os
import resource
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from relocate_proxy.host.syscalls import wait_for
from relocate_proxy.protocol import channel
from relocate_proxy.protocol.channel import HEADER, MAX_RAW, Channel, ChannelLost, Listener, tls_context

KEYS = credentials.make("r1")
OTHERS = credentials.make("r2")


@pytest.fixture
def listener(host: Path) -> Iterator[Listener]:
    """Return a listening destination."""
    made = Listener("127.0.0.1", KEYS["destination"])
    yield made
    made.close()


def call(listener: Listener, part: str, keys: dict = KEYS, expected: str = "destination.r1") -> Channel:
    """Connect as a part."""
    name, _, relocation = expected.partition(".")
    return Channel.connect(("127.0.0.1", listener.port), name, relocation, keys[part], 5)


@contextmanager
def pair(listener: Listener) -> Iterator[tuple[Channel, Channel]]:
    """Return both ends of a channel from the source to the destination."""
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listener.accept, 5)
        ours, theirs = call(listener, "source"), accepted.result(5)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def test_each_end_knows_the_other_by_its_certificate(listener: Listener) -> None:
    """And messages arrive as they were sent."""
    with pair(listener) as (source, destination):
        assert (source.peer, destination.peer) == ("destination", "source")
        source.send("entry", entry={"path": "a b", "mode": 33188}, raw=b"\0\1")
        source.send("end")
        assert destination.receive() == {"kind": "entry", "entry": {"path": "a b", "mode": 33188}, "raw": b"\0\1"}
        assert destination.receive() == {"kind": "end"}


def test_nothing_of_the_key_stays_on_the_host(listener: Listener, host: Path) -> None:
    """The file that the ssl module needs is gone when the context is made."""
    assert not list(host.rglob("*.pem"))
    context = tls_context(KEYS["source"], server=False)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3 and not list(host.rglob("*.pem"))


def test_a_certificate_of_another_relocation_is_turned_away(listener: Listener) -> None:
    """However new and well made. The right one that comes after it is served."""
    strangers = {**OTHERS["source"], "authority": KEYS["source"]["authority"]}  # believes us; we do not believe it
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listener.accept, 5)
        with pytest.raises((OSError, ChannelLost)):  # in TLS 1.3 the client learns of it when it first reads
            call(listener, "source", {"source": strangers}).receive()
        ours = call(listener, "source")
        theirs = accepted.result(5)
    assert theirs.peer == "source"
    ours.close()
    theirs.close()


def test_a_listener_of_another_relocation_is_not_believed(host: Path) -> None:
    """Who answers at the address must show what the controller signed for this one."""
    stranger = Listener("127.0.0.1", OTHERS["destination"])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stranger.accept, 0.2)
        with pytest.raises(ssl.SSLCertVerificationError):
            call(stranger, "source")
    stranger.close()


def test_a_part_does_not_pass_for_another(listener: Listener) -> None:
    """The source's address is not the destination's."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(listener.accept, 0.2)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'source.r1'"):
            call(listener, "edge", expected="source.r1")


def test_a_plain_connection_is_turned_away(listener: Listener) -> None:
    """A port scanner must not stop the one who is waited for."""
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listener.accept, 5)
        with socket.create_connection(("127.0.0.1", listener.port), 5) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            ours = call(listener, "edge")
        theirs = accepted.result(5)
    assert theirs.peer == "edge"
    ours.close()
    theirs.close()


def test_strangers_who_say_nothing_keep_nobody_out(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is fled from can reach the port, and must not pin its neighbour by idle connections."""
    monkeypatch.setattr(channel, "MOST_STRANGERS", 4)
    monkeypatch.setattr(channel, "HANDSHAKE_SECONDS", 60.0)  # it is not this that ends them
    idle = [socket.create_connection(("127.0.0.1", listener.port), 5) for _ in range(12)]
    ours = call(listener, "edge")
    assert listener.accept(5).peer == "edge"
    assert idle[0].recv(1) == b""  # broken off: later ones came
    ours.close()
    for each in idle:
        each.close()


def test_a_host_without_room_for_a_thread_goes_on_listening(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who called just then is turned away, and can call again."""

    def start(self: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", started)
        raise RuntimeError("can't start new thread")

    started = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with socket.create_connection(("127.0.0.1", listener.port), 5) as early:
        assert early.recv(1) == b""
    ours = call(listener, "edge")
    assert listener.accept(5).peer == "edge"
    ours.close()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b"5", b'{"kind": 7}', b"{}", b"\xff", b'"kind"'])
def test_what_is_no_message_is_a_lost_channel(listener: Listener, body: bytes) -> None:
    """Deep, of another kind, or not even text: one way to end, whoever reads."""
    with pair(listener) as (source, destination):
        source._send_all(HEADER.pack(len(body), 0) + body)
        with pytest.raises(ChannelLost, match="the source sent something that is no message"):
            destination.receive()


def test_a_channel_with_a_high_number_works(listener: Listener) -> None:
    """A process that holds many files open has descriptors that select(2) does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with pair(listener) as (source, destination), ThreadPoolExecutor(1) as pool:
            assert source._tls.fileno() > 1023
            waiting = pool.submit(destination.receive)
            source.send("end")
            assert waiting.result(5) == {"kind": "end"}
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_closed_listener_wakes_whoever_waits(host: Path) -> None:
    """With an error, not for ever."""
    made = Listener("127.0.0.1", KEYS["destination"])
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(made.accept, None) for _ in range(2)]
        made.close()
        for each in waiting:
            with pytest.raises(OSError, match="the listener is closed"):
                each.result(5)


def test_nobody_came(listener: Listener) -> None:
    """The part then decides by its state."""
    with pytest.raises(TimeoutError):
        listener.accept(0.05)


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, (1 << 18) + 1, 8 << 20])
def test_raw_bytes_of_every_size(listener: Listener, size: int) -> None:
    """Below and above the sizes at which the program takes another way."""
    data = os.urandom(size)
    with pair(listener) as (source, destination), ThreadPoolExecutor(1) as pool:
        sending = pool.submit(source.send, "image", raw=data, name="pages-1.img")
        message = destination.receive()
        sending.result(5)
    assert message.get("raw", b"") == data and message["name"] == "pages-1.img"


def test_both_send_and_receive_at_once(listener: Listener) -> None:
    """Two threads a side on one TLS connection, both directions full: nothing mixes and nobody waits for the other."""
    count, data = 40, os.urandom(300_000)

    def send(channel: Channel) -> None:
        for number in range(count):
            channel.send("data", raw=data, number=number)

    def receive(channel: Channel) -> list[bool]:
        found = (channel.receive() for _ in range(count))
        return [message["number"] == number and message["raw"] == data for number, message in enumerate(found)]

    with pair(listener) as ends, ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, end) for end in ends]
        receiving = [pool.submit(receive, end) for end in ends]
        assert all(all(each.result(20)) for each in receiving)
        assert [each.result(5) for each in sending] == [None, None]


def test_two_threads_may_send(listener: Listener) -> None:
    """Messages stay whole."""
    with pair(listener) as (source, destination), ThreadPoolExecutor(2) as pool:
        for letter in (b"a", b"b"):
            pool.submit(lambda letter: [source.send("data", raw=letter * 50_000) for _ in range(20)], letter)
        for _ in range(40):
            assert len(set(destination.receive()["raw"])) == 1


@pytest.mark.parametrize("close", ["ours", "theirs"])
def test_a_waiting_reader_learns_of_the_end(listener: Listener, close: str) -> None:
    """Whichever side hangs up."""
    with pair(listener) as (source, destination), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(destination.receive)
        threading.Timer(0.05, (destination if close == "ours" else source).close).start()
        with pytest.raises(ChannelLost):
            waiting.result(5)


def test_speaking_to_nobody_is_a_lost_channel(listener: Listener) -> None:
    """Not a broken pipe, and not silence for ever."""
    with pair(listener) as (source, destination):
        destination.close()
        with pytest.raises(ChannelLost, match="the destination is gone"):
            for _ in range(100):
                source.send("data", raw=bytes(100_000))


def test_half_a_message_is_a_lost_channel(listener: Listener) -> None:
    """The peer was killed while it spoke."""
    with pair(listener) as (source, destination):
        source._send_all(HEADER.pack(100, 0) + b'{"kind"')
        source.close()
        with pytest.raises(ChannelLost, match=r"^the source"):
            destination.receive()


def test_a_length_nobody_means_is_refused(listener: Listener) -> None:
    """Memory is not reserved for what a broken peer announces."""
    with pair(listener) as (source, destination):
        source._send_all(HEADER.pack(2, MAX_RAW + 1) + b"{}")
        with pytest.raises(ChannelLost, match="sent a message of 2 and 16777217 bytes, and the most is"):
            destination.receive()


def test_a_part_that_was_told_its_peers_hears_nobody_else(host: Path) -> None:
    """Not even one with the right certificate: whoever gave the order may have made it for a machine of its own."""
    made = Listener("127.0.0.1", KEYS["destination"], peers=["127.0.0.2"])
    try:
        with pytest.raises((ssl.SSLError, OSError)):
            call(made, "source").receive()
        with pytest.raises(TimeoutError):
            made.accept(0.2)
        plain = socket.create_connection(("127.0.0.1", made.port), 5, source_address=("127.0.0.2", 0))
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(made.accept, 5)
            peer = tls_context(KEYS["source"], server=False).wrap_socket(plain, server_hostname="destination.r1")
            assert accepted.result(5).peer == "source"
        peer.close()
    finally:
        made.close()


def test_who_has_no_time_to_wait_sees_what_is_there(listener: Listener) -> None:
    """Nothing, a message that has come or has been read in part, and the end."""
    with pair(listener) as (ours, theirs):
        assert not ours.waiting() and not theirs.waiting()
        for _ in range(2):
            theirs.send("hello")
        assert wait_for(ours._tls.fileno(), select.POLLIN, 5.0) and ours.waiting()
        ours.receive()
        assert ours.waiting(), "the second may have been read with the first"
        ours.receive()
        assert not ours.waiting()
        theirs.close()
        assert wait_for(ours._tls.fileno(), select.POLLIN, 5.0) and ours.waiting()
        ours.close()
        assert ours.waiting()
