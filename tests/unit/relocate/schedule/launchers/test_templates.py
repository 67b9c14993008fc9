# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of hosts and users is data: real Ansible runs, and no template in it is ever evaluated."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from relocate.errors import Refusal
from relocate.move import playbook, relocation
from relocate.schedule.launchers import Move, make
from relocate.schedule.launchers.base import Launcher, LaunchError
from relocate.schedule.launchers.settings import RunnerSettings, StreamSettings

WAYS = ("runner", "stream")


def payload(mark: Path) -> str:
    """Return a name that, evaluated as a template on the controller, makes a file."""
    return "{{ lookup('ansible.builtin.pipe', 'touch " + str(mark) + "') }}"


def launcher(way: str, project: Path) -> Launcher:
    """Return a launcher for the project in miniature."""
    inventory = str(project / "hosts.yml")
    if way == "runner":
        return make(RunnerSettings(runs=project.parent / "runs"), inventory)
    worker = [str(Path(sys.executable).with_name("ansible-runner")), "worker"]
    return make(StreamSettings(kind="stream", command=worker, runs=project.parent / "runs"), inventory)


def move(container: str, **variables: Any) -> Move:
    """Return a move."""
    return Move("m1", container, "host1", "clock", 0.0, {"container": container, "relocation_id": "m1", **variables})


def test_extra_variables_reach_the_playbook_as_they_are(project: Path, tmp_path: Path) -> None:
    """Whatever letters they have, and nothing in them is evaluated, however deep."""
    mark, name = tmp_path / "evaluated", payload(tmp_path / "evaluated")
    told = {
        "container": name,
        "behave": "commit",
        "nested": {"a": [name, "\U0001f600\x1b\n\"'#: -", "null", "010", ""], "n": 7, "x": 1e-05},
    }
    (project / "playbooks" / "show.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        '    - debug: {msg: \'{{ {"container": container, "nested": nested} }}\'}\n'
    )
    seen: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "runner_on_ok":
            seen.append(event["event_data"]["res"]["msg"])

    playbook.run(project, "playbooks/show.yml", told, inventory=str(project / "hosts.yml"), quiet=True, watch=watch)
    assert seen == [{"container": name, "nested": told["nested"]}]
    assert not mark.exists()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_move_is_told_is_never_evaluated(way: str, project: Path, tmp_path: Path) -> None:
    """Neither a reason nor any other variable, here or on a node."""
    mark = tmp_path / "evaluated"
    result = launcher(way, project).launch(move("web", behave=payload(mark)), threading.Event())
    assert result["outcome"] == "committed"  # the action took it for a word that it does not know
    assert not mark.exists()


@pytest.mark.parametrize("way", WAYS)
def test_no_launcher_takes_a_name_that_is_none(way: str, project: Path, tmp_path: Path) -> None:
    """It is refused before anything runs."""
    mark = tmp_path / "evaluated"
    with pytest.raises(LaunchError, match="is no container's name"):
        launcher(way, project).launch(move(payload(mark)), threading.Event())
    assert not mark.exists()


def test_a_moves_result_is_that_of_its_own_text(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's way: the reason is the user's text."""
    mark = tmp_path / "evaluated"
    monkeypatch.setenv("RELOCATE_INVENTORY", str(project / "hosts.yml"))
    text = (project / "playbooks" / "relocate.yml").read_text()
    (project / "playbooks" / "relocate.yml").write_text(text.replace("behave | default('commit')", "reason"))
    assert relocation.relocate("web", reason=payload(mark), quiet=True)["outcome"] == "committed"
    assert not mark.exists()


def test_variables_that_ansible_would_read_otherwise_are_refused(tmp_path: Path) -> None:
    """A key of Ansible's own makes it read the file again as YAML, where all text is a template."""
    with pytest.raises(Refusal, match="the key __ansible_vault, which Ansible keeps for itself"):
        playbook.write_variables(tmp_path, {"container": "{{ 7 }}", "deep": [{"__ansible_vault": 5}]})
    assert list(tmp_path.iterdir()) == []
