# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of failures: an order is obeyed once, by the part it names, at the line it names; all else is untouched."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import guardian
from relocate_proxy.protocol import faults
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State

ORDER = {"part": "source", "state": "voted", "moment": "after", "do": "fail"}


@pytest.fixture(autouse=True)
def nothing_ordered() -> Iterator[None]:
    """Leave no order in this process."""
    yield
    faults._order = None


def leave(host: Path, mode: int = 0o600, **order: Any) -> Path:
    """Leave an order on the host."""
    file = host / "faults.json"
    file.write_text(json.dumps({**ORDER, **order}))
    file.chmod(mode)
    return file


def written(part: str = "source") -> list[str]:
    """Return the states on the disk."""
    return list(Journal.at("r1", part).times)


@pytest.mark.parametrize(("moment", "on_disk"), [("before", ["staged"]), ("after", ["staged", "voted"])])
def test_a_failure_around_one_line(host: Path, moment: str, on_disk: list[str]) -> None:
    """Before the fsync the line is not there; after it, it is."""
    order = leave(host, moment=moment)
    faults.arm("source")
    journal = Journal.at("r1", "source")
    journal.record(State.STAGED)
    assert order.exists()
    with pytest.raises(faults.InjectedFault, match=f"a rehearsed failure {moment} 'voted'"):
        journal.record(State.VOTED)
    assert written() == on_disk and not order.exists()
    journal.record(State.VOTED)
    assert written() == ["staged", "voted"], "it was obeyed once"


@pytest.mark.parametrize("other", [{"part": "destination"}, {"state": "committed"}])
def test_others_are_left_alone(host: Path, other: dict[str, str]) -> None:
    """An order for another part, or for a state that is not reached, waits."""
    order = leave(host, **other)
    faults.arm("source")
    Journal.at("r1", "source").record(State.VOTED)
    assert order.exists()


def test_an_order_can_be_taken_back(host: Path) -> None:
    """Until the moment it is obeyed."""
    order = leave(host)
    faults.arm("source")
    order.unlink()
    Journal.at("r1", "source").record(State.VOTED)


def test_without_an_order_nothing_is_looked_up_at_a_line(host: Path) -> None:
    """The freeze has no time for it: an order that comes late is for the next relocation."""
    faults.arm("source")
    order = leave(host)
    Journal.at("r1", "source").record(State.VOTED)
    assert order.exists()


@pytest.mark.parametrize(("do", "struck"), [("kill", ["self"]), ("kill-guardian", ["parent", "self"])])
def test_what_is_killed(host: Path, monkeypatch: pytest.MonkeyPatch, do: str, struck: list[str]) -> None:
    """The guardian first: it would start the part again."""
    killed = []
    names = {os.getpid(): "self", os.getppid(): "parent"}
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((names[pid], number)))
    leave(host, do=do)
    faults.arm("source")
    Journal.at("r1", "source").record(State.VOTED)
    assert killed == [(name, signal.SIGKILL) for name in struck]


def test_a_part_that_hangs(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is told."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    leave(host, do="hang", seconds=3)
    faults.arm("source")
    Journal.at("r1", "source").record(State.VOTED)
    assert slept == [3]


def test_a_part_that_is_paused(host: Path) -> None:
    """Until the sign is taken away, and no longer than it is told; the sign says where it stands."""
    sign = host / "paused"
    leave(host, do="pause", seconds=30)
    faults.arm("source")
    part = threading.Thread(target=lambda: Journal.at("r1", "source").record(State.VOTED))
    part.start()
    deadline = time.monotonic() + 60
    while not (sign.exists() and sign.read_text()):
        assert time.monotonic() < deadline
    part.join(0.1)
    assert part.is_alive() and sign.read_text() == "source after voted\n"
    sign.unlink()
    part.join(10)
    assert not part.is_alive()
    leave(host, do="pause", seconds=0.05)
    faults.arm("source")
    Journal.at("r1", "source").record(State.VOTED)
    assert not sign.exists()


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ({"do": "explode"}, "do is 'explode', and must be one of kill, kill-guardian, fail, hang, pause"),
        ({"state": "frozen"}, "state is 'frozen', and must be one of staging"),
        ({"moment": "during"}, "moment is 'during', and must be one of before, after"),
        ({"extra": 1}, "must have part, state, moment and do"),
        ({"mode": 0o602}, "must belong to root and be writable by root alone"),
    ],
)
def test_an_order_that_cannot_be_obeyed_stops_the_part_before_it_begins(
    host: Path, monkeypatch: pytest.MonkeyPatch, order: dict[str, Any], sentence: str
) -> None:
    """In one sentence, and with nothing done."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    leave(host, **order)
    read, write = os.pipe()
    assert guardian.run_part("source", {"id": "r1"}, write) == 1
    with os.fdopen(read) as line:
        assert sentence in json.loads(line.read())["error"]
    assert written() == []


def test_an_order_that_is_no_json(host: Path) -> None:
    """Named, with the remedy."""
    leave(host).write_text("{")
    with pytest.raises(ValueError, match=r"is not JSON .*: mend it or remove it"):
        faults.read()
