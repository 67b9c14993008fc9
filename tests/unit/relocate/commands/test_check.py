# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`relocate check`: what it asks of the playbook, what it shows, and its exit status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from relocate import cli
from relocate.errors import Refusal
from relocate.move import playbook

CAN = {
    "host": "host2",
    "refusals": [],
    "mode": "stop-and-copy",
    "mode_why": "the safest",
    "predicted_downtime_ms": 61.3,
}
CANNOT = {"host": "host3", "refusals": ["host3 is [cordoned]", "host3 has no CRIU"]}
VERDICT: dict[str, Any] = {
    "container": "web",
    "source": "host1",
    "refusals": [],
    "destinations": [CAN, CANNOT],
    "movable": True,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand for the playbook: ``result`` is what its task returns, ``variables`` what it was given."""
    told: dict[str, Any] = {"result": VERDICT}

    def run(_root: Any, book: str, variables: dict[str, Any], *, watch: Any, **_: Any) -> None:
        told.update(book=book, variables=variables)
        event = {"task_action": "relocate.mtd.relocation_check", "res": told["result"]}
        watch({"event": "runner_on_failed" if told["result"].get("failed") else "runner_on_ok", "event_data": event})
        if told["result"].get("failed"):
            raise Refusal("'Check' failed on localhost: …")

    monkeypatch.setattr(playbook, "run", run)
    return told


def check(*words: str) -> Any:
    return CliRunner().invoke(cli.build(), ["check", *words, "-i", "host1,"], env={"COLUMNS": "120"})


def test_a_dump_on_trial(asked: dict[str, Any]) -> None:
    asked["result"] = {**VERDICT, "dump": {"frozen_ms": 21.4, "memory_bytes": 8 << 20}}
    assert "A dump on trial took 21 ms, of 8 MiB; it runs on." in check("web", "--dump").stdout
    assert asked["variables"]["dump"] is True
    refused = check("--project", "shop", "--dump")
    assert isinstance(refused.exception, Refusal) and "--dump is of one container" in str(refused.exception)
    check("web")
    assert "dump" not in asked["variables"]


def test_a_table_with_every_reason(asked: dict[str, Any]) -> None:
    result = check("web")
    assert result.exit_code == 0
    for piece in ("web runs on host1", "61 ms", "the safest", "• host3 is [cordoned]", "• host3 has no CRIU"):
        assert piece in result.stdout
    assert asked["book"] == "playbooks/check.yml"
    assert asked["variables"] == {"container": "web", "mode": "auto"}


def test_what_is_wished_reaches_the_playbook(asked: dict[str, Any]) -> None:
    check(
        "web", "--to", "host2", "--from", "host1", "--mode", "post-copy", "--prefer", "pause", "--downtime-limit", "50"
    )
    assert asked["variables"] == {
        "container": "web",
        "destination": "host2",
        "source": "host1",
        "mode": "post-copy",
        "relocate_prefer": "pause",
        "relocate_downtime_limit_ms": 50.0,
    }


def test_nowhere_to_go_is_exit_status_1(asked: dict[str, Any]) -> None:
    asked["result"] = {**VERDICT, "refusals": ["web has a terminal"], "movable": False}
    result = check("web")
    assert result.exit_code == 1 and "• web has a terminal" in result.stdout and "Move it" not in result.stdout


def test_one_document(asked: dict[str, Any]) -> None:
    assert json.loads(check("web", "--json").stdout) == VERDICT


def test_nothing_to_judge_is_one_sentence(asked: dict[str, Any]) -> None:
    asked["result"] = {"failed": True, "msg": "no host of the fleet has a container named 'web'"}
    result = check("web")
    assert isinstance(result.exception, Refusal)
    assert str(result.exception) == "no host of the fleet has a container named 'web'"


def test_the_other_strategy_is_named(asked: dict[str, Any]) -> None:
    asked["result"] = {**VERDICT, "refusals": ["web holds a lease"], "movable": False, "remedy": "or have it made anew"}
    assert "→ or have it made anew" in check("web").stdout
    check("web", "--strategy", "recreate")
    assert asked["variables"]["relocate_strategy"] == "recreate"


MEMBERS = [
    {**CAN, "container": name, "predicted_downtime_ms": pause}
    for name, pause in (("shop-db-1", 70.0), ("shop-web-1", 60.0))
]
PROJECT: dict[str, Any] = {
    "project": "shop",
    "source": "host1",
    "refusals": [],
    "members": [{"container": each["container"], "refusals": []} for each in MEMBERS],
    "left_behind": {"stopped": ["shop-once-1"], "others": []},
    "destinations": [
        {
            "host": "host2",
            "refusals": [],
            "members": MEMBERS,
            "networks": [{"what": "made", "name": "shop_default (172.18.0.0/16)"}],
            "predicted_downtime_ms": 130.4,
            "predicted_from": "their sum",
        },
        {"host": "host3", "refusals": ["host3 is [away]"], "members": []},
    ],
    "movable": True,
}


def test_a_projects_table(asked: dict[str, Any]) -> None:
    asked["result"] = PROJECT
    result = check("--project", "shop", "--to", "host2")
    assert result.exit_code == 0, result.output
    told = (
        "shop runs on host1: shop-db-1, shop-web-1",
        "130 ms",
        "makes shop_default",
        "• host3 is [away]",
        "once-1 stays",
    )
    for piece in told:
        assert piece in result.stdout
    assert asked["book"] == "playbooks/check.yml"
    assert asked["variables"] == {"project": "shop", "mode": "auto", "destination": "host2"}
    assert json.loads(check("--project", "shop", "--json").stdout) == PROJECT


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a container, or a project"),
        (("web", "--project", "shop"), "name a container, or a project"),
        (("--project", "shop", "--mode", "post-copy"), "could be lost alone"),
        (("--project", "shop", "--strategy", "recreate"), "a project only moves live"),
    ],
)
def test_what_a_project_is_not_asked(asked: dict[str, Any], words: tuple[str, ...], says: str) -> None:
    result = check(*words)
    assert result.exit_code != 0 and "variables" not in asked
    assert says in str(result.exception)
