# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel keeps of tasks, from one real process to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host import tasks
from relocate_proxy.host.socket_options import SocketOptions

#: Does what it is told, says so, and waits.
PROGRAM = "import ctypes, os, resource, threading, time; {}; print(flush=True); time.sleep(100)"
#: Lets a thread run on processor 0 alone, gives the process a low priority of input and output, and lazy timers.
UNUSUAL = (
    "other = threading.Thread(target=lambda: [os.sched_setaffinity(0, {0}), time.sleep(100)], daemon=True); other.start(); "
    "ctypes.CDLL(None).syscall({}, 1, 0, (2 << 13) | 6); ctypes.CDLL(None).prctl(29, 70000); "
    "open('/proc/self/coredump_filter', 'w').write('0x23'); open('/proc/self/oom_score_adj', 'w').write('300')"
)
PLAIN = "threading.Thread(target=lambda: time.sleep(100), daemon=True).start()"

NETWORK = "/proc/self/ns/net"

Start = Callable[[str], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return what starts a process that does something first, and returns its pid."""
    started: list[subprocess.Popen[str]] = []

    def run(does: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{}", does)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout and process.stdout.readline() == "\n"
        return process.pid

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes have the same number inside their container, and their second threads, too."""
    monkeypatch.setattr(tasks, "inner", lambda status: 1 if status["Tgid"] == status["Pid"] else 2)


def described(pid: int) -> dict[str, Any]:
    """Return what is said of a process, as it comes over the network."""
    found: dict[str, Any] = json.loads(json.dumps(tasks.describe([pid], SocketOptions(NETWORK))))
    return found


@pytest.mark.usefixtures("alike")
@pytest.mark.skipif(tasks._IOPRIO is None, reason="the numbers of the system calls are not known here")
def test_what_criu_does_not_carry(start: Start) -> None:
    """Of one thread, the processor; of the process, how it is treated."""
    if os.cpu_count() == 1:
        pytest.skip("needs two processors")
    assert tasks._IOPRIO
    original, copy = start(UNUSUAL.replace("{}", str(tasks._IOPRIO[1]), 1)), start(PLAIN)
    was = described(original)
    assert was["1"]["threads"]["1"] == {"ioprio": (2 << 13) | 6, "slack": "70000"}
    assert {"affinity": [0]}.items() <= was["1"]["threads"]["2"].items()
    tasks.settle(was, [copy])
    assert described(copy) == was
    assert os.sched_getaffinity(copy) == os.sched_getaffinity(original)
    assert Path(f"/proc/{copy}/coredump_filter").read_text() == Path(f"/proc/{original}/coredump_filter").read_text()
    assert Path(f"/proc/{copy}/oom_score_adj").read_text() == "300\n"


@pytest.mark.usefixtures("alike")
def test_a_usual_process_has_nothing_to_say_of_its_threads(start: Start) -> None:
    """Nothing is asked of its copy, then, but that it is the same."""
    was = described(start("pass"))
    assert was["1"]["threads"] == {}
    tasks.settle(was, [start("pass")])


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize(
    ("does", "says"),
    [
        (
            "resource.setrlimit(7, (100, 200))",
            r"process 1 \(.*\) had resource limit 7 at 100/200, and this host allows",
        ),
        ("os.umask(0o027)", r"process 1 \(.*\) had Umask 0027, and its copy on this host has"),
        ("import signal; signal.signal(10, signal.SIG_IGN)", "had SigIgn"),
        (PLAIN, "had Threads 2, and its copy on this host has 1"),
        ("ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)", "had NoNewPrivs 1"),
    ],
)
def test_a_copy_that_is_not_the_same(start: Start, does: str, says: str) -> None:
    """What CRIU should have carried, and did not: there must be no such copy."""
    with pytest.raises(tasks.Different, match=says):
        tasks.settle(described(start(does)), [start("pass")])


@pytest.mark.usefixtures("alike")
def test_processors_that_this_host_does_not_have(start: Start) -> None:
    """The kernel would take those of them that there are."""
    was = described(start("pass"))
    was["1"]["threads"] = {"1": {"affinity": [0, 4000]}}
    with pytest.raises(tasks.Different, match="runs on the processors 0, 4000 only"):
        tasks.settle(was, [start("pass")])


def test_a_process_that_is_missing(start: Start) -> None:
    """Or only its body is there."""
    was = described(start("pass"))
    with pytest.raises(tasks.Different, match="is missing in the copy"):
        tasks.settle(was, [])
    ended = subprocess.Popen(["true"])
    while tasks._status(ended.pid)["State"][0] != "Z":
        pass
    assert tasks.describe([ended.pid], SocketOptions(NETWORK)) == {}, (
        "of one that waits for its parent there is nothing left"
    )
    ended.wait()


@pytest.mark.parametrize(
    ("text", "found"), [("0-2,7\n", {0, 1, 2, 7}), ("3", {3}), ("\n", set()), ("0-1,4-5", {0, 1, 4, 5})]
)
def test_lists_of_processors(text: str, found: set[int]) -> None:
    """As the kernel writes them."""
    assert tasks.processors(text) == found


@pytest.mark.parametrize(
    ("version", "name"), [(2, "cpuset.cpus.effective"), (1, "cpuset.effective_cpus"), (1, "cpuset.cpus")]
)
def test_processors_of_a_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, name: str
) -> None:
    """Of either version; all there are where the controller is not used."""
    monkeypatch.setattr(tasks, "control_directory", lambda _, __, of: str(tmp_path) if of == version else None)
    monkeypatch.setattr(tasks, "ONLINE", str(tmp_path / "online"))
    (tmp_path / "online").write_text("0-3\n")
    assert tasks.allowed_processors(7) == {0, 1, 2, 3}
    (tmp_path / name).write_text("1-2\n")
    assert tasks.allowed_processors(7) == {1, 2}
