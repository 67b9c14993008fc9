# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of docs/tenants.md that want something of the host: huge pages, a process outside of the container, a program."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import python_image
from fleet import Fleet
from test_tenants import said
from waiting import until

pytestmark = pytest.mark.lab

HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
WANTED = 32  # of 2 MiB; all hosts of the lab have the same kernel, and share them
SLEEP = 20  # seconds


@pytest.fixture
def huge_pages() -> Iterator[None]:
    """Have the kernel set some huge pages aside."""
    before = HUGE_PAGES.read_text()
    HUGE_PAGES.write_text(str(WANTED))
    try:
        assert int(HUGE_PAGES.read_text()) == WANTED, "this machine's memory is in too many pieces for huge pages"
        yield
    finally:
        HUGE_PAGES.write_text(before)


HUGE = """
import hashlib, json, mmap, os, time
MIB, HUGETLB = 1 << 20, 0x40000
own = mmap.mmap(-1, 8 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | HUGETLB)
file = os.memfd_create("huge", 4)  # MFD_HUGETLB
os.ftruncate(file, 4 * MIB)
shared = mmap.mmap(file, 4 * MIB)
for area in (own, shared):
    area[:2 * MIB] = os.urandom(2 * MIB)  # and the others are not there yet

def areas():
    with open("/proc/self/smaps") as file:
        return sum(line.split() == ["KernelPageSize:", "2048", "kB"] for line in file)

count = 0
while True:
    own[3 * MIB:3 * MIB + 8] = shared[3 * MIB:3 * MIB + 8] = count.to_bytes(8, "little")
    kept = [hashlib.sha256(area[:2 * MIB]).hexdigest() for area in (own, shared)]
    assert own[3 * MIB:3 * MIB + 8] == count.to_bytes(8, "little") == shared[3 * MIB:3 * MIB + 8]
    count += 1
    print(json.dumps({"kept": kept, "areas": areas(), "count": count}), flush=True)
    time.sleep(0.1)
"""


def test_huge_pages_are_huge_afterwards(fleet: Fleet, huge_pages: None) -> None:
    """Of its own, and of a file in memory; in either mode."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "huge", HUGE)
    first, lines = said(fleet, "host1", "huge")
    assert first["areas"] == 2
    for host, mode in (("host3", "stop-and-copy"), ("host1", "post-copy"), ("host3", "post-copy")):
        fleet.move("huge", host, "--mode", mode)
        now, lines = said(fleet, host, "huge", lines + 3)
        assert (now["kept"], now["areas"]) == (first["kept"], 2)
        assert now["count"] > first["count"]


SLEEPER = f"""
import json, os, subprocess, time
while not os.path.exists("/ready"):
    time.sleep(0.1)
print(json.dumps("now"), flush=True)
while True:
    begin = time.time()
    subprocess.run(["/sleep", "{SLEEP}"], check=True)
    print(json.dumps({{"slept": time.time() - begin}}), flush=True)
"""


def test_gnu_sleep_goes_on(fleet: Fleet) -> None:
    """It asks the kernel what is left of its time, and sleeps for that."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "sleeper", SLEEPER)
    fleet.on("host1", "docker cp -q /bin/sleep sleeper:/sleep; docker cp -q /etc/hostname sleeper:/ready")
    _, lines = said(fleet, "host1", "sleeper")
    begun = float(fleet.on("host1", "date +%s.%N"))
    fleet.move("sleeper", "host3")
    moved = float(fleet.on("host3", "date +%s.%N")) - begun
    assert moved < SLEEP, "the move has taken longer than the sleep: this shows nothing"
    now, _ = said(fleet, "host3", "sleeper", lines + 1)
    assert SLEEP <= now["slept"] < SLEEP + moved, now


#: Connects to a socket of a container's from its host, by the file, and stays there.
VISITOR = """
import socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""
VISITED = """
import json, os, socket, struct, time
server = socket.socket(socket.AF_UNIX)
server.bind("/socket")
server.listen()
server.setblocking(False)
ends = []
while True:
    try:
        ends.append(server.accept()[0])
    except BlockingIOError:
        pass
    for end in [*ends]:
        try:
            if not end.recv(1, socket.MSG_DONTWAIT):
                ends.remove(end)
                end.close()
        except BlockingIOError:
            pass
    print(json.dumps({"ends": len(ends)}), flush=True)
    time.sleep(0.1)
"""


def test_a_peer_on_the_host_keeps_the_container(fleet: Fleet) -> None:
    """A connection by a unix socket whose other end is no process of the container's is a reason to refuse."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "visited", VISITED)
    said(fleet, "host1", "visited")
    pid = fleet.on("host1", "docker inspect -f '{{.State.Pid}}' visited").strip()
    visit = [*fleet.ssh("host1", f"python3 -c '{VISITOR}' /proc/{pid}/root/socket")]
    with subprocess.Popen(visit, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as visitor:
        assert visitor.stdout is not None and visitor.stdin is not None
        assert visitor.stdout.readline() == "connected\n"
        until(lambda: said(fleet, "host1", "visited")[0]["ends"], "the connection")
        result = fleet.move("visited", "host3", check=False)
        assert result["outcome"] == "refused", result
        assert "is connected by a unix socket with a program outside of the container" in result["msg"]
        visitor.stdin.close()
    until(lambda: not said(fleet, "host1", "visited")[0]["ends"], "the end of the connection")
    fleet.move("visited", "host3")


PIDFDS = """
import ctypes, json, os, signal, socket, struct, time
PEERPIDFD = 77
left, right = socket.socketpair()
server = socket.socket(socket.AF_UNIX)
server.bind("/socket")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("/socket")
accepted = server.accept()[0]

def named(end):
    fd = end.getsockopt(socket.SOL_SOCKET, PEERPIDFD)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
    finally:
        os.close(fd)

while True:
    print(json.dumps({"named": [named(end) for end in (left, right, client, accepted)], "self": os.getpid()}), flush=True)
    time.sleep(0.1)
"""


def test_a_connection_leads_to_the_process_at_its_other_end(fleet: Fleet) -> None:
    """``SO_PEERPIDFD``, where both ends name the process that has the connection."""
    python_image.make(fleet)
    python_image.run(fleet, "host1", "pidfds", PIDFDS)
    first, lines = said(fleet, "host1", "pidfds")
    assert first["named"] == [first["self"]] * 4
    for host, mode in (("host3", "stop-and-copy"), ("host1", "post-copy")):
        fleet.move("pidfds", host, "--mode", mode)
        now, lines = said(fleet, host, "pidfds", lines + 2)
        assert now == first
