# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all launchers have in common: how they are described, and what they make of a run's end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from relocate.errors import Refusal
from relocate.move.relocation import RELOCATE, Catcher
from relocate.schedule.config import parse
from relocate.schedule.launchers import LaunchError, Move, make
from relocate.schedule.launchers.outcome import document, settle
from relocate.schedule.launchers.settings import AwxSettings, NullSettings, RunnerSettings

MOVE = Move("m1", "web", "host1", "clock", 0.0)


def test_a_configuration_names_its_launcher() -> None:
    """By its kind; the runner without one."""
    assert isinstance(parse("fleet: a").launcher, RunnerSettings)
    assert parse("launcher: {kept_runs: 3}").launcher == RunnerSettings(kept_runs=3)
    awx = parse("launcher: {kind: awx, url: 'https://awx.example', template: 7, recover_template: settle}").launcher
    assert isinstance(awx, AwxSettings) and (awx.template, awx.recover_template) == (7, "settle")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("launcher: {kind: ssh}", ":1: launcher: kind must be one of"),
        ("launcher:\n  kind: runner\n  node: a", ":3: launcher.node: there is no such key"),
        ("launcher: {kind: awx, url: 'https://awx.example', template: 7}", "recover_template"),
        ("launcher:\n  kept_days: 0", ":2: launcher.kept_days"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, says: str) -> None:
    """As everywhere in the configuration."""
    with pytest.raises(Refusal, match=says.replace(".", r"\.")):
        parse(text)


def test_the_null_launcher_moves_nothing_and_says_so() -> None:
    """Its results can be told from real ones."""
    result = make(NullSettings(kind="null")).launch(MOVE, threading.Event())
    assert (result["outcome"], result["id"], result["pretended"]) == ("committed", "m1", True)


def test_the_null_launcher_can_be_cancelled() -> None:
    """A move that was cancelled was never made."""
    launcher, cancelled = make(NullSettings(kind="null", seconds=0.01)), threading.Event()
    assert launcher.launch(MOVE, cancelled)["outcome"] == "committed"
    cancelled.set()
    assert launcher.launch(MOVE, cancelled)["outcome"] == "refused"
    assert launcher.recover() == {"settled": [], "in_progress": [], "left": []}


@pytest.mark.parametrize(
    ("result", "outcome", "downtime"),
    [
        ({"outcome": "committed", "downtime_ms": 80.0}, "committed", 80.0),
        ({"outcome": "rolled-back", "downtime_ms": 80.0}, "rolled-back", None),
        ({"outcome": "something new"}, "in-doubt", None),
        ({}, "failed", None),
    ],
)
def test_a_document_has_what_the_scheduler_needs(result: dict[str, Any], outcome: str, downtime: float | None) -> None:
    """Whatever the action's result has."""
    made = document(MOVE, result)
    assert (made["id"], made["container"], made["outcome"], made["downtime_ms"]) == ("m1", "web", outcome, downtime)
    assert made["msg"]


def test_a_run_without_a_result() -> None:
    """In doubt if the relocation had begun, and otherwise no attempt."""
    caught = Catcher(RELOCATE)
    with pytest.raises(LaunchError, match="no route"):
        settle(MOVE, caught, "no route")
    caught({"event": "playbook_on_task_start", "event_data": {"task_action": "ansible.builtin.assert"}})
    assert not caught.begun
    caught({"event": "playbook_on_task_start", "event_data": {"task_action": RELOCATE}})
    assert settle(MOVE, caught, "no route")["outcome"] == "in-doubt"
