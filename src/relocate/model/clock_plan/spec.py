# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner's file: what it may say, and the problem it poses. docs/planner.md is its reference. All times in seconds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from relocate import reading
from relocate.model.clock_plan.placed import Placed
from relocate.model.laws import attacks
from relocate.model.laws.renewal import Neighbours
from relocate.model.simulate.spec import MATRIX_LIMIT, ClassesSpec, Strict, read_matrix

Floats = npt.NDArray[np.floating[Any]]

_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_P90 = 1.2815515655446004  # standard normal quantile of 0.9


def duration(value: Any) -> Any:
    """Return seconds from a number of seconds or text such as ``10 min``; other things pass, for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{0,20})?(?:e-?[0-9]{1,3})?)\s*([a-z]+)?\s*", value, re.ASCII)
    if match is None or (match[2] or "s") not in _UNITS:
        units = ", ".join(_UNITS)
        raise ValueError(f"{reading.shown(value)} is no duration: write a number and one of {units}, such as 10 min.")
    return float(match[1]) * _UNITS[match[2] or "s"]


#: Seconds: from a microsecond to some thirty thousand years.
SHORTEST, LONGEST = 1e-6, 1e12
Seconds = Annotated[float, BeforeValidator(duration), Field(ge=0, le=LONGEST)]
Positive = Annotated[float, BeforeValidator(duration), Field(ge=SHORTEST, le=LONGEST)]

#: Attack times by kind: P10, P50, P90 and shortest. Assumed orders of magnitude, not measurements; docs/planner.md says so.
PRESETS: dict[str, tuple[float, float, float, float]] = {
    "cache-key-extraction": (180.0, 900.0, 3600.0, 60.0),
    "co-resident-profiling": (1800.0, 7200.0, 28800.0, 600.0),
    "kernel-exploit-development": (14400.0, 86400.0, 604800.0, 3600.0),
}


class PlannedAttack(Strict):
    """``attack:``: a family with its mean, or P10/P50/P90 (a lognormal), or a preset; ``shortest`` is a_min."""

    family: Literal["fixed", "exponential", "erlang", "uniform", "lognormal"] | None = None
    mean: Positive | None = None
    shape: int = Field(default=4, ge=1, le=1000)
    sigma: float | None = Field(default=None, ge=1e-6, le=10)
    low: Seconds = 0.0
    high: Positive | None = None
    p10: Positive | None = None
    p50: Positive | None = None
    p90: Positive | None = None
    preset: str | None = None
    shortest: Positive | None = None

    @model_validator(mode="after")
    def _complete(self) -> PlannedAttack:
        quantiles = (self.p10, self.p50, self.p90)
        given = [self.family is not None, any(q is not None for q in quantiles), self.preset is not None]
        if sum(given) != 1:
            raise ValueError("exactly one is needed of: family (with mean), p10/p50/p90, preset.")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"attack.preset is {reading.shown(self.preset)}: it must be one of {', '.join(PRESETS)}.")
        if given[1] and None in quantiles:
            raise ValueError("p10, p50 and p90 belong together: give all three.")
        if self.p10 and self.p50 and self.p90 and not self.p10 < self.p50 < self.p90:
            raise ValueError("p10, p50 and p90 must ascend: order them.")
        if self.family == "uniform" and (self.high is None or self.high <= self.low):
            raise ValueError("attack.high must be above attack.low for the uniform family.")
        if self.family not in (None, "uniform") and self.mean is None:
            raise ValueError(f"attack.mean is missing: the {self.family} family needs it.")
        if self.family == "lognormal" and self.sigma is None:
            raise ValueError("attack.sigma is missing: the lognormal family needs it.")
        return self

    def law(self) -> attacks.Attack:
        """Return the law of A, floored at ``shortest`` where the family would allow less."""
        base, least = self._base(), self.shortest or (PRESETS[self.preset][3] if self.preset else 0.0)
        return attacks.Floored(base, least) if least > base.shortest and not base.memoryless else base

    def _base(self) -> attacks.Attack:
        if self.preset or self.p50:
            p10, p50, p90, _ = PRESETS[self.preset] if self.preset else (self.p10, self.p50, self.p90, None)
            assert p10 and p50 and p90
            sigma = math.log(p90 / p10) / (2 * _P90)
            return attacks.Lognormal(p50 * math.exp(sigma**2 / 2), sigma)
        if self.family == "uniform":
            assert self.high is not None
            return attacks.Uniform(self.low, self.high)
        assert self.mean is not None
        if self.family == "fixed":
            return attacks.Fixed(self.mean)
        if self.family == "exponential":
            return attacks.Exponential(self.mean)
        if self.family == "erlang":
            return attacks.Erlang(self.mean, self.shape)
        assert self.sigma is not None
        return attacks.Lognormal(self.mean, self.sigma)


class FleetSpec(Strict):
    """``fleet:``: hosts, how many are attacked (or which share), and their differences."""

    hosts: int = Field(ge=2, le=1_000_000)
    attackers: int | None = Field(default=None, ge=1)
    attacked_share: float | None = Field(default=None, ge=1e-6, le=1)
    delta: Path | None = None
    classes: ClassesSpec | None = None
    weights: Literal["equal", "fitted"] | dict[Literal["c", "n", "s", "v"], float] = "equal"

    _delta: Floats | None = None

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> FleetSpec:
        if (self.attackers is None) == (self.attacked_share is None):
            raise ValueError("either attackers (a number of hosts) or attacked_share is needed.")
        if self.attackers is not None and self.attackers > self.hosts:
            raise ValueError(f"fleet.attackers is {self.attackers}: at most fleet.hosts, {self.hosts}.")
        if self.delta is not None and self.classes is not None:
            raise ValueError("delta and classes both give differences: keep one.")
        if (self.delta or self.classes) and self.hosts > MATRIX_LIMIT:
            raise ValueError(f"fleet.hosts is {self.hosts}: with a matrix of differences the limit is {MATRIX_LIMIT}.")
        folder = (info.context or {}).get("folder", Path())
        if self.classes is not None:
            self._delta = self.classes.matrix(self.hosts)
        elif self.delta is not None:
            self._delta = read_matrix(folder / self.delta, self.hosts)
        return self

    @property
    def matrix(self) -> Floats | None:
        """Differences, shape (hosts, hosts), where given."""
        return self._delta

    @property
    def attacked(self) -> float:
        """m, not necessarily whole when a share was given."""
        return float(self.attackers) if self.attackers is not None else (self.attacked_share or 0.0) * self.hosts

    def neighbours(self) -> Neighbours:
        """Uniform over the other hosts, from a uniform start."""
        n, m = self.hosts, self.attacked
        return Neighbours(max(m - 1, 0.0) / (n - 1), min(m / (n - 1), 1.0), m / n)


class MeasuredSpec(Strict):
    """``measured:``: what stands in where the ledger tells nothing."""

    latency: Seconds = 0.0
    downtime: Seconds = 0.0
    failure: float = Field(default=0.0, ge=0, lt=1)


class Goal(Strict):
    """``goal:``: survival over the horizon, at bounded cost."""

    horizon: Positive
    survival: float = Field(gt=0, lt=1)
    availability: float = Field(default=0.0, ge=0, lt=1)
    hops_per_hour: float | None = Field(default=None, ge=1e-6, le=1e9)
    min_entropy_bits: float | None = Field(default=None, gt=0, le=64)


class PlanFile(Strict):
    """The whole file."""

    fleet: FleetSpec
    attack: PlannedAttack
    goal: Goal
    ledger: Path | None = None
    measured: MeasuredSpec = MeasuredSpec()
    running_clock: dict[str, Any] | None = None
    margin: float = Field(default=0.05, ge=0, lt=1)
    trials: int = Field(default=4000, ge=100, le=10_000_000)
    draws: int = Field(default=1000, ge=20, le=100_000)
    seed: int = Field(default=7, ge=0)

    @field_validator("ledger")
    @classmethod
    def _beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None or value == Path("default"):
            return value
        return (info.context or {}).get("folder", Path()) / value

    @field_validator("running_clock")
    @classmethod
    def _a_clock(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            make_clock(value)
        return value

    @model_validator(mode="after")
    def _floor(self) -> PlanFile:
        most = math.log2(self.fleet.hosts - 1)
        floor = self.goal.min_entropy_bits
        if floor is not None and floor > most:
            raise ValueError(
                f"goal.min_entropy_bits is {floor:g}: {self.fleet.hosts - 1} other hosts give at most {most:.3f} bits."
            )
        return self


@dataclass(frozen=True)
class Problem:
    """What the planner solves; seconds."""

    neighbours: Neighbours
    attack: attacks.Attack
    least: float | None  # a_min, where one is known
    latency: float
    latency_high: float
    downtime: float
    failure: float
    goal: Goal
    margin: float
    placed: Placed | None = None  # the placement that is handed out, where it is not the uniform draw
