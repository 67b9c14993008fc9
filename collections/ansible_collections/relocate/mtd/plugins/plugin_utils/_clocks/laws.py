# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Laws of the stay, the time between two hops: what ``clocks`` builds its named clocks from.

A clock is an immutable value: it knows its law in closed form (``cdf``, ``survivor``, ``mean``, ``expected_min``) and
turns a source of randomness into stays. Times are in whatever unit the parameters are in; rates are per that unit.
"""

from __future__ import annotations

import abc
import math
import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


class ClockError(ValueError):
    """A clock that cannot exist or would never (or always) fire; the message names the key, its value and the limit."""


#: Bounds of every parameter of a clock: beyond them, means and products of two leave what a double can hold.
SMALLEST, LARGEST = 1e-15, 1e15


class Entropy(Protocol):
    """What a clock draws from. ``numpy.random.Generator`` has these methods; so has :class:`SystemEntropy`."""

    def random(self, size: int) -> Floats: ...

    def standard_exponential(self, size: int) -> Floats: ...


class SystemEntropy:
    """Uniform and exponential variates from ``os.urandom``: no seed, no state to roll forward."""

    def random(self, size: int) -> Floats:
        """Return ``size`` uniforms on [0, 1), 53 random bits each."""
        words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def standard_exponential(self, size: int) -> Floats:
        """Return ``size`` Exp(1) variates by inversion; never infinite, since 1 - U is at least 2^-53."""
        return -np.log1p(-self.random(size))


SYSTEM_ENTROPY = SystemEntropy()


def require_positive(kind: str, key: str, value: float) -> None:
    """Raise ClockError unless ``value`` is above 0 and within what double precision computes with."""
    if not SMALLEST <= value <= LARGEST:
        raise ClockError(
            f"clock.{key} is {value:g}: the {kind} clock needs a finite {key} above 0, {SMALLEST:g} to {LARGEST:g}."
        )


class Clock(abc.ABC):
    """Law of the stay S >= 0. Array arguments of any shape give arrays of that shape."""

    kind: ClassVar[str]

    @abc.abstractmethod
    def stays(self, source: Entropy, size: int) -> Floats:
        """Return ``size`` independent stays, shape (size,), drawn from ``source``."""

    @abc.abstractmethod
    def survivor(self, x: npt.ArrayLike) -> Floats:
        """Return P(S >= x), ties included: an attack that ends exactly at the hop has had its whole time."""

    @abc.abstractmethod
    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Return P(S <= x)."""

    @abc.abstractmethod
    def expected_min(self, x: npt.ArrayLike) -> Floats:
        """Return E min(S, x), the integral of P(S > u) over [0, x]."""

    @property
    @abc.abstractmethod
    def mean(self) -> float:
        """E S; infinite for the static clock."""

    @property
    def longest(self) -> float:
        """The longest stay that can happen; infinite where there is no bound."""
        return math.inf

    @property
    def lattice(self) -> float | None:
        """The step of which every stay is a multiple; None for laws with a density."""
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator must be told before trusting this clock; empty for most."""
        return ()

    def draw(self) -> float:
        """Return one stay from the operating system's entropy: what the scheduler uses."""
        return float(self.stays(SYSTEM_ENTROPY, 1)[0])

    def thinned(self, failure: float) -> Clock | None:
        """Return the law of the time to the first hop that succeeds, when each fails with probability ``failure``.

        A failed hop leaves the container where it is and the clock is drawn again. None where the sum of a geometric
        number of stays has no closed form. Raises ClockError for ``failure`` outside [0, 1].
        """
        if not 0 <= failure <= 1:
            raise ClockError(f"failure is {failure:g}: a probability lies between 0 and 1.")
        if failure == 0:
            return self
        return Static() if failure == 1 else None

    def parameters(self) -> dict[str, float]:
        """Return the parameters by the names used in files (``lambda``, not ``lambda_``)."""
        return {f.name.rstrip("_"): getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Static(Clock):
    """Never hop."""

    kind: ClassVar[str] = "static"

    def stays(self, source: Entropy, size: int) -> Floats:
        return np.full(size, np.inf)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return np.ones_like(np.asarray(x, dtype=float))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x, dtype=float) == np.inf, 1.0, 0.0)

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        return np.maximum(np.asarray(x, dtype=float), 0.0)

    @property
    def mean(self) -> float:
        return math.inf

    def thinned(self, failure: float) -> Clock | None:
        return self if 0 < failure < 1 else super().thinned(failure)


@dataclass(frozen=True)
class Poisson(Clock):
    """Exp(rate) stays: hops are a Poisson process, so the past says nothing about the next hop."""

    rate: float
    kind: ClassVar[str] = "poisson"

    def __post_init__(self) -> None:
        require_positive(self.kind, "rate", self.rate)

    def stays(self, source: Entropy, size: int) -> Floats:
        return source.standard_exponential(size) / self.rate

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return np.exp(-self.rate * np.maximum(x, 0.0))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return -np.expm1(-self.rate * np.maximum(x, 0.0))

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        return self.cdf(x) / self.rate

    @property
    def mean(self) -> float:
        return 1 / self.rate

    def thinned(self, failure: float) -> Clock | None:
        return Poisson(self.rate * (1 - failure)) if 0 < failure < 1 else super().thinned(failure)


@dataclass(frozen=True)
class CappedPoisson(Clock):
    """min(Exp(rate), ceiling). Has an atom e^(-rate ceiling) at the ceiling: an attacker may learn it."""

    rate: float
    ceiling: float
    kind: ClassVar[str] = "capped-poisson"

    def __post_init__(self) -> None:
        require_positive(self.kind, "rate", self.rate)
        require_positive(self.kind, "ceiling", self.ceiling)

    def stays(self, source: Entropy, size: int) -> Floats:
        return np.minimum(source.standard_exponential(size) / self.rate, self.ceiling)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) <= self.ceiling, np.exp(-self.rate * np.maximum(x, 0.0)), 0.0)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) < self.ceiling, -np.expm1(-self.rate * np.maximum(x, 0.0)), 1.0)

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        return -np.expm1(-self.rate * np.clip(x, 0.0, self.ceiling)) / self.rate

    @property
    def mean(self) -> float:
        return float(self.expected_min(self.ceiling))

    @property
    def longest(self) -> float:
        return self.ceiling


@dataclass(frozen=True)
class TruncatedPoisson(Clock):
    """Exp(rate) conditioned on being at most ``ceiling`` (the default clock): bounded, and without an atom."""

    rate: float
    ceiling: float
    kind: ClassVar[str] = "truncated-poisson"

    def __post_init__(self) -> None:
        require_positive(self.kind, "rate", self.rate)
        require_positive(self.kind, "ceiling", self.ceiling)
        if self.rate * self.ceiling < 1e-9:
            raise ClockError(
                f"clock.rate is {self.rate:g}: with a ceiling of {self.ceiling:g} this is the uniform clock but for rounding; "
                "use kind: uniform."
            )

    @property
    def _mass(self) -> float:
        """P(Exp(rate) <= ceiling), what the law is divided by."""
        return -math.expm1(-self.rate * self.ceiling)

    def stays(self, source: Entropy, size: int) -> Floats:
        return -np.log1p(-source.random(size) * self._mass) / self.rate

    def survivor(self, x: npt.ArrayLike) -> Floats:
        # (e^{-rate x} - e^{-rate ceiling}) / mass without the difference, which would leave noise near the ceiling.
        until = np.clip(x, 0.0, self.ceiling)
        return -np.exp(-self.rate * until) * np.expm1(-self.rate * (self.ceiling - until)) / self._mass

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return -np.expm1(-self.rate * np.clip(x, 0.0, self.ceiling)) / self._mass

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        # P(S > u) = (e^{-rate u} - e^{-rate ceiling}) / mass, integrated from 0 to x.
        until = np.clip(x, 0.0, self.ceiling)
        return (-np.expm1(-self.rate * until) / self.rate - until * (1 - self._mass)) / self._mass

    @property
    def mean(self) -> float:
        return float(self.expected_min(self.ceiling))

    @property
    def longest(self) -> float:
        return self.ceiling


class ErlangStay(Clock):
    """Sum of ``_stages`` exponentials of rate ``_stage_rate``; zero stages fire at once."""

    @property
    @abc.abstractmethod
    def _stages(self) -> int: ...

    @property
    @abc.abstractmethod
    def _stage_rate(self) -> float: ...

    def stays(self, source: Entropy, size: int) -> Floats:
        draws = source.standard_exponential(size * self._stages).reshape(size, self._stages)
        return np.asarray(draws.sum(axis=1) / self._stage_rate)

    def _below(self, x: npt.ArrayLike, stages: int) -> Floats:
        """P(fewer than ``stages`` events by x) = sum_{j<stages} e^-y y^j/j!, summed by its own recurrence."""
        y = self._stage_rate * np.maximum(np.asarray(x, dtype=float), 0.0)
        with np.errstate(invalid="ignore"):  # inf * 0 at x = inf, where the sum is 0
            term = np.exp(-y)
            total = np.zeros_like(y)
            for j in range(stages):
                total = total + term
                term = term * y / (j + 1)
        return np.where(np.isposinf(y), 0.0, total)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) <= 0, 1.0, self._below(x, self._stages))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) < 0, 0.0, 1.0 - self._below(x, self._stages))

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        # The integral of P(fewer than k events by u) is the sum over j <= k of P(at least j events by x) / rate.
        y = self._stage_rate * np.maximum(np.asarray(x, dtype=float), 0.0)
        with np.errstate(invalid="ignore"):  # as in _below
            term = np.exp(-y)
            below, total = np.zeros_like(y), np.zeros_like(y)
            for j in range(self._stages):
                below = below + term
                total = total + (1.0 - below)
                term = term * y / (j + 1)
        return np.where(np.isposinf(y), float(self._stages), total) / self._stage_rate

    @property
    def mean(self) -> float:
        return self._stages / self._stage_rate


class GeometricStay(Clock):
    """tick x Geometric(rho): every ``_tick`` the hop happens with probability ``_rho``. rho = 1 is a periodic clock."""

    @property
    @abc.abstractmethod
    def _tick(self) -> float: ...

    @property
    @abc.abstractmethod
    def _rho(self) -> float: ...

    def stays(self, source: Entropy, size: int) -> Floats:
        if self._rho == 1:
            return np.full(size, float(self._tick))
        # Inversion: ceil(E / -ln(1 - rho)) is Geometric(rho) for E ~ Exp(1).
        trials = np.ceil(source.standard_exponential(size) / -math.log1p(-self._rho))
        return np.maximum(trials, 1.0) * self._tick

    def _staying(self, ticks: Floats) -> Floats:
        """P(no hop at the first ``ticks`` ticks) = (1 - rho)^ticks."""
        return np.power(1.0 - self._rho, ticks)

    def _ticks(self, x: npt.ArrayLike) -> Floats:
        """x in ticks. Rounded where whole but for the last bits: 0.3 is the third tick of 0.1."""
        ticks = np.maximum(np.asarray(x, dtype=float), 0.0) / self._tick
        near = np.rint(ticks)
        return np.where(np.abs(ticks - near) < 1e-9 * np.maximum(near, 1.0), near, ticks)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return self._staying(np.maximum(np.ceil(self._ticks(x)) - 1.0, 0.0))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) < 0, 0.0, 1.0 - self._staying(np.floor(self._ticks(x))))

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        whole = np.floor(self._ticks(x))
        rest = self._ticks(x) - whole
        return self._tick * ((1.0 - self._staying(whole)) / self._rho + rest * self._staying(whole))

    @property
    def mean(self) -> float:
        return self._tick / self._rho

    @property
    def longest(self) -> float:
        return self._tick if self._rho == 1 else math.inf

    @property
    def lattice(self) -> float | None:
        return self._tick

    def thinned(self, failure: float) -> Clock | None:
        return Geometric(self._tick, self._rho * (1 - failure)) if 0 < failure < 1 else super().thinned(failure)


@dataclass(frozen=True)
class Geometric(GeometricStay):
    """At every tick the hop happens with probability ``rho``; what a failing periodic clock comes to."""

    tick: float
    rho: float
    kind: ClassVar[str] = "geometric"

    def __post_init__(self) -> None:
        require_positive(self.kind, "tick", self.tick)
        if not 0 < self.rho <= 1:
            raise ClockError(f"clock.rho is {self.rho:g}: it must lie in (0, 1].")

    @property
    def _tick(self) -> float:
        return self.tick

    @property
    def _rho(self) -> float:
        return self.rho
