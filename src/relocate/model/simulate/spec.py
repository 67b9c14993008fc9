# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's file: what it may say (pydantic), and how it becomes a scenario. docs/simulator.md is its reference."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, make_clock, unused_keys
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from relocate import reading
from relocate.errors import Refusal
from relocate.model.laws import attacks
from relocate.model.simulate.placement import Chain, Placement, Stay, UniformAll, UniformOthers, transition_matrix
from relocate.model.simulate.trials import Progress, Scenario
from relocate.model.simulate.work import MOST_TRIALS

Floats = npt.NDArray[np.floating[Any]]

#: Above this many hosts a dense matrix of differences no longer fits the simulator's 200 MB.
MATRIX_LIMIT = 2000

#: Times and rates, in the reader's own unit: beyond these, doubles lose what is computed with them.
SMALLEST, LARGEST = 1e-12, 1e15
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]


class Strict(BaseModel):
    """Unknown keys are refused; numbers are finite; nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AttackSpec(Strict):
    """``attack:``. Keys that a family does not use are allowed, and reported as without effect."""

    family: Literal["fixed", "exponential", "erlang", "uniform", "lognormal"]
    mean: Positive | None = None
    shape: int = Field(default=4, ge=1, le=1000)
    sigma: float = Field(default=0.5, ge=1e-6, le=10)
    low: NotNegative = 0.0
    high: Positive | None = None

    @model_validator(mode="after")
    def _complete(self) -> AttackSpec:
        if self.family == "uniform":
            if self.high is None:
                raise ValueError("attack.high is missing: the uniform family runs from low to high.")
            if self.high <= self.low:
                raise ValueError(f"attack.high is {self.high:g}: it must be above attack.low, {self.low:g}.")
        elif self.mean is None:
            raise ValueError(f"attack.mean is missing: the {self.family} family needs it.")
        return self

    def law(self) -> attacks.Attack:
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
        return attacks.Lognormal(self.mean, self.sigma)

    def unused(self) -> list[str]:
        used = {
            "fixed": {"mean"},
            "exponential": {"mean"},
            "erlang": {"mean", "shape"},
            "uniform": {"low", "high"},
            "lognormal": {"mean", "sigma"},
        }[self.family]
        return sorted(self.model_fields_set - used - {"family"})


class ClassesSpec(Strict):
    """A made-up fleet: ``count`` classes of equal hosts; symmetric differences, uniform within and between classes."""

    count: int = Field(ge=1)
    within: tuple[float, float] = (0.0, 0.15)
    between: tuple[float, float] = (0.6, 0.95)
    seed: int = Field(default=2017, ge=0)

    @field_validator("within", "between")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1] <= 1:
            raise ValueError(f"the range is {list(value)}: differences run from a lower to a higher number in [0, 1].")
        return value

    def matrix(self, hosts: int) -> Floats:
        """Return the symmetric matrix of differences, shape (hosts, hosts), with a diagonal of 0."""
        rng = np.random.default_rng(self.seed)
        group = np.arange(hosts) * self.count // hosts
        alike = group[:, None] == group[None, :]
        drawn = np.where(alike, rng.uniform(*self.within, (hosts, hosts)), rng.uniform(*self.between, (hosts, hosts)))
        upper = np.triu(drawn, 1)
        return upper + upper.T


class DestinationSpec(Strict):
    """``destination:``. ``delta`` is a CSV file of differences (row = present host) beside the file that names it."""

    policy: Literal["uniform", "uniform-with-self", "softmax", "paper", "argmax"] = "uniform"
    beta: float | None = Field(default=None, ge=-1e9, le=1e9)
    min_entropy_bits: float | None = Field(default=None, gt=0, le=64)
    delta: Path | None = None
    classes: ClassesSpec | None = None

    @property
    def weighted(self) -> bool:
        return self.policy in ("softmax", "paper", "argmax")

    @model_validator(mode="after")
    def _complete(self) -> DestinationSpec:
        if self.delta is not None and self.classes is not None:
            raise ValueError("delta and classes both give differences: keep one.")
        if self.weighted and self.delta is None and self.classes is None:
            raise ValueError(
                f"destination.delta is missing: the {self.policy} policy needs a matrix of differences (a CSV file), "
                "or destination.classes to generate one."
            )
        if self.policy == "softmax" and (self.beta is None) == (self.min_entropy_bits is None):
            raise ValueError("the softmax policy needs either beta or min_entropy_bits.")
        return self

    def unused(self) -> list[str]:
        keys = {"beta", "min_entropy_bits"} if self.policy != "softmax" else set()
        return sorted(self.model_fields_set & keys)


class ProgressSpec(Strict):
    """``progress:``."""

    model: Progress = "reset"
    chase_rate: Positive | None = None

    @model_validator(mode="after")
    def _complete(self) -> ProgressSpec:
        if self.model == "chase" and self.chase_rate is None:
            raise ValueError("progress.chase_rate is missing: the chase model needs the rate of re-co-location.")
        return self


class Simulation(Strict):
    """The whole file. Times share one unit of the reader's choice; rates are per that unit."""

    hosts: int = Field(ge=1, le=1_000_000)
    attackers: int | list[int]
    attack: AttackSpec
    clock: dict[str, Any]
    destination: DestinationSpec = DestinationSpec()
    start: Literal["attacked", "uniform"] = "uniform"
    progress: ProgressSpec = ProgressSpec()
    latency: NotNegative = 0.0
    failure: float = Field(default=0.0, ge=0, le=1)
    downtime: NotNegative = 0.0
    horizon: list[float] = Field(min_length=1, max_length=10_000)
    trials: int = Field(default=1_000_000, ge=1, le=MOST_TRIALS)
    seed: int | None = Field(default=None, ge=0)

    _delta: Floats | None = None

    @field_validator("horizon", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("horizon")
    @classmethod
    def _positive(cls, value: list[float]) -> list[float]:
        for at in value:
            if not SMALLEST <= at <= LARGEST:
                limits = f"{SMALLEST:g} to {LARGEST:g}"
                raise ValueError(f"horizon is {at:g}: survival is asked for at times above 0, {limits}.")
        return sorted(set(value))

    @field_validator("clock")
    @classmethod
    def _clock(cls, value: dict[str, Any]) -> dict[str, Any]:
        clock = make_clock(value, strict=False)
        if clock.mean == 0:
            raise ValueError("clock.threshold lies below p_0: every stay is 0 and the container never runs; raise it.")
        return value

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Simulation:
        if isinstance(self.attackers, list):
            wrong = [host for host in self.attackers if not 0 <= host < self.hosts]
            if wrong or len(set(self.attackers)) != len(self.attackers):
                raise ValueError(
                    f"attackers lists {reading.shown(self.attackers)}: different numbers from 0 to {self.hosts - 1} are needed."
                )
        elif not 0 <= self.attackers <= self.hosts:
            raise ValueError(f"attackers is {self.attackers}: it must lie between 0 and hosts, {self.hosts}.")
        if self.start == "attacked" and self.attacker_count == 0:
            raise ValueError("start is attacked, and attackers is 0: there is no attacked host to start on.")
        if self.destination.classes is not None and self.destination.classes.count > self.hosts:
            raise ValueError(f"destination.classes.count is above hosts, {self.hosts}.")
        if self.progress.model == "retain" and self.destination.delta is None and self.destination.classes is None:
            raise ValueError(
                "progress.model is retain, which keeps progress by likeness: give destination.delta or classes."
            )
        folder = (info.context or {}).get("folder", Path())
        self._delta = self._read_delta(folder)
        return self

    @property
    def attacker_count(self) -> int:
        return len(self.attackers) if isinstance(self.attackers, list) else self.attackers

    @property
    def delta(self) -> Floats | None:
        """The matrix of differences, shape (hosts, hosts), where the file gives one."""
        return self._delta

    def _read_delta(self, folder: Path) -> Floats | None:
        spec = self.destination
        needed = spec.weighted or self.progress.model == "retain"
        if not needed or (spec.delta is None and spec.classes is None):
            return None
        if self.hosts > MATRIX_LIMIT:
            raise ValueError(f"hosts is {self.hosts}: with a matrix of differences the limit is {MATRIX_LIMIT}.")
        matrix = spec.classes.matrix(self.hosts) if spec.classes else read_matrix(folder / str(spec.delta), self.hosts)
        outside = matrix[~np.eye(self.hosts, dtype=bool)]
        if self.progress.model == "retain" and outside.size and not (outside.min() >= 0 and outside.max() <= 1):
            raise ValueError("destination.delta: the retain model needs differences in [0, 1].")
        return matrix

    def law_of_clock(self) -> Clock:
        return make_clock(self.clock, strict=False)

    def scenario(self) -> Scenario:
        """Build what the engine runs. Raises ValueError where a min-entropy floor cannot be had."""
        return Scenario(
            hosts=self.hosts,
            attackers=self.attacker_count,
            clock=self.law_of_clock(),
            attack=self.attack.law(),
            placement=self._placement(),
            fixed_attackers=tuple(self.attackers) if isinstance(self.attackers, list) else (),
            start_attacked=self.start == "attacked",
            progress=self.progress.model,
            delta=self._delta,
            chase_rate=self.progress.chase_rate or math.inf,
            latency=self.latency,
            failure=self.failure,
            downtime=self.downtime,
            horizon=self.horizon[-1],
        )

    def _placement(self) -> Placement:
        spec = self.destination
        if self.hosts == 1:
            return Stay()
        if spec.policy == "uniform":
            return UniformOthers(self.hosts)
        if spec.policy == "uniform-with-self":
            return UniformAll(self.hosts)
        assert self._delta is not None
        return Chain(
            transition_matrix(spec.policy, self._delta, beta=spec.beta, min_entropy_bits=spec.min_entropy_bits)
        )

    def notes(self) -> list[str]:
        """What a reader must know of this file: keys without effect, warnings of the clock, a memoryless attack."""
        unused = [f"clock.{key}" for key in unused_keys(self.clock)]
        unused += [f"attack.{key}" for key in self.attack.unused()]
        unused += [f"destination.{key}" for key in self.destination.unused()]
        if self.progress.model != "chase" and self.progress.chase_rate is not None:
            unused.append("progress.chase_rate")
        notes = [f"Without effect here: {', '.join(unused)}."] if unused else []
        notes += self.law_of_clock().warnings
        if self.attack.law().memoryless and self.progress.model == "reset":
            notes.append("The attack is memoryless: hopping does not change the mean time to compromise (formula 3).")
        if self.destination.policy == "argmax":
            notes.append("argmax under any symmetric difference ends in a 2-cycle between two hosts.")
        return notes


def read_matrix(path: Path, hosts: int) -> Floats:
    """Read a CSV of hosts x hosts numbers; a header row and a first column of names are skipped. Raises ValueError."""
    try:
        rows = reading.read_rows(path)
    except Refusal as refusal:  # becomes a line of the refusal of the file that names this one
        raise ValueError(str(refusal)) from None
    if rows and not _is_number(rows[0][1][-1]):
        rows = rows[1:]
    if rows and not _is_number(rows[0][1][0]):
        rows = [(line, row[1:]) for line, row in rows]
    if len(rows) != hosts:
        raise ValueError(
            f"{path}:1: the file has {len(rows)} rows of numbers, and hosts is {hosts}: give one for each host."
        )
    matrix = np.empty((hosts, hosts))
    for place, (line, row) in enumerate(rows):
        if len(row) != hosts:
            raise ValueError(
                f"{path}:{line}: the row has {len(row)} numbers, and hosts is {hosts}: give one for each host."
            )
        if wrong := [cell for cell in row if not _is_number(cell)]:
            column = row.index(wrong[0]) + 1
            raise ValueError(f"{path}:{line}: column {column} is {reading.shown(wrong[0])}: a finite number is needed.")
        matrix[place] = [float(cell) for cell in row]
    return matrix


_NUMBER = re.compile(r"\s*[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\s*", re.ASCII)


def _is_number(cell: str) -> bool:
    return len(cell) <= 64 and _NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))
