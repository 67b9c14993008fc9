# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-copy beside the proxies: two real page processes over TLS, a real task, and a program that asks as CRIU does."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from relocate_proxy.memory import lazy_pages, page_process
from relocate_proxy.memory.lazy_pages import PageClient, PageServer, PagesLost
from relocate_proxy.parts import drain
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State

KEYS = credentials.make("r1")
PAGE = 4096
NUMBER = 8  # bytes
#: A container's task: memory of which every page is filled with its own number. Says where it is. (PR_SET_PTRACER: the proxies
#: are root, this test need not be.)
TASK = f"""
import ctypes, mmap, time
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
memory = mmap.mmap(-1, 1024 * {PAGE}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(1024):
    memory[page * {PAGE}:(page + 1) * {PAGE}] = page.to_bytes({NUMBER}, "big") * {PAGE // NUMBER}
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
time.sleep(1000)
"""
#: ``criu lazy-pages`` that asks for as many pages as the file ``images/wanted`` says, and ends well if each was right.
CRIU = f"""#!{sys.executable}
import json, os, pathlib, socket, struct, sys, time
words = sys.argv[1:]
value = lambda option: words[words.index(option) + 1]
end = socket.socket(fileno=int(value("--ps-socket")))
images, work = (pathlib.Path(value(option)) for option in ("--images-dir", "--work-dir"))
iov = struct.Struct("=I4xQQQ")
def exactly(count):
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        if not piece:
            sys.exit(2)
        data += piece
    return data
if (images / "refuse").exists():
    (work / "lazy-pages.log").write_text("(00.1) Error (criu/uffd.c:1): uffd: no image\\n")
    sys.exit(1)
os.write(int(value("--status-fd")), b"\\0")
os.close(int(value("--status-fd")))
wanted = json.loads((images / "wanted").read_text())
page = 0
while page < wanted["pages"]:
    number = min(wanted["pages"] - page, 1 + page)
    asked = number, wanted["address"] + page * {PAGE}, wanted["pid"]
    end.sendall(iov.pack(7, *asked))
    if iov.unpack(exactly(iov.size)) != (4 << 16 | 6, *asked):
        sys.exit(3)
    for each in range(page, page + number):
        if exactly({PAGE}) != each.to_bytes({NUMBER}, "big") * {PAGE // NUMBER}:
            sys.exit(4)
    page += number
    while (images / "pause").exists():
        time.sleep(0.01)
end.sendall(iov.pack(0x1024, 0, 0, 0))
sys.exit(exactly(4) != bytes(4))
"""


class Hosts:
    """A source and a destination on one machine, each with its session."""

    def __init__(self, directory: Path) -> None:
        self.source, self.destination = directory / "s", directory / "d"
        for session in (self.source, self.destination):
            for name in ("images", "work"):
                (session / name).mkdir(parents=True)
        self.client = PageClient(
            str(self.destination), {"id": "r1", "credentials": KEYS["destination"], "listen": "127.0.0.1"}
        )
        self.server = PageServer(
            str(self.source), {"id": "r1", "credentials": KEYS["source"]}, ("127.0.0.1", self.client.port)
        )
        self.copy = subprocess.Popen(["sleep", "1000"])
        self.task = subprocess.Popen([sys.executable, "-c", TASK], stdout=subprocess.PIPE)
        assert self.task.stdout is not None
        self.address = int(self.task.stdout.readline())

    def serve(self) -> None:
        """Have the source serve its frozen task."""
        self.server.serve([self.task.pid])
        self.server.await_serving()

    def begin(self, pages: int, pause: bool = False) -> None:
        """Begin to fetch at the destination."""
        (inner,) = self.server.deferral.tasks
        wanted = {"pid": inner, "address": self.address, "pages": pages}
        (self.destination / "images/wanted").write_text(json.dumps(wanted))
        if pause:
            (self.destination / "images/pause").touch()
        self.client.begin("", self.copy.pid)  # every cgroup's name has an empty one in it

    def resume(self) -> None:
        """Let the fetching go on."""
        (self.destination / "images/pause").unlink()

    def outcome(self) -> dict[str, Any]:
        """How it ended at the destination."""
        return lazy_pages.await_outcome(str(self.destination), 20)

    def processes(self, session: Path) -> list[int]:
        """The page processes and CRIUs of a session that still run; those that are just ending are given the time."""
        deadline = time.monotonic() + 10
        while (found := self.listed(session)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    @staticmethod
    def listed(session: Path) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if any(word.startswith(str(session)) for word in words):
                found.append(int(entry.name))
        return found

    def end(self) -> None:
        """Leave nothing."""
        for session in (self.source, self.destination):
            lazy_pages.end_processes(str(session))
        self.server.close()
        for process in (self.copy, self.task):
            process.kill()
            process.wait()


@pytest.fixture
def hosts(host: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Return two hosts, between which pages can be fetched."""
    program = host / "bin/criu"
    program.parent.mkdir()
    program.write_text(CRIU)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setattr("relocate_proxy.host.paths.RESTORE_SHIM", "")
    made = Hosts(host)
    yield made
    made.end()


def test_every_page_comes_and_both_sides_end_by_themselves(hosts: Hosts) -> None:
    hosts.serve()
    hosts.begin(1000)
    outcome = hosts.outcome()
    assert outcome.get("bytes", 0) > 1000 * PAGE, outcome
    assert hosts.processes(hosts.source) == hosts.processes(hosts.destination) == []
    assert hosts.copy.poll() is None


def test_nothing_listens_in_clear(hosts: Hosts) -> None:
    """Whoever connects to a page server gets memory: it has no port, and the tunnel's demands a certificate."""
    listening = lambda: {  # noqa: E731
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()
        if line.split()[3] == "0A"
    }
    before = listening()
    hosts.serve()
    hosts.begin(1, pause=True)
    assert listening() <= before
    hosts.resume()


def test_a_source_whose_task_is_gone_says_so(hosts: Hosts) -> None:
    """Before the vote: the source can still give the container back."""
    hosts.server.deferral.tasks = {1: 2**22 + 1}
    hosts.server._helper.tell({"tasks": hosts.server.deferral.tasks})
    with pytest.raises(PagesLost, match="No such file or directory"):
        hosts.server.await_serving()


def test_a_destination_gets_no_memory_but_the_containers(hosts: Hosts) -> None:
    hosts.serve()
    hosts.server.deferral.tasks = {4711: 0}
    hosts.begin(1)
    assert "lost" in hosts.outcome()


def test_a_server_that_was_never_used_leaves_nothing(hosts: Hosts) -> None:
    hosts.server.close()
    assert hosts.processes(hosts.source) == []


def test_a_destination_that_cannot_fetch_says_why(hosts: Hosts) -> None:
    hosts.serve()
    (hosts.destination / "images/refuse").touch()
    with pytest.raises(PagesLost, match=r"CRIU cannot fetch memory on demand: .*uffd: no image"):
        hosts.begin(1)


def test_a_source_that_dies_takes_the_copy_with_it(hosts: Hosts) -> None:
    """The copy must never read zeros where its memory was."""
    hosts.serve()
    hosts.begin(10, pause=True)
    lazy_pages.end_processes(str(hosts.source))
    hosts.resume()
    lost = hosts.outcome()["lost"]
    assert "the connection to the source broke" in lost or "criu lazy-pages failed" in lost
    assert hosts.copy.wait(10) == -9
    assert hosts.processes(hosts.destination) == []


def test_a_proxy_that_is_killed_is_not_missed(hosts: Hosts) -> None:
    """The page process goes on, and whoever comes after it reads how it ended."""
    hosts.serve()
    hosts.begin(300, pause=True)
    for stream in (hosts.client._helper._process.stdin, hosts.client._helper._process.stdout):
        assert stream is not None
        stream.close()
    assert lazy_pages.outcome(str(hosts.destination)) is None
    hosts.resume()
    outcome = hosts.outcome()
    assert outcome.get("bytes", 0) > 300 * PAGE, outcome


def test_a_page_process_that_is_killed_is_known_to_be_dead(hosts: Hosts) -> None:
    """CRIU waits on, and so does the copy; it is dead all the same, and is made to be so."""
    hosts.serve()
    hosts.begin(10, pause=True)
    hosts.client._helper.kill()
    hosts.resume()
    assert lazy_pages.outcome(str(hosts.destination)) == {"lost": "the process that fetched it was killed"}
    time.sleep(0.2)
    assert hosts.listed(hosts.destination), "CRIU saw the end, and would have let the faults go"
    journal = Journal.at("r1", "destination")
    journal.record(State.DRAINING, container_id="", pid=hosts.copy.pid)
    assert drain.settle(journal, str(hosts.destination), 1)["lost"] == "the process that fetched it was killed"
    assert hosts.copy.wait(10) == -9
    time.sleep(0.1)
    assert hosts.processes(hosts.destination) == []
    assert Journal.at("r1", "destination").facts["lost"] == "the process that fetched it was killed"


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
