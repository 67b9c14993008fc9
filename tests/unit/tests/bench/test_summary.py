# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of samples: distributions, figures, and the order of the hops."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cutover import tables
from cutover.pipeline import Sample
from cutover.summary import (
    Cell,
    Figure,
    beside,
    best_mode,
    distribution,
    document,
    figures,
    median_interval,
    median_phases,
    ratio_interval,
    turns,
)


def test_a_distribution_has_its_percentile_between_the_ordered_values() -> None:
    assert distribution(list(range(1, 102))) == {"median": 51.0, "p99": 100.0, "min": 1, "max": 101}
    assert distribution([7.0]) == {"median": 7.0, "p99": 7.0, "min": 7.0, "max": 7.0}
    assert distribution([]) is None


def test_the_interval_of_a_median_narrows_with_the_number_of_values_and_is_the_same_each_time() -> None:
    few, many = median_interval([90, 100, 110]), median_interval([90, 100, 110] * 100)
    assert few == median_interval([90, 100, 110]) == {"value": 100.0, "low": 90.0, "high": 110.0}
    assert many == {"value": 100.0, "low": 100.0, "high": 100.0}
    assert median_interval([]) is None


def test_a_ratio_of_medians_has_the_noise_of_both() -> None:
    assert ratio_interval([150, 150], [100, 100]) == {"value": 1.5, "low": 1.5, "high": 1.5}
    noisy = ratio_interval([150, 150], [50, 100, 150])
    assert noisy == {"value": 1.5, "low": 1.0, "high": 3.0}
    assert ratio_interval([], [1]) is ratio_interval([1], []) is None


def test_phases_keep_their_order_and_are_medians_of_the_samples_that_have_them() -> None:
    samples = [Sample(1, 1, {"freeze": 1, "dump": 10}), Sample(1, 1, {"freeze": 3, "dump": 20, "late": 5})]
    assert list(median_phases(samples).items()) == [("freeze", 2.0), ("dump", 15.0), ("late", 5.0)]


def test_a_lost_connection_has_no_gap_but_counts() -> None:
    cell = Cell("docker", 8, [Sample(100, 90), Sample(None, 95, reset=True), Sample(None, 80, lost=True)])
    found = cell.document()
    assert (found["n"], found["resets"], found["lost"]) == (3, 1, 1)
    assert found["gap_ms"] == {"median": 100.0, "p99": 100.0, "min": 100, "max": 100}
    assert found["down_ms"]["median"] == 90


def cell(pipeline: str, mib: int, gap: float | None, down: float = 50.0, **phases: float) -> dict[str, Any]:
    return Cell(pipeline, mib, [Sample(gap, down, phases)]).document()


RUNS = [
    cell("docker", 8, 2000, 1000),
    cell("runc", 8, 400, 300, criu_frozen=60, criu_restore=20),
    cell("criu-floor", 8, None, 40, dump=20, restore=20, dump_command=30, restore_command=30),
    cell("stop-and-copy", 8, 150, 140),
    cell("post-copy", 8, 100, 95),
    cell("post-copy", 1024, 180, 170),
    cell("rollback", 8, 80, 75),
]


def by_key(runs: list[dict[str, Any]], hundred: dict[str, Any] | None = None) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures(runs, hundred)}


def test_the_figures_are_those_of_the_best_mode() -> None:
    assert best_mode(RUNS, 8) == "post-copy"
    found = by_key(RUNS, {"hops": 100, "gap_ms": {"median": 100, "p99": 150}})
    assert {key: (figure.value, figure.met) for key, figure in found.items()} == {
        "gap_over_docker": (0.05, "aim"),
        "gap_over_runc": (0.25, "aim"),
        "gap_8_mib_ms": (100, "missed"),
        "post_copy_1_gib_over_8_mib": (1.8, "must"),
        "gap_over_criu_floor": (2.5, "must"),
        "p99_over_median": (1.5, "must"),
        "rollback_gap_ms": (80, "must"),
    }


@pytest.mark.parametrize("hundred", [None, {"hops": 10, "gap_ms": {"median": 100, "p99": 110}}])
def test_what_was_not_measured_is_not_met(hundred: dict[str, Any] | None) -> None:
    found = by_key([Cell("docker", 8, skipped="no Docker").document()], hundred)
    assert {figure.met for figure in found.values()} == {"not measured"}
    assert {figure.document()["value"] for figure in found.values()} == {None}


def test_ratios_of_downtimes_are_told_beside() -> None:
    assert beside(RUNS) == {
        "down_over_docker": 0.095,
        "down_over_podman": None,
        "down_over_runc": pytest.approx(0.317),
        "gap_over_criu_commands": pytest.approx(1.667),
        "gap_over_criu_in_a_container": 1.25,
    }


def test_the_document_has_its_shape_and_is_json() -> None:
    cells = [Cell("runc", 8, [Sample(400, 300, {"dump": 100.0})]), Cell("podman", 8, skipped="no mirror")]
    made = json.loads(json.dumps(document({"processors": 2}, cells, None)))
    assert set(made) == {"machine", "runs", "ratios", "beside"}
    first, second = made["runs"]
    assert set(first) == {"pipeline", "mib", "n", "gap_ms", "down_ms", "phases_ms", "resets", "lost"}
    assert set(first["gap_ms"]) == {"median", "p99", "min", "max"}
    assert (second["n"], second["skipped"], second["gap_ms"]) == (0, "no mirror", None)
    assert set(made["ratios"]["gap_over_docker"]) == {"value", "must", "aim", "unit", "met"}


def test_hops_are_interleaved_and_the_rare_ones_spread() -> None:
    assert turns({"a": 3, "b": 3}) == ["a", "b", "a", "b", "a", "b"]
    order = turns({"often": 6, "rare": 2, "never": 0})
    assert order == ["often", "often", "often", "rare", "often", "often", "often", "rare"]
    assert turns({}) == []


def test_a_reason_is_said_once_for_all_sizes() -> None:
    runs = [Cell("pre-copy", mib, skipped="no dirty tracking").document() for mib in (8, 64)]
    runs.append(Cell("docker", 8, failures=["it broke"]).document())
    assert tables.notes(runs) == [
        "pre-copy was left out (8 MiB, 64 MiB): no dirty tracking",
        "docker failed (8 MiB): it broke",
    ]
