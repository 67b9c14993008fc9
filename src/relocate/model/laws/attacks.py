# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time A that an attack needs beside its target, as a law: five families.

Every law gives samples, P(A <= x), E A, the shortest A that can happen (``shortest``) and its transform G*(z) = E e^{-zA},
in which all of ``closed_forms`` is written. Times are in the unit of the parameters.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Complexes = npt.NDArray[np.complexfloating[Any, Any]]


class Attack(abc.ABC):
    """Law of the attack time A > 0."""

    family: ClassVar[str]

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Return ``size`` independent attack times, shape (size,)."""

    @abc.abstractmethod
    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Return P(A <= x), shape of ``x``."""

    @abc.abstractmethod
    def transform(self, z: npt.ArrayLike) -> Complexes:
        """Return G*(z) = E e^{-zA} for complex ``z``, shape of ``z``; wherever the expectation converges."""

    @property
    @abc.abstractmethod
    def average(self) -> float:
        """E A."""

    @abc.abstractmethod
    def tail_from(self, probability: float) -> float:
        """Return an x with P(A > x) <= ``probability``: where a numerical integral may stop."""

    @property
    def shortest(self) -> float:
        """The essential infimum of A: no attack is quicker. 0 for families without one."""
        return 0.0

    @property
    def memoryless(self) -> bool:
        """Whether time already spent says nothing about what is left; then relocation buys nothing (formula 3)."""
        return False


@dataclass(frozen=True)
class Fixed(Attack):
    """A = mean, always."""

    mean: float
    family: ClassVar[str] = "fixed"

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return np.full(size, float(self.mean))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) >= self.mean, 1.0, 0.0)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        return np.exp(-np.asarray(z, dtype=complex) * self.mean)

    @property
    def average(self) -> float:
        return self.mean

    def tail_from(self, probability: float) -> float:
        return self.mean

    @property
    def shortest(self) -> float:
        return self.mean


@dataclass(frozen=True)
class Exponential(Attack):
    """Exp with rate mu = 1/mean: memoryless."""

    mean: float
    family: ClassVar[str] = "exponential"

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return rng.standard_exponential(size) * self.mean

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return -np.expm1(-np.maximum(x, 0.0) / self.mean)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        return np.asarray(1 / (1 + np.asarray(z, dtype=complex) * self.mean), dtype=complex)

    @property
    def average(self) -> float:
        return self.mean

    def tail_from(self, probability: float) -> float:
        return -math.log(probability) * self.mean

    @property
    def memoryless(self) -> bool:
        return True


@dataclass(frozen=True)
class Erlang(Attack):
    """Sum of ``shape`` exponential steps, mean ``mean`` in all; shape 1 is the exponential."""

    mean: float
    shape: int
    family: ClassVar[str] = "erlang"

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return rng.standard_gamma(self.shape, size) * (self.mean / self.shape)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        y = np.maximum(np.asarray(x, dtype=float), 0.0) * (self.shape / self.mean)
        term = np.exp(-y)
        below = np.zeros_like(y)
        with np.errstate(invalid="ignore"):  # 0 * inf at x = inf
            for j in range(self.shape):
                below = below + term
                term = term * y / (j + 1)
        return np.where(np.isinf(y), 1.0, 1.0 - below)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        base = 1 + np.asarray(z, dtype=complex) * (self.mean / self.shape)
        return np.asarray(base**-self.shape, dtype=complex)

    @property
    def average(self) -> float:
        return self.mean

    def tail_from(self, probability: float) -> float:
        # Chernoff: P(A > x) <= e^{-x k / (2 mean)} 2^k, with half the step rate as the exponent.
        return 2 * self.mean / self.shape * (self.shape * math.log(2) - math.log(probability))

    @property
    def memoryless(self) -> bool:
        return self.shape == 1


@dataclass(frozen=True)
class Uniform(Attack):
    """Uniform on [low, high]."""

    low: float
    high: float
    family: ClassVar[str] = "uniform"

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return rng.uniform(self.low, self.high, size)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return (np.clip(x, self.low, self.high) - self.low) / (self.high - self.low)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        at = np.asarray(z, dtype=complex)
        small = np.abs(at) * self.high < 1e-8
        safe = np.where(small, 1.0, at)
        value = (np.exp(-safe * self.low) - np.exp(-safe * self.high)) / (safe * (self.high - self.low))
        return np.asarray(np.where(small, 1 - at * (self.low + self.high) / 2, value), dtype=complex)

    @property
    def average(self) -> float:
        return (self.low + self.high) / 2

    def tail_from(self, probability: float) -> float:
        return self.high

    @property
    def shortest(self) -> float:
        return self.low


_HERMITE_X, _HERMITE_W = np.polynomial.hermite_e.hermegauss(96)
_HERMITE_W = _HERMITE_W / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Lognormal(Attack):
    """exp(Normal), mean ``mean``, standard deviation of the logarithm ``sigma``."""

    mean: float
    sigma: float
    family: ClassVar[str] = "lognormal"

    @property
    def _log(self) -> NormalDist:
        return NormalDist(math.log(self.mean) - self.sigma**2 / 2, self.sigma)

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return np.exp(self._log.mean + self.sigma * rng.standard_normal(size))

    def cdf(self, x: npt.ArrayLike) -> Floats:
        at = np.asarray(x, dtype=float)
        with np.errstate(divide="ignore"):
            standard = (np.log(np.maximum(at, 0.0)) - self._log.mean) / self.sigma
        return _normal_cdf(standard)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        """Gauss-Hermite sum over the logarithm; for Re z >= 0 only (the expectation diverges to the left)."""
        times = np.exp(self._log.mean + self.sigma * _HERMITE_X)
        return np.exp(-np.multiply.outer(np.asarray(z, dtype=complex), times)) @ _HERMITE_W

    @property
    def average(self) -> float:
        return self.mean

    def tail_from(self, probability: float) -> float:
        return math.exp(self._log.inv_cdf(1 - probability))


@dataclass(frozen=True)
class Floored(Attack):
    """max(A, least): a law whose family allows any time, and an attack that is known to need at least ``least``."""

    base: Attack
    least: float
    family: ClassVar[str] = "floored"

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return np.maximum(self.base.sample(rng, size), self.least)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        return np.where(np.asarray(x) >= self.least, self.base.cdf(x), 0.0)

    def transform(self, z: npt.ArrayLike) -> Complexes:
        """Midpoint sum over 4096 equal cells above ``least``, plus the atom there; for Re z >= 0."""
        x = np.linspace(self.least, max(self.base.tail_from(1e-9), self.least), 4097)
        middle = (x[1:] + x[:-1]) / 2
        at = np.asarray(z, dtype=complex)
        atom = np.exp(-at * self.least) * float(self.base.cdf(self.least))
        return np.asarray(atom + np.exp(-np.multiply.outer(at, middle)) @ np.diff(self.base.cdf(x)), dtype=complex)

    @property
    def average(self) -> float:
        x = np.linspace(self.least, max(self.base.tail_from(1e-9), self.least), 4097)
        step = x[1] - x[0]
        return self.least + float((1 - self.base.cdf((x[1:] + x[:-1]) / 2)).sum() * step)

    def tail_from(self, probability: float) -> float:
        return max(self.base.tail_from(probability), self.least)

    @property
    def shortest(self) -> float:
        return max(self.least, self.base.shortest)


@lru_cache(maxsize=1)
def _log_normal_table() -> tuple[Floats, Floats]:
    """Return x from -37 to 9 and log Phi(x): interpolating it linearly errs by 3e-8 of Phi, in the tails too."""
    x = np.arange(-37.0, 9.0, 5e-4)
    return x, np.array([math.log(0.5 * math.erfc(-at / math.sqrt(2))) for at in x])


def _normal_cdf(x: Floats) -> Floats:
    at, log_phi = _log_normal_table()
    return np.exp(np.interp(x, at, log_phi, left=-np.inf, right=0.0))
