# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: what the destination's proxy and the keeper say to each other, over a real unix socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.host import paths
from relocate_proxy.parts import endings
from relocate_proxy.restore.keeper_client import GateFailed, KeeperClient

from .fake_keeper import ID, FakeKeeper, event


@pytest.fixture
def keeper(host: Path) -> Iterator[FakeKeeper]:
    """Return a listening keeper."""
    made = FakeKeeper()
    yield made
    made.close()


def test_the_keeper_is_asked_how_it_stands(keeper: FakeKeeper) -> None:
    """What it said before is passed over."""
    keeper.answers["attach"] = [event("prepared")]
    keeper.answers["ask"] = [event("asked", pid=7, shim=True)]
    gate = KeeperClient(ID)
    gate.attach(5)
    assert gate.ask() == {"event": "asked", "pid": 7, "shim": True}
    gate.close()


def test_events_come_in_pieces_and_in_heaps(keeper: FakeKeeper) -> None:
    """Others than the expected one are passed over, and nothing after it is lost."""
    keeper.answers["attach"] = [event("created") + event("gated", root="/r")[:7], event("gated", root="/r")[7:]]
    keeper.answers["restore"] = [event("prepared", pid=1) + event("running", pid=1)]
    gate = KeeperClient(ID)
    gate.attach(5)
    assert gate.expect("gated", 5) == {"event": "gated", "root": "/r"}
    gate.say("restore", images="/i", options=["-v"])
    assert gate.expect("prepared", 5)["pid"] == 1
    assert gate.expect("running", 5)["event"] == "running"
    gate.close()
    assert keeper.heard == [{"do": "attach"}, {"do": "restore", "images": "/i", "options": ["-v"]}]


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([event("failed", status=1)], "runc restore ended with status 1"),
        ([event("cancelled", reason="nobody opened the gate within 120 s")], "nobody opened the gate within 120 s"),
        ([b"hang up"], "the keeper of the container's start is gone"),
    ],
)
def test_a_keeper_that_gives_up_says_why(keeper: FakeKeeper, answers: list[bytes], sentence: str) -> None:
    """In one sentence, for the result."""
    keeper.answers["attach"] = answers
    gate = KeeperClient(ID)
    gate.attach(5)
    with pytest.raises(GateFailed) as failed:
        gate.expect("prepared", 5)
    assert str(failed.value) == sentence
    gate.close()


def test_a_silent_keeper_is_not_waited_for_for_ever(keeper: FakeKeeper) -> None:
    """The message names what did not happen."""
    gate = KeeperClient(ID)
    gate.attach(5)
    with pytest.raises(TimeoutError, match=r"the container's start did not reach 'prepared' within 0\.05 s"):
        gate.expect("prepared", 0.05)
    gate.close()


def test_the_gate_may_open_later_than_it_is_looked_for(host: Path) -> None:
    """dockerd takes its time; when it never starts the runtime, that is said."""
    gate = KeeperClient(ID)
    with pytest.raises(TimeoutError, match="the runtime did not start the gate"):
        gate.attach(0.02)
    made: list[FakeKeeper] = []
    timer = threading.Timer(0.05, lambda: made.append(FakeKeeper()))
    timer.start()
    gate.attach(5)
    gate.close()
    timer.join()
    made[0].close()


def test_the_marker_turns_the_next_start_into_a_restore(host: Path) -> None:
    """It names the session, is private, and is gone when it is forgotten, twice if need be."""
    KeeperClient.expect_container(ID, "/run/relocate/sessions/r1")
    marker = host / "expected" / ID
    assert marker.read_text() == "/run/relocate/sessions/r1"
    assert (host / "expected").stat().st_mode & 0o777 == 0o700 == (host / "gates").stat().st_mode & 0o777
    killed = [Path(paths.gate(ID)), Path(paths.verdict(ID))]  # a keeper that was killed has left them
    for path in killed:
        path.touch()
    for _ in range(2):
        KeeperClient.forget(ID)
    assert not any(path.exists() for path in (marker, *killed))


def test_a_keeper_that_nobody_starts_any_more_is_not_waited_for(host: Path) -> None:
    """``docker start`` has failed: the reason is told at once, not after a minute."""
    began = time.monotonic()
    left = [True, True, False]
    with pytest.raises(TimeoutError, match="did not start the gate"):
        KeeperClient(ID).attach(60.0, lambda: left.pop(0))
    assert time.monotonic() < began + 50 and not left


def test_a_socket_name_fits_into_an_address() -> None:
    """107 bytes, with the longest container id."""
    assert len(paths.gate(ID)) <= 107 and len(paths.verdict(ID)) <= 107
    assert paths.gate(ID) != paths.verdict(ID)


def test_opening_the_gate_of_a_restored_container(keeper: FakeKeeper) -> None:
    """What recovery does after the commit."""
    keeper.answers["attach"] = [event("prepared")]
    keeper.answers["commit"] = [event("running")]
    endings.open_gate(ID)
    assert [message["do"] for message in keeper.heard] == ["attach", "commit"]


def test_the_copy_that_dies_at_the_gate_is_told_of(keeper: FakeKeeper) -> None:
    """It must not be taken for one that runs."""
    keeper.answers["commit"] = [event("failed", status=1)]
    with pytest.raises(GateFailed):
        endings.open_gate(ID)


def test_cancelling_waits_until_the_keeper_has_left(keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing a container that is being started would block. A keeper that is gone already is no error."""
    monkeypatch.setattr(endings, "STOP_SECONDS", 5.0)
    keeper.answers["cancel"] = [event("cancelled", reason="x")]
    leave = threading.Timer(0.1, lambda: Path(paths.gate(ID)).unlink())
    leave.start()
    endings.cancel_gate(ID, "the relocation was rolled back")
    assert not Path(paths.gate(ID)).exists()
    assert keeper.heard[-1] == {"do": "cancel", "reason": "the relocation was rolled back"}
    for nobody in (ID, ""):
        endings.cancel_gate(nobody, "again")
