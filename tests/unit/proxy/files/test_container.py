# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container as the source describes it: what it is made from elsewhere, its ports, its sockets."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relocate_proxy.files import container
from relocate_proxy.files.container import Container, _endpoint
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.protocol.addresses import Addresses


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("0100007F:1F90", "127.0.0.1", 8080),
        ("020114AC:C738", "172.20.1.2", 51000),
        ("00000000000000000000000001000000:0016", "::1", 22),
        ("0000000000000000FFFF0000020114AC:1B58", "172.20.1.2", 7000),
        ("B80D0120000000000000000001000000:0050", "2001:db8::1", 80),
    ],
)
def test_addresses_as_the_kernel_prints_them(text: str, address: str, port: int) -> None:
    """Words in the byte order of a little-endian machine; IPv4 inside IPv6 is IPv4."""
    assert _endpoint(text) == Endpoint(address, port)


ROW = "{n}: {local} {remote} {state} 00000000:{waiting:08X} 00:00000000 00000000 0 0 1"
SELF, PEER, ANY = "020114AC:1B58", "0200580A:9C40", "00000000:0000"


def one(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, int, int]], tables: tuple[str, ...] = ("tcp",)
) -> Container:
    """Return a container whose /proc/PID/net shows these sockets."""
    lines = [
        ROW.format(n=n, local=local, remote=remote, state=f"{state:02X}", waiting=waiting).split()
        for n, (local, remote, state, waiting) in enumerate(rows)
    ]
    monkeypatch.setattr(container, "_socket_table", lambda _, name: lines if name in tables else [])
    made: Container = object.__new__(Container)
    made.pid, made._foreign = 1, set()
    return made


def test_connections_of_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Established, half-closed, and those that the container begins; what clients begin, waits or is over is none."""
    rows = [(SELF, PEER, state, 0) for state in (1, 8, 2, 3, 6, 7)] + [(SELF, ANY, 10, 0)]
    found = one(monkeypatch, rows, ("tcp", "tcp6", "udp")).connections()
    assert [(str(each.local), str(each.remote)) for each in found] == [("172.20.1.2:7000", "10.88.0.2:40000")] * 9
    assert [each.protocol for each in found] == ["tcp"] * 6 + ["udp"] * 3


def test_where_it_accepts_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its listeners of both families, and by nothing else that is bound to a port."""
    assert one(monkeypatch, [(SELF, PEER, 1, 0), (SELF, ANY, 7, 0)]).listening() == set()
    assert (
        one(monkeypatch, [(SELF, ANY, 10, 0)]).listening()
        == one(monkeypatch, [(SELF, ANY, 10, 0)], ("tcp6",)).listening()
    )
    assert one(monkeypatch, [(SELF, ANY, 10, 0)]).listening() == {7000}


def test_where_its_host_publishes_it() -> None:
    """Docker names a port once for each family; one that is exposed alone leads nowhere."""
    made: Container = object.__new__(Container)
    both = [{"HostIp": "0.0.0.0", "HostPort": "7001"}, {"HostIp": "::", "HostPort": "7001"}]
    ports = {"7000/tcp": both, "7000/udp": [{"HostIp": "", "HostPort": "7002"}], "80/tcp": None}
    made.inspect = {"NetworkSettings": {"Ports": ports}}
    assert made.published() == {("tcp", 7000): {7001}, ("udp", 7000): {7002}}
    made.inspect = {"NetworkSettings": {"Ports": None}}
    assert made.published() == {}


def test_half_open_connections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those between SYN and ACK, and those that nobody has accepted yet."""
    rows = [(SELF, PEER, 3, 0), (SELF, PEER, 1, 5), (SELF, ANY, 10, 2), (SELF, ANY, 10, 0)]
    assert one(monkeypatch, rows).half_open() == 3
    assert one(monkeypatch, rows[1:2]).half_open() == 0


def test_visits_are_connections_that_others_have_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a port that is published: established, half-open, half-closed; not those of its own, inside it, or to another port."""
    hidden, outgoing, inner = "020114AC:1B59", "020114AC:C738", "0100007F:9C41"
    rows = [(SELF, PEER, state, 0) for state in (1, 3, 5, 6, 8)]
    rows += [(hidden, PEER, 1, 0), (outgoing, PEER, 1, 0), ("0100007F:1B58", inner, 1, 0), (SELF, ANY, 10, 3)]
    made = one(monkeypatch, rows)
    made.name = "web"
    ports = {"7000/tcp": [{"HostPort": "80"}], "7001/tcp": None, "51000/udp": [{"HostPort": "81"}]}
    made.inspect = {"NetworkSettings": {"Networks": {"b": {"IPAddress": "172.20.1.2"}}, "Ports": ports}}
    assert made.visits() == 4


@pytest.mark.parametrize(
    ("state", "unacknowledged", "repeats", "inode", "counts"),
    [
        (4, 5000, 0, 0, True),  # FIN_WAIT1: written, closed, on its way
        (9, 1, 2, 0, True),  # LAST_ACK: the end of it alone
        (11, 9, 0, 0, True),
        (4, 5000, 3, 0, False),  # the peer is gone
        (4, 5000, 0, 77, False),  # a process has it: CRIU carries it
        (5, 0, 0, 0, False),  # FIN_WAIT2: it has all arrived
        (1, 5000, 0, 0, False),  # in the backlog: half_open
    ],
)
def test_last_words_of_closed_connections_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, state: int, unacknowledged: int, repeats: int, inode: int, counts: bool
) -> None:
    row = f"0: {SELF} {PEER} {state:02X} {unacknowledged:08X}:00000000 01:00000014 {repeats:08X} 0 0 {inode} 1".split()
    made = one(monkeypatch, [])
    monkeypatch.setattr(container, "_socket_table", lambda _, name: [row] if name == "tcp6" else [])
    assert made.undelivered() == counts


def test_datagrams_that_nobody_has_read_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every UDP socket, connected or not; what TCP has in store is carried."""
    rows = [(SELF, ANY, 7, 5), (SELF, PEER, 1, 2), (SELF, ANY, 7, 0)]
    assert one(monkeypatch, rows, ("udp", "tcp")).unread_datagrams() == 7
    assert one(monkeypatch, rows, ("tcp",)).unread_datagrams() == 0


def test_messages_of_the_kernel_that_nobody_has_read_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own sockets are in the table, too: they have no reader, and nothing waits in them.

    One is Docker's daemon's, which is outside.
    """
    made = one(monkeypatch, [])
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as theirs:
        inode = os.fstat(theirs.fileno()).st_ino
        rows = [
            "0000 0 0 00000000 0 0 0 2 0 11",
            f"0000 0 735 00000001 4608 0 0 2 0 {inode}",
            "0000 0 736 00000000 0 9 0 2 0 13",
            "0000 0 737 00000000 832 0 0 2 0 14",
        ]
        monkeypatch.setattr(
            container, "_socket_table", lambda _, name: [row.split() for row in rows] if name == "netlink" else []
        )
        monkeypatch.setattr(made, "_processes", lambda: [2**22 + 1, os.getpid()])
        assert made.unread_netlink() == made.unread_netlink() == 4608


def test_the_kernels_table_is_read_without_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 has no second one."""
    assert all(len(fields) > 4 for fields in container._socket_table(os.getpid(), "tcp"))
    assert container._socket_table(os.getpid(), "nothing") == []


@pytest.mark.parametrize("inspect", [None, {"State": {"Running": False}}])
def test_what_does_not_run_is_not_carried(inspect: dict | None) -> None:
    """There is none of that name, or it has stopped."""
    docker = SimpleNamespace(container=lambda _: inspect)
    with pytest.raises(LookupError, match="the container web is not running here any more"):
        Container(docker, "web")


def test_the_address_is_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker 28 leaves the old field empty."""
    made = one(monkeypatch, [])
    made.name = "web"
    made.inspect = {"NetworkSettings": {"Networks": {"shop": {"IPAddress": "172.30.0.2"}}}}
    assert made.addresses == Addresses("172.30.0.2")
    both = {"none": {"IPAddress": ""}, "shop": {"IPAddress": "172.30.0.2", "GlobalIPv6Address": "fd00:30::2"}}
    made.inspect = {"NetworkSettings": {"Networks": both}}
    assert made.addresses == Addresses("172.30.0.2", "fd00:30::2")
    made.inspect = {"NetworkSettings": {"Networks": {"x": {"IPAddress": ""}}, "IPAddress": "1.2.3.4"}}
    with pytest.raises(LookupError, match="the container web has no address"):
        _ = made.addresses


@pytest.mark.parametrize(
    ("namespaces", "below", "groups", "plain"),
    [
        ([], (), ("4:cpu:/docker/a", "4:cpu:/docker/a"), True),
        ([{"type": "cgroup"}], (), ("0::/", "0::/"), False),
        ([], ("made-inside",), ("4:cpu:/docker/a", "4:cpu:/docker/a"), False),
        ([], (), ("4:cpu:/docker/a", "4:cpu:/docker/a/b"), False),
    ],
    ids=["as the runtime made them", "a view of its own", "one inside", "a task elsewhere"],
)
def test_cgroups_that_crius_care_is_not_needed_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    namespaces: list[dict[str, str]],
    below: tuple[str, ...],
    groups: tuple[str, str],
    plain: bool,
) -> None:
    """All tasks in the container's own, nothing below them, and no namespace that hides where they are."""
    freezer, proc = tmp_path / "freezer", tmp_path / "proc"
    for name in below:
        (freezer / name).mkdir(parents=True)
    freezer.mkdir(exist_ok=True)
    for pid, text in zip((10, 11), groups, strict=True):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "cgroup").write_text(text)
    made: Any = object.__new__(Container)
    made.bundle = {"linux": {"namespaces": [{"type": "pid"}, *namespaces]}}
    made.freezer = SimpleNamespace(directory=str(freezer), version=1)
    monkeypatch.setattr(Container, "_processes", lambda _: [10, 11, 12])  # the last has ended meanwhile
    monkeypatch.setattr(container, "PROC", str(proc))
    assert made.plain_cgroups() is plain


def test_who_was_started_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The init is none of them, nor is any child of the container's own, whatever it calls itself."""
    made = one(monkeypatch, [])
    made.pid = 10
    monkeypatch.setattr(container, "PROC", str(tmp_path))
    monkeypatch.setattr(Container, "_processes", lambda _: [10, 11, 12, 13, 99])
    for pid, parent, name in ((10, 1, "init"), (11, 10, "a) S 1 (b"), (12, 1, "exec"), (13, 12, "sh")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")
    assert made.visitors() == [12]


def test_the_init_is_what_the_first_process_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not what the container has at its path by now: that may be a link, which would lead to a file of the host."""
    made = one(monkeypatch, [])
    made.pid = os.getpid()
    made.bundle = {"mounts": [{"type": "bind", "source": "/usr/bin/docker-init", "destination": "/sbin/docker-init"}]}
    assert made.init_program is not None
    assert Path(made.init_program).samefile(sys.executable)
    made.bundle = {"mounts": []}
    assert made.init_program is None


def test_processes_in_cgroups_below_are_the_container_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that is allowed to makes such groups. What its tasks have mapped or watch counts, too."""
    made: Any = one(monkeypatch, [])
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    for directory, pid in (("", 11), ("below", 12), ("below/deeper", 13)):
        (tmp_path / directory / "cgroup.procs").write_text(f"{pid}\n")
    made.freezer = SimpleNamespace(directory=str(tmp_path), version=1)
    assert sorted(made._processes()) == [11, 12, 13]
