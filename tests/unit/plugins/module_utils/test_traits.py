# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc tells of programs: of this very process where it can be made to do such a thing, of written files otherwise.

What needs a container is in ``tests/lab/test_tenants.py``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _netlink, _own_network, _traits

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def other() -> Iterator[int]:
    """Return a process that waits."""
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(100)"], stdout=-1)
    assert process.stdout
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.wait()


def refusals(pid: int) -> list[str]:
    """Return what is said of a process that is a container of its own."""
    return _traits.program_refusals([pid], pid)


def test_usual_programs(other: int) -> None:
    """Nothing is said of one; nor of one that has ended meanwhile."""
    assert refusals(other) == []
    assert refusals(2**22 + 1) == []


def test_what_may_be_open() -> None:
    """Nameless files that CRIU carries, small deleted files, sockets that are not bound yet, and of every common kind."""
    kept = [
        os.eventfd(0),
        _libc.inotify_init1(0),
        _libc.epoll_create1(0),
        os.pidfd_open(os.getpid()),
        os.memfd_create("x"),
    ]
    sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    sockets += [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)]
    try:
        assert refusals(os.getpid()) == []
    finally:
        for fd in kept:
            os.close(fd)
        for each in sockets:
            each.close()


def test_a_lease(tmp_path: Path) -> None:
    """The kernel's list of locks tells whose it is."""
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        assert ["holds a lease on a file" in each for each in refusals(os.getpid())] == [True]
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    assert refusals(os.getpid()) == []


def test_a_deleted_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk counts: a sparse one is carried without its holes."""
    monkeypatch.setattr(_traits, "GHOST_LIMIT", 1 << 20)
    with (tmp_path / "file").open("wb") as file:
        (tmp_path / "file").unlink()
        os.ftruncate(file.fileno(), 1 << 30)
        assert refusals(os.getpid()) == []
        file.write(b"x" * (3 << 20))
        file.flush()
        os.fsync(file.fileno())
        (said,) = refusals(os.getpid())
        assert said.endswith("holds a deleted file of 3 MiB open, and 1 MiB can be carried: have it closed")


def test_a_socket_of_a_strange_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no table of the kernel, so it is asked itself."""
    monkeypatch.setattr(_traits, "IPPROTO_CARRIED", ())
    with socket.create_server(("127.0.0.1", 0)):
        assert refusals(os.getpid()) == [], "in a table: not asked"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        assert ["has a socket of protocol 17, which" in each for each in refusals(os.getpid())] == [True]


def test_a_thread_that_has_outlived_the_first(other: int, tmp_path: Path) -> None:
    """And a name that a stranger chose."""
    program = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(100,)).start(); "
    program += "open('/proc/self/comm', 'w').write('a\\x1b\\nb'); print(flush=True); ctypes.CDLL(None).syscall({}, 0)"
    number = "60" if os.uname().machine == "x86_64" else "93"
    process = subprocess.Popen([sys.executable, "-c", program.replace("{}", number)], stdout=-1)
    try:
        while _traits._status(process.pid)["State"][0] != "Z":
            pass
        (said,) = refusals(process.pid)
        assert "(a??nb) goes on in threads whose first has ended" in said
    finally:
        process.kill()
        process.wait()


FIB = """Local:
  +-- 0.0.0.0/0 3 0 5
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 172.17.0.2
        /32 host LOCAL
     |-- 10.9.9.9
        /32 host LOCAL
     |-- 172.17.255.255
        /32 link BROADCAST
"""


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that stands for /proc/7, and has what Docker gives a container."""
    made = tmp_path / "7"
    (made / "root/dev/mqueue").mkdir(parents=True)
    (made / "net").mkdir()
    (made / "net/igmp").write_text(
        "Idx\tDevice\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    )
    (made / "net/igmp6").write_text(
        "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
        "2    eth0            ff0200000000000000000001ff110002     1 00000004 0\n"
    )
    (made / "net/dev").write_text("Inter-|\n face |\n    lo: 1\n  eth0: 2\n tunl0: 0\n")
    (made / "net/fib_trie").write_text(FIB.replace("10.9.9.9", "127.0.0.53"))
    (made / "net/route").write_text("Iface\tDestination\tGateway\neth0\t00000000\t010011AC\neth0\t000011AC\t00000000\n")
    (made / "mountinfo").write_text("1 0 0:5 / / rw - overlay overlay rw\n2 1 0:6 / /dev rw - tmpfs tmpfs rw\n")
    for module in (_traits, _own_network, _netlink):
        monkeypatch.setattr(module, "PROC", str(tmp_path))
    return made


def test_what_docker_gives_is_no_reason(container: Path) -> None:
    """With and without the right to configure the network."""
    for may_configure in (True, False):
        assert _traits.container_refusals(7, {"172.17.0.2"}, may_configure) == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("net/igmp", "Idx\n2\teth0\n\t\t\t\t010101EF     1 0:0\t\t0\n", "multicast groups (239.1.1.1)"),
        (
            "net/igmp6",
            "2    eth0            ff0e0000000000000000000000000123     1 4 0\n",
            "multicast groups (ff0e::123)",
        ),
        ("net/dev", "Inter-|\n face |\n    lo: 1\n  eth0: 2\n    d0: 0\n", "network configuration of its own (d0)"),
        ("net/dev", "\n\n eth10: 2\n  eth2: 2\n", "its links are named eth2, eth10, as a network was disconnected"),
        ("net/fib_trie", FIB, "network configuration of its own (10.9.9.9)"),
        ("net/route", "Iface\tDestination\tGateway\neth0\t0008A8C0\t010011AC\n", "of its own (a route by eth0)"),
        (
            "net/if_inet6",
            "fd000000000000000000000000000007 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n",
            "of its own (fd00::7)",
        ),
        ("root/dev/mqueue/q", "", "it has POSIX message queues (q)"),
        (
            "mountinfo",
            "3 1 0:9 / /mnt/a\\040b rw - fuse.sshfs me rw\n",
            "of the kind fuse.sshfs is mounted in it at /mnt/a?b",
        ),
    ],
)
def test_what_a_container_has_beyond(container: Path, file: str, text: str, says: str) -> None:
    """One thing each."""
    (container / file).write_text(text)
    (said,) = _traits.container_refusals(7, {"172.17.0.2"}, True)
    assert says in said


@pytest.mark.parametrize(
    ("files", "label"),
    [
        ({"attr/current": "docker-default (enforce)\n"}, "docker-default"),
        ({"attr/current": "web\n", "attr/apparmor/current": "/usr/bin/a b (complain)\n"}, "/usr/bin/a b"),
        ({"attr/current": "unconfined\n"}, ""),
        ({"attr/current": "system_u:system_r:container_t:s0:c1,c2\0"}, "system_u:system_r:container_t:s0:c1,c2"),
        ({}, ""),
    ],
)
def test_what_confines_a_program(container: Path, files: dict[str, str], label: str) -> None:
    """By AppArmor, with or without its mode, or by SELinux, which ends the text with NUL."""
    (container / "attr/apparmor").mkdir(parents=True)
    for name, text in files.items():
        (container / name).write_text(text)
    assert _traits.security_label(7) == label


def test_processors_that_threads_are_bound_to() -> None:
    """Of whoever may not run everywhere."""
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) == 1:
        pytest.skip("needs two processors")
    assert _traits.bound_processors([os.getpid()]) == []
    done, begun = threading.Event(), threading.Event()

    def bound() -> None:
        os.sched_setaffinity(0, {min(everywhere)})
        begun.set()
        done.wait()

    thread = threading.Thread(target=bound)
    thread.start()
    begun.wait()
    try:
        assert _traits.bound_processors([os.getpid()]) == [min(everywhere)]
    finally:
        done.set()
        thread.join()
