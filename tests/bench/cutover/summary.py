# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the samples: cells, figures and the document. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .pipeline import Sample

RESAMPLES = 10_000
OUR_MODES = ("stop-and-copy", "post-copy", "pre-copy")


@dataclass
class Cell:
    """All samples of one pipeline at one size. ``skipped`` says why there are none; ``failures``: what failed hops said."""

    pipeline: str
    mib: int
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    def document(self) -> dict[str, Any]:
        """Return the cell as it stands in the JSON document."""
        gaps = [sample.gap for sample in self.samples if sample.gap is not None]
        found: dict[str, Any] = {
            "pipeline": self.pipeline,
            "mib": self.mib,
            "n": len(self.samples),
            "gap_ms": distribution(gaps),
            "down_ms": distribution([sample.down for sample in self.samples]),
            "phases_ms": median_phases(self.samples),
            "resets": sum(sample.reset for sample in self.samples),
            "lost": sum(sample.lost for sample in self.samples),
        }
        if self.failures:
            found["failures"] = self.failures
        if self.skipped:
            found["skipped"] = self.skipped
        return found


def distribution(values: Sequence[float]) -> dict[str, float] | None:
    """Return median, 99th percentile, least and most of what was measured; None of nothing.

    The percentile is interpolated linearly between the ordered values: of 20 values it lies close to the largest.
    """
    if not values:
        return None
    median, p99 = np.percentile(values, [50, 99])
    return {
        "median": round(float(median), 2),
        "p99": round(float(p99), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def _resampled_medians(values: Sequence[float], seed: int) -> Any:
    drawn = np.random.default_rng(seed).choice(np.asarray(values, float), (RESAMPLES, len(values)))
    return np.median(drawn, axis=1)


def _interval(value: float, resampled: Any) -> dict[str, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": round(float(value), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def median_interval(values: Sequence[float]) -> dict[str, float] | None:
    """Return the median, and its 95 % interval by the bootstrap (the same for the same values); None of nothing."""
    return _interval(np.median(values), _resampled_medians(values, 1)) if values else None


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> dict[str, float] | None:
    """Return the ratio of two medians, and its 95 % interval by the bootstrap; None where one was not measured."""
    if not above or not below:
        return None
    resampled = _resampled_medians(above, 1) / _resampled_medians(below, 2)
    return _interval(np.median(above) / np.median(below), resampled)


def median_phases(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median of each phase over the samples that have it, in the order in which phases first appear."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.phases))
    return {
        name: round(float(np.median([sample.phases[name] for sample in samples if name in sample.phases])), 2)
        for name in names
    }


@dataclass(frozen=True)
class Figure:
    """One figure that was promised. Smaller is better; ``must`` is what has to be reached, ``aim`` what is hoped for."""

    key: str
    label: str
    value: float | None
    must: float | None
    aim: float
    unit: str = ""

    @property
    def met(self) -> str:
        """``aim``, ``must``, ``missed``, or ``not measured``."""
        if self.value is None:
            return "not measured"
        if self.value <= self.aim:
            return "aim"
        if self.must is not None and self.value <= self.must:
            return "must"
        return "missed"

    def document(self) -> dict[str, Any]:
        """Return the figure as it stands in the JSON document."""
        value = None if self.value is None else round(self.value, 3)
        return {"value": value, "must": self.must, "aim": self.aim, "unit": self.unit or "ratio", "met": self.met}


def _median(runs: Sequence[dict[str, Any]], pipeline: str, mib: int, what: str = "gap_ms") -> float | None:
    for run in runs:
        if run["pipeline"] == pipeline and run["mib"] == mib and run[what]:
            return float(run[what]["median"])
    return None


def _phases(runs: Sequence[dict[str, Any]], pipeline: str, *names: str) -> float | None:
    """Return the sum of some phases of a pipeline at 8 MiB, None unless all were measured."""
    found = next((run["phases_ms"] for run in runs if run["pipeline"] == pipeline and run["mib"] == 8), {})
    return sum(found[name] for name in names) if all(name in found for name in names) else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def best_mode(runs: Sequence[dict[str, Any]], mib: int) -> str | None:
    """Return the mode of ours with the smallest median gap at a size, None if none was measured."""
    gaps = {mode: gap for mode in OUR_MODES if (gap := _median(runs, mode, mib)) is not None}
    return min(gaps, key=lambda mode: gaps[mode]) if gaps else None


def figures(runs: Sequence[dict[str, Any]], hundred: dict[str, Any] | None) -> list[Figure]:
    """Return every promised figure.

    :param runs: cells as documents. :param hundred: the document of the hundred hops, if they were made:
        ``{"hops": …, "gap_ms": {"median", "p99", …}, …}``.
    """
    best = best_mode(runs, 8)
    gap = _median(runs, best, 8) if best else None
    steady = None
    if hundred and hundred["hops"] >= 100:
        steady = _ratio(hundred["gap_ms"]["p99"], hundred["gap_ms"]["median"])
    mode = f" ({best})" if best else ""
    return [
        Figure("gap_over_docker", f"gap, 8 MiB{mode} ÷ docker", _ratio(gap, _median(runs, "docker", 8)), 0.10, 0.05),
        Figure("gap_over_runc", f"gap, 8 MiB{mode} ÷ runc", _ratio(gap, _median(runs, "runc", 8)), 0.75, 0.45),
        Figure("gap_8_mib_ms", f"gap, 8 MiB{mode}", gap, None, 90, "ms"),
        Figure(
            "post_copy_1_gib_over_8_mib",
            "gap, post-copy, 1 GiB ÷ 8 MiB",
            _ratio(_median(runs, "post-copy", 1024), _median(runs, "post-copy", 8)),
            2,
            1.3,
        ),
        Figure(
            "gap_over_criu_floor",
            f"gap, 8 MiB{mode} ÷ criu-floor",
            _ratio(gap, _median(runs, "criu-floor", 8, "down_ms")),
            3,
            1.5,
        ),
        Figure("p99_over_median", "p99 ÷ median of 100 hops", steady, 2, 1.4),
        Figure("rollback_gap_ms", "gap of a move taken back, 8 MiB", _median(runs, "rollback", 8), 100, 70, "ms"),
    ]


def beside(runs: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return ratios that nobody promised but that help to read the others.

    Where packets are dropped, a client's gap ends at a retransmission of its own, which comes at doubling intervals: the
    ratio of the downtimes is free of that.
    """
    best = best_mode(runs, 8)
    down = _median(runs, best, 8, "down_ms") if best else None
    gap = _median(runs, best, 8) if best else None
    found = {
        f"down_over_{name}": _ratio(down, _median(runs, name, 8, "down_ms")) for name in ("docker", "podman", "runc")
    }
    found["gap_over_criu_commands"] = _ratio(gap, _phases(runs, "criu-floor", "dump_command", "restore_command"))
    found["gap_over_criu_in_a_container"] = _ratio(gap, _phases(runs, "runc", "criu_frozen", "criu_restore"))
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def document(machine: dict[str, Any], cells: Sequence[Cell], hundred: dict[str, Any] | None) -> dict[str, Any]:
    """Return the whole document of a bench run."""
    runs = [cell.document() for cell in cells]
    return {
        "machine": machine,
        "runs": runs,
        "ratios": {figure.key: figure.document() for figure in figures(runs, hundred)},
        "beside": beside(runs),
    }


def turns(wanted: dict[str, int]) -> list[str]:
    """Return the order of hops: A, B, C, A, B, C …; pipelines with fewer hops are spread over the whole run.

    :param wanted: pipeline → its number of hops.
    """
    rounds = max(wanted.values(), default=0)
    order = []
    for number in range(rounds):
        for name, hops in wanted.items():
            if number * hops // rounds != (number + 1) * hops // rounds:
                order.append(name)
    return order
