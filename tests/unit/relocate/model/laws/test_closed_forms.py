# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ready checks: every closed form at the numbers it was derived with, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks import clocks
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    min_entropy_bits,
    shannon_bits,
    softmax_row,
)

from relocate.model.laws import attacks, closed_forms
from relocate.model.laws.exposure import Exposure
from relocate.model.laws.numerics import ks_test, lambert_w0, wilson
from relocate.model.laws.pole import long_run
from relocate.model.laws.renewal import Neighbours, System

from . import oracles

TO_SIX = 5e-7


def test_success_per_stay() -> None:
    assert closed_forms.success_per_stay(0.5, attacks.Fixed(4)) == pytest.approx(0.135335, abs=TO_SIX)
    assert closed_forms.success_per_stay(0.5, attacks.Exponential(4)) == pytest.approx(0.333333, abs=TO_SIX)
    assert closed_forms.success_per_stay(0.5, attacks.Erlang(4, 3)) == pytest.approx((1 + 2 / 3) ** -3)
    assert closed_forms.success_per_stay(0.5, attacks.Uniform(0, 8)) == pytest.approx((1 - math.exp(-4)) / 4)


def test_latency_and_failures() -> None:
    assert oracles.success_per_stay_exposed(0.5, 4, latency=1) == pytest.approx(0.223130, abs=TO_SIX)
    assert oracles.success_per_stay_exposed(0.5, 4, failure=0.2) == pytest.approx(0.201897, abs=TO_SIX)
    assert oracles.success_per_stay_exposed(0.5, 4, latency=5) == 1
    assert closed_forms.hops_per_time(2.0, downtime=0.5) == pytest.approx(0.4)


def test_mean_time_to_compromise() -> None:
    fixed = attacks.Fixed(1)
    assert closed_forms.mttc_no_self_hop(30, 5, 1.5, fixed) == pytest.approx(13.926756, abs=TO_SIX)
    assert oracles.mttc_no_self_hop_uniform_start(30, 5, 1.5, fixed) == pytest.approx(17.148979, abs=TO_SIX)


@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
def test_relocation_buys_nothing_against_a_memoryless_attack(rate: float) -> None:
    assert closed_forms.mttc_no_self_hop(30, 5, rate, attacks.Exponential(2)) == pytest.approx(30 * 2 / 5)


def test_chase() -> None:
    assert closed_forms.chase_mttc(0.5, 1, 2) == 7
    assert closed_forms.chase_survival(0.5, 1, 2, 5) == pytest.approx(0.496317, abs=TO_SIX)
    at = np.linspace(0, 400, 40001)
    survived = np.array([closed_forms.chase_survival(0.5, 1, 2, t) for t in at])
    assert np.trapezoid(survived, at) == pytest.approx(7, rel=1e-4)


def test_softmax_entropies() -> None:
    row = softmax_row(np.linspace(0, 1, 29), 4.0)
    assert shannon_bits(row) == pytest.approx(4.131758, abs=TO_SIX)
    assert min_entropy_bits(row) == pytest.approx(2.886088, abs=TO_SIX)


def test_pymtdevaluators_example() -> None:
    lost = 1 - closed_forms.periodic_survival(5.5, attacks.Erlang(24, 4), 48)
    assert lost == pytest.approx(0.113151, abs=TO_SIX)


@pytest.mark.parametrize("t", [0.5, 1.0, 2.5, 7.0, 15.0])
def test_survival_by_series_talbot_and_renewal_agree(t: float) -> None:
    p, near = 1 / 6, Neighbours.of(30, 5, self_hop=True, start_attacked=False)
    series = oracles.survival_fixed(1.5, 1.0, p, t)
    system = System(clocks.Poisson(1.5), attacks.Fixed(1.0), near)
    assert system.survival([t])[0] == pytest.approx(series, abs=1e-6)
    for law in (attacks.Exponential(1.0), attacks.Erlang(1.0, 3)):
        inverted = oracles.survival_talbot(1.5, law, p, t)
        assert System(clocks.Poisson(1.5), law, near).survival([t])[0] == pytest.approx(inverted, abs=1e-6)


def test_the_pole_is_lambert_w() -> None:
    near = Neighbours.of(30, 5, self_hop=True, start_attacked=False)
    system = System(clocks.Poisson(1.5), attacks.Fixed(1.0), near)
    for t in (20.0, 200.0):
        assert long_run(system).survival(t) == pytest.approx(closed_forms.survival_pole(1.5, 1.0, 1 / 6, t), rel=1e-6)
    assert closed_forms.survival_pole(1.5, 1.0, 1 / 6, 20.0) == pytest.approx(
        oracles.survival_fixed(1.5, 1.0, 1 / 6, 20.0), abs=1e-9
    )


def test_the_series_refuses_where_it_loses_its_digits() -> None:
    with pytest.raises(ValueError, match="survival_pole"):
        oracles.survival_fixed(2.0, 1.0, 0.3, 16.0)


def test_a_rare_compromise_keeps_its_digits() -> None:
    near = Neighbours.of(30, 3, self_hop=True, start_attacked=False)
    system = System(clocks.Poisson(1.32526), attacks.Fixed(10.0), near)
    assert long_run(system).survival(43200.0) == pytest.approx(
        closed_forms.survival_pole(1.32526, 10.0, 0.1, 43200.0), rel=1e-6
    )


@pytest.mark.parametrize(
    "law", [attacks.Fixed(1), attacks.Erlang(1, 4), attacks.Uniform(0.2, 2), attacks.Lognormal(1, 0.5)]
)
def test_formulas_two_and_three_are_the_renewal_equations_means(law: attacks.Attack) -> None:
    clock = clocks.Poisson(1.5)
    beside = System(clock, law, Neighbours.of(30, 5, self_hop=False, start_attacked=True))
    assert beside.mttc() == pytest.approx(closed_forms.mttc_no_self_hop(30, 5, 1.5, law), rel=2e-4)
    anywhere = System(clock, law, Neighbours.of(30, 5, self_hop=True, start_attacked=False))
    exposure = Exposure.of(clock)
    by_two = oracles.mttc_any_clock(exposure.success(law), clock.mean, exposure.mean_min(law), 5 / 30)
    assert anywhere.mttc() == pytest.approx(by_two, rel=1e-9)


def test_failed_hops_without_a_closed_form() -> None:
    compound = Exposure.of(clocks.TruncatedPoisson(0.5, 3.0), 0.0, 0.3)
    rng = np.random.default_rng(3)
    counts = rng.geometric(0.7, 100_000)
    stays = compound.clock.stays(rng, int(counts.sum()))
    sums = np.add.reduceat(stays, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    for x in (0.5, 2.0, 3.5, 7.0):
        law = float(compound.survivor(x))
        assert abs((sums >= x).mean() - law) < 4 * math.sqrt(law * (1 - law) / counts.size)
    assert compound.mean == pytest.approx(compound.clock.mean / 0.7)


def test_leak_mean_does_not_depend_on_the_clock_and_variance_does() -> None:
    assert closed_forms.leak_mean(2.0, 10.0, 1 / 6) == pytest.approx(20 / 6)
    still = closed_forms.leak_variance(1.0, 10.0, 30, 5, 0.0)
    assert still == pytest.approx(100 * 5 / 36)
    assert closed_forms.leak_variance(1.0, 10.0, 30, 5, 1e-7) == pytest.approx(still, rel=1e-5)
    assert closed_forms.leak_variance(1.0, 10.0, 30, 5, 5.0) < 0.05 * still


def test_an_informed_attacker_hits_the_likeliest() -> None:
    assert closed_forms.informed_hit([0.1, 0.4, 0.2, 0.3], 2) == pytest.approx(0.7)
    assert closed_forms.informed_hit(np.full(29, 1 / 29), 5) == pytest.approx(5 / 29)


def test_numerics() -> None:
    for x in (-1 / math.e, -0.3, -1e-9, 0.5, 20.0):
        w = lambert_w0(x)
        assert w * math.exp(w) == pytest.approx(x, rel=1e-9, abs=1e-12)
    with pytest.raises(ValueError, match="-1/e"):
        lambert_w0(-0.4)
    assert oracles.talbot(lambda z: 1 / (z + 2), 1.5) == pytest.approx(math.exp(-3), rel=1e-9)
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 0) == (0, 1)


def test_kolmogorov_smirnov_tells_the_right_law_from_a_wrong_one() -> None:
    sample = np.random.default_rng(1).exponential(2.0, 500)
    right, wrong = clocks.Poisson(0.5), clocks.Poisson(0.7)
    assert ks_test(sample, right.cdf)[1] > 0.05
    assert ks_test(sample, wrong.cdf)[1] < 0.01
