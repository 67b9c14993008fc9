# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging into daemon.json and taking out of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _daemon
from ansible_collections.relocate.mtd.plugins.module_utils._daemon import Daemon, consequence, merged, without

OURS = {"runtimes": {"relocate": {"path": "/r"}}, "insecure-registries": ["fleet:5000"], "userland-proxy": False}
THEIRS = {"debug": True, "runtimes": {"crun": {"path": "/c"}}, "insecure-registries": ["lan:5000"]}


def test_others_settings_stay() -> None:
    """Dictionaries key by key, lists by what they lack."""
    both = merged(THEIRS, OURS)
    assert both == {
        "debug": True,
        "runtimes": {"crun": {"path": "/c"}, "relocate": {"path": "/r"}},
        "insecure-registries": ["lan:5000", "fleet:5000"],
        "userland-proxy": False,
    }
    assert merged(both, OURS) == both


@pytest.mark.parametrize("before", [THEIRS, {}, {"live-restore": True}])
def test_taking_out_undoes_putting_in(before: dict[str, Any]) -> None:
    """Nothing of ours is left, nothing of theirs is lost."""
    assert without(merged(before, OURS), OURS) == before


def test_what_was_changed_since_stays() -> None:
    """A value that is not ours any more is somebody's decision."""
    assert without({"userland-proxy": True, "bip": "10.0.0.1/24"}, {**OURS, "bip": "172.20.1.1/24"}) == {
        "userland-proxy": True,
        "bip": "10.0.0.1/24",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"bip": "a"}, {"bip": "a"}, "nothing"),
        ({}, {"runtimes": {}, "insecure-registries": []}, "reload"),
        ({"debug": True}, {}, "reload"),
        ({}, {"runtimes": {}, "bip": "a"}, "restart"),
        ({"userland-proxy": True}, {"userland-proxy": False}, "restart"),
    ],
)
def test_a_restart_only_where_a_reload_will_not_do(
    before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    """By dockerd's own list of what it can reload."""
    assert consequence(before, after) == expected


class _Engine:
    """Has the runtimes from the first, and says at the third question that it has reloaded."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def info(self) -> dict[str, Any]:
        return {"Runtimes": {}}

    def reloaded(self, since: float) -> bool:
        self.asked.append(since)
        return len(self.asked) > 2


class _Commands:
    def __init__(self) -> None:
        self.ran: list[str] = []


def test_a_reload_is_over_when_dockerd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the signal in its own time: a label would not be there yet when the module has ended."""
    pidfile, told = tmp_path / "docker.pid", []
    pidfile.write_text("4711\n")
    monkeypatch.setattr(_daemon, "PIDFILE", str(pidfile))
    monkeypatch.setattr(_daemon, "read_text", lambda path: "4711" if path == str(pidfile) else "dockerd")
    monkeypatch.setattr(os, "kill", lambda *words: told.append(words))
    monkeypatch.setattr(_daemon.time, "sleep", lambda _: None)
    daemon = Daemon(_Commands())  # type: ignore[arg-type]
    engine = _Engine()
    daemon._engine = engine  # type: ignore[assignment]
    daemon.reload()
    assert told == [(4711, signal.SIGHUP)] and len(engine.asked) == 3
