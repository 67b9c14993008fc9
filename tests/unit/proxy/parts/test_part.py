# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listening part does when it loses the edge: before its vote, after it, and after the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.parts import base
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.messages import MESSAGES, Message
from relocate_proxy.protocol.states import State

from ..fakes import ScriptedChannel, ScriptedListener

BEFORE_THE_VOTE = (None, State.STAGING, State.STAGED, State.GATED, State.FREEZING, State.RESTORING)
BOUND = (State.VOTED, State.PREPARED, State.COMMITTED)


class Walker(base.Part):
    """A part that records the states it is told to, and how it was rolled back."""

    name = "source"

    def __init__(self, specification: dict, journal: Journal) -> None:
        super().__init__(specification, journal)
        self.rolled_back: list[str] = []

    def on_go(self, message: dict) -> None:
        """Take a step."""
        self.journal.record(State(message["to"]))
        self.say("went", to=message["to"])

    def on_fail(self, message: dict) -> None:
        """Fail in the way that is asked for."""
        raise message["with"]

    def on_finish(self, _: dict) -> None:
        """Come to the end."""
        self.close(State.DONE)
        self.say("finished")

    def roll_back(self, reason: str) -> None:
        """Keep the reason."""
        self.rolled_back.append(reason)
        self.close(State.ROLLED_BACK, reason=reason)


def walker(monkeypatch: pytest.MonkeyPatch, host: Path, *script: Any) -> Walker:
    """Return a part at whose listener the channels of the script arrive."""
    monkeypatch.setattr(base, "Listener", lambda *_: ScriptedListener(script))
    for kind in ("go", "fail"):  # the walker's own
        monkeypatch.setitem(MESSAGES, (kind, "source"), Message("edge", "source", {}))
    journal = Journal.at("r1", "source", str(host / "journal"))
    return Walker({"id": "r1", "listen": "127.0.0.1", "credentials": {}}, journal)


def go(*states: State | None) -> list[dict]:
    """Return the edge's messages that lead through states."""
    return [{"kind": "go", "to": state.value} for state in states if state]


FINISH = {"kind": "finish"}


@pytest.mark.parametrize("state", BEFORE_THE_VOTE)
@pytest.mark.parametrize("loss", [ChannelLost("closed"), ConnectionResetError("reset"), ValueError("no JSON")])
def test_before_its_vote_it_rolls_back_by_itself(
    monkeypatch: pytest.MonkeyPatch, host: Path, state: State | None, loss: Exception
) -> None:
    """The source can thaw, the destination can throw its copy away: nobody else believes anything yet."""
    edge, late = ScriptedChannel("edge", [*go(state), loss]), ScriptedChannel("edge", [FINISH])
    one = walker(monkeypatch, host, edge, late)
    one.serve()
    assert one.rolled_back == [f"the edge's proxy is gone: {loss}"]
    assert one.journal.state is State.ROLLED_BACK and late.sent == [] and one.listener.closed


def test_an_edge_that_never_comes_is_an_edge_that_is_lost(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """The part was started and then forgotten."""
    one = walker(monkeypatch, host)
    one.serve()
    assert one.rolled_back == ["the edge's proxy is gone: nobody came in 45.0 s"]


@pytest.mark.parametrize("state", BOUND)
def test_after_its_vote_it_waits_for_the_edge(monkeypatch: pytest.MonkeyPatch, host: Path, state: State) -> None:
    """It obeys the next one, whatever that says."""
    first = ScriptedChannel("edge", go(state))
    second = ScriptedChannel("edge", [FINISH])
    one = walker(monkeypatch, host, first, second)
    one.serve()
    assert (one.rolled_back, second.sent, one.journal.state) == ([], [{"kind": "finished"}], State.DONE)


@pytest.mark.parametrize("state", BOUND)
def test_after_its_vote_it_never_rolls_back_alone(monkeypatch: pytest.MonkeyPatch, host: Path, state: State) -> None:
    """The edge does not come back: all stays as it is, and no living process stands in recovery's way."""
    one = walker(monkeypatch, host, ScriptedChannel("edge", go(state)))
    one.serve()
    assert (one.rolled_back, one.journal.state, one.finished) == ([], state, False)
    assert one.listener.closed and Path(one.directory).is_dir()


@pytest.mark.parametrize("state", BOUND)
def test_the_edge_may_take_back_what_a_part_has_voted_for(
    monkeypatch: pytest.MonkeyPatch, host: Path, state: State
) -> None:
    """Its verdict counts in every state."""
    verdict = {"kind": "roll_back", "reason": "the destination's disk is full"}
    one = walker(monkeypatch, host, ScriptedChannel("edge", [*go(state), verdict]))
    one.serve()
    assert one.rolled_back == ["the destination's disk is full"]


def test_a_step_that_fails_is_told_and_the_part_goes_on(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """The edge decides what follows from it. Losing another part is such a failure, not the loss of the edge."""
    problems = [ChannelLost("the destination is gone"), KeyError(), RuntimeError("CRIU could not dump")]
    edge = ScriptedChannel("edge", [*({"kind": "fail", "with": problem} for problem in problems), FINISH])
    one = walker(monkeypatch, host, edge)
    one.serve()
    assert [message.get("reason") for message in edge.sent] == [
        "the destination is gone", "KeyError", "CRIU could not dump", None,
    ]  # fmt: skip
    assert one.rolled_back == [] and one.journal.state is State.DONE


def test_a_message_of_another_version_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """Hosts are prepared one by one."""
    edge = ScriptedChannel("edge", [{"kind": "post_copy"}, FINISH])
    walker(monkeypatch, host, edge).serve()
    assert edge.sent[0] == {
        "kind": "failed",
        "reason": "the edge asked for 'post_copy', which the source does not know; run prepare.yml again",
    }


def test_others_than_the_edge_do_not_command(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """A certificate of this relocation is not enough."""
    other = ScriptedChannel("destination", [FINISH])
    one = walker(monkeypatch, host, other, ScriptedChannel("edge", [FINISH]))
    one.serve()
    assert other.closed and other.sent == [] and one.journal.state is State.DONE


def test_an_answer_that_cannot_be_given_does_not_undo_the_end(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """DONE is on the disk; the edge has gone meanwhile."""
    one = walker(monkeypatch, host, ScriptedChannel("edge", [*go(), FINISH], deaf=True))
    one.serve()
    assert (one.rolled_back, one.journal.state) == ([], State.DONE)


def test_saying_something_without_an_edge_is_a_lost_channel(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """Not an attribute error."""
    with pytest.raises(ChannelLost, match="the edge has not connected yet"):
        walker(monkeypatch, host).say("frozen")


def test_the_session_is_overwritten_before_it_is_removed(monkeypatch: pytest.MonkeyPatch, host: Path) -> None:
    """A second name of the image shows what was in it last."""
    one = walker(monkeypatch, host)
    image = Path(one.directory) / "images" / "pages-1.img"
    image.parent.mkdir()
    image.write_bytes(b"secret" * 300_000)
    (image.parent / "link").symlink_to("/etc/passwd")
    witness = host / "witness"
    witness.hardlink_to(image)
    one.close(State.DONE)
    assert not Path(one.directory).exists()
    assert witness.stat().st_size == 1_800_000 and not witness.read_bytes().strip(b"\0")
    assert Path("/etc/passwd").stat().st_size
