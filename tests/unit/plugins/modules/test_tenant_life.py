# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that ends at once is noticed, however late its program gets the processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.modules import tenant_container


class _Failed(Exception):
    pass


class _Commands:
    def fail(self, message: str, **_: Any) -> None:
        raise _Failed(message)


class _Engine:
    """Docker, which hears of the process' end at the third look."""

    def __init__(self, pid: int, dies: bool) -> None:
        self.pid, self.dies = pid, dies
        self.looks, self.removed = 0, False

    def container(self, _: str) -> dict[str, Any]:
        self.looks += 1
        ended = self.dies and self.looks > 2
        return {"State": {"Running": not ended, "Pid": 0 if ended else self.pid, "ExitCode": 2 if ended else 0}}

    def last_words(self, _: str) -> str:
        return "no such option"

    def remove(self, _: str) -> None:
        self.removed = True


def keeper(engine: _Engine) -> tenant_container.Keeper:
    made = tenant_container.Keeper.__new__(tenant_container.Keeper)
    made.engine, made.commands = engine, _Commands()  # type: ignore[assignment]
    return made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_container, "SETTLE_S", 0.0)


def test_a_container_that_has_not_had_the_processor_yet_is_not_taken_for_alive() -> None:
    engine = _Engine(os.getpid(), dies=True)  # this very process runs when it asks
    with pytest.raises(_Failed, match="'web' ended at once with status 2; its last words: no such option"):
        keeper(engine).require_life("web", "1f", fresh=True)
    assert engine.removed


def test_one_that_has_ended_and_docker_does_not_know_yet() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    try:
        with pytest.raises(_Failed, match="ended at once"):
            keeper(_Engine(process.pid, dies=True)).require_life("web", "1f", fresh=False)
    finally:
        process.wait()
    assert not tenant_container.at_rest(process.pid)


def test_one_that_waits_for_its_work_lives() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            engine = _Engine(process.pid, dies=False)
            keeper(engine).require_life("web", "1f", fresh=True)
            assert not engine.removed
        finally:
            process.send_signal(signal.SIGKILL)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_container, "LIFE_S", 0.0)
    engine = _Engine(os.getpid(), dies=False)
    keeper(engine).require_life("web", "1f", fresh=True)
    assert engine.looks < 100
