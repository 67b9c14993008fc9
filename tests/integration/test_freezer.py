# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The freezer of a real cgroup, of either version."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils import _spawning, _traits
from relocate_proxy.parts.endings import kill_frozen

from tests.lab.waiting import until

pytestmark = pytest.mark.kernel


class Talker:
    """A process in a cgroup of its own that says something every 5 ms."""

    def __init__(self, program: str = "while :; do echo x; sleep 0.005; done") -> None:
        parent = freezer.freezer_of(os.getpid())
        self.at = freezer.Freezer(f"{parent.directory}/relocate-test-{os.getpid()}", parent.version)
        Path(self.at.directory).mkdir()
        command = f"echo $$ > {self.at.directory}/cgroup.procs && {program}"
        self.process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)

    def talks(self, seconds: float = 60.0) -> bool:
        """Whether it says something new in time."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while select.select([fd], [], [], 0)[0]:
            os.read(fd, 65536)
        return bool(select.select([fd], [], [], seconds)[0])

    def close(self) -> None:
        """Kill it and remove the cgroup."""
        freezer.thaw(self.at)
        self.process.kill()
        self.process.communicate()
        until(self._removed, "an empty cgroup: a sleep of its own may still be ending")

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            Path(self.at.directory).rmdir()
        return not Path(self.at.directory).exists()


@pytest.fixture
def talker() -> Iterator[Talker]:
    """Return one that talks."""
    made = Talker()
    try:
        assert made.talks()
        yield made
    finally:
        made.close()


def test_frozen_is_silent_and_thawed_is_not(talker: Talker) -> None:
    """All tasks have stopped when the call returns; both directions may be repeated."""
    assert talker.process.pid in freezer.members(talker.at)
    assert freezer.freezer_of(talker.process.pid) == talker.at
    for _ in range(2):
        freezer.freeze(talker.at)
        assert not talker.talks(0.05)
    for _ in range(2):
        freezer.thaw(talker.at)
        assert talker.talks()


def test_freezing_takes_no_tenth_of_a_second(talker: Talker) -> None:
    """CRIU's own steps are that long: it is why we freeze first."""
    took = []
    for _ in range(20):
        begin = time.monotonic()
        freezer.freeze(talker.at)
        took.append(time.monotonic() - begin)
        freezer.thaw(talker.at)
    assert min(took) < 0.05, took


#: Three threads that start programs all the time, by vfork(2); there is no such program, which is soon said.
SPAWNER = """
import os, threading
def spawns():
    while True:
        try:
            os.posix_spawn("/nothing", ["x"], {})
        except OSError:
            print("x", flush=True)
for _ in range(3):
    threading.Thread(target=spawns).start()
"""
#: A child that opens a fifo which nobody writes to, before its program begins.
WAITER = """
import os, tempfile
fifo = tempfile.mkdtemp() + "/fifo"
os.mkfifo(fifo)
if os.fork():
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 5, fifo, os.O_RDONLY, 0)])
while True:
    print("x", flush=True)
"""


def spawning(program: str) -> Iterator[Talker]:
    """Yield one that runs a program of Python's; the interpreter may go on printing meanwhile."""
    made = Talker(f"exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    try:
        assert made.talks()
        yield made
    finally:
        freezer.thaw(made.at)
        for pid in freezer.members(made.at):  # a child of vfork has the pipe, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        made.close()


def test_a_container_is_not_frozen_while_it_starts_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child would never begin it, and CRIU wait for the parent: 11 seconds were seen, and 5 in FREEZING."""
    monkeypatch.setattr(freezer, "SPAWN_SECONDS", 60.0)  # how fast the machine of a test is, is no matter of the test
    for talker in spawning(SPAWNER):
        met = 0
        for _ in range(60):
            freezer.freeze(talker.at)
            met += bool(_spawning.spawned(freezer.members(talker.at)))
            freezer.thaw(talker.at)
            freezer.freeze_for_dump(talker.at)
            assert not _spawning.spawned(freezer.members(talker.at)) and not talker.talks(0.01)
            freezer.thaw(talker.at)
            assert talker.talks()
        assert met, "it was never met while it started one: this test shows nothing"


def test_a_program_that_is_never_started_is_waited_for_in_vain() -> None:
    """For a tenth of a second; all tasks run then. It is told before a move is begun."""
    for talker in spawning(WAITER):
        until(lambda: _spawning.lasting(freezer.members(talker.at)), "a child that does not begin")  # noqa: B023
        (clause,) = _traits.program_refusals(freezer.members(talker.at), talker.process.pid)
        assert "waits for a child that has not begun its program" in clause
        with pytest.raises(freezer.FreezeError, match="one of its programs was starting another"):
            freezer.freeze_for_dump(talker.at)
        assert talker.talks()


def test_a_frozen_process_dies_only_when_it_is_thawed(talker: Talker) -> None:
    """The order in which the source kills what it has moved away: nothing runs in between."""
    freezer.freeze(talker.at)
    kill_frozen(talker.at, None)
    assert freezer.members(talker.at) == []
    assert talker.process.wait(60) == -9


def test_tasks_in_cgroups_below_die_too(talker: Talker) -> None:
    """An init that makes cgroups of its own hides no task: a task that is only thawed would run beside the copy."""
    below = Path(talker.at.directory) / "below" / "deep"
    below.mkdir(parents=True)
    try:
        (below / "cgroup.procs").write_text(str(talker.process.pid))
        assert freezer.freezer_of(talker.process.pid, Path(talker.at.directory).name) == talker.at
        assert talker.process.pid in freezer.members(talker.at)
        freezer.freeze(talker.at)
        assert not talker.talks(0.05)
        kill_frozen(talker.at, None)
        assert talker.process.wait(60) == -9
    finally:
        freezer.thaw(talker.at)
        talker.process.kill()
        until(lambda: freezer.members(talker.at), "a cgroup without members", lambda members: not members)
        below.rmdir()
        below.parent.rmdir()


def test_nothing_is_killed_while_its_link_cannot_be_set_down(
    talker: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets would say farewell to clients that the copy serves. A link that is gone is no reason to wait."""
    (tmp_path / "ip").write_text("#!/bin/sh\necho no memory >&2\nexit 1\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    freezer.freeze(talker.at)
    with pytest.raises(OSError, match="the link lo of the container that has moved away cannot be set down: no memory"):
        kill_frozen(talker.at, "lo")
    assert talker.process.poll() is None and not talker.talks(0.05)
    kill_frozen(talker.at, "vethgone")
    assert talker.process.wait(60) == -9


def test_a_container_that_is_gone(talker: Talker) -> None:
    """Has no members, and nothing that could be thawed."""
    gone = freezer.Freezer(talker.at.directory + "-gone", talker.at.version)
    assert freezer.members(gone) == []
    freezer.thaw(gone)
