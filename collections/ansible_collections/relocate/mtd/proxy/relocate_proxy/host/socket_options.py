# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of sockets that CRIU's image has no field for: read of the frozen original, set before its copy runs.

An image has what ``sk-opts.proto`` and its neighbours name, some thirty options. A program that relies on another one, such as
TCP_USER_TIMEOUT, would go on without it, and nobody would say so. What is not usual is told by its number and its bytes; usual
is what a new socket of that kind has in the container's network namespace, whose sysctls are carried.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils import _shielded_tcp, _unix_files

from . import syscalls, unix_peers, unix_sockets

CONGESTION, MAXSEG = (socket.IPPROTO_TCP, 13), (socket.IPPROTO_TCP, 2)
WITHOUT_PEER = (7, 10)  # TCP_CLOSE, TCP_LISTEN of <net/tcp_states.h>
TCP_ULP = 31  # of <linux/tcp.h>
ROOM = 64  # bytes that any of these options needs at most
MOST_OPTIONS = 100  # of one socket, that another host may name

#: Options by level, from <asm-generic/socket.h>, <linux/tcp.h>, <linux/in.h>, <linux/in6.h> and <linux/udp.h>. Left out are
#: those that CRIU carries, and those that tell of a state (TCP_QUICKACK, SO_INCOMING_CPU) or of one host (IP_MULTICAST_IF).
GENERAL = {
    "SO_TIMESTAMP": 29,
    "SO_TIMESTAMPNS": 35,
    "SO_TIMESTAMPING": 37,
    "SO_RXQ_OVFL": 40,
    "SO_PEEK_OFF": 42,
    "SO_LOCK_FILTER": 44,
    "SO_SELECT_ERR_QUEUE": 45,
    "SO_BUSY_POLL": 46,
    "SO_MAX_PACING_RATE": 47,
    "SO_ZEROCOPY": 60,
    "SO_RCVMARK": 75,
    "SO_PASSPIDFD": 76,
}
TCP = {
    "TCP_MAXSEG": 2,  # of one without a peer
    "TCP_SYNCNT": 7,
    "TCP_LINGER2": 8,
    "TCP_DEFER_ACCEPT": 9,
    "TCP_CONGESTION": 13,
    "TCP_THIN_LINEAR_TIMEOUTS": 16,
    "TCP_USER_TIMEOUT": 18,
    "TCP_FASTOPEN": 23,
    "TCP_NOTSENT_LOWAT": 25,
    "TCP_SAVE_SYN": 27,
    "TCP_FASTOPEN_NO_COOKIE": 34,
    "TCP_INQ": 36,
    "TCP_TX_DELAY": 37,
    "TCP_RTO_MAX_MS": 44,
    "TCP_RTO_MIN_US": 45,
    "TCP_DELACK_MAX_US": 46,
}
UDP = {"UDP_CORK": 1, "UDP_NO_CHECK6_TX": 101, "UDP_NO_CHECK6_RX": 102, "UDP_SEGMENT": 103, "UDP_GRO": 104}
IP = {
    "IP_TOS": 1,
    "IP_TTL": 2,
    "IP_RECVOPTS": 6,
    "IP_RECVRETOPTS": 7,
    "IP_MTU_DISCOVER": 10,
    "IP_RECVERR": 11,
    "IP_RECVTTL": 12,
    "IP_RECVTOS": 13,
    "IP_TRANSPARENT": 19,
    "IP_RECVORIGDSTADDR": 20,
    "IP_MINTTL": 21,
    "IP_CHECKSUM": 23,
    "IP_BIND_ADDRESS_NO_PORT": 24,
    "IP_RECVFRAGSIZE": 25,
    "IP_RECVERR_RFC4884": 26,
    "IP_LOCAL_PORT_RANGE": 51,
}
#: A connection has them, too, with values that nobody has given it.
IP_MULTICAST = {"IP_MULTICAST_TTL": 33, "IP_MULTICAST_LOOP": 34, "IP_MULTICAST_ALL": 49}
IPV6_MULTICAST = {"IPV6_MULTICAST_HOPS": 18, "IPV6_MULTICAST_LOOP": 19, "IPV6_MULTICAST_ALL": 29}
IPV6 = {
    "IPV6_UNICAST_HOPS": 16,
    "IPV6_MTU_DISCOVER": 23,
    "IPV6_RECVERR": 25,
    "IPV6_RECVERR_RFC4884": 31,
    "IPV6_FLOWINFO_SEND": 33,
    "IPV6_RECVPKTINFO": 49,
    "IPV6_RECVHOPLIMIT": 51,
    "IPV6_RECVHOPOPTS": 53,
    "IPV6_RECVRTHDR": 56,
    "IPV6_RECVDSTOPTS": 58,
    "IPV6_RECVPATHMTU": 60,
    "IPV6_DONTFRAG": 62,
    "IPV6_RECVTCLASS": 66,
    "IPV6_TCLASS": 67,
    "IPV6_AUTOFLOWLABEL": 70,
    "IPV6_MINHOPCOUNT": 73,
    "IPV6_RECVORIGDSTADDR": 74,
    "IPV6_TRANSPARENT": 75,
    "IPV6_RECVFRAGSIZE": 77,
}


def _named(level: int, options: dict[str, int]) -> dict[tuple[int, int], str]:
    return {(level, number): name for name, number in options.items()}


_OF_ANY, _OF_TCP, _OF_UDP = (
    _named(socket.SOL_SOCKET, GENERAL),
    _named(socket.IPPROTO_TCP, TCP),
    _named(socket.IPPROTO_UDP, UDP),
)
_OF_IP, _OF_IPV6 = _named(socket.IPPROTO_IP, IP), _named(socket.IPPROTO_IPV6, IPV6)
_OF_IP_DATAGRAMS = _named(socket.IPPROTO_IP, IP_MULTICAST)
_OF_IPV6_DATAGRAMS = _named(socket.IPPROTO_IPV6, IPV6_MULTICAST)
#: The name of each option, by level and number.
NAMES = {**_OF_ANY, **_OF_TCP, **_OF_UDP, **_OF_IP, **_OF_IPV6, **_OF_IP_DATAGRAMS, **_OF_IPV6_DATAGRAMS}

Values = dict[tuple[int, int], bytes]


class Kind(NamedTuple):
    """What sort of a socket it is."""

    family: int
    type: int
    protocol: int

    @classmethod
    def of(cls, sock: socket.socket) -> Kind:
        """Return what a descriptor's socket is; Python knows what it was told only."""
        return cls(
            *(
                sock.getsockopt(socket.SOL_SOCKET, each)
                for each in (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
            )
        )

    def options(self) -> Iterator[tuple[int, int]]:
        """Return what a socket of this kind may have."""
        datagrams = self.type != socket.SOCK_STREAM
        yield from _OF_ANY
        if self.family in (socket.AF_INET, socket.AF_INET6):
            yield from _OF_IP
            yield from _OF_IP_DATAGRAMS if datagrams else ()
            yield from {socket.IPPROTO_TCP: _OF_TCP, socket.IPPROTO_UDP: _OF_UDP}.get(self.protocol, {})
        if self.family == socket.AF_INET6:
            yield from _OF_IPV6
            yield from _OF_IPV6_DATAGRAMS if datagrams else ()


#: Those that nearly every container has.
USUAL_KINDS = (
    Kind(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    Kind(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    Kind(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    Kind(socket.AF_UNIX, socket.SOCK_STREAM, 0),
)


def _value(sock: socket.socket, level: int, option: int) -> bytes:
    found = sock.getsockopt(level, option, ROOM)
    return found.rstrip(b"\0") if (level, option) == CONGESTION else found


def _values(sock: socket.socket, kind: Kind) -> Values:
    found = {}
    without_peer = (
        kind.protocol == socket.IPPROTO_TCP
        and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in WITHOUT_PEER
    )
    for level, option in kind.options():
        if (level, option) == MAXSEG and not without_peer:
            continue  # that of a connection is carried
        with contextlib.suppress(OSError):  # an older kernel has not all of them
            found[level, option] = _value(sock, level, option)
    return found


@contextlib.contextmanager
def _borrowed(process: int, fd: int) -> Iterator[socket.socket]:
    """Return another process's socket, for a moment."""
    with socket.socket(fileno=syscalls.pidfd_getfd(process, fd)) as sock:
        yield sock


class SocketOptions:
    """Tells what is unusual of a container's sockets.

    :param namespace: the path of the container's network namespace (``/proc/PID/ns/net``).
    :param root: the path of its root (``/proc/PID/root``).
    :ivar binds: where directories of the host are mounted in it.
    :ivar bound: what :mod:`unix_sockets` tells of those that were described and are bound to a path.
    :ivar named: what :mod:`unix_peers` tells of those that name a peer, by their inodes.
    :param reader: tells which processes they name. Without it nothing is told of them.
    """

    def __init__(self, namespace: str, root: str = "/", reader: unix_peers.Reader | None = None) -> None:
        self._namespace = namespace
        self._root = root
        self.binds: Collection[str] = ()
        self.bound: list[dict[str, Any]] = []
        self.named: dict[int, dict[str, Any]] = {}
        self._reader = reader
        self._usual: dict[Kind, Values] = {}
        self._seen: set[str] = set()  # processes share sockets with their children

    def usual(self, kind: Kind) -> Values:
        """Return the options of a new socket; of a kind that nobody can make anew, none."""
        if kind not in self._usual:
            with contextlib.suppress(OSError):
                self._usual[kind] = syscalls.in_network(self._namespace, lambda: self._new(kind))
        return self._usual.get(kind, {})

    @staticmethod
    def _new(kind: Kind) -> Values:
        with socket.socket(*kind) as sock:
            return _values(sock, kind)

    def describe(self, pid: int) -> dict[str, list[list[Any]]]:
        """Return a process's unusual options: of each descriptor level, number and bytes. It must not run meanwhile.

        :raises RuntimeError: it has a unix socket whose file cannot be carried, or leaves TLS to the kernel.
        """
        found = {}
        process = os.pidfd_open(pid)
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                link = ""
                with contextlib.suppress(FileNotFoundError):
                    link = os.readlink(f"/proc/{pid}/fd/{name}")
                if link.startswith("socket:") and link not in self._seen:
                    self._seen.add(link)
                    with _borrowed(process, int(name)) as sock:
                        kind = Kind.of(sock)
                        if kind.protocol == socket.IPPROTO_TCP:
                            _insist_on_plain_tcp(sock)
                        if unusual := self._unusual(sock, kind):
                            found[name] = unusual
                        if kind.family == socket.AF_UNIX:
                            self._note_file(sock, pid, int(name), link)
                            if self._reader and (peer := unix_peers.description(sock, self._reader)):
                                self.named[int(link[8:-1])] = {**peer, "pid": pid, "fd": int(name)}
        finally:
            os.close(process)
        return found

    def insist_on_peers(self, pids: Iterable[int]) -> None:
        """Look at whom the unix sockets of running processes name.

        :raises unix_peers.Foreign: one names what cannot be named on another host.
        """
        if not (self._reader and self._reader.start()):
            return
        looked_at: set[str] = set()
        for pid in pids:
            with contextlib.suppress(OSError):  # what has just ended is not described either
                process = os.pidfd_open(pid)
                try:
                    for name in os.listdir(f"/proc/{pid}/fd"):
                        self._look_at(process, f"/proc/{pid}/fd/{name}", looked_at)
                finally:
                    os.close(process)

    def _look_at(self, process: int, path: str, looked_at: set[str]) -> None:
        assert self._reader is not None
        with contextlib.suppress(OSError):
            link = os.readlink(path)
            if link.startswith("socket:") and link not in looked_at:
                looked_at.add(link)
                with _borrowed(process, int(os.path.basename(path))) as sock:
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_UNIX:
                        unix_peers.description(sock, self._reader)

    def _unusual(self, sock: socket.socket, kind: Kind) -> list[list[Any]]:
        if kind.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return []
        usual, has = self.usual(kind), _values(sock, kind)
        return [[*key, value.hex()] for key, value in has.items() if key in usual and usual[key] != value]

    def _note_file(self, sock: socket.socket, pid: int, fd: int, link: str) -> None:
        if problems := _unix_files.problems(sock, self._root, self.binds):
            raise RuntimeError(f"a program of the container {problems[0]}")
        if told := unix_sockets.description(sock, self._root):
            self.bound.append({**told, "pid": pid, "fd": fd, "inode": int(link[8:-1])})


def _insist_on_plain_tcp(sock: socket.socket) -> None:
    """See that the kernel does nothing above TCP: a program of before the freeze may have turned to that since.

    :raises RuntimeError: it does.
    """
    with contextlib.suppress(OSError):  # the kernel has none
        if layer := sock.getsockopt(socket.IPPROTO_TCP, TCP_ULP, ROOM).rstrip(b"\0"):
            raise RuntimeError(f"a program of the container {_shielded_tcp.clause(layer.decode('ascii', 'replace'))}")


def is_description(value: Any) -> bool:
    """Return whether another host's word has the form of what :meth:`SocketOptions.describe` returns."""
    return (
        isinstance(value, dict)
        and all(fd.isdecimal() and fd.isascii() and len(fd) < 10 for fd in value)
        and all(
            isinstance(each, list) and len(each) <= MOST_OPTIONS and all(map(_is_option, each))
            for each in value.values()
        )
    )


def _is_option(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(type(each) is int for each in value[:2]):
        return False
    try:
        return (value[0], value[1]) in NAMES and len(bytes.fromhex(value[2])) <= ROOM
    except (TypeError, ValueError):
        return False


def settle(pid: int, described: dict[str, list[list[Any]]]) -> str:
    """Give the sockets of a process, which does not run, their options; return the name of one that this host cannot give.

    :param described: what :func:`is_description` has let pass.
    """
    process = os.pidfd_open(pid)
    try:
        for fd, options in described.items():
            with _borrowed(process, int(fd)) as sock:
                for level, option, text in options:
                    if not _give(sock, level, option, bytes.fromhex(text)):
                        return NAMES[level, option]
    finally:
        os.close(process)
    return ""


def _give(sock: socket.socket, level: int, option: int, value: bytes) -> bool:
    with contextlib.suppress(OSError):
        if _value(sock, level, option) != value:
            sock.setsockopt(level, option, value)
        return _value(sock, level, option) == value
    return False
