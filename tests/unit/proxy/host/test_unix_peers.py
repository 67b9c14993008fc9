# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom unix sockets name, told and insisted on. That CRIU makes them so: ``tests/integration/test_restore_shim.py``."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from relocate_proxy.host import tasks, unix_peers
from relocate_proxy.host.unix_peers import Foreign


class Told(unix_peers.Reader):
    """Knows every process by one number."""

    def __init__(self, number: int = 7) -> None:
        super().__init__(os.getpid())
        self._said = number

    def number(self, sock: socket.socket) -> int:
        """Return that number."""
        return self._said


def test_what_a_socket_names_is_told() -> None:
    """Of one that names nobody, nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX) as alone:
        told = unix_peers.description(ours, Told())
        assert told == {
            "type": socket.SOCK_STREAM,
            "address": b"",
            "backlog": None,
            "owner": [os.geteuid(), os.getegid()],
            "number": 7,
            "uid": os.geteuid(),
            "gid": os.getegid(),
            "groups": sorted(os.getgroups()),
        }
        assert unix_peers.description(alone, Told()) is None


def test_a_peer_from_outside_has_no_number() -> None:
    """Neither of a connection nor of who listens."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0relocate-test-%d" % os.getpid())
        listener.listen()
        for sock in (ours, listener):
            told = unix_peers.description(sock, Told(0))
            assert told and told["number"] == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, ""),
        ({"uid": 65000}, "named user 65000 and group .* as its peer, and would name"),
        ({"groups": [1, 2, 3, 4, 5]}, "as its peer, and would name"),
        ({"number": 9}, "named process 9 as its peer, and would name 7"),
        ({"pid": 9}, "process 9, which has a unix socket, is missing"),
    ],
    ids=["right", "user", "groups", "process", "missing"],
)
def test_another_peer_is_never_named(wrong: dict[str, Any], says: str) -> None:
    """The move is rolled back instead."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told = {**(unix_peers.description(ours, Told()) or {}), "pid": 7, "fd": ours.fileno(), **wrong}
        if not says:
            unix_peers.settle([told], {7: os.getpid()})
            return
        with pytest.raises(Foreign, match=says):
            unix_peers.settle([told], {7: os.getpid()})


def test_who_connects_is_known_if_only_one_user_has_the_socket() -> None:
    """And that user has made it."""
    with socket.socket(socket.AF_UNIX) as sock:
        status = os.fstat(sock.fileno())
        found = tasks.connecting([os.getpid(), 1 << 22], status.st_ino, [status.st_uid, status.st_gid])
        inside = tasks.inner(tasks._status(os.getpid()))
        assert found and [found[each] for each in ("number", "uid", "gid")] == [inside, os.geteuid(), os.getegid()]
        assert tasks.connecting([os.getpid()], status.st_ino, [status.st_uid + 1, status.st_gid]) is None
        assert tasks.connecting([os.getpid()], 1, [status.st_uid, status.st_gid]) is None
        assert inside in tasks.taken([os.getpid()])


def test_what_criu_speaks_over_with_its_code_in_a_task_is_not_told() -> None:
    """It is in the descriptors of a task while that is dumped. Nobody is asked for it: that would last, in the freeze."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0/crtools-pr-{os.getpid()}-1")
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
            ours.connect(listener.getsockname())
            assert unix_peers.description(ours, unix_peers.Reader(0)) is None


def test_a_copy_without_the_socket_is_said_in_a_sentence() -> None:
    told = [{"pid": 7, "fd": 1 << 20, "number": 1, "uid": 0, "gid": 0, "groups": [], "backlog": None}]
    with pytest.raises(
        Foreign, match="process 7 had a unix socket as its descriptor 1048576, and its copy has none there"
    ):
        unix_peers.settle(told, {7: os.getpid()})
