# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Was there ever more than one owner? Answered from a recorded history alone, by a checker that knows nothing of the program.

The history has three kinds of entries, with times of one clock: the answers that clients got, the answers that were seen on
their way out with the host that they came from, and the moves with their outcomes. All functions here are pure.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Call:
    """A client has asked, and got its connection's next number. Numbers of one connection begin at 1."""

    connection: str
    number: int
    called: float
    returned: float


@dataclass(frozen=True)
class Sighting:
    """An answer was seen at the moment it left the fleet. A number may be seen again: TCP repeats what is not acknowledged."""

    at: float
    host: str
    connection: str
    number: int


@dataclass(frozen=True)
class Move:
    """A move that was tried. ``committed`` says how it ended."""

    begun: float
    ended: float
    source: str
    destination: str
    committed: bool
    id: str = ""


@dataclass(frozen=True)
class Wait:
    """The longest that a client waited for an answer in a committed move; ``call`` is None if nobody asked in it."""

    move: Move
    call: Call | None = None

    @property
    def seconds(self) -> float:
        """How long that was."""
        return self.call.returned - self.call.called if self.call else 0.0


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: in words, when it was seen, and in which connection ("" if in none that is known)."""

    words: str
    at: float
    connection: str = ""

    def __str__(self) -> str:
        return self.words


@dataclass
class Verdict:
    """What the checker has found, by what it means. Nothing in them is well."""

    calls: int = 0
    sightings: int = 0
    doubles: list[Finding] = field(default_factory=list)
    lost: list[Finding] = field(default_factory=list)
    repeated: list[Finding] = field(default_factory=list)
    vanished: list[Finding] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether there was one owner, and nothing acknowledged was lost."""
        return not any(self.kinds().values())

    def kinds(self) -> dict[str, list[Finding]]:
        """Return what was found of each kind, by the kind's name."""
        return {"double": self.doubles, "lost": self.lost, "repeated": self.repeated, "vanished": self.vanished}

    def add(self, other: Verdict) -> None:
        """Take in what was found in another history."""
        self.calls += other.calls
        self.sightings += other.sightings
        theirs = other.kinds()
        for kind, found in self.kinds().items():
            found.extend(theirs[kind])


def told_apart(calls: Iterable[Call], sightings: Iterable[Sighting]) -> list[Sighting]:
    """Return the sightings with the names that the calls have for their connections.

    A client may use a port again, so a name in the calls is ``PLACE#N``. A sighting knows the place only: it belongs to
    the last connection of that place that had begun. What belongs to no client that is recorded is left out.
    """
    begun: dict[str, dict[str, float]] = defaultdict(dict)
    for call in calls:
        of_place = begun[call.connection.partition("#")[0]]
        of_place[call.connection] = min(call.called, of_place.get(call.connection, call.called))
    found = []
    for seen in sightings:
        names = [(at, name) for name, at in begun[seen.connection].items() if at <= seen.at]
        if names:
            found.append(replace(seen, connection=max(names)[1]))
    return found


def check(calls: Iterable[Call], sightings: Iterable[Sighting], moves: Iterable[Move], first_host: str) -> Verdict:
    """Return what is wrong with a history.

    * **lost**: a client's numbers left some out: something was done of which nobody heard.
    * **repeated**: a client got a number that it had already: what was acknowledged is forgotten.
    * **double**: a host answered while another one was the owner. The owner changes once in a committed move, at the first
      answer of the destination; from then on the source must be silent.
    * **vanished**: the destination of a move that was rolled back has answered, or a client has an answer that no owner gave.
      What the owner has said before, and no client had acknowledged, its copy's kernel may repeat: TCP does so for a program
      that does not run, and it is the same answer.

    :param first_host: the owner at the beginning.
    """
    calls, sightings, moves = list(calls), sorted(sightings, key=lambda each: each.at), list(moves)
    verdict = Verdict(len(calls), len(sightings))
    _find_lost(calls, verdict)
    _find_owners(sightings, sorted(moves, key=lambda move: move.begun), first_host, verdict)
    _find_unseen(calls, sightings, verdict)
    return verdict


def owners(moves: Iterable[Move], first_host: str, at: float) -> set[str]:
    """Return who may own at a moment, by the moves alone: two hosts in the middle of one."""
    owner = first_host
    for move in sorted(moves, key=lambda move: move.begun):
        if move.begun <= at <= move.ended:
            return {move.source, move.destination}
        if move.committed and move.ended < at:
            owner = move.destination
    return {owner}


def waits(calls: Iterable[Call], moves: Iterable[Move], after: float = 2.0) -> list[Wait]:
    """Return for each committed move the longest that a client waited for an answer in it, or just ``after`` it."""
    moves = sorted((move for move in moves if move.committed), key=lambda move: move.begun)
    longest = [Wait(move) for move in moves]
    begins = [move.begun for move in moves]
    for call in calls:
        last = bisect.bisect_right(begins, call.returned) - 1
        for index in (last - 1, last):  # a tenant's moves follow one another; only the tails may meet
            if index >= 0 and call.called <= moves[index].ended + after:
                longest[index] = max(longest[index], Wait(moves[index], call), key=lambda wait: wait.seconds)
    return longest


def _find_lost(calls: list[Call], verdict: Verdict) -> None:
    by_connection: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_connection[call.connection].append(call)
    for connection, its in by_connection.items():
        last = 0
        for call in sorted(its, key=lambda call: call.called):
            if call.number != last + 1:
                wrong = verdict.lost if call.number > last else verdict.repeated
                words = f"{connection} got {call.number} after {last}, at {call.returned:.3f}"
                wrong.append(Finding(words, call.returned, connection))
            last = call.number


def _find_owners(sightings: list[Sighting], moves: list[Move], first_host: str, verdict: Verdict) -> None:
    """Follow the owner through the sightings; a stretch of answers from a wrong host is told once."""
    owner, index, told = first_host, 0, ""
    given: set[tuple[str, int]] = set()  # by the owners
    for seen in sightings:
        while index < len(moves) and moves[index].ended < seen.at:
            if moves[index].committed:
                owner = moves[index].destination
            index += 1
        if seen.host == owner:
            told = ""
            given.add((seen.connection, seen.number))
            continue
        move = moves[index] if index < len(moves) and moves[index].begun <= seen.at else None
        if move and move.committed and (owner, seen.host) == (move.source, move.destination):
            owner, told = seen.host, ""
            given.add((seen.connection, seen.number))
            continue
        rolled_back = move and not move.committed and seen.host == move.destination
        if told == seen.host or (rolled_back and (seen.connection, seen.number) in given):
            continue
        told = seen.host
        words = f"{seen.host} answered {seen.number} of {seen.connection} at {seen.at:.3f}, when {owner} was the owner"
        (verdict.vanished if rolled_back else verdict.doubles).append(Finding(words, seen.at, seen.connection))


def _find_unseen(calls: list[Call], sightings: list[Sighting], verdict: Verdict) -> None:
    first: dict[tuple[str, int], float] = {}
    for seen in sightings:
        first.setdefault((seen.connection, seen.number), seen.at)
    for call in calls:
        at = first.get((call.connection, call.number))
        if at is None or at > call.returned:
            words = f"nobody was seen to give {call.connection} the answer {call.number}"
            verdict.vanished.append(Finding(words, call.returned, call.connection))
