# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real kernel tells of TCP that it signs for a program, or that has a protocol above it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _shielded_tcp
from relocate_proxy.host import syscalls

from .namespaces import Network

pytestmark = pytest.mark.kernel
IPPROTO_MPTCP, TCP_MD5SIG = 262, 14


def in_network(network: Network, make: Callable[[], socket.socket]) -> socket.socket:
    """Return a socket that was made in a namespace whose loopback is up."""
    network.run("ip", "link", "set", "lo", "up")
    return syscalls.in_network(network.path, make)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_keys_for_signed_segments_are_told(network: Callable[[], Network], family: socket.AddressFamily) -> None:
    """Of a listener without a connection, as a router's."""
    made = network()
    peer = socket.inet_pton(family, "127.0.0.1" if family == socket.AF_INET else "::1")
    address = struct.pack("=HH", family, 0) + (peer if family == socket.AF_INET else bytes(4) + peer)

    def listen() -> socket.socket:
        sock = socket.socket(family)
        sock.bind(("", 179))
        sock.listen()
        return sock

    with in_network(made, listen) as sock:
        assert _shielded_tcp.shielded_tcp(made.pid) == []
        key = address.ljust(128, b"\0") + struct.pack("=BBHiI80s", 0, 0, 3, 0, 0, b"key")  # struct tcp_md5sig
        sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, key)
        (said,) = _shielded_tcp.shielded_tcp(made.pid)
    assert said.startswith("has keys for signed TCP segments (TCP_MD5SIG)")
    assert _shielded_tcp.shielded_tcp(made.pid) == _shielded_tcp.shielded_tcp(2**22 + 1) == []


def test_a_protocol_above_tcp_is_told_by_its_name(
    network: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of an MPTCP connection has one on every kernel, and is told of as what it is elsewhere. TLS is told as it is."""
    made = network()

    def connect() -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        listening.bind(("127.0.0.1", 5000))
        listening.listen()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        sock.connect(("127.0.0.1", 5000))
        kept.append(listening)
        return sock

    kept: list[socket.socket] = []
    with in_network(made, connect):
        assert _shielded_tcp.shielded_tcp(made.pid) == []
        monkeypatch.setattr(_shielded_tcp, "_OTHERS", ())
        assert _shielded_tcp.shielded_tcp(made.pid) == [_shielded_tcp.clause("mptcp")]
    kept[0].close()


def test_tls_is_said_in_its_own_words() -> None:
    """What to turn off is OpenSSL's."""
    assert "Options -KTLS" in _shielded_tcp.clause("tls") and "espintcp" in _shielded_tcp.clause("espintcp")
