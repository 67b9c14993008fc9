# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's engine: thousands of trials hop at once, one numpy step per hop.

A trial is a container: it stays (the clock) for an exposure E, is frozen for D and goes on elsewhere (the placement).
Beside an attacker an attack of time A runs; it succeeds when it fits into the exposure. Every trial runs to the last
horizon whether compromised or not, so that co-residence is counted over the same time for all; then, where asked, on to
its compromise. The state of a chunk is a few arrays; the last trial takes the place of a finished one, so that nothing is
computed for those that are done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, Static

from relocate.model.laws.attacks import Attack, Fixed
from relocate.model.simulate.placement import Hosts, Placement

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]
Progress = Literal["reset", "retain", "accumulate", "chase"]

LATE_STEPS = 1_000_000  # past the horizon: a minute, however few trials are left in the chunk


@dataclass(frozen=True)
class Scenario:
    """A system ready to be simulated; docs/simulator.md says what each field means. Checked by who builds it."""

    hosts: int
    attackers: int
    clock: Clock
    attack: Attack
    placement: Placement
    fixed_attackers: tuple[int, ...] = ()
    start_attacked: bool = False
    progress: Progress = "reset"
    delta: Floats | None = None
    chase_rate: float = math.inf
    latency: float = 0.0
    failure: float = 0.0
    downtime: float = 0.0
    horizon: float = 1.0

    @property
    def draws_sets(self) -> bool:
        """Whether it matters which hosts are attacked, so that each trial must draw its own set."""
        alike = self.placement.exchangeable and self.progress != "retain"
        return not (self.fixed_attackers or self.progress == "chase" or alike)


def stream(seed: np.random.SeedSequence | int) -> np.random.Generator:
    """Return a generator for a chunk. SFC64 is the quickest of numpy's bit generators, and passes the same batteries."""
    return np.random.Generator(np.random.SFC64(seed))


@dataclass
class Outcome:
    """What a chunk of n trials came to; arrays have the shape (n,)."""

    compromised: Floats  # time of the first compromise; inf where none was seen
    beside: Floats  # time beside an attacker within the horizon
    hops: int  # completed within the horizon, over all trials
    frozen: float  # downtime within the horizon, over all trials
    complete: bool  # every trial went on to its compromise
    stays: int  # simulated, over all trials


class _State:
    """Arrays of the active trials; position i of each belongs to trial ``trial[i]``."""

    __slots__ = ("beside", "compromised", "host", "need", "now", "trial", "work")

    def __init__(self, size: int, host: Hosts, need: Floats | None) -> None:
        self.trial = np.arange(size)
        self.now = np.zeros(size)
        self.host = host
        self.beside = np.zeros(size)
        self.compromised = np.full(size, np.inf)
        self.need = need  # attack time of the whole campaign: retain and accumulate
        self.work = None if need is None else np.zeros(size)  # attack time spent so far

    def select(self, positions: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays at ``positions``, by name."""
        return {name: array[positions] for name, array in self._arrays().items()}

    def replace(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        for name, array in arrays.items():
            setattr(self, name, array)

    def remove(self, gone: Mask) -> None:
        """Take out the marked positions; the last ones move into the holes, so the cost is that of what goes."""
        left = gone.size - int(np.count_nonzero(gone))
        holes = np.flatnonzero(gone[:left])
        movers = left + np.flatnonzero(~gone[left:])
        for name, array in self._arrays().items():
            array[holes] = array[movers]
            setattr(self, name, array[:left])

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}


class Chunk:
    """One chunk of ``size`` trials of a scenario, on its own random stream."""

    def __init__(self, scenario: Scenario, size: int, rng: np.random.Generator) -> None:
        self._s = scenario
        self._rng = rng
        self._size = size
        self._clock = Static() if scenario.failure == 1 else scenario.clock
        self._stays = 0
        self._kept = None
        if scenario.progress == "retain" and scenario.delta is not None:
            self._kept = (1 - scenario.delta).ravel()
        self._attacked = self._attacked_sets()
        need = scenario.attack.sample(rng, size) if scenario.progress in ("retain", "accumulate") else None
        self._state = _State(size, self._first_hosts(), need)
        self._first = True

    def run(self, *, to_compromise: bool, stay_limit: int, co_residence: bool = True) -> Outcome:
        """Run to the horizon and, with ``to_compromise``, on until all are compromised or ``stay_limit`` stays are spent.

        Without ``co_residence`` a trial ends at its compromise: quicker, for who wants survival only.
        """
        s, state, horizon = self._s, self._state, self._s.horizon
        compromised, beside = np.full(self._size, np.inf), np.zeros(self._size)
        hops, frozen = 0, 0.0
        late: list[dict[str, npt.NDArray[Any]]] = []
        while state.now.size:
            exposure = self._stay(count=co_residence)
            end = state.now + exposure
            state.now = end + s.downtime
            done = state.now > horizon
            hops += done.size - int(np.count_nonzero(done))
            if not co_residence:
                done |= state.compromised <= horizon
            self._hop()
            gone = np.flatnonzero(done)
            if gone.size:
                frozen += float(np.clip(horizon - end[gone], 0.0, s.downtime).sum())
                trial = state.trial[gone]
                compromised[trial] = state.compromised[gone]
                beside[trial] = state.beside[gone]
                if to_compromise:
                    late.append(state.select(gone[np.isinf(state.compromised[gone])]))
                state.remove(done)
        complete = to_compromise and self._go_on(late, compromised, stay_limit)
        return Outcome(compromised, beside, hops, frozen + hops * s.downtime, complete, self._stays)

    def one_stay(self) -> int:
        """Let every trial stay once, and return how many were compromised in that stay."""
        self._stay(count=False)
        return int(np.count_nonzero(np.isfinite(self._state.compromised)))

    def _go_on(self, late: list[dict[str, npt.NDArray[Any]]], compromised: Floats, stay_limit: int) -> bool:
        """Run those not yet compromised until they are; False when the limit of stays, or of steps, came first."""
        state = self._state
        state.replace({name: np.concatenate([part[name] for part in late]) for name in late[0]})
        steps = 0
        while state.now.size and self._stays < stay_limit and steps < LATE_STEPS:
            steps += 1
            if isinstance(self._clock, Static):
                return False
            state.now = state.now + self._stay(count=False) + self._s.downtime
            self._hop()
            done = np.isfinite(state.compromised)
            if done.any():
                compromised[state.trial[done]] = state.compromised[done]
                state.remove(done)
        return not state.now.size

    def _stay(self, count: bool) -> Floats:
        """Let every active trial stay once; records compromises and, with ``count``, co-residence. Returns exposures."""
        s, rng, state = self._s, self._rng, self._state
        size = state.now.size
        self._stays += size
        exposure = self._clock.stays(rng, size)
        if s.failure and not isinstance(self._clock, Static):
            again = np.flatnonzero(rng.random(size) < s.failure)
            while again.size:
                exposure[again] += self._clock.stays(rng, again.size)
                again = again[rng.random(again.size) < s.failure]
        if s.latency:
            exposure += s.latency
        if s.progress == "chase":
            self._chase(exposure, count)
            return exposure
        near = self._near()
        if count:
            spent = np.minimum(exposure, s.horizon - state.now)
            spent *= near
            state.beside += spent
        if s.progress == "reset":
            self._attempt(exposure, near)
        else:
            self._work_on(exposure, near)
        return exposure

    def _attempt(self, exposure: Floats, near: Mask) -> None:
        """``reset``: a new attack in every stay beside an attacker."""
        attack = self._s.attack
        if isinstance(attack, Fixed):  # most stays are too short: sieve before gathering
            hit = np.flatnonzero(near & (exposure >= attack.mean))
            self._compromise(hit, self._state.now[hit] + attack.mean)
            return
        there = np.flatnonzero(near)
        needed = attack.sample(self._rng, there.size)
        within = needed <= exposure[there]
        hit = there[within]
        self._compromise(hit, self._state.now[hit] + needed[within])

    def _work_on(self, exposure: Floats, near: Mask) -> None:
        """``retain`` and ``accumulate``: one attack goes on from stay to stay."""
        state = self._state
        assert state.need is not None
        assert state.work is not None
        there = np.flatnonzero(near)
        left = state.need[there] - state.work[there]
        within = left <= exposure[there]
        hit = there[within]
        self._compromise(hit, state.now[hit] + np.maximum(left[within], 0.0))
        state.work[there] += exposure[there]

    def _chase(self, exposure: Floats, count: bool) -> None:
        """``chase``: the attacker finds the container after Exp(chase_rate), then attacks; hosts do not matter."""
        s, state, size = self._s, self._state, self._state.now.size
        found = self._rng.standard_exponential(size) / s.chase_rate
        if self._first and s.start_attacked:
            found[:] = 0.0
        self._first = False
        if count:
            state.beside += np.maximum(np.minimum(exposure, s.horizon - state.now) - found, 0.0)
        needed = found + s.attack.sample(self._rng, size)
        hit = np.flatnonzero(needed <= exposure)
        self._compromise(hit, state.now[hit] + needed[hit])

    def _compromise(self, hit: npt.NDArray[np.intp], when: Floats) -> None:
        self._state.compromised[hit] = np.minimum(self._state.compromised[hit], when)

    def _hop(self) -> None:
        """Send every active trial on; ``retain`` keeps the share 1 - delta of the attack's work."""
        if self._s.progress == "chase":
            return
        state = self._state
        goal = self._s.placement.next(self._rng, state.host)
        if self._kept is not None and state.work is not None:
            state.work *= self._kept.take(state.host * np.int32(self._s.hosts) + goal)
        state.host = goal

    def _near(self) -> Mask:
        """Whether each active trial is beside an attacker, shape (active,)."""
        if self._attacked is None:
            return self._state.host < self._s.attackers
        if self._attacked.ndim == 1:
            return self._attacked.take(self._state.host)
        return self._attacked.ravel().take(self._state.trial * self._s.hosts + self._state.host)

    def _attacked_sets(self) -> Mask | None:
        """Which hosts are attacked: None for the first m (all alike), (N,) when given, else (size, N), drawn per trial."""
        s = self._s
        if s.fixed_attackers:
            given = np.zeros(s.hosts, dtype=bool)
            given[list(s.fixed_attackers)] = True
            return given
        if not s.draws_sets:
            return None
        drawn = np.zeros((self._size, s.hosts), dtype=bool)
        drawn[:, : s.attackers] = True
        return self._rng.permuted(drawn, axis=1)

    def _first_hosts(self) -> Hosts:
        s, rng = self._s, self._rng
        kind = np.uint16 if s.hosts <= 1 << 16 else np.int32  # narrow numbers are drawn and compared much quicker
        if not s.start_attacked or s.attackers == 0:
            return rng.integers(0, s.hosts, self._size, dtype=kind)
        if self._attacked is None:
            return rng.integers(0, s.attackers, self._size, dtype=kind)
        if self._attacked.ndim == 1:
            return rng.choice(np.flatnonzero(self._attacked).astype(kind), self._size)
        return np.argmax(self._attacked * rng.random(self._attacked.shape), axis=1).astype(kind)
