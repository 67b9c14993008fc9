# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The freezer of a real cgroup, of either version."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from relocate_proxy.parts.endings import kill_frozen

pytestmark = pytest.mark.kernel


class Talker:
    """A process in a cgroup of its own that says something every 5 ms."""

    def __init__(self) -> None:
        parent = freezer.freezer_of(os.getpid())
        self.at = freezer.Freezer(f"{parent.directory}/relocate-test-{os.getpid()}", parent.version)
        Path(self.at.directory).mkdir()
        command = f"echo $$ > {self.at.directory}/cgroup.procs && while :; do echo x; sleep 0.005; done"
        self.process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)

    def talks(self, seconds: float = 5.0) -> bool:
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
        deadline = time.monotonic() + 5
        while freezer.members(self.at) and time.monotonic() < deadline:  # a sleep of its own
            time.sleep(0.01)
        Path(self.at.directory).rmdir()


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
    for _ in range(5):
        begin = time.monotonic()
        freezer.freeze(talker.at)
        took.append(time.monotonic() - begin)
        freezer.thaw(talker.at)
    assert min(took) < 0.05, took


def test_a_frozen_process_dies_only_when_it_is_thawed(talker: Talker) -> None:
    """The order in which the source kills what it has moved away: nothing runs in between."""
    freezer.freeze(talker.at)
    kill_frozen(talker.at, None)
    assert freezer.members(talker.at) == []
    assert talker.process.wait(5) == -9


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
        assert talker.process.wait(5) == -9
    finally:
        freezer.thaw(talker.at)
        talker.process.kill()
        deadline = time.monotonic() + 5
        while freezer.members(talker.at) and time.monotonic() < deadline:
            time.sleep(0.01)
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
    assert talker.process.wait(5) == -9


def test_a_container_that_is_gone(talker: Talker) -> None:
    """Has no members, and nothing that could be thawed."""
    gone = freezer.Freezer(talker.at.directory + "-gone", talker.at.version)
    assert freezer.members(gone) == []
    freezer.thaw(gone)
