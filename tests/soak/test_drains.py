# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of post-copies of programs that change their memory all the time: not one drain may stand still, no page be wrong.

Beside two busy loops per core. ``RELOCATE_SOAK_SMALL`` (500) and ``RELOCATE_SOAK_MIDDLE`` (100) are the numbers of moves,
``RELOCATE_SOAK_ABREAST`` (3) how many containers move at once, ``RELOCATE_SOAK_MINUTES`` (none) ends it earlier. Writes
build/bench/drains.json.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

import python_image
from direct import Direct
from fleet import ROOT, Fleet, prepared_fleet

pytestmark = pytest.mark.soak

SMALL = int(os.environ.get("RELOCATE_SOAK_SMALL", "500"))
MIDDLE = int(os.environ.get("RELOCATE_SOAK_MIDDLE", "100"))
ABREAST = int(os.environ.get("RELOCATE_SOAK_ABREAST", "3"))
MINUTES = float(os.environ.get("RELOCATE_SOAK_MINUTES", "inf"))
LOOPS_PER_CORE = 2
HOPS_OF_ONE = 20  # then another container, with other addresses, takes its place
RESULT_SECONDS = 150.0
ALIVE_SECONDS = 60.0
HOSTS = ("host1", "host2")

#: Opens sockets and files, takes signals, forks, maps, unmaps, moves, forgets and protects memory, and sees that what it has
#: kept is what it was; says how far it is. MIB of it are kept.
PROGRAM = """
import ctypes, faulthandler, mmap, os, random, signal, socket, sys, threading, time, warnings, zlib
faulthandler.enable()
warnings.simplefilter("ignore")
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
word = ctypes.c_ulong
chance = random.Random()
kept = {}
PAGE = 4096

def fresh(size):
    at = call("mmap", 0, size, 3, 0x22, 2**64 - 1, 0)
    data = chance.randbytes(PAGE)
    for place in range(0, size, PAGE):
        ctypes.memmove(at + place, place.to_bytes(8, "big") + data[8:], PAGE)
    return at, size, zlib.crc32(ctypes.string_at(at, size))

def call(name, *words):
    found = getattr(libc, name)(*map(word, words))
    if found in (-1, 2**64 - 1):
        why = os.strerror(ctypes.get_errno())
        print(open("/proc/self/maps").read(), "BAD", name, [hex(each) for each in words], why, flush=True)
        os._exit(3)
    return found

def check(number):
    at, size, expected = kept[number]
    if zlib.crc32(ctypes.string_at(at, size)) != expected:
        print("BAD", hex(at), size, flush=True)
        os._exit(1)

def resize(number):
    at, size, _ = kept.pop(number)
    what = chance.randrange(5)
    if what == 0:
        call("munmap", at, size)
        kept[number] = fresh(size)
        return
    if what == 1:  # moved
        at = call("mremap", at, size, size * 2, 1)
        call("munmap", at + size, size)
    elif what == 2:  # a part is forgotten, and empty then
        call("madvise", at + PAGE * 3, PAGE * 5, 4)
    elif what == 3:  # split by its protection
        call("mprotect", at + PAGE * 2, PAGE * 3, 1)
        kept[number] = at, size, zlib.crc32(ctypes.string_at(at, size))
        call("mprotect", at + PAGE * 2, PAGE * 3, 3)
        return
    else:
        ctypes.memset(at + PAGE * chance.randrange(size // PAGE), chance.randrange(256), 100)
    kept[number] = at, size, zlib.crc32(ctypes.string_at(at, size))

signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
for number in range(max(2, MIB // 4)):
    kept[number] = fresh(4 << 20)
turn = 0
while True:
    turn += 1
    number = chance.choice(list(kept))
    check(number)
    resize(number)
    rubbish = [bytearray(chance.randrange(1 << 20)) for _ in range(8)]
    near, far = socket.socketpair()
    near.send(b"x")
    with open("/tmp/file", "wb") as file:
        file.write(far.recv(1))
    near.close()
    far.close()
    if turn % 20 == 0:
        child = os.fork()
        if not child:
            check(chance.choice(list(kept)))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print("BAD child", flush=True)
            os._exit(1)
    thread = threading.Thread(target=lambda: time.sleep(0.001))
    thread.start()
    thread.join()
    print(turn, flush=True)
    time.sleep(0.01)
"""


#: What a program does that does not go on: each of its tasks twice, its descriptors, what still watches its memory, its log.
LOOK = """
id=$(docker inspect -f '{{.Id}}' NAME); docker inspect -f '{{json .State}} {{.LogPath}}' NAME
docker logs --tail 40 NAME 2>&1; dmesg | tail -n 30
grep -H . $(find /sys/fs/cgroup -path "*$id*" \\( -name freezer.state -o -name cgroup.events -o -name cpu.stat \\) )
for round in 1 2; do
    for pid in $(cat $(find /sys/fs/cgroup -path "*$id*" -name cgroup.procs) | sort -un); do
        for task in /proc/$pid/task/*; do
            echo "== $task"; cat $task/stat $task/syscall $task/wchan; echo; cat $task/stack
            grep -E 'State|TracerPid|Sig|Shd|Vm(Size|RSS|Lck)' $task/status
        done
    done
    sleep 3
done
for pid in $(cat $(find /sys/fs/cgroup -path "*$id*" -name cgroup.procs) | sort -un); do
    ls -l /proc/$pid/fd; cat /proc/$pid/timers
    grep -B30 -E '^VmFlags.* u[mw]( |$)' /proc/$pid/smaps | grep -E '^[0-9a-f]+-|VmFlags'
done
log=$(docker inspect -f '{{.LogPath}}' NAME); ls -li $log; tail -c 300 $log; ls -l /proc/$(pidof dockerd)/fd | grep $id
pgrep -fa 'criu|page_process|relocate|containerd-shim'; cat /var/lib/relocate/journal/*.jsonl | grep '"NAME"' | tail -2
"""


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy."""
    loops = [
        subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range((os.cpu_count() or 1) * LOOPS_PER_CORE)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Tally:
    """How many moves of each size are left to make, and how those that were made ended."""

    def __init__(self) -> None:
        self.left = {8: SMALL, 64: MIDDLE}
        self.outcomes: dict[int, Counter[str]] = {8: Counter(), 64: Counter()}
        self.needed_ms: dict[int, list[float]] = {8: [], 64: []}
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._until = time.monotonic() + MINUTES * 60

    def take(self, size: int) -> bool:
        """Say whether one more is to be made."""
        with self._lock:
            if self.left[size] == 0 or time.monotonic() > self._until:
                return False
            self.left[size] -= 1
            return True

    def note(self, size: int, result: dict[str, Any] | None, problem: str) -> None:
        """Write down how one ended."""
        with self._lock:
            outcome = result["outcome"] if result else "no result"
            self.outcomes[size][outcome] += 1
            if result and result.get("source_needed_ms"):
                self.needed_ms[size].append(result["source_needed_ms"])
            if problem:
                self.problems.append(problem)

    def document(self) -> dict[str, Any]:
        """Return all of it, for the file."""
        return {
            "outcomes": {f"{size} MiB": dict(found) for size, found in self.outcomes.items()},
            "longest_drain_ms": {f"{size} MiB": max(found, default=None) for size, found in self.needed_ms.items()},
            "problems": self.problems,
        }


def alive(fleet: Fleet, host: str, name: str) -> str:
    """Return why a program does not go on; "" if it does, and has found all of its memory."""
    words = lambda: fleet.on(host, f"docker logs --tail 1 {name} 2>&1", check=False)  # noqa: E731
    first, deadline = words(), time.monotonic() + ALIVE_SECONDS
    while time.monotonic() < deadline:
        last = words()
        if last and not last.isdigit():
            break
        if last and int(last) > int(first if first.isdigit() else 0):
            return ""
        time.sleep(0.1)
    return kept_evidence(fleet, host, name, last)


def kept_evidence(fleet: Fleet, host: str, name: str, last: str) -> str:
    """Write down how a program is that does not go on, and keep its container; return where that is. :param last: its words."""
    seen = fleet.on(host, LOOK.replace("NAME", name), check=False)
    fleet.tenants.remove(name)  # it stays, to be looked at
    path = ROOT / f"build/bench/{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(seen)
    how = "stands still" if '"Running":true' in seen else "has ended"
    return f"{name} on {host} {how} at {last!r}: see {path.relative_to(ROOT)}"


def work(fleet: Fleet, number: int, tally: Tally) -> None:
    """Move containers to and fro, until none is left to move or one does not end well."""
    generation = 0
    for size in (8, 64):
        while True:
            name, here, there = f"drain{number}-{generation}", *HOSTS
            generation += 1
            direct = None
            for _ in range(HOPS_OF_ONE):
                if not tally.take(size):
                    break
                if direct is None:
                    python_image.run(fleet, here, name, PROGRAM.replace("MIB", str(size)))
                    assert not (problem := alive(fleet, here, name)), problem
                    direct = Direct.of(fleet, name, here, there)
                    direct.mode = "post-copy"
                identifier = direct.start(here, there)
                result = direct.result(identifier, RESULT_SECONDS)
                good = bool(result and result["outcome"] == "committed" and not result["problems"])
                problem = (
                    "" if good else f"{name} to {there}, {identifier}: {json.dumps(result and result['problems'])}"
                )
                if result and result["outcome"] == "committed":
                    here, there = there, here
                problem = "; ".join(filter(None, (problem, alive(fleet, here, name))))
                tally.note(size, result, problem)
                if problem and not (result and result["outcome"] == "rolled-back"):
                    return
            if direct is None:
                break
            fleet.on(here, f"docker rm -f {name}", check=False)


def test_no_drain_stands_still() -> None:
    """Every move is committed and drained, every program finds its memory, and nothing is left."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: NOT RUN", pytrace=False)
    fleet, tally = prepared_fleet(), Tally()
    python_image.make(fleet)
    for host in HOSTS:
        fleet.on(host, f"docker pull -q {python_image.IMAGE}")
    threads = [threading.Thread(target=work, args=(fleet, number, tally)) for number in range(ABREAST)]
    try:
        with busy_cores():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        left = [fleet.on(host, "ls /run/relocate/sessions; pgrep -fa '[p]age_process'", check=False) for host in HOSTS]
    finally:
        fleet.remove_tenants()
        document = tally.document()
        path = ROOT / "build/bench/drains.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")
        print(json.dumps(document, indent=2))
    assert not tally.problems
    assert left == ["", ""]
    made = {size: found["committed"] for size, found in tally.outcomes.items()}
    assert made == {8: SMALL, 64: MIDDLE} or math.isfinite(MINUTES), made
