# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of sockets, from one process to another; each option that this kernel takes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from relocate_proxy.host import socket_options, syscalls
from relocate_proxy.host.socket_options import IP, IPV6, NAMES, TCP, USUAL_KINDS, Kind, SocketOptions

#: By CRIU's images: sk-opts.proto, sk-inet.proto and tcp-stream.proto name them.
CARRIED = """
    SO_SNDBUF SO_RCVBUF SO_SNDTIMEO SO_RCVTIMEO SO_REUSEADDR SO_PRIORITY SO_RCVLOWAT SO_MARK SO_PASSCRED SO_PASSSEC
    SO_DONTROUTE SO_BINDTODEVICE SO_REUSEPORT SO_BROADCAST SO_KEEPALIVE SO_OOBINLINE SO_LINGER TCP_CORK TCP_NODELAY
    TCP_KEEPCNT TCP_KEEPIDLE TCP_KEEPINTVL IP_HDRINCL IPV6_V6ONLY
"""
#: What is no setting: it asks for something, tells of something, or is an action.
NO_SETTING = """
    IP_RETOPTS SO_ACCEPTCONN SO_DOMAIN SO_ERROR SO_PEERCRED SO_PEERSEC SO_PROTOCOL SO_TYPE SO_SNDLOWAT TCP_INFO TCP_QUICKACK
    TCP_CC_INFO TCP_SAVED_SYN TCP_TIMESTAMP TCP_ZEROCOPY_RECEIVE TCP_CM_INQ TCP_REPAIR TCP_REPAIR_QUEUE
    TCP_REPAIR_OPTIONS TCP_REPAIR_WINDOW TCP_QUEUE_SEQ TCP_ULP TCP_FASTOPEN_CONNECT IP_ADD_MEMBERSHIP
    IP_DROP_MEMBERSHIP IP_ADD_SOURCE_MEMBERSHIP IP_DROP_SOURCE_MEMBERSHIP IP_BLOCK_SOURCE IP_UNBLOCK_SOURCE
    IPV6_JOIN_GROUP IPV6_LEAVE_GROUP IPV6_CHECKSUM IPV6_NEXTHOP IPV6_PATHMTU IPV6_RTHDR IPV6_HOPLIMIT IPV6_HOPOPTS
    IPV6_DSTOPTS IPV6_PKTINFO IPV6_RTHDRDSTOPTS
"""
#: What stays behind; docs/tenants.md says so.
LOST = {
    "IP_OPTIONS",
    "IP_MULTICAST_IF",
    "IPV6_MULTICAST_IF",
    "SO_INCOMING_CPU",
    "TCP_WINDOW_CLAMP",
    "TCP_MD5SIG",
    "SO_DEBUG",
}
IS_VALUE = re.compile(
    "IPV6_RTHDR_TYPE_0|IP_DEFAULT_MULTICAST_(LOOP|TTL)|IP_MAX_MEMBERSHIPS|IP_PMTUDISC_.*|SO_(VM|J1939)_.*|TCP_(MAX_|NEW_|RESCUE).*"
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no other network than this process's: another one needs root."""
    monkeypatch.setattr(syscalls, "in_network", lambda _, work: work())


def told() -> SocketOptions:
    return SocketOptions("here")


def described(options: SocketOptions | None = None) -> dict[str, Any]:
    """Return what is said of this process, as it comes over the network."""
    found: dict[str, Any] = json.loads(json.dumps((options or told()).describe(os.getpid())))
    assert socket_options.is_description(found)
    return found


@contextlib.contextmanager
def opened(kind: Kind) -> Iterator[socket.socket]:
    with socket.socket(*kind) as sock:
        yield sock


def other_value(sock: socket.socket, level: int, option: int) -> bool:
    """Give a socket another value of an option than it has; return whether the kernel has taken one."""
    with contextlib.suppress(OSError):
        before = sock.getsockopt(level, option, 64)
        values = [*(struct.pack("I", each) for each in (1, 2, 0, 1000, (40000 << 16) | 30000)), b"reno"]
        for value in values:
            with contextlib.suppress(OSError):
                sock.setsockopt(level, option, value)
                if sock.getsockopt(level, option, 64).rstrip(b"\0") != before.rstrip(b"\0"):
                    return True
    return False


def test_a_connection_that_leaves_tls_to_the_kernel_is_not_described() -> None:
    """Its copy would send in the clear. What the kernel has no such thing for, has none."""

    class Connection(socket.socket):
        """One above which the kernel has a protocol."""

        layer: bytes | None = b"tls\0"

        def getsockopt(self, level: int, option: int, size: int = 0) -> Any:  # type: ignore[override]
            assert (level, option, bool(size)) == (socket.IPPROTO_TCP, 31, True)
            if self.layer is None:
                raise OSError(errno.ENOPROTOOPT, "no such option")
            return self.layer

    with Connection() as sock:
        with pytest.raises(RuntimeError, match=r"leaves TLS to the kernel .* Options -KTLS"):
            socket_options._insist_on_plain_tcp(sock)
        for sock.layer in (None, b""):
            socket_options._insist_on_plain_tcp(sock)


def test_every_option_that_python_knows_is_decided_upon() -> None:
    """A newer Python that knows another one wants a decision: carried by CRIU, by us, or said to be lost."""
    named = {
        name for name in dir(socket) if re.match("(SO|TCP|IP|IPV6|UDP)_[A-Z]", name) and not IS_VALUE.fullmatch(name)
    }
    decided = {*NAMES.values(), *CARRIED.split(), *NO_SETTING.split(), *LOST}
    assert not named - decided
    for name in named & set(NAMES.values()):
        assert any(number == getattr(socket, name) for (_, number), other in NAMES.items() if other == name), name


@pytest.mark.parametrize("kind", [*USUAL_KINDS, Kind(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP)], ids=str)
def test_each_option_of_a_kind_goes_from_one_socket_to_another(kind: Kind) -> None:
    """Whatever this kernel lets a new socket of that kind have."""
    tried, problems = [], []
    for level, option in kind.options():
        with opened(kind) as first:
            if not other_value(first, level, option):
                continue
            name, place = NAMES[level, option], str(first.fileno())
            said = described().get(place, [])
            if [level, option] not in [each[:2] for each in said]:
                problems.append(f"{name} is not told of: {said}")
                continue
        with opened(kind) as second:
            problem = socket_options.settle(os.getpid(), {str(second.fileno()): said})
            again = described().get(str(second.fileno()), [])
        tried.append(name)
        if problem or again != said:
            problems.append(f"{name}: {problem or f'{again} instead of {said}'}")
    assert not problems
    assert len(tried) >= (3 if kind.family == socket.AF_UNIX else 15), tried


def test_a_usual_socket_is_not_told_of_and_a_shared_one_once() -> None:
    with opened(USUAL_KINDS[0]) as usual, opened(USUAL_KINDS[0]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, TCP["TCP_USER_TIMEOUT"], 7000)
        same = sock.dup()
        options = told()
        found = described(options)
        assert str(usual.fileno()) not in found
        assert len({str(sock.fileno()), str(same.fileno())} & set(found)) == 1
        assert not described(options), "of what another process shares there is nothing more to say"
        same.close()


def test_a_connection_keeps_its_own() -> None:
    """Both ends of a connection, and what listens; a maximum segment size is the listener's alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, TCP["TCP_MAXSEG"], 1000)
        listener.setsockopt(socket.IPPROTO_TCP, TCP["TCP_FASTOPEN"], 5)
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
            client.setsockopt(socket.IPPROTO_TCP, TCP["TCP_NOTSENT_LOWAT"], 16384)
            server.setsockopt(socket.IPPROTO_IP, IP["IP_RECVTTL"], 1)
            found = described()
            names = {fd: sorted(NAMES[tuple(each[:2])] for each in said) for fd, said in found.items()}  # type: ignore[index]
            assert names[str(listener.fileno())] == ["TCP_FASTOPEN", "TCP_MAXSEG"]
            assert names[str(client.fileno())] == ["TCP_NOTSENT_LOWAT"]
            assert names[str(server.fileno())] == ["IP_RECVTTL"]


def test_an_option_that_this_host_has_not_is_named() -> None:
    wanted = [[socket.IPPROTO_TCP, TCP["TCP_CONGESTION"], b"nobody".hex()]]
    with opened(USUAL_KINDS[0]) as sock:
        assert socket_options.settle(os.getpid(), {str(sock.fileno()): wanted}) == "TCP_CONGESTION"
        assert sock.getsockopt(socket.IPPROTO_TCP, TCP["TCP_CONGESTION"], 16).rstrip(b"\0") != b"nobody"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"x": []},
        {"1": {}},
        {"-1": []},
        {"99999999999": []},
        {"1": [[6, 18]]},
        {"1": [[6, 18, "zz"]]},
        {"1": [[6, 18, 5]]},
        {"1": [[True, 18, "00"]]},
        {"1": [[1, 9, "01000000"]]},  # an option that is none of ours: SO_KEEPALIVE
        {"1": [[41, IPV6["IPV6_TCLASS"], "00" * 65]]},
        {"1": [[6, 18, "00000000"]] * 101},
    ],
)
def test_what_is_no_description_is_not_believed(value: Any) -> None:
    assert not socket_options.is_description(value)


def test_reading_changes_nothing() -> None:
    """A borrowed socket blocks or not as before, and stays open."""
    with opened(USUAL_KINDS[0]) as sock:
        for blocking in (True, False):
            sock.setblocking(blocking)
            described()
            assert sock.getblocking() is blocking and os.get_blocking(sock.fileno()) is blocking
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
