# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default launcher, with real Ansible and a project in miniature."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from relocate.errors import Refusal
from relocate.schedule.launchers import Launcher, LaunchError, Move, make
from relocate.schedule.launchers.retention import DAY, Retention
from relocate.schedule.launchers.settings import RunnerSettings


def move(identifier: str = "m1", **variables: Any) -> Move:
    """Return a move with its variables."""
    known = {"container": "web", "relocation_id": identifier, **variables}
    return Move(identifier, "web", "host1", "clock", 0.0, known)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where failed runs' output is kept."""
    return tmp_path / "runs"


@pytest.fixture
def launcher(project: Path, runs: Path) -> Launcher:
    """Return a launcher for the project in miniature."""
    return make(RunnerSettings(runs=runs), str(project / "hosts.yml"))


def until(path: Path, ended: Future[Any]) -> None:
    """Wait for a file that a run makes."""
    limit = time.monotonic() + 60
    while not path.exists():
        assert not ended.done(), ended.exception() or ended.result()
        assert time.monotonic() < limit, f"{path} never came"
        time.sleep(0.02)


def test_a_committed_move(launcher: Launcher, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its document, its id; nothing in ps, host keys checked, nothing left behind, no signal handler taken."""
    work = tmp_path / "tmp"
    work.mkdir()
    monkeypatch.setenv("TMPDIR", str(work))
    monkeypatch.setattr("tempfile.tempdir", str(work))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    result = launcher.launch(move(secret="hush-hush"), threading.Event())
    assert (result["outcome"], result["id"], result["downtime_ms"]) == ("committed", "m1", 81.5)
    assert "extravars" in result["command"] and "hush-hush" not in result["command"] and "web" not in result["command"]
    assert result["checking"] == "True"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert list(work.iterdir()) == [] and not runs.exists()


def test_a_rolled_back_move_is_a_result_and_its_output_is_kept(launcher: Launcher, runs: Path) -> None:
    """One file of the run, for its owner alone; neither variables nor environment."""
    result = launcher.launch(move(behave="roll back", secret="hush-hush"), threading.Event())
    assert (result["outcome"], result["downtime_ms"], result["msg"]) == ("rolled-back", None, "criu said no")
    kept = Path(result["run"])
    assert [path.name for path in runs.iterdir()] == ["m1.log"] and kept.stat().st_mode & 0o777 == 0o600
    assert "criu said no" in kept.read_text()
    assert "hush-hush" not in kept.read_text() and os.environ["PATH"] not in kept.read_text()


def test_a_run_that_fails_before_attempted_nothing(launcher: Launcher, project: Path) -> None:
    """The sentence is that of the task, or Ansible's."""
    with pytest.raises(LaunchError, match=r"^no container is named$"):
        launcher.launch(move(container=""), threading.Event())
    (project / "playbooks" / "relocate.yml").write_text("- hosts: [")
    with pytest.raises(LaunchError, match="YAML"):
        launcher.launch(move(), threading.Event())


def test_ansible_that_dies_amid_a_relocation_leaves_it_in_doubt(launcher: Launcher) -> None:
    """The hosts finish it or roll it back: recovery finds out which."""
    result = launcher.launch(move(behave="die"), threading.Event())
    assert (result["outcome"], result["id"], result["downtime_ms"]) == ("in-doubt", "m1", None)


def test_a_run_is_cancelled_before_the_relocation_begins(launcher: Launcher, tmp_path: Path) -> None:
    """Ansible is killed, nothing was touched."""
    cancelled, before = threading.Event(), tmp_path / "before"
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(launcher.launch, move(before=str(before)), cancelled)
        until(before, ended)
        cancelled.set()
        with pytest.raises(LaunchError, match="cancelled before anything was touched"):
            ended.result()


def test_a_relocation_that_has_begun_is_let_to_its_end(launcher: Launcher, tmp_path: Path) -> None:
    """A cancel is a SIGKILL, and would only lose the result."""
    cancelled, meeting = threading.Event(), tmp_path / "meeting"
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(launcher.launch, move(meeting=str(meeting)), cancelled)
        until(meeting, ended)
        cancelled.set()
        time.sleep(1.0)  # ansible-runner asks every quarter of a second whether to cancel
        Path(f"{meeting}.go").touch()
        assert ended.result()["outcome"] == "committed"


def test_runs_at_the_same_time_do_not_mix(launcher: Launcher) -> None:
    """Each has a directory of its own."""
    with ThreadPoolExecutor() as pool:
        moves = [move("m1"), move("m2", container="db", behave="roll back")]
        first, second = pool.map(lambda one: launcher.launch(one, threading.Event()), moves)
    assert (first["container"], first["outcome"]) == ("web", "committed")
    assert (second["container"], second["outcome"]) == ("db", "rolled-back")


def test_recovery(launcher: Launcher, project: Path) -> None:
    """What was settled; what could not be is an error."""
    assert launcher.recover() == {"settled": [{"id": "r1"}], "in_progress": [], "left": []}
    (project / "hosts.yml").write_text("all: {hosts: {localhost: {}}, vars: {fail_recovery: true}}\n")
    with pytest.raises(LaunchError, match="the edge is down"):
        launcher.recover()


def test_an_inventory_that_is_not_there_is_refused_at_once(project: Path) -> None:
    """Not at the first move."""
    with pytest.raises(Refusal, match="there is no inventory"):
        make(RunnerSettings(), str(project / "nowhere"))


def kept(directory: Path) -> list[str]:
    """Return the names of what is kept."""
    return sorted(path.name for path in directory.iterdir())


def test_so_many_outputs_are_kept_and_so_long(tmp_path: Path) -> None:
    """The newest; a name cannot lead out of the directory."""
    output, runs = tmp_path / "output", tmp_path / "runs"
    output.write_text("failed\n")
    retention = Retention(runs, 3, 10)
    for number in range(5):
        path = retention.keep(f"m{number}", output)
        assert path is not None
        os.utime(path, (number * 1000.0, time.time() - 100 + number))
    assert kept(runs) == ["m2.log", "m3.log", "m4.log"]
    os.utime(runs / "m3.log", (0, time.time() - 11 * DAY))
    retention.prune()
    assert kept(runs) == ["m2.log", "m4.log"]
    assert retention.keep("../../etc/passwd", output) == runs / "_.._etc_passwd.log"
    assert Retention(runs, 0, 10).keep("m9", output) is None and kept(runs) == []
