# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to relocate: every clock by name. The scheduler, the event source and the simulator all get theirs here.

The paper gives P(X=k) = lambda^k e^-lambda / k! and a threshold T (eq. 3.1) and no more. Its three readings are
``pmf-sample`` (the paper mode), ``pmf-count`` and ``pmf-tick``; ``truncated-poisson`` is the default; the rest are for
comparison.

    >>> clock = make_clock({"kind": "truncated-poisson", "rate": 0.1, "ceiling": 9.5})
    >>> stay = clock.draw()  # the operating system's entropy: what moves a real container
    >>> stays = clock.stays(numpy.random.default_rng(7), 1000)  # seeded: simulator and tests only
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.laws import (
    SYSTEM_ENTROPY,
    CappedPoisson,
    Clock,
    ClockError,
    Entropy,
    ErlangStay,
    Floats,
    Geometric,
    GeometricStay,
    Poisson,
    Static,
    SystemEntropy,
    TruncatedPoisson,
    require_positive,
)

__all__ = [
    "KINDS",
    "SYSTEM_ENTROPY",
    "CappedPoisson",
    "Clock",
    "ClockError",
    "Entropy",
    "Erlang",
    "Geometric",
    "Periodic",
    "PmfCount",
    "PmfSample",
    "PmfTick",
    "Poisson",
    "Static",
    "SystemEntropy",
    "TruncatedPoisson",
    "Uniform",
    "firing_probability",
    "first_count",
    "make_clock",
    "poisson_pmf",
    "unused_keys",
]


@dataclass(frozen=True)
class Uniform(Clock):
    """Uniform on [low, ceiling]; for comparison."""

    ceiling: float
    low: float = 0.0
    kind: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        require_positive(self.kind, "ceiling", self.ceiling)
        if not 0 <= self.low < self.ceiling:
            raise ClockError(
                f"clock.low is {self.low:g}: it must lie in [0, ceiling), and the ceiling is {self.ceiling:g}."
            )

    def stays(self, source: Entropy, size: int) -> Floats:
        return self.low + (self.ceiling - self.low) * source.random(size)

    def survivor(self, x: npt.ArrayLike) -> Floats:
        return 1.0 - self.cdf(x)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return (np.clip(x, self.low, self.ceiling) - self.low) / (self.ceiling - self.low)

    def expected_min(self, x: npt.ArrayLike) -> Floats:
        over = np.clip(x, self.low, self.ceiling) - self.low
        return np.clip(x, 0.0, self.low) + over - over**2 / (2 * (self.ceiling - self.low))

    @property
    def mean(self) -> float:
        return (self.low + self.ceiling) / 2

    @property
    def longest(self) -> float:
        return self.ceiling


#: Of a clock whose stay is a sum of exponentials: each costs a draw.
MOST_STAGES = 1000


@dataclass(frozen=True)
class Erlang(ErlangStay):
    """Erlang stays of ``shape`` stages and mean 1/rate (each stage at shape x rate); for comparison."""

    rate: float
    shape: int
    kind: ClassVar[str] = "erlang"

    def __post_init__(self) -> None:
        require_positive(self.kind, "rate", self.rate)
        if not 1 <= self.shape <= MOST_STAGES or self.shape != int(self.shape):
            raise ClockError(
                f"clock.shape is {self.shape:g}: the erlang clock needs a whole number of stages, 1 to {MOST_STAGES}."
            )
        object.__setattr__(self, "shape", int(self.shape))

    @property
    def _stages(self) -> int:
        return self.shape

    @property
    def _stage_rate(self) -> float:
        return self.shape * self.rate


@dataclass(frozen=True)
class Periodic(GeometricStay):
    """Hop every ``period``; for comparison. The next hop is known to anyone who saw two."""

    period: float
    kind: ClassVar[str] = "periodic"

    def __post_init__(self) -> None:
        require_positive(self.kind, "period", self.period)

    @property
    def _tick(self) -> float:
        return self.period

    @property
    def _rho(self) -> float:
        return 1.0

    @property
    def warnings(self) -> tuple[str, ...]:
        return ("The periodic clock is deterministic: an attacker who has seen two hops knows all the others.",)


def poisson_pmf(mean: float) -> Floats:
    """Return p_k = mean^k e^-mean / k! for k = 0, 1, ... until what is left is below 1e-18; shape (K,)."""
    last = math.ceil(mean + 12 * math.sqrt(mean) + 40)
    k = np.arange(last + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, last + 1)))])
    return np.exp(k * math.log(mean) - mean - log_factorial)


def _require_threshold(kind: str, mean: float, threshold: float) -> None:
    """Refuse a pair (lambda, T) of eq. 3.1 that cannot make a clock: T at or above every p_k never fires."""
    require_positive(kind, "lambda", mean)
    if mean > 1e6:
        raise ClockError(f"clock.lambda is {mean:g}: above 1e6 every p_k is below 4e-4; scale the tick instead.")
    peak = float(poisson_pmf(mean).max())
    if not 0 <= threshold < peak:
        reason = "it never fires" if threshold >= peak else "a probability is not negative"
        raise ClockError(
            f"clock.threshold is {threshold:g}: {reason}. With lambda = {mean:g} it must lie in [0, {peak:.4f}), "
            "below the largest p_k."
        )


@lru_cache(maxsize=64)
def firing_probability(mean: float, threshold: float) -> float:
    """Return rho = sum of the p_k above the threshold: the chance that one tick of ``pmf-sample`` hops."""
    pmf = poisson_pmf(mean)
    return min(1.0, float(pmf[pmf > threshold].sum()))


@lru_cache(maxsize=64)
def first_count(mean: float, threshold: float) -> int:
    """Return k* = min{k : p_k > threshold}, where ``pmf-count`` and ``pmf-tick`` hop."""
    return int(np.argmax(poisson_pmf(mean) > threshold))


_AT_ONCE = "clock.threshold is below p_0 = {p0:.4g}: the very first count fires, so every stay is {stay}."


@dataclass(frozen=True)
class PmfSample(GeometricStay):
    """Each tick draw X ~ Poisson(lambda); hop if p_X > T (**paper mode**): tick x Geometric(rho).

    The only reading of eq. 3.1 in which "probability threshold" alone gives a random clock.
    """

    lambda_: float
    threshold: float
    tick: float = 1.0
    kind: ClassVar[str] = "pmf-sample"

    def __post_init__(self) -> None:
        require_positive(self.kind, "tick", self.tick)
        _require_threshold(self.kind, self.lambda_, self.threshold)

    @property
    def _tick(self) -> float:
        return self.tick

    @property
    def _rho(self) -> float:
        return firing_probability(self.lambda_, self.threshold)


@dataclass(frozen=True)
class PmfCount(ErlangStay):
    """k counts the events of a Poisson process of ``rate`` since the last hop; hop at k* = min{k : p_k > T}.

    The stay is Erlang(k*, rate).
    """

    lambda_: float
    threshold: float
    rate: float
    kind: ClassVar[str] = "pmf-count"

    def __post_init__(self) -> None:
        require_positive(self.kind, "rate", self.rate)
        _require_threshold(self.kind, self.lambda_, self.threshold)
        if self._stages > MOST_STAGES:
            raise ClockError(
                f"clock.lambda is {self.lambda_:g}: the first count that fires is {self._stages}, and at most {MOST_STAGES} "
                "are taken; choose a smaller lambda."
            )

    @property
    def _stages(self) -> int:
        return first_count(self.lambda_, self.threshold)

    @property
    def _stage_rate(self) -> float:
        return self.rate

    @property
    def warnings(self) -> tuple[str, ...]:
        return (_AT_ONCE.format(p0=math.exp(-self.lambda_), stay=0),) if self._stages == 0 else ()


@dataclass(frozen=True)
class PmfTick(GeometricStay):
    """k counts clock ticks; hop at tick k* = min{k : p_k > T}, always. Offered for comparison."""

    lambda_: float
    threshold: float
    tick: float = 1.0
    kind: ClassVar[str] = "pmf-tick"

    def __post_init__(self) -> None:
        require_positive(self.kind, "tick", self.tick)
        _require_threshold(self.kind, self.lambda_, self.threshold)

    @property
    def _tick(self) -> float:
        # Tick 0 is the arrival itself; the clock is looked at one tick later at the earliest.
        return self.tick * max(first_count(self.lambda_, self.threshold), 1)

    @property
    def _rho(self) -> float:
        return 1.0

    @property
    def warnings(self) -> tuple[str, ...]:
        learnable = (
            f"The pmf-tick clock is deterministic: every stay is {self._tick:g}, which one observation gives away."
        )
        if first_count(self.lambda_, self.threshold) > 0:
            return (learnable,)
        return (learnable, _AT_ONCE.format(p0=math.exp(-self.lambda_), stay="one tick"))


KINDS: dict[str, type[Clock]] = {
    law.kind: law
    for law in (
        TruncatedPoisson,
        CappedPoisson,
        Poisson,
        PmfSample,
        PmfCount,
        PmfTick,
        Periodic,
        Erlang,
        Uniform,
        Static,
    )
}


def _keys(law: type[Clock]) -> dict[str, bool]:
    """Return the keys a kind takes in a file, each with whether it is required."""
    return {f.name.rstrip("_"): f.default is MISSING for f in fields(law)}  # type: ignore[arg-type]


def _law(mapping: Mapping[str, Any]) -> type[Clock]:
    kind = mapping.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = repr(kind) if len(repr(kind)) <= 60 else f"{repr(kind)[:40]}…"
        raise ClockError(f"clock.kind is {said}: it must be one of {', '.join(KINDS)}.")
    return KINDS[kind]


def unused_keys(mapping: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``mapping`` that another kind of clock takes and this one does not, in the order given."""
    return [key for key in mapping if key != "kind" and key not in _keys(_law(mapping))]


def make_clock(mapping: Mapping[str, Any], *, strict: bool = True) -> Clock:
    """Build a clock from what a file says, such as ``{"kind": "truncated-poisson", "rate": 0.1, "ceiling": 9.5}``.

    ``strict`` (the scheduler) refuses a key that this kind does not use: who writes a ceiling beside ``kind: poisson``
    believes that there is one. The simulator, whose example file lists all keys, passes False and reports
    :func:`unused_keys`. Raises ClockError naming the key and the limit.
    """
    law = _law(mapping)
    wanted = _keys(law)
    known = {key for kind in KINDS.values() for key in _keys(kind)}
    for key in unused_keys(mapping):
        if key not in known:
            said = str(key) if str(key).isprintable() and len(str(key)) <= 60 else f"{ascii(key)[:40]}…"
            raise ClockError(f"clock.{said} is unknown; the {law.kind} clock takes {', '.join(wanted) or 'no keys'}.")
        if strict:
            raise ClockError(
                f"clock.{key} has no effect on the {law.kind} clock: remove it, or choose a kind that has one."
            )
    arguments: dict[str, float] = {}
    for key, required in wanted.items():
        value = mapping.get(key)
        if value is None:
            if required:
                raise ClockError(f"clock.{key} is missing: the {law.kind} clock needs it.")
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            said = repr(value)
            said = said if len(said) <= 60 else f"{said[:40]}… ({len(said)} characters)"
            raise ClockError(f"clock.{key} is {said}: it must be a number.")
        if not math.isfinite(value):
            raise ClockError(f"clock.{key} is {value:g}: it must be a finite number.")
        arguments["lambda_" if key == "lambda" else key] = value
    return law(**arguments)
