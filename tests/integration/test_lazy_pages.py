# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-copy beside the proxies: two real page processes over TLS, a real task, and a copy of it with a real userfaultfd."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from relocate_proxy.memory import deferred, lazy_pages, page_process
from relocate_proxy.memory.deferred import Area
from relocate_proxy.memory.lazy_pages import PageClient, PageServer, PagesLost
from relocate_proxy.parts import drain
from relocate_proxy.protocol.documents import Specification
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State

from tests.lab.waiting import until

pytestmark = pytest.mark.kernel
KEYS = credentials.make("r1")
PAGE = 4096
NUMBER = 8  # bytes
PAGES = 4096
ADDRESS = 0x200000000000
#: What both programs begin with: an area of pages at the same place.
AREA = f"""
import ctypes, json, mmap, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
word = ctypes.c_ulong
PAGE, PAGES, ADDRESS = {PAGE}, {PAGES}, {ADDRESS}
def call(name, *words):
    found = getattr(libc, name)(*map(word, words))
    if found in (-1, 2**64 - 1):
        raise OSError(ctypes.get_errno(), name)
    return found
def area(address, pages):
    return call("mmap", address, pages * PAGE, 3, 0x100022, 2**64 - 1, 0)
def contents(page):
    return page.to_bytes({NUMBER}, "big") * {PAGE // NUMBER}
libc.prctl(0x59616D61, word(2**64 - 1), 0, 0, 0)
assert area(ADDRESS, PAGES) == ADDRESS
"""
#: A container's task: every page is filled with its own number. (PR_SET_PTRACER: the proxies are root, this test need not be.)
TASK = f"""{AREA}
for page in range(PAGES):
    ctypes.memmove(ADDRESS + page * PAGE, contents(page), PAGE)
print("filled", flush=True)
time.sleep(1000)
"""
#: The copy, as CRIU's restore leaves it: nothing is in its area. It does what it is told, line by line, and says so.
COPY = f"""{AREA}
work, pid = sys.argv[1], int(sys.argv[2])
number = {{"x86_64": 323, "aarch64": 282}}[os.uname().machine]
for page in map(int, sys.argv[3:]):  # restored at once, though the image says that it comes later
    ctypes.memset(ADDRESS + page * PAGE, 5, PAGE)
faults = call("syscall", number, os.O_CLOEXEC | os.O_NONBLOCK)
def order(request, *words):
    asked = (ctypes.c_uint64 * len(words))(*words)
    if libc.ioctl(ctypes.c_int(faults), word(request), asked):
        raise OSError(ctypes.get_errno(), hex(request))
order(0xC018AA3F, 0xAA, 2 | 4 | 8 | 64, 0)   # UFFDIO_API: fork, remap, remove, unmap
order(0xC020AA00, ADDRESS, PAGES * PAGE, 1, 0)  # UFFDIO_REGISTER: missing pages
def has(page, at=None, expected=None):
    at = ADDRESS + page * PAGE if at is None else at
    found = ctypes.string_at(at, PAGE)
    assert found == (contents(page) if expected is None else expected), (page, found[:{NUMBER}])
def all_of(first, last):
    for page in range(first, last):
        has(page)
def unmap(first, last):
    call("munmap", ADDRESS + first * PAGE, (last - first) * PAGE)
def forget(first, last):
    call("madvise", ADDRESS + first * PAGE, (last - first) * PAGE, 4)
def protect(first, last, how):
    call("mprotect", ADDRESS + first * PAGE, (last - first) * PAGE, how)
def move(first, last):
    to = call("mmap", 0, (last - first) * PAGE, 0, 0x22, 2**64 - 1, 0)
    size = (last - first) * PAGE
    assert call("mremap", ADDRESS + first * PAGE, size, size, 3, to) == to
    return to
os.chdir(work)
restore = socket.socket(socket.AF_UNIX)
while restore.connect_ex("lazy-pages.socket"):
    time.sleep(0.01)
restore.sendall(struct.pack("=i", -77))  # a zombie
restore.sendall(struct.pack("=i", pid))
socket.send_fds(restore, [b"x"], [faults])
os.close(faults)
if os.path.exists("wait"):
    print("all but the last word", flush=True)
    sys.stdin.readline()
restore.sendall(struct.pack("=i", 0x52535446))
print("restored", flush=True)
for line in sys.stdin:
    try:
        exec(line)
    except BaseException as error:
        print(f"{{type(error).__name__}}: {{error}}", flush=True)
    else:
        print("done", flush=True)
"""


class Hosts:
    """A source and a destination on one machine, each with its session."""

    def __init__(self, directory: Path) -> None:
        self.source, self.destination = directory / "s", directory / "d"
        for session in (self.source, self.destination):
            for name in ("images", "work"):
                (session / name).mkdir(parents=True)
        self.client = PageClient(str(self.destination), Specification("r1", KEYS["destination"], "127.0.0.1"))
        self.server = PageServer(
            str(self.source), Specification("r1", KEYS["source"], "127.0.0.1"), ("127.0.0.1", self.client.port)
        )
        self.copy: subprocess.Popen[str] | None = None
        self.task = subprocess.Popen([sys.executable, "-c", TASK], stdout=subprocess.PIPE)
        assert self.task.stdout is not None
        self.task.stdout.readline()

    def serve(self) -> None:
        """Have the source serve its frozen task."""
        self.server.serve([self.task.pid])
        self.server.await_serving()

    def freeze_server(self, how: signal.Signals) -> None:
        """Stop the source's process, or let it go on: a network that is down."""
        found = until(
            lambda: lazy_pages.processes(str(self.source)),
            "the source's process and its parent",
            lambda there: len(there) >= 2 or how is not signal.SIGSTOP,
        )
        for pid, role in found.items():
            assert role == "serve"
            os.kill(pid, how)

    def begin(
        self, areas: list[tuple[int, int]] | None = None, pid: int | None = None, there: tuple[int, ...] = ()
    ) -> None:
        """Restore the copy at the destination.

        :param areas: which of its pages come later, all of them unless told. :param there: which are there all the same.
        """
        inner = deferred.in_namespace(self.task.pid) if pid is None else pid
        image = self.destination / f"images/pagemap-{inner}.img"
        image.write_bytes(b"criupmap" + struct.pack("=I", 2) + b"\x08\x09")
        extents = [Area(inner, ADDRESS + a * PAGE, ADDRESS + b * PAGE) for a, b in areas or [(0, PAGES)]]
        deferred.enter(str(image), extents)
        words = [sys.executable, "-c", COPY, str(self.destination / "work"), str(inner), *map(str, there)]
        self.copy = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.client.begin("", self.copy.pid)  # every cgroup's name has an empty one in it
        if not (self.destination / "work/wait").exists():
            assert self.said() == "restored"

    def said(self) -> str:
        """Return the copy's next line."""
        assert self.copy is not None and self.copy.stdout is not None
        return self.copy.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Have the copy do something."""
        assert self.copy is not None and self.copy.stdin is not None
        print(line, file=self.copy.stdin, flush=True)

    def do(self, line: str) -> None:
        """Have the copy do something, and see that it went well."""
        self.tell(line)
        assert self.said() == "done"

    def outcome(self) -> dict[str, Any]:
        """How it ended at the destination; that it has no end shows, too, while pages come again and again."""
        return until(
            lambda: lazy_pages.outcome(str(self.destination)) or {},
            "the end of the drain",
            seconds=120,
            words=lambda: str(lazy_pages.report(str(self.destination))),
        )

    def progress(self, **wanted: object) -> dict[str, Any]:
        """Wait until the report has these values; return it."""
        return until(
            lambda: lazy_pages.report(str(self.destination)),
            f"a report of {wanted}",
            lambda found: bool(found) and all(found.get(key) == value for key, value in wanted.items()),
        )

    def processes(self, session: Path) -> list[int]:
        """The page processes of a session that still run; those that are just ending are given the time."""
        return until(lambda: self.listed(session), "the page processes' end", lambda found: not found)

    @staticmethod
    def listed(session: Path) -> list[int]:
        return list(lazy_pages.processes(str(session)))

    def end(self) -> None:
        """Leave nothing."""
        for process in (self.copy, self.task):
            if process is not None:
                process.kill()
                process.wait()
        for session in (self.source, self.destination):
            lazy_pages.end_processes(str(session))
        self.server.close()


@pytest.fixture
def hosts(host: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Return two hosts, between which pages can be fetched."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the numbers of userfaultfd's calls are known here for x86_64 and aarch64")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setattr("relocate_proxy.host.paths.RESTORE_SHIM", "")
    made = Hosts(host)
    yield made
    made.end()


def test_every_page_comes_and_both_sides_end_by_themselves(hosts: Hosts) -> None:
    hosts.serve()
    hosts.begin()
    hosts.do("all_of(0, PAGES)")
    outcome = hosts.outcome()
    assert outcome.get("bytes", 0) >= PAGES * PAGE, outcome
    assert hosts.processes(hosts.source) == hosts.processes(hosts.destination) == []
    assert hosts.progress()["left"] == 0
    hosts.do("all_of(0, PAGES)")


def test_memory_that_was_never_there_is_empty(hosts: Hosts) -> None:
    """A hole in an area that comes later; it is asked for while the rest is on its way, and afterwards."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin([(0, 10), (20, PAGES)])
    hosts.do("has(15, expected=bytes(PAGE))")
    hosts.freeze_server(signal.SIGCONT)
    assert "bytes" in hosts.outcome()
    hosts.do("has(16, expected=bytes(PAGE)); all_of(0, 10); all_of(20, PAGES)")


def test_a_page_that_is_there_already_stays_as_it_is(hosts: Hosts) -> None:
    """The drain went on for ever over the first of these."""
    hosts.serve()
    hosts.begin(there=(0, 3, 4, 700, PAGES - 1))
    outcome = hosts.outcome()
    assert "bytes" in outcome, outcome
    hosts.do("[has(page, expected=bytes([5]) * PAGE) for page in (0, 3, 4, 700, PAGES - 1)]")
    hosts.do("all_of(1, 3); all_of(5, 700); all_of(701, PAGES - 1)")


#: What a program does to its memory while chunks of it are on their way, and what it must find afterwards.
CHANGES = {
    "unmaps the beginning of what is on its way": ("unmap(0, 7)", "all_of(7, PAGES)"),
    "unmaps the end": ("unmap(PAGES - 9, PAGES)", "all_of(0, PAGES - 9)"),
    "unmaps the middle": ("unmap(5, 12)", "all_of(0, 5); all_of(12, PAGES)"),
    "unmaps all": ("unmap(0, PAGES)", ""),
    "maps something else there": (
        "unmap(3, 9); area(ADDRESS + 3 * PAGE, 6)",
        "has(4, expected=bytes(PAGE)); all_of(9, PAGES)",
    ),
    "forgets the beginning": ("forget(0, 7)", "has(3, expected=bytes(PAGE)); all_of(7, PAGES)"),
    "forgets the middle": ("forget(5, 12)", "all_of(0, 5); has(8, expected=bytes(PAGE)); all_of(12, PAGES)"),
    "forgets and writes": (
        "forget(0, PAGES); ctypes.memset(ADDRESS, 7, 3 * PAGE)",
        "has(1, expected=bytes([7]) * PAGE); has(9, expected=bytes(PAGE))",
    ),
    "protects a part": ("protect(4, 9, 1); protect(100, 101, 0)", "protect(100, 101, 3); all_of(0, PAGES)"),
    "moves the beginning": ("to = move(0, 8)", "[has(page, to + page * PAGE) for page in range(8)]; all_of(8, PAGES)"),
    "moves the middle": (
        "to = move(5, 900)",
        "all_of(0, 5); [has(page, to + (page - 5) * PAGE) for page in range(5, 900)]; all_of(900, PAGES)",
    ),
    "moves, and moves the moved": (
        "to = move(0, 64); ADDRESS, old = to, ADDRESS; to = move(8, 24); ADDRESS = old",
        "[has(page, to + (page - 8) * PAGE) for page in range(8, 24)]; all_of(64, PAGES)",
    ),
    "forgets a part, and lets the whole grow": (
        "forget(3, 8); to = call('mremap', ADDRESS, PAGES * PAGE, 2 * PAGES * PAGE, 1)",
        "[has(page, to + page * PAGE, bytes(PAGE) if page in range(3, 8) or page == PAGES else None) "
        "for page in range(PAGES + 1)]",
    ),
    "forgets a part, and moves the whole": (
        "forget(3, 8); to = move(0, PAGES)",
        "[has(page, to + page * PAGE, bytes(PAGE) if page in range(3, 8) else None) for page in range(PAGES)]",
    ),
    "protects a part while nothing is there, and lets the whole grow": (
        "protect(2, 5, 1)",
        "protect(2, 5, 3); to = call('mremap', ADDRESS, PAGES * PAGE, 2 * PAGES * PAGE, 1); "
        "[has(page, to + page * PAGE) for page in range(PAGES)]",
    ),
    "forgets a page and writes to it": (
        "forget(6, 7); ctypes.memset(ADDRESS + 6 * PAGE, 1, 1)",
        "all_of(0, 6); has(6, expected=bytes([1]) + bytes(PAGE - 1)); all_of(7, PAGES)",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_copy_that_changes_its_memory_gets_all_of_the_rest(hosts: Hosts, what: str) -> None:
    """The first chunk has been ordered when it does, and has not come."""
    change, expected = CHANGES[what]
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    hosts.progress(connected=True)
    time.sleep(0.3)
    hosts.do(change)
    hosts.freeze_server(signal.SIGCONT)
    outcome = hosts.outcome()
    assert "bytes" in outcome, outcome
    if expected:
        hosts.do(expected)
    assert hosts.processes(hosts.destination) == []


def test_a_copy_that_forgets_the_same_all_the_time(hosts: Hosts) -> None:
    """Each time it waits until it is heard, and nothing can be placed before."""
    hosts.serve()
    hosts.begin()
    hosts.do("import itertools, threading; ending = threading.Event(); times = itertools.count()")
    hosts.do("again = lambda: [forget(3, 8) for _ in iter(ending.is_set, True) if next(times) >= 0]")
    hosts.do("thread = threading.Thread(target=again); thread.start()")
    outcome = hosts.outcome()
    hosts.do("ending.set(); thread.join(); all_of(0, 3); all_of(8, PAGES); assert next(times) > 1")
    assert "bytes" in outcome, outcome


def test_a_child_gets_its_memory_too(hosts: Hosts) -> None:
    """And a child of it; both go on when the parent has unmapped what was theirs, too."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    grandchild = "child or os.fork(); child or all_of(0, PAGES); child or os._exit(7)"
    hosts.do(f"child = os.fork(); {grandchild}")
    hosts.do("unmap(0, PAGES)")
    hosts.freeze_server(signal.SIGCONT)
    assert "bytes" in hosts.outcome()
    hosts.do("assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7")


def test_a_copy_that_maps_and_unmaps_all_the_time(hosts: Hosts) -> None:
    """Whatever is on its way, in every moment."""
    churn = (
        "import random; chance = random.Random(5); "
        "[(forget(a, a + n), ctypes.memset(ADDRESS + a * PAGE, 9, n * PAGE), unmap(a + 2, a + n - 2)) "
        "for a, n in [(chance.randrange(PAGES // 32) * 32, 32 - 8) for _ in range(600)] "
        "if not touched.get(a) and not touched.update({a: 1})]"
    )
    hosts.serve()
    hosts.begin()
    hosts.do("touched = {}")
    hosts.do(churn)
    assert "bytes" in hosts.outcome()
    hosts.do(
        "[(has(0, ADDRESS + a * PAGE, bytes([9]) * PAGE), all_of(a + 24, a + 32)) if a in touched else all_of(a, a + 32) "
        "for a in range(0, PAGES, 32)]"
    )


def test_a_source_that_does_not_answer_is_called_again(hosts: Hosts) -> None:
    """Its process hangs: the copy waits, and nobody ends it. Killed, it is started again; what was on its way comes then."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    hosts.tell("all_of(0, PAGES)")
    silent = hosts.progress(connected=False)
    assert silent["left"] == PAGES * PAGE and "has not answered" in silent["problem"]
    assert lazy_pages.outcome(str(hosts.destination)) is None
    child = max(lazy_pages.processes(str(hosts.source)))
    os.kill(child, signal.SIGKILL)
    hosts.freeze_server(signal.SIGCONT)
    assert hosts.said() == "done" and "bytes" in hosts.outcome()


def test_a_source_whose_process_is_gone_is_served_again(hosts: Hosts) -> None:
    """Both of its processes were killed: the copy waits, and is told of nothing until they are started again."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    lazy_pages.end_processes(str(hosts.source))
    hosts.tell("all_of(0, PAGES)")
    hosts.progress(connected=False)
    assert lazy_pages.outcome(str(hosts.destination)) is None and hosts.copy is not None and hosts.copy.poll() is None
    assert lazy_pages.serve_again(str(hosts.source))
    assert hosts.said() == "done" and "bytes" in hosts.outcome()


def test_a_source_whose_task_has_ended_takes_the_copy_with_it(hosts: Hosts) -> None:
    """The copy must never read zeros where its memory was."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    hosts.task.kill()
    hosts.task.wait()
    hosts.tell("all_of(0, PAGES)")
    hosts.freeze_server(signal.SIGCONT)
    assert "has ended at its source" in hosts.outcome()["lost"]
    assert hosts.copy is not None and hosts.copy.wait(60) == -9 and hosts.said() == ""
    assert hosts.processes(hosts.destination) == []


def test_nothing_listens_in_clear(hosts: Hosts) -> None:
    """Whoever connects to a page server gets memory: the only port is the destination's, and demands a certificate."""
    listening = lambda: {  # noqa: E731
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()
        if line.split()[3] == "0A"
    }
    before = listening()
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    assert listening() <= before
    hosts.freeze_server(signal.SIGCONT)


def test_a_source_whose_task_is_gone_says_so(hosts: Hosts) -> None:
    """Before the vote: the source can still give the container back."""
    hosts.server.deferral.tasks = {1: 2**22 + 1}
    hosts.server._helper.tell({"tasks": hosts.server.deferral.tasks})
    with pytest.raises(PagesLost, match="No such file or directory"):
        hosts.server.await_serving()


def test_a_destination_gets_no_memory_but_the_containers(hosts: Hosts) -> None:
    hosts.serve()
    hosts.begin(pid=4711)
    assert "process 4711, which the container does not have" in hosts.outcome()["lost"]


def test_a_server_that_was_never_used_leaves_nothing(hosts: Hosts) -> None:
    hosts.server.close()
    assert hosts.processes(hosts.source) == []


def test_a_server_that_is_closed_leaves_nothing(hosts: Hosts) -> None:
    """The move was rolled back, or the destination's last word was lost: no child of it goes on calling."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    lazy_pages.end_processes(str(hosts.destination))
    hosts.freeze_server(signal.SIGCONT)
    assert len(hosts.listed(hosts.source)) == 2
    hosts.server.close()
    assert hosts.listed(hosts.source) == []


def test_a_restore_that_is_given_up_ends_it(hosts: Hosts) -> None:
    hosts.serve()
    hosts.client.begin("", 2**22 + 1)
    import socket

    restore = socket.socket(socket.AF_UNIX)
    restore.connect(str(hosts.destination / "work/lazy-pages.socket"))
    restore.close()
    assert "the restore was given up" in hosts.outcome()["lost"]


def test_a_proxy_that_is_killed_is_not_missed(hosts: Hosts) -> None:
    """The page process goes on, and whoever comes after it reads how it ended."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    for stream in (hosts.client._helper._process.stdin, hosts.client._helper._process.stdout):
        assert stream is not None
        stream.close()
    assert lazy_pages.outcome(str(hosts.destination)) is None
    hosts.freeze_server(signal.SIGCONT)
    assert "bytes" in hosts.outcome()


def test_who_keeps_the_faults_is_replaced_when_killed(hosts: Hosts) -> None:
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    kept = lambda: [pid for pid, role in lazy_pages.processes(str(hosts.destination)).items() if role == "keep"]  # noqa: E731
    (first,) = kept()
    os.kill(first, signal.SIGKILL)
    hosts.do("child = os.fork(); child or os._exit(0)")
    found = until(kept, "its successor", lambda pids: pids not in ([], [first]))
    assert len(found) == 1 and first not in found
    hosts.freeze_server(signal.SIGCONT)
    assert "bytes" in hosts.outcome()
    assert hosts.processes(hosts.destination) == []


def fetches(hosts: Hosts, *but: int) -> int:
    """Wait for the process that fetches at the destination, if it is not one of these; return it."""

    def look() -> list[int]:
        roles = lazy_pages.processes(str(hosts.destination))
        return [pid for pid, role in roles.items() if role in ("fetch", "again") and pid not in but]

    return until(look, "a process that fetches")[0]


def test_a_page_process_that_is_killed_is_started_again(hosts: Hosts) -> None:
    """It knows what was unmapped, moved, forgotten and forked before; who waited for a page still does, and gets it."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin([(0, 3000), (3010, PAGES)])
    hosts.do("unmap(8, 16); forget(20, 30); to = move(100, 200)")
    hosts.do("ADDRESS, old = to, ADDRESS; forget(5, 10); ADDRESS = old")
    hosts.do("child = os.fork(); child or (all_of(0, 8), all_of(2000, 2999), os._exit(7))")
    hosts.do("forget(2000, 2100)")
    hosts.tell("all_of(300, 400)")
    time.sleep(0.3)
    killed = [fetches(hosts)]
    for _ in range(2):
        os.kill(killed[-1], signal.SIGKILL)
        killed.append(fetches(hosts, *killed))
        assert lazy_pages.outcome(str(hosts.destination)) is None
    hosts.freeze_server(signal.SIGCONT)
    assert hosts.said() == "done" and "bytes" in hosts.outcome()
    hosts.do("all_of(0, 8); all_of(16, 20); has(25, expected=bytes(PAGE)); all_of(30, 100); all_of(200, 2000)")
    hosts.do("[has(page, to + (page - 100) * PAGE) for page in [*range(100, 105), *range(110, 200)]]")
    hosts.do("has(7, to + 7 * PAGE, bytes(PAGE)); has(2050, expected=bytes(PAGE))")
    hosts.do("all_of(2100, 3000); all_of(3010, PAGES); has(3005, expected=bytes(PAGE))")
    hosts.do("assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7")
    assert hosts.processes(hosts.destination) == []


def test_a_page_process_that_is_killed_while_all_comes(hosts: Hosts) -> None:
    """At any moment, once it has said that the copy is restored."""
    hosts.serve()
    hosts.begin()
    hosts.client.await_restored()
    killed = [fetches(hosts)]
    with contextlib.suppress(ProcessLookupError):
        os.kill(killed[0], signal.SIGKILL)
    hosts.tell("all_of(0, PAGES)")
    assert hosts.said() == "done" and "bytes" in hosts.outcome()


def test_nobody_votes_for_a_copy_whose_page_process_never_heard_the_last_word(hosts: Hosts) -> None:
    """It is killed between that word and its own note of it: it has no successor. A verdict would lose the copy."""
    (hosts.destination / "work/wait").touch()
    hosts.serve()
    hosts.begin()
    assert hosts.said() == "all but the last word"
    fetching = fetches(hosts)
    os.kill(fetching, signal.SIGSTOP)
    hosts.tell("")
    assert hosts.said() == "restored"  # CRIU goes on to its gate
    os.kill(fetching, signal.SIGKILL)
    with pytest.raises(PagesLost, match="the process that carries memory after the move is gone"):
        hosts.client.await_restored()
    assert "killed before the copy was restored" in hosts.outcome()["lost"]


def test_a_page_process_that_stands_still_gets_no_vote(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_pages, "RESTORED_SECONDS", 0.2)
    (hosts.destination / "work/wait").touch()
    hosts.serve()
    hosts.begin()
    assert hosts.said() == "all but the last word"
    with pytest.raises(PagesLost, match=r"said nothing for 0\.2 s"):
        hosts.client.await_restored()


def test_what_may_have_happened_unheard_is_not_guessed(hosts: Hosts) -> None:
    """It was killed between the kernel's word and the file: the copy is ended, not run with memory that may be wrong."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    events, before = hosts.destination / "events", (hosts.destination / "events").stat().st_size
    hosts.do("forget(0, 10)")
    # written down, and its mark taken back: the next one is ours
    until(lambda: events.stat().st_size > before and events.read_bytes()[0] == 0, "a change that was heard of")
    with events.open("r+b") as file:
        file.write(b"\1")
    os.kill(fetches(hosts), signal.SIGKILL)
    assert "killed while it heard of a change" in hosts.outcome()["lost"]
    assert hosts.copy is not None and hosts.copy.wait(60) == -9


def test_a_page_process_that_is_killed_time_and_again_is_known_to_be_dead(hosts: Hosts) -> None:
    """The copy waits, and reads no zeros; it is dead all the same, and is made to be so."""
    hosts.serve()
    hosts.freeze_server(signal.SIGSTOP)
    hosts.begin()
    hosts.tell("has(1)")
    time.sleep(0.2)
    killed: list[int] = []
    for _ in range(page_process.AGAIN_TIMES + 1):
        killed.append(fetches(hosts, *killed))
        os.kill(killed[-1], signal.SIGKILL)
    lost = "the process that fetched it was killed"
    assert hosts.outcome() == {"lost": lost}
    roles = lambda: list(lazy_pages.processes(str(hosts.destination)).values())  # noqa: E731
    until(roles, "one process, which keeps the faults", lambda found: found == ["keep"])
    journal = Journal.at("r1", "destination")
    assert hosts.copy is not None
    journal.record(State.DRAINING, container_id="", pid=hosts.copy.pid)
    assert drain.settle(journal, str(hosts.destination), 1)["lost"] == lost
    assert hosts.copy.wait(60) == -9 and hosts.said() == ""
    assert hosts.processes(hosts.destination) == []
    assert Journal.at("r1", "destination").facts["lost"] == lost


def test_a_verdict_without_memory_is_not_accepted(host: Path) -> None:
    """The tunnel broke between the restore and the commit: nothing has run, and the source can still be given back."""
    journal = Journal.at("r1", "destination")
    journal.record(State.PREPARED, mode="post-copy")
    (host / "pages").write_text(json.dumps({"lost": "the connection to the source broke"}))
    with pytest.raises(PagesLost, match="the connection to the source broke"):
        drain.accept_verdict(journal, str(host))
    assert journal.state is State.PREPARED


@pytest.mark.parametrize(("mode", "state"), [("post-copy", State.DRAINING), ("stop-and-copy", State.COMMITTED)])
def test_what_a_verdict_is_called(host: Path, mode: str, state: State) -> None:
    journal = Journal.at("r1", "destination")
    journal.record(State.PREPARED, mode=mode)
    (host / "pages").write_text(json.dumps({"bytes": 1}))
    drain.accept_verdict(journal, str(host))
    assert journal.state is state


def test_after_a_reboot_nothing_comes_any_more(host: Path) -> None:
    assert "rebooted" in lazy_pages.await_outcome(str(host), 1)["lost"]


def test_another_process_with_the_copys_number_is_left_alone() -> None:
    """The copy has ended, and its number was given away."""
    with subprocess.Popen(["sleep", "1000"]) as other:
        page_process.kill_copy("0123456789abcdef", other.pid)
        assert other.poll() is None
        other.kill()
    page_process.kill_copy("0123456789abcdef", other.pid)
