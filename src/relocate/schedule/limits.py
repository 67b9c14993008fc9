# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may start now: counts in flight, hops per hour, minimum stay, openings, back-offs, breakers and pauses.

Pure: it is told what happened and when, and answers. It knows nothing of clocks, stores or launchers.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from relocate.schedule.settings import LimitSettings

HOUR = 3600.0
#: Outcomes that count against a host: something was tried, or would have been, and did not work.
HOST_FAILURES = ("rolled-back", "in-doubt", "failed")


class Kind(enum.Enum):
    """What becomes of a move that is due."""

    GO = "go"
    WAIT = "wait"  # it stays queued and is asked about again
    DROP = "drop"  # it is recorded as skipped


@dataclass(frozen=True)
class Judgement:
    """An answer. ``reason`` is a word for the record, ``until`` when asking again may help (None: when something changes)."""

    kind: Kind
    reason: str = ""
    until: float | None = None


GO = Judgement(Kind.GO)


@dataclass(frozen=True)
class Asked:
    """A move as far as limits care. ``forced`` is one that a person asked for: it keeps to counts and pauses only.

    ``together`` are this container and those that move with it.
    """

    container: str
    host: str
    edge: str
    forced: bool = False
    together: frozenset[str] = frozenset()

    def touches(self, containers: frozenset[str]) -> bool:
        """Whether any of what moves is among them."""
        return self.container in containers or not self.together.isdisjoint(containers)


@dataclass
class Pauses:
    """What is paused, by an operator's word. A host that is paused is cordoned; ``draining`` is a part of ``hosts``."""

    everything: bool = False
    hosts: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()


@dataclass
class _Breaker:
    """Failures in a row on one host; open until ``until``, then one move is let through."""

    failures: int = 0
    opened: int = 0
    until: float = 0.0
    trying: bool = False


@dataclass
class _BackOff:
    failures: int = 0
    until: float = 0.0


@dataclass(frozen=True)
class Opened:
    """A breaker has opened: what the alert says."""

    host: str
    failures: int
    seconds: float


@dataclass
class Limits:
    """The state of a fleet's limits. Moments are seconds on the epoch's scale, for the calendar's sake."""

    settings: LimitSettings
    pauses: Pauses = field(default_factory=Pauses)

    def __post_init__(self) -> None:
        self._in_flight: dict[str, Asked] = {}
        self._hosts: Counter[str] = Counter()
        self._edges: Counter[str] = Counter()
        self._hops: defaultdict[str, deque[float]] = defaultdict(deque)
        self._arrived: dict[str, float] = {}
        self._breakers: defaultdict[str, _Breaker] = defaultdict(_Breaker)
        self._backoffs: defaultdict[str, _BackOff] = defaultdict(_BackOff)
        #: Containers of which a snapshot is made or restored now.
        self.kept: frozenset[str] = frozenset()
        self.use(self.settings)

    def use(self, settings: LimitSettings) -> None:
        """Take other limits from now on; what is in flight and what has failed is kept."""
        self.settings = settings
        self._calendar = settings.calendar()

    @property
    def in_flight(self) -> int:
        """How many moves are under way."""
        return len(self._in_flight)

    def moving(self, container: str) -> bool:
        """Whether a move of this container is under way."""
        return container in self._in_flight

    def judge(self, asked: Asked, now: float) -> Judgement:
        """Say whether a move may start. Nothing changes until :meth:`started`."""
        if (paused := self._paused(asked)) is not None:
            return paused
        if asked.container in self._in_flight or asked.touches(self.kept):
            return Judgement(Kind.WAIT, "moving")
        if not asked.forced and (held := self._held(asked, now)) is not None:
            return held
        return self._counted(asked) or GO

    def _paused(self, asked: Asked) -> Judgement | None:
        pauses = self.pauses
        if pauses.everything or asked.touches(pauses.containers):
            return Judgement(Kind.DROP, "paused")
        if asked.host in pauses.hosts and not (asked.forced and asked.host in pauses.draining):
            return Judgement(Kind.DROP, "cordoned")
        return None

    def _held(self, asked: Asked, now: float) -> Judgement | None:
        backoff = self._backoffs.get(asked.container)
        if backoff and now < backoff.until:
            return Judgement(Kind.DROP, "back-off")
        breaker = self._breakers.get(asked.host)
        if breaker and breaker.opened and (now < breaker.until or breaker.trying):
            return Judgement(Kind.DROP, "breaker")
        if not self._calendar.is_open(now):
            return Judgement(Kind.WAIT, "window", self._calendar.next_open(now))
        arrived = self._arrived.get(asked.container)
        if arrived is not None and now < arrived + self.settings.min_stay:
            return Judgement(Kind.WAIT, "min-stay", arrived + self.settings.min_stay)
        if self.settings.hops_per_hour is not None:
            hops = self._recent(asked.container, now)
            if len(hops) >= self.settings.hops_per_hour:
                return Judgement(Kind.WAIT, "limit", hops[0] + HOUR)
        return None

    def _counted(self, asked: Asked) -> Judgement | None:
        limits = self.settings
        full = (
            len(self._in_flight) >= limits.in_flight
            or self._hosts[asked.host] >= limits.in_flight_per_host
            or self._edges[asked.edge] >= limits.in_flight_per_edge
        )
        return Judgement(Kind.WAIT, "limit") if full else None

    def _recent(self, container: str, now: float) -> deque[float]:
        hops = self._hops[container]
        while hops and hops[0] <= now - HOUR:
            hops.popleft()
        return hops

    def started(self, asked: Asked, now: float) -> None:
        """A move has started."""
        self._in_flight[asked.container] = asked
        self._hosts[asked.host] += 1
        self._edges[asked.edge] += 1
        self._recent(asked.container, now).append(now)
        breaker = self._breakers.get(asked.host)
        if breaker and breaker.opened:
            breaker.trying = True

    def finished(self, container: str, outcome: str, destination: str | None, now: float) -> list[Opened]:
        """A move has ended; return the breakers that it opened.

        ``destination`` is the host that the result names, if it got so far: a failure counts against both ends.
        """
        asked = self._landed(container)
        return [] if asked is None else self._learn(asked, outcome, destination, now)

    def withdrawn(self, container: str) -> None:
        """A move that was counted as started was not launched after all."""
        asked = self._landed(container)
        if asked is not None:
            self._hops[container].pop()
            if breaker := self._breakers.get(asked.host):
                breaker.trying = False

    def _landed(self, container: str) -> Asked | None:
        asked = self._in_flight.pop(container, None)
        if asked is not None:
            for counter, key in ((self._hosts, asked.host), (self._edges, asked.edge)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]
        return asked

    def _learn(self, asked: Asked, outcome: str, destination: str | None, now: float) -> list[Opened]:
        if outcome == "committed":
            self._arrived[asked.container] = now
            self._backoffs.pop(asked.container, None)
            for host in {asked.host, destination}:
                self._breakers.pop(host or "", None)
            return []
        backoff = self._backoffs[asked.container]
        backoff.failures += 1
        wait = min(self.settings.backoff.first * 2.0 ** min(backoff.failures - 1, 60), self.settings.backoff.most)
        backoff.until = now + wait
        if outcome not in HOST_FAILURES:
            if breaker := self._breakers.get(asked.host):
                breaker.trying = False
            return []
        hosts = [asked.host, *([destination] if destination and destination != asked.host else [])]
        return [opened for host in hosts if (opened := self._failed(host, now)) is not None]

    def _failed(self, host: str, now: float) -> Opened | None:
        breaker = self._breakers[host]
        breaker.failures += 1
        settings = self.settings.breaker
        if breaker.failures < settings.failures or (breaker.opened and not breaker.trying):
            return None
        breaker.trying = False
        seconds = min(settings.cool_down * 2.0 ** min(breaker.opened, 60), settings.most)
        breaker.opened += 1
        breaker.until = now + seconds
        return Opened(host, breaker.failures, seconds)

    def forget(self, containers: Iterable[str]) -> None:
        """Containers are gone for good."""
        for name in containers:
            for memory in (self._hops, self._arrived, self._backoffs):
                memory.pop(name, None)

    def remember(self, asked: Asked, started: float, outcome: str, destination: str | None, ended: float) -> None:
        """Take in a move of an earlier life of the service, oldest first."""
        self._recent(asked.container, started).append(started)
        self._learn(asked, outcome, destination, ended)
