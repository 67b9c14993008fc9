# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a unix socket names as its peer: read of the frozen original, and compared before its copy runs.

A program that asks who is at the other end (SO_PEERCRED: D-Bus, PostgreSQL, whatever asks for no password) is told process,
user and group by the kernel, as they were when the connection was made. CRIU makes connections anew, as root; so the memory
image says of each what it is to name (``memory.peer_images``), and ``restore_shim.c`` sees to it. The number of a process
that has ended, or of one whose connection has moved before, only a process of the container's is told: the :class:`Reader`.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel

from . import syscalls

SO_PEERCRED, SO_PEERGROUPS = 17, 59
UCRED = struct.Struct("=iII")
NO_USER = 0xFFFFFFFF  # what a socket says that has no peer
MOST, MOST_BYTES = 16384, 64 << 20  # sockets that another host may name, and what it may say of them
CRIU = b"\0/crtools-pr-"  # compel's gen_parasite_saddr
MOST_GROUPS = 64  # restore_shim.c has the same
#: What another host is told of each socket.
TOLD = ("fd", "uid", "gid", "groups", "number", "backlog")
_SET_GROUPS, _SET_GID, _SET_UID = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}.get(
    os.uname().machine, (0, 0, 0)
)
_KEEP = ctypes.c_int(-1)
_READER = """
import socket
asked = socket.socket(fileno=0)
while True:
    _, found, _, _ = socket.recv_fds(asked, 1, 1)
    if not found:
        break
    with socket.socket(fileno=found[0]) as one:
        asked.send(one.getsockopt(1, 17, 12))
"""
_libc = ctypes.CDLL(None, use_errno=True)


class Foreign(RuntimeError):
    """A connection names what cannot be named on another host, and the message says which."""


class Reader:
    """A process among a container's that says which process a socket names, by its number in there.

    :param pid: the container's first process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: subprocess.Popen | None = None
        self._asked: socket.socket | None = None

    def start(self) -> bool:
        """Start it, if a socket of the container may name anybody; return whether it runs."""
        if self._process is None and _has_peers(_kernel.read_text(f"/proc/{self._pid}/net/unix")):
            self._start()
        return self._process is not None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = ["nsenter", "--target", str(self._pid), "--pid", sys.executable, "-S", "-E", "-c", _READER]
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        ours.settimeout(10)
        self._asked = ours
        one, other = socket.socketpair()
        with one, other:
            self.number(one)  # it has started when it has answered
        return ours

    def number(self, sock: socket.socket) -> int:
        """Return which process a socket names: 0 if none of the container's. :raises RuntimeError: nobody answers."""
        asked = self._asked or self._start()
        try:
            socket.send_fds(asked, [b"?"], [sock.fileno()])
            return int(UCRED.unpack(asked.recv(UCRED.size))[0])
        except (OSError, struct.error) as error:
            raise RuntimeError(
                f"whom the container's unix sockets name could not be read: {error}: try again"
            ) from error

    def close(self) -> None:
        """End it."""
        if self._asked is not None:
            self._asked.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._asked = None


def _has_peers(table: str) -> bool:
    """Return whether one of the sockets of a ``/proc/net/unix`` is connected, or listens."""
    fields = (line.split(None, 7) for line in _kernel.lines(table)[1:])
    return any(len(each) > 5 and (each[5] == "03" or int(each[3], 16) & 0x10000) for each in fields)


def description(sock: socket.socket, reader: Reader) -> dict[str, Any] | None:
    """Return whom a socket names: process, user, group, groups; and its type, address and owner. None: nobody, or CRIU.

    :raises Foreign: it cannot name them on another host.
    """
    if _is_criu(sock):
        return None
    _, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, UCRED.size))
    status = os.fstat(sock.fileno())
    told = {
        "type": sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
        "address": _address(sock),
        "backlog": None,  # of one that listens CRIU tells
        "owner": [status.st_uid, status.st_gid],
    }
    if uid == NO_USER:
        return None
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError as error:
        raise Foreign(
            f"a unix socket of the container has a peer with more than {MOST_GROUPS} groups, which cannot be named on another "
            "host: have it connected again by a process with fewer"
        ) from error
    number = reader.number(sock)
    return {
        **told,
        "number": number,
        "uid": uid,
        "gid": gid,
        "groups": [*memoryview(data).cast("I")],
    }


def _is_criu(sock: socket.socket) -> bool:
    """Return whether CRIU's code in a task speaks over it with CRIU, while the task is dumped: it is in no image."""
    try:
        peer = sock.getpeername()
    except OSError:  # it is not connected
        return False
    return isinstance(peer, bytes) and peer.startswith(CRIU)


def _address(sock: socket.socket) -> bytes:
    address = sock.getsockname()
    return address if isinstance(address, bytes) else os.fsencode(address)


# -- the destination's half ----------------------------------------------------------------------------------------------


def read(data: bytes) -> list[dict[str, Any]]:
    """Return what another host has told. :raises ValueError: it is nothing of the kind, or more than there can be."""
    try:
        told = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or len(told) > MOST or not all(map(_is_told, told)):
        raise ValueError(
            "what the source says of the peers of the container's unix sockets cannot be read: run prepare.yml there again"
        )
    return told


def _is_told(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    groups = value.get("groups")
    return (
        all(_is_number(value.get(each), 31) for each in ("pid", "fd", "number"))
        and all(_is_number(value.get(each), 32) for each in ("uid", "gid"))
        and isinstance(groups, list)
        and len(groups) <= MOST_GROUPS
        and all(_is_number(each, 32) for each in groups)
        and (value.get("backlog") is None or _is_number(value["backlog"], 31))
    )


def _is_number(value: Any, bits: int) -> bool:
    return type(value) is int and 0 <= value < 1 << bits


def settle(told: Iterable[dict[str, Any]], tasks: Mapping[int, int]) -> None:
    """Insist that the unix sockets of a copy, which does not run, name whom they named.

    :param told: what :func:`read` has let pass. :param tasks: the copy's processes by their numbers inside it.
    :raises Foreign: one names another.
    """
    inside = {pid: number for number, pid in tasks.items()}
    for each in told:
        if each["pid"] not in tasks:
            raise Foreign(f"process {each['pid']}, which has a unix socket, is missing in the copy")
        process = os.pidfd_open(tasks[each["pid"]])
        try:
            with _taken(process, each) as sock:
                _insist(each, sock, inside)
        finally:
            os.close(process)


def _taken(process: int, each: Mapping[str, Any]) -> socket.socket:
    """Return a copy's socket. :raises Foreign: it has none in that place."""
    try:
        return socket.socket(fileno=syscalls.pidfd_getfd(process, each["fd"]))
    except OSError as error:
        raise Foreign(
            f"process {each['pid']} had a unix socket as its descriptor {each['fd']}, and its copy has none there ({error}): "
            "try again"
        ) from error


def _insist(each: dict[str, Any], sock: socket.socket, inside: Mapping[int, int]) -> None:
    pid, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, UCRED.size))
    groups = [*memoryview(sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)).cast("I")]
    if [uid, gid, groups] != [each["uid"], each["gid"], each["groups"]]:
        raise Foreign(
            f"a unix socket of process {each['pid']} named user {each['uid']} and group {each['gid']} as its peer, and would "
            f"name {uid} and {gid} on this host"
        )
    if inside.get(pid, each["number"]) != each["number"]:
        if each["backlog"] is None:
            raise Foreign(
                f"a unix socket of process {each['pid']} named process {each['number']} as its peer, and would name "
                f"{inside[pid]} on this host"
            )
        listen_from_outside(sock, each)


def listen_from_outside(sock: socket.socket, each: Mapping[str, Any]) -> None:
    """Have a listening socket name a user, but no process of the container: one that is outside has the number 0 there.

    :raises OSError: it could not be done.
    """
    outcome: list[BaseException] = []

    def listen() -> None:
        try:
            groups = (ctypes.c_uint * len(each["groups"]))(*each["groups"])
            for call in (
                (_SET_GROUPS, len(groups), groups),
                (_SET_GID, _KEEP, ctypes.c_uint(each["gid"]), _KEEP),
                (_SET_UID, _KEEP, ctypes.c_uint(each["uid"]), _KEEP),
            ):
                if _libc.syscall(ctypes.c_long(call[0]), *call[1:]):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            sock.listen(each["backlog"])
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=listen)  # the user is this thread's alone, and it ends
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]
