# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`relocate lab`: which lab is meant, one change at a time, and what a failed play says."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from relocate.errors import Refusal
from relocate.lab import status
from relocate.lab.lock import exclusively
from relocate.lab.paths import Lab, project_root
from relocate.move import playbook

VARIABLES = ("RELOCATE_LAB_NAME", "RELOCATE_LAB_STATE", "RELOCATE_LAB_CACHE", "RELOCATE_PROJECT")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a lab of their own."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_the_ordinary_lab_and_a_named_one_share_nothing_but_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Lab.from_environment()
    monkeypatch.setenv("RELOCATE_LAB_NAME", "second")
    second = Lab.from_environment()
    assert (plain.namespace, second.namespace) == ("relocate-lab", "relocate-lab-second")
    assert plain.client_namespace != second.client_namespace
    assert plain.state != second.state
    assert plain.lock != second.lock
    assert plain.cache == second.cache


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-a", "x" * 21])
def test_a_name_that_cannot_be_a_namespace_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RELOCATE_LAB_NAME", name)
    with pytest.raises(Refusal, match="choose another") as refused:
        Lab.from_environment()
    assert refused.value.status == 2


@pytest.mark.parametrize("variable", ["RELOCATE_LAB_STATE", "RELOCATE_LAB_CACHE"])
@pytest.mark.parametrize("path", ["relative/path", "/", "/home"])
def test_a_directory_that_down_would_empty_must_be_the_labs_own(
    monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    monkeypatch.setenv(variable, path)
    with pytest.raises(Refusal, match=variable) as refused:
        Lab.from_environment()
    assert refused.value.status == 2


def test_a_directory_without_the_playbooks_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (project_root() / "roles" / "lab").is_dir()
    monkeypatch.setenv("RELOCATE_PROJECT", str(tmp_path))
    with pytest.raises(Refusal, match="RELOCATE_PROJECT"):
        project_root()


def hold(path: Path, ready: Any, go: Any) -> None:
    """Hold the lock until told to go."""
    with exclusively(path, "relocate lab up"):
        ready.set()
        go.wait(300)


def test_a_second_change_is_refused_and_says_who_is_at_work(tmp_path: Path) -> None:
    path = tmp_path / "lab.lock"
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=hold, args=(path, ready, go))
    other.start()
    assert ready.wait(120)
    with pytest.raises(Refusal, match=f"'relocate lab up' .process {other.pid}.: wait"), exclusively(path, "down"):
        pass
    go.set()
    other.join(120)
    with exclusively(path, "down"):
        assert f"process {os.getpid()}" in path.read_text()
    assert not path.exists()


def test_a_lock_whose_holder_died_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "lab.lock"
    path.write_text("'relocate lab up' (process 1)\n")
    with exclusively(path, "up"):
        pass


def test_without_a_lab_the_status_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RELOCATE_LAB_NAME", "unittest")
    monkeypatch.setenv("RELOCATE_LAB_STATE", str(tmp_path / "state"))
    found = status.read(Lab.from_environment())
    assert (found.up, found.problem) == (False, "the lab is not up: start it with 'relocate lab up'")
    (tmp_path / "state").mkdir()
    assert "came up only in part" in status.read(Lab.from_environment()).problem


def play(tmp_path: Path, task: str) -> None:
    """Run a play of one task through ansible-runner."""
    (tmp_path / "play.yml").write_text(
        f"- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n    - name: The task\n      {task}\n"
    )
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    playbook.run(tmp_path, "play.yml", {"word": "given"}, quiet=True)


def test_a_play_gets_its_variables_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    play(tmp_path, f"ansible.builtin.copy: {{content: '{{{{ word }}}}', dest: {tmp_path}/out, mode: '0644'}}")
    assert (tmp_path / "out").read_text() == "given"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ansible.cfg", "out", "play.yml"]


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("ansible.builtin.assert: {that: false, fail_msg: 'No mirror: name one.'}", "No mirror: name one."),
        ("ansible.builtin.fail: {msg: 'It broke.'}", "'The task' failed on localhost: It broke."),
        ("ansible.builtin.command: sh -c 'echo the cause >&2; exit 3'", "(the cause)"),
    ],
)
def test_a_failed_play_is_one_sentence(tmp_path: Path, task: str, sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        play(tmp_path, task)
    assert sentence in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_a_play_that_cannot_be_read_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  tasks: nonsense\n")
    with pytest.raises(Refusal, match="nonsense"):
        playbook.run(tmp_path, "play.yml", {}, quiet=True)
