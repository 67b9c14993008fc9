# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker asks of a copy that has not run yet: the answers, and that every other question goes to runc."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.host import paths
from relocate_proxy.restore import meanwhile

from tests.paths import COLLECTION

from .fake_keeper import ID, FakeKeeper, event

GLOBAL = ["--root", "/r", "--log", "/l"]
PS, EXEC, KILL = (
    [*GLOBAL, "ps", "--format", "json", ID],
    [*GLOBAL, "exec", "--process", "/p", "--detach", ID],
    [*GLOBAL, "kill", ID, "15"],
)


class Runc(Exception):
    """runc would have been executed."""


@pytest.fixture
def keeper(host: Path) -> Iterator[FakeKeeper]:
    """Return a listening keeper."""
    made = FakeKeeper()
    yield made
    made.close()


def asked(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    """Call the program as the shim does. :raises Runc: the question was passed on, with these words."""

    def execute(_: str, arguments: list[str]) -> int:
        raise Runc(*arguments)

    monkeypatch.setattr(sys, "argv", ["meanwhile", *words])
    monkeypatch.setattr(os, "execvp", execute)
    return meanwhile.main()


def test_a_containerd_that_was_started_again_finds_a_process(
    keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It throws away a container that has none."""
    keeper.answers["ask"] = [event("asked", pid=4711, shim=True)]
    assert asked(monkeypatch, PS) == 0
    assert capsys.readouterr().out == "[4711]\n"


def test_who_stops_the_copy_calls_the_move_off(keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original was not meant, and runs on."""
    keeper.answers["cancel"] = [event("cancelled", status=1)]
    assert asked(monkeypatch, KILL) == 0
    assert keeper.heard[-1] == {"do": "cancel", "reason": "Docker was told to stop the copy"}


def test_a_health_check_waits_until_the_copy_runs(keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is runc's."""
    keeper.answers["attach"] = [event("primed"), event("prepared"), event("running")]
    with pytest.raises(Runc) as passed:
        asked(monkeypatch, EXEC)
    assert list(passed.value.args) == ["runc", *EXEC]


def test_a_health_check_of_a_copy_that_is_given_up_fails(
    keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason."""
    keeper.answers["attach"] = [event("cancelled", reason="the source's disk failed")]
    assert asked(monkeypatch, EXEC) == 1
    assert "given up: the source's disk failed" in capsys.readouterr().err


@pytest.mark.parametrize("words", [PS, EXEC, KILL], ids=["ps", "exec", "kill"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_keeper_that_is_gone_leaves_the_answer_to_runc(
    keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch, words: list[str], gone: bool
) -> None:
    """The copy runs, or there is none: runc knows."""
    if gone:
        Path(paths.gate(ID)).unlink()
    else:
        keeper.answers = {do: [b"hang up"] for do in ("ask", "cancel", "attach")}
    with pytest.raises(Runc) as passed:
        asked(monkeypatch, words)
    assert list(passed.value.args) == ["runc", *words]


@pytest.mark.parametrize(
    ("words", "marked", "program"),
    [
        ([*GLOBAL, "create", "--bundle", "/b", ID], True, "keeper"),
        ([*GLOBAL, "start", ID], True, "keeper"),
        (PS, True, "meanwhile"),
        (EXEC, True, "meanwhile"),
        (KILL, True, "meanwhile"),
        ([*GLOBAL, "delete", ID], True, "runc"),
        ([*GLOBAL, "state", ID], True, "runc"),
        *((words, False, "runc") for words in (PS, EXEC, KILL)),
        (["--version"], False, "runc"),
        ([], False, "runc"),
    ],
)
def test_the_runtime_asks_the_right_one(tmp_path: Path, words: list[str], marked: bool, program: str) -> None:
    """By the container's marker, wherever in the words its id stands."""
    script = (COLLECTION / "proxy" / "relocate-runtime").read_text()
    for path, here in (("/run/relocate", "run"), ("/usr/bin/python3", "python3")):
        assert path in script
        script = script.replace(path, str(tmp_path / here))
    first, _, rest = script.partition("PATH=/usr/local/sbin")
    (tmp_path / "runtime").write_text(f"{first}PATH={tmp_path}:/usr/local/sbin{rest}")
    for name in ("runc", "python3"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    if marked:
        (tmp_path / "run" / "expected").mkdir(parents=True)
        (tmp_path / "run" / "expected" / ID).touch()
    done = subprocess.run(["sh", tmp_path / "runtime", *words], capture_output=True, text=True, check=True)
    whom = "runc" if program == "runc" else f"python3 -m relocate_proxy.restore.{program}"
    assert done.stdout.strip() == " ".join([whom, *words])
