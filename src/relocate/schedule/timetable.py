# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's clocks: which container is due, and nothing else. Due times live here, in memory, and nowhere besides.

Moments are seconds on whatever scale the caller uses, as long as it never jumps. Every due time follows from the one before,
not from when a move ended, so that a slow fleet does not slow its clocks.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.beyond import stays_beyond
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import SYSTEM_ENTROPY, Clock, Entropy

from relocate.schedule.calendar import Calendar

#: How often a due time that falls into a closed time is drawn again before any moment of an opening is taken.
REDRAWS = 64
#: Width of the spread over an opening, in seconds, when the redraws found none.
SPREAD = 60.0
#: What can have changed a stay: nothing; a limit; the container had outstayed its clock's longest stay when it was found; no
#: scheduler was there when it was due; it was found amid its stay, or its clock was changed amid it.
CLAMPS = ("none", "min-stay", "window", "overdue", "outage", "joined")


class Entry(NamedTuple):
    """A container that gets a clock. ``since`` is the moment of its last alert or of its start, whichever is later."""

    name: str
    clock: Clock
    since: float


@dataclass(frozen=True)
class Alert:
    """A clock has run out.

    ``due`` is when, ``since`` the alert before it; ``drawn`` is the stay as the law gave it (NaN where the clock was started
    amid the stay) and ``clamp``, one of :data:`CLAMPS`, what changed it.
    """

    name: str
    due: float
    since: float
    drawn: float
    clamp: str


@dataclass(slots=True)
class _Hand:
    """A running clock. What is still to come is kept out of its representation, so that no log can hold it."""

    clock: Clock
    since: float
    due: float = field(repr=False)
    drawn: float = field(repr=False)
    clamp: str = field(repr=False)
    serial: int


class _Due(NamedTuple):
    """A place in the queue. It has lapsed when its clock has another serial by now, or is gone."""

    moment: float
    serial: int
    name: str


class _Queue:
    """Due times, earliest first. In order after every call: nothing outside touches the heap."""

    def __init__(self, items: Iterable[_Due] = ()) -> None:
        self._heap = list(items)
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, items: Sequence[_Due]) -> None:
        """Take in one or many: many in one pass over all."""
        if len(items) == 1:
            heapq.heappush(self._heap, items[0])
        elif items:
            self._heap += items
            heapq.heapify(self._heap)

    def first(self) -> _Due | None:
        """Return the earliest, and leave it."""
        return self._heap[0] if self._heap else None

    def take(self) -> _Due:
        """Take the earliest. IndexError if there is none."""
        return heapq.heappop(self._heap)


class Timetable:
    """All clocks of a fleet in one queue. Not safe for threads: one loop owns it.

    ``epoch_offset`` is what has to be added to a moment to get seconds since the epoch, which the calendar needs.
    """

    def __init__(
        self,
        source: Entropy = SYSTEM_ENTROPY,
        *,
        min_stay: float = 0.0,
        calendar: Calendar | None = None,
        epoch_offset: float = 0.0,
    ) -> None:
        self._source = source
        self._hands: dict[str, _Hand] = {}
        self._queue = _Queue()
        self._serial = itertools.count()
        self._offset = epoch_offset
        self.limit(min_stay, calendar)

    def limit(self, min_stay: float, calendar: Calendar | None) -> None:
        """Set what clamps due times that are drawn from now on."""
        self._min_stay = min_stay
        self._calendar = None if calendar is None or calendar.always_open else calendar

    def __len__(self) -> int:
        return len(self._hands)

    def __contains__(self, name: str) -> bool:
        return name in self._hands

    def names(self) -> set[str]:
        """Return the containers that have a clock."""
        return set(self._hands)

    def clock(self, name: str) -> Clock:
        """Return a container's clock."""
        return self._hands[name].clock

    def enter(self, entries: Iterable[Entry], now: float, alive: float | None = None) -> None:
        """Start clocks, or start them anew, each as one that has run since ``entry.since``.

        ``alive`` is the last moment at which a scheduler surely watched over them: a due time between it and ``now`` was
        missed and is due at once, as an outage. Without it nobody watched until ``now``. Draws are made for all containers
        with the same clock in one step.
        """
        groups: dict[Clock, list[Entry]] = {}
        for entry in entries:
            groups.setdefault(entry.clock, []).append(entry)
        watched = now if alive is None else min(alive, now)
        placed: list[_Due] = []
        for clock, members in groups.items():
            since = np.array([entry.since for entry in members])
            elapsed = np.maximum(watched - since, 0.0)
            drawn = stays_beyond(clock, self._source, elapsed)
            overdue = drawn <= elapsed
            for entry, stay, late in zip(members, drawn.tolist(), overdue.tolist(), strict=True):
                due, clamp = entry.since + stay, "none"
                if alive is None and now > entry.since:
                    clamp, stay = "joined", math.nan
                if late and watched > entry.since:
                    due, clamp, stay = now, "overdue", math.nan
                elif due < now:
                    due, clamp = now, "outage"
                placed.append(self._start(entry.name, clock, entry.since, due, stay, clamp))
        self._queue.add(placed)
        if len(self._queue) > 2 * len(self._hands) + 64:
            self._requeue()

    def leave(self, names: Iterable[str]) -> None:
        """Stop clocks; a name without one is passed over. Their places in the queue are dropped when they come up."""
        for name in names:
            self._hands.pop(name, None)

    def shift(self, seconds: float) -> None:
        """The scale of moments has been set forward by ``seconds`` (back if negative): no clock runs out earlier or later."""
        for hand in self._hands.values():
            hand.since += seconds
            hand.due += seconds
        self._requeue()

    def _requeue(self) -> None:
        """Make the queue anew, without what has lapsed."""
        self._queue = _Queue(_Due(hand.due, hand.serial, name) for name, hand in self._hands.items())

    def next_due(self) -> float | None:
        """Return the earliest due time, for the loop's timer and nothing else; None if there is none."""
        while (first := self._queue.first()) is not None and self._lapsed(first):
            self._queue.take()
        return None if first is None else first.moment

    def due(self, now: float) -> list[Alert]:
        """Return the alerts up to ``now`` in their order, and draw the next due time of each clock from the last one."""
        alerts: list[Alert] = []
        while (first := self.next_due()) is not None and first <= now:
            name = self._queue.take().name
            hand = self._hands[name]
            alerts.append(Alert(name, hand.due, hand.since, hand.drawn, hand.clamp))
            stay = float(hand.clock.stays(self._source, 1)[0])
            self._queue.add([self._start(name, hand.clock, hand.due, hand.due + stay, stay, "none")])
        return alerts

    def first(self) -> Alert | None:
        """Take the alert that would come next, before it is due, and draw that clock anew: for a single round by hand."""
        due = self.next_due()
        if due is None or due == float("inf"):
            return None
        return self.due(due)[0]

    def _lapsed(self, place: _Due) -> bool:
        hand = self._hands.get(place.name)
        return hand is None or hand.serial != place.serial

    def _start(self, name: str, clock: Clock, since: float, due: float, drawn: float, clamp: str) -> _Due:
        """Start a clock with a clamped due time, and return its place: it runs out once the queue has it."""
        due, clamp = self._clamped(clock, since, due, clamp)
        hand = self._hands[name] = _Hand(clock, since, due, drawn, clamp, next(self._serial))
        return _Due(hand.due, hand.serial, name)

    def _clamped(self, clock: Clock, since: float, due: float, clamp: str) -> tuple[float, str]:
        """Return a due time after the minimum stay and in an open time, and what changed it."""
        if due < since + self._min_stay:
            due, clamp = since + self._min_stay, "min-stay"
        if self._calendar is None or due == float("inf") or self._calendar.is_open(due + self._offset):
            return due, clamp
        # An opening's first moment would be known to everybody who knows the calendar: draw again from there.
        for _ in range(REDRAWS):
            opening = self._calendar.next_open(due + self._offset)
            if opening is None:
                return float("inf"), "window"
            due = opening - self._offset + float(clock.stays(self._source, 1)[0])
            if due == float("inf") or self._calendar.is_open(due + self._offset):
                return due, "window"
        opening = self._calendar.next_open(due + self._offset)
        if opening is None:
            return float("inf"), "window"
        spread = opening + SPREAD * float(self._source.random(1)[0])
        return (spread if self._calendar.is_open(spread) else opening) - self._offset, "window"
