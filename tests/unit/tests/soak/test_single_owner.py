# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker of histories finds every planted fault, and nothing in a history that is as it must be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from single_owner import Call, Finding, Move, Sighting, Verdict, check, owners, told_apart, waits

A, B = "host1", "host2"
THERE = Move(10.0, 12.0, A, B, committed=True)
NOT_THERE = Move(20.0, 22.0, B, A, committed=False)
BACK = Move(30.0, 32.0, B, A, committed=True)
MOVES = [THERE, NOT_THERE, BACK]


def host_at(at: float) -> str:
    """Return who owns at a time: moves are in force one second after they begin."""
    return B if 11.0 <= at < 31.0 else A


def history(connection: str = "one") -> tuple[list[Call], list[Sighting]]:
    """Return a good one: an answer every 100 ms, and one that TCP repeats from the new owner."""
    calls = [Call(connection, n, n / 10, n / 10 + 0.02) for n in range(1, 400)]
    seen = [Sighting(n / 10 + 0.01, host_at(n / 10 + 0.01), connection, n) for n in range(1, 400)]
    return calls, [*seen, Sighting(11.012, B, connection, 109)]


def found(calls: list[Call], sightings: list[Sighting], moves: list[Move] | None = None) -> Verdict:
    """Check it."""
    return check(calls, sightings, MOVES if moves is None else moves, A)


def test_a_good_history() -> None:
    """Moves there, not back, and back; two connections whose entries are mixed."""
    one, other = history("one"), history("other")
    verdict = found([*other[0], *one[0]], [*one[1], *other[1]])
    assert verdict.well and (verdict.calls, verdict.sightings) == (798, 800)


@pytest.mark.parametrize(
    ("at", "host"),
    [(11.5, A), (12.5, A), (5.0, B), (31.5, B), (25.0, A)],
    ids=["in the move", "after it", "before any", "on the way back", "after the rollback"],
)
def test_a_planted_double(at: float, host: str) -> None:
    """The other host answers, once."""
    calls, seen = history()
    verdict = found(calls, [*seen, Sighting(at, host, "one", 7)])
    assert len(verdict.doubles) == 1 and f"{host} answered 7 of one" in verdict.doubles[0].words
    assert not verdict.lost and not verdict.vanished


def test_an_owner_that_changes_without_a_move() -> None:
    """Told once for each stretch, not for every answer."""
    calls, seen = history()
    verdict = found(calls, seen, [NOT_THERE])
    assert len(verdict.doubles) == 1 and "host2 answered 110" in verdict.doubles[0].words


def test_an_answer_from_a_copy_that_later_vanished() -> None:
    """The move was rolled back, and what its destination has said is true nowhere."""
    calls, seen = history()
    verdict = found(calls, [*seen, Sighting(21.0, A, "one", 210)])
    assert len(verdict.vanished) == 1 and not verdict.doubles


def test_a_copy_that_repeats_what_its_original_has_said() -> None:
    """Its kernel does, before the copy may run. Of another connection's answer, or outside of the move, it is a double."""
    calls, seen = history()
    assert found(calls, [*seen, Sighting(21.0, A, "one", 208)]).well
    assert len(found(calls, [*seen, Sighting(21.0, A, "other", 208)]).vanished) == 1
    assert len(found(calls, [*seen, Sighting(23.0, A, "one", 208)]).doubles) == 1


def test_an_acknowledged_write_that_is_lost() -> None:
    """The copy is of a time before it: the client gets a number that it has."""
    calls, seen = history()
    calls = [replace(call, number=call.number - 2) if call.number > 110 else call for call in calls]
    verdict = found(calls, seen)
    assert [str(each) for each in verdict.repeated] == ["one got 109 after 110, at 11.120"] and not verdict.lost


def test_a_number_that_is_left_out() -> None:
    """Something was done of which nobody heard."""
    calls, seen = history()
    verdict = found([call for call in calls if call.number != 50], seen)
    assert [(each.words, each.at, each.connection) for each in verdict.lost] == [
        ("one got 51 after 49, at 5.120", pytest.approx(5.12), "one")
    ]


def test_an_answer_that_nobody_gave() -> None:
    """Not seen, or seen too late."""
    calls, seen = history()
    seen = [each for each in seen if each.number != 60]
    verdict = found(calls, seen)
    assert [str(each) for each in verdict.vanished] == ["nobody was seen to give one the answer 60"]
    assert found(calls, [*seen, Sighting(6.5, A, "one", 60)]).vanished


def test_a_port_that_is_used_again_is_another_connection() -> None:
    """A sighting belongs to the connection that was there at its time, or to nobody who is recorded."""
    calls = [Call("client:7#1", 1, 1.0, 1.1), Call("client:7#1", 2, 2.0, 2.1), Call("client:7#2", 1, 3.0, 3.1)]
    seen = [Sighting(at, A, "client:7", number) for at, number in ((0.5, 9), (1.05, 1), (2.05, 2), (3.05, 1))]
    named = told_apart(calls, [*seen, Sighting(2.0, A, "other:8", 1)])
    assert [(each.at, each.connection) for each in named] == [
        (1.05, "client:7#1"),
        (2.05, "client:7#1"),
        (3.05, "client:7#2"),
    ]
    assert found(calls, named).well


def test_the_gap_of_a_move_is_the_longest_wait_in_it() -> None:
    """Waits between two moves, and in one that was rolled back, are none of its."""
    calls, _ = history()
    planted = {105: 0.5, 150: 3.0, 210: 4.0, 315: 0.7}
    calls = [replace(call, returned=call.called + planted.get(call.number, 0.02)) for call in calls]
    found = waits(calls, MOVES)
    assert [wait.seconds for wait in found] == pytest.approx([0.5, 0.7])
    assert [(wait.move, wait.call and wait.call.number) for wait in found] == [(THERE, 105), (BACK, 315)]
    assert [wait.seconds for wait in waits([], MOVES)] == [0.0, 0.0]


def test_who_may_own() -> None:
    """Before, in, between and after moves; one that was rolled back changes nothing."""
    at = (5.0, 11.0, 15.0, 21.0, 25.0, 35.0)
    assert [owners(MOVES, A, each) for each in at] == [{A}, {A, B}, {B}, {B, A}, {B}, {A}]


def test_verdicts_are_added() -> None:
    """One bad tenant among good ones is enough."""
    whole, double = Verdict(1, 1), Finding("two", 1.0)
    whole.add(Verdict(2, 3, doubles=[double]))
    assert (whole.calls, whole.sightings, whole.doubles) == (3, 4, [double]) and not whole.well
