# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is printed of a relocation, and what the ledger keeps of it."""

from __future__ import annotations

import datetime
import importlib.util
import json
import stat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.paths import ROOT

SOURCE = ROOT / "plugins/callback/relocation_report.py"

RESULT: dict[str, Any] = {
    "id": "r1",
    "container": "web",
    "outcome": "committed",
    "changed": True,
    "failed": False,
    "source": {"host": "host1", "address": "10.77.0.11"},
    "destination": {"host": "host2", "address": "10.77.0.12"},
    "mode": "post-copy",
    "predicted_downtime_ms": 140.2,
    "source_needed_ms": 812.3,
    "address_before": "172.20.1.2",
    "address_after": "172.20.2.2",
    "downtime_ms": 123.456,
    "timings_ns": {"stage": 9e9, "freeze": 500_000, "dump": 43_000_000, "restore": 52_000_000, "release": 1_000_000},
    "flows": {"kept": 2, "lost": 0},
    "packets_held": 7,
    "bytes": {"memory": 8 << 20, "writable_layer": 1 << 20},
    "diff": {"before": "", "after": "…"},
    "dump_seconds": 10,
    "invocation": {"module_args": {}},
}


def load() -> ModuleType:
    """Import the callback as Ansible does: from its file."""
    specification = importlib.util.spec_from_file_location("relocation_report", SOURCE)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


report = load()


def test_a_move_that_was_made() -> None:
    """Where to, how long and in which phases, and what came along. Phases that did not occur are not shown."""
    assert report.lines(RESULT) == [
        "web: host1 -> host2   172.20.1.2 -> 172.20.2.2",
        "down 123.5 ms   (freeze 0.5  dump 43.0  restore 52.0  release 1.0 ms)",
        "post-copy, 140 ms predicted; source needed for another 812 ms",
        "2 connections kept, 7 packets held, 9.0 MiB carried",
    ]
    one = report.lines({**RESULT, "flows": {"kept": 1, "lost": 0}})
    assert one[3].startswith("1 connection kept,")
    gone = report.lines({**RESULT, "exit_code": 0})
    assert gone[4:] == ["it has ended there since, with exit status 0: see docker logs web"]
    plain = report.lines({**RESULT, "mode": "stop-and-copy", "source_needed_ms": 0.0})
    assert plain[2] == "stop-and-copy, 140 ms predicted"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"outcome": "planned", "source_needed_ms": 0.0},
            "web: host1 -> host2, post-copy, 140 ms predicted (planned, nothing was touched)",
        ),
        (
            {"outcome": "refused", "msg": "moving web is predicted to stop it for 900 ms"},
            "web: host1 -> host2 refused: moving web is predicted to stop it for 900 ms",
        ),
        (
            {"outcome": "rolled-back", "msg": "the move of web was rolled back and it runs on at host1: disk full"},
            "web: host1 -> host2 rolled-back: the move of web was rolled back and it runs on at host1: disk full",
        ),
        ({"outcome": "in-doubt", "msg": "run recover.yml"}, "web: host1 -> host2 in-doubt: run recover.yml"),
    ],
)
def test_a_move_that_was_not(change: dict[str, Any], line: str) -> None:
    """One line, with the reason."""
    assert report.lines({**RESULT, **change}) == [line]


def test_a_refusal_names_no_hosts() -> None:
    """Nothing was planned."""
    refusal = {"outcome": "refused", "container": "web", "msg": "the container web is paused: unpause it first"}
    assert report.lines(refusal) == ["refused: the container web is paused: unpause it first"]


NOW = datetime.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=datetime.UTC)


def test_what_the_ledger_keeps() -> None:
    """The whole document, when it was, and nothing that only Ansible needs."""
    entry = report.entry(RESULT, NOW)
    assert entry["at"] == "2026-11-23T12:00:00.123+00:00"
    assert set(RESULT) - set(entry) == {"diff", "changed", "failed", "invocation", "dump_seconds"}
    assert {name: entry[name] for name in ("id", "timings_ns", "downtime_ms")} == {
        name: RESULT[name] for name in ("id", "timings_ns", "downtime_ms")
    }


def test_a_line_is_added_to_those_before(tmp_path: Path) -> None:
    """In a directory made on the way; nobody else reads it."""
    path = tmp_path / "state" / "relocate" / "ledger.jsonl"
    for number in range(2):
        report.append(path, {"id": number, "text": "a\nb", "odd": NOW})
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [0, 1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("option", "state_home", "path"),
    [
        ("", "/s", None),
        ("/var/ledger", "/s", "/var/ledger"),
        ("~/.local/state/relocate/ledger.jsonl", "/s", "/s/relocate/ledger.jsonl"),
        ("~/.local/state/relocate/ledger.jsonl", "", "/home/u/.local/state/relocate/ledger.jsonl"),
        ("~/mine", "/s", "/home/u/mine"),
    ],
)
def test_where_the_ledger_is(monkeypatch: pytest.MonkeyPatch, option: str, state_home: str, path: str | None) -> None:
    """What was set, else the state directory of the user; an empty option keeps none."""
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_STATE_HOME", state_home)
    monkeypatch.delenv("RELOCATE_LEDGER", raising=False)
    assert report.ledger_path(option) == (Path(path) if path else None)


class Listener:
    """The callback with a display and a ledger of its own."""

    def __init__(self, ledger: Path) -> None:
        self.plugin = report.CallbackModule()
        self.shown: list[str] = []
        self.warned: list[str] = []
        self.plugin._display = SimpleNamespace(display=self.shown.append, warning=self.warned.append)
        self.plugin.get_option = lambda _: str(ledger)

    def hear(self, action: str, result: dict[str, Any], failed: bool = False) -> None:
        """Tell it a task's result."""
        outcome = SimpleNamespace(task=SimpleNamespace(action=action), result=result)
        (self.plugin.v2_runner_on_failed if failed else self.plugin.v2_runner_on_ok)(outcome)


def test_only_relocations_that_were_tried_are_recorded(tmp_path: Path) -> None:
    """Other tasks are none of ours, a plan is no relocation, a refusal and a rollback are kept."""
    ledger = tmp_path / "ledger.jsonl"
    listener = Listener(ledger)
    listener.hear("ansible.builtin.command", RESULT)
    listener.hear(report.ACTION, {"failed": True, "msg": "a fault of ours"}, failed=True)
    assert listener.shown == []
    listener.hear(report.ACTION, {**RESULT, "outcome": "planned"})
    assert len(listener.shown) == 1 and not ledger.exists()
    listener.hear(report.ACTION, RESULT)
    listener.hear(report.ACTION, {**RESULT, "outcome": "rolled-back", "msg": "x"}, failed=True)
    listener.hear(report.ACTION, {"outcome": "refused", "container": "web", "msg": "no"}, failed=True)
    kept = [json.loads(line)["outcome"] for line in ledger.read_text().splitlines()]
    assert kept == ["committed", "rolled-back", "refused"] and listener.warned == []


def test_one_that_moved_with_its_project_is_told_with_all_of_it(tmp_path: Path) -> None:
    """And has one line of its own, as each of the others."""
    ledger = tmp_path / "ledger.jsonl"
    listener = Listener(ledger)
    other = {**RESULT, "container": "db", "id": "r9"}
    listener.hear(report.ACTION, {**RESULT, "project": "shop", "members": [other, RESULT]})
    assert listener.shown[0] == "  project shop: host1 -> host2 committed"
    assert [json.loads(line)["container"] for line in ledger.read_text().splitlines()] == ["db", "web"]
    listener.hear(report.ACTION, {"outcome": "refused", "container": "web", "msg": "no"}, failed=True)
    assert listener.shown[-1] == "  refused: no"


def test_a_ledger_that_cannot_be_written_does_not_fail_the_move(tmp_path: Path) -> None:
    """It has been made. The warning names the file."""
    (tmp_path / "file").touch()
    listener = Listener(tmp_path / "file" / "ledger.jsonl")
    listener.hear(report.ACTION, RESULT)
    assert (
        len(listener.warned) == 1
        and f"the ledger {tmp_path}/file/ledger.jsonl could not be written" in listener.warned[0]
    )


def test_one_that_was_made_anew() -> None:
    """No pause, no phases."""
    result = {**RESULT, "strategy": "recreate", "mode": "recreate", "drain": {"connections": 4, "cut": 1}}
    assert load().lines(result) == ["web: host1 -> host2   made anew, 4 connections drained, 1 of them cut"]
