# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every clock: its closed form against its draws, its refusals, and that the system's entropy follows the same law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks import clocks
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import ClockError, make_clock

from relocate.model.laws.numerics import ks_test

EVERY = [
    {"kind": "truncated-poisson", "rate": 0.5, "ceiling": 3.0},
    {"kind": "capped-poisson", "rate": 0.5, "ceiling": 3.0},
    {"kind": "poisson", "rate": 0.5},
    {"kind": "pmf-sample", "lambda": 4, "threshold": 0.15, "tick": 0.5},
    {"kind": "pmf-count", "lambda": 4, "threshold": 0.15, "rate": 2.0},
    {"kind": "pmf-tick", "lambda": 4, "threshold": 0.15, "tick": 0.5},
    {"kind": "periodic", "period": 2.0},
    {"kind": "erlang", "rate": 0.5, "shape": 3},
    {"kind": "uniform", "low": 1.0, "ceiling": 3.0},
]
AT = np.array([0.25, 0.5, 1.0, 1.3, 2.0, 2.7, 3.0, 6.0])


def test_every_kind_is_covered() -> None:
    assert {entry["kind"] for entry in EVERY} | {"static"} == set(clocks.KINDS)


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: str(entry["kind"]))
def test_draws_follow_the_closed_form(entry: dict[str, float]) -> None:
    clock, trials = make_clock(entry), 200_000
    stays = clock.stays(np.random.default_rng(11), trials)
    for x in AT:
        for seen, law in (((stays >= x).mean(), clock.survivor(x)), ((stays <= x).mean(), clock.cdf(x))):
            spread = math.sqrt(float(law) * (1 - float(law)) / trials)
            assert abs(seen - law) <= 4 * spread + 1e-12
        least = np.minimum(stays, x)
        assert abs(least.mean() - clock.expected_min(x)) <= 4 * least.std() / math.sqrt(trials) + 1e-12
    assert abs(stays.mean() - clock.mean) <= 4 * stays.std() / math.sqrt(trials) + 1e-12
    assert stays.max() <= clock.longest


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: str(entry["kind"]))
def test_the_systems_entropy_gives_the_same_law(entry: dict[str, float]) -> None:
    clock = make_clock(entry)
    stays = clock.stays(clocks.SYSTEM_ENTROPY, 4000)
    if clock.lattice is None and entry["kind"] != "capped-poisson":  # the test is for laws without atoms
        assert ks_test(stays, clock.cdf)[1] > 1e-6  # real randomness: fails once in a million runs
    assert abs(stays.mean() - clock.mean) <= 6 * stays.std() / math.sqrt(4000) + 1e-12
    assert 0 <= clock.draw() <= clock.longest


def test_two_draws_from_the_system_differ() -> None:
    clock = make_clock(EVERY[0])
    assert len({clock.draw() for _ in range(20)}) == 20


def test_the_papers_threshold() -> None:
    assert clocks.firing_probability(4, 0.15) == pytest.approx(0.547027, abs=5e-7)
    assert clocks.first_count(4, 0.15) == 3
    sample = make_clock({"kind": "pmf-sample", "lambda": 4, "threshold": 0.15})
    assert sample.mean == pytest.approx(1 / 0.547027, rel=1e-6)


def test_a_threshold_that_never_fires_is_refused_with_the_number() -> None:
    for kind in ("pmf-sample", "pmf-tick"):
        with pytest.raises(ClockError, match=r"clock\.threshold is 0\.1954: it never fires.*0\.1954"):
            make_clock({"kind": kind, "lambda": 4, "threshold": 0.1954})
    make_clock({"kind": "pmf-sample", "lambda": 4, "threshold": 0.1953})


def test_a_threshold_below_p0_warns() -> None:
    at_once = make_clock({"kind": "pmf-count", "lambda": 1.0, "threshold": 0.3, "rate": 1.0})
    assert at_once.mean == 0
    assert any("p_0" in warning for warning in at_once.warnings)


@pytest.mark.parametrize("kind", ["pmf-tick", "periodic"])
def test_deterministic_clocks_warn(kind: str) -> None:
    entry = next(entry for entry in EVERY if entry["kind"] == kind)
    assert any("deterministic" in warning for warning in make_clock(entry).warnings)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "poison", "rate": 1}, "clock.kind is 'poison': it must be one of"),
        ({"kind": "poisson"}, "clock.rate is missing"),
        ({"kind": "poisson", "rate": 0}, "clock.rate is 0"),
        ({"kind": "poisson", "rate": float("inf")}, "clock.rate is inf"),
        ({"kind": "poisson", "rate": True}, "clock.rate is True: it must be a number"),
        ({"kind": "poisson", "rate": 1, "celling": 2}, "clock.celling is unknown"),
        ({"kind": "poisson", "rate": 1, "ceiling": 2}, "clock.ceiling has no effect on the poisson clock"),
        ({"kind": "capped-poisson", "rate": 1, "ceiling": 0}, "clock.ceiling is 0"),
        ({"kind": "truncated-poisson", "rate": 1, "ceiling": -1}, "clock.ceiling is -1"),
        ({"kind": "uniform", "low": 3, "ceiling": 3}, "clock.low is 3"),
        ({"kind": "erlang", "rate": 1, "shape": 1.5}, "clock.shape is 1.5"),
        ({"kind": "pmf-sample", "lambda": 4, "threshold": -0.1}, "clock.threshold is -0.1"),
    ],
)
def test_refusals_name_key_and_limit(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ClockError) as refusal:
        make_clock(entry)
    assert message in str(refusal.value)


def test_a_lenient_reader_reports_what_it_ignores() -> None:
    entry = {"kind": "poisson", "rate": 1.0, "ceiling": 2.0}
    assert make_clock(entry, strict=False) == make_clock({"kind": "poisson", "rate": 1.0})
    assert clocks.unused_keys(entry) == ["ceiling"]


@pytest.mark.parametrize("kind", ["poisson", "pmf-sample", "periodic"])
def test_thinning_is_a_geometric_sum(kind: str) -> None:
    clock = make_clock(next(entry for entry in EVERY if entry["kind"] == kind))
    thin = clock.thinned(0.3)
    assert thin is not None
    rng = np.random.default_rng(5)
    counts = rng.geometric(0.7, 50_000)
    stays = clock.stays(rng, int(counts.sum()))
    sums = np.add.reduceat(stays, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    for x in AT:
        law = float(thin.survivor(x - 1e-9))
        assert abs((sums >= x - 1e-9).mean() - law) <= 4 * math.sqrt(law * (1 - law) / counts.size) + 1e-12


def test_a_clock_that_always_fails_never_moves() -> None:
    assert make_clock(EVERY[0]).thinned(1.0) == clocks.Static()
    with pytest.raises(ClockError, match="probability"):
        make_clock(EVERY[0]).thinned(1.2)


def test_ticks_are_not_lost_to_rounding() -> None:
    clock = make_clock({"kind": "periodic", "period": 0.1})
    assert clock.survivor(0.1) == 1
    assert clock.thinned(0.5).survivor(0.3) == pytest.approx(0.25)  # type: ignore[union-attr]
