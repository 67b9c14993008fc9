# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Given, equal and fitted weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.fitting import fitted as fitted_weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.fitting import non_negative_least_squares
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import FactError, Fleet, Weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.weights import WeightError

from tests.unit.fleets import lab


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"w_c": 0.5, "w_x": 0.5}, "w_x: there is no such weight; use w_c, w_n, w_s, w_v"),
        ({"w_c": 0.5, "w_n": 0.2}, "the weights sum to 0.7 and not to 1: w_c = 0.5, w_n = 0.2"),
        ({"w_c": math.nan}, "w_c is nan, not a number"),
        ({"w_c": "half"}, "w_c is 'half', not a number"),
        ({"w_c": 1.5, "w_n": -0.5}, "w_n is -0.5: a weight must not be negative"),
    ],
)
def test_weights_that_are_none_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(WeightError, match=message):
        Weights.given(options)


def test_v_needs_a_report_for_every_host() -> None:
    hosts = lab()
    hosts["host1"]["v"] = hosts["host2"]["v"] = {"CVE-1": 1.0}
    with pytest.raises(FactError, match=r"^host3: w_v is 0\.25 and the host has no vulnerability report"):
        Fleet(hosts).row("host1", Weights.equal(with_flaws=True))


def test_fitted_weights_find_the_term_that_predicts_the_vulnerabilities() -> None:
    # ten hosts that differ in all terms at random; the flaws follow the packages alone
    random = np.random.default_rng(11)
    hosts = {}
    for number in range(10):
        packages = {f"p{index}": "1" for index in np.flatnonzero(random.random(40) < 0.5)}
        hosts[f"h{number}"] = {
            "c": {"flags": [f"f{index}" for index in np.flatnonzero(random.random(40) < 0.5)]},
            "n": {"ports": [f"t{index}" for index in np.flatnonzero(random.random(40) < 0.5)]},
            "s": {"packages": packages},
            "v": dict.fromkeys(packages, 1.0),
        }
    fitted = fitted_weights(Fleet(hosts))
    assert fitted.how == "fitted"
    assert fitted.s > 0.6
    assert fitted.v == 0.0
    assert sum(fitted.values().values()) == pytest.approx(1.0)


def test_a_fleet_that_cannot_tell_is_refused() -> None:
    same = {host: {**profile, "v": {"CVE-1": 1.0}} for host, profile in list(lab().items())[:2]}
    with pytest.raises(WeightError, match="all hosts have the same profile"):
        fitted_weights(Fleet(same))
    shared = {host: {**profile, "v": {"CVE-1": 1.0}} for host, profile in lab().items()}
    with pytest.raises(WeightError, match="do not differ with C, N or S"):
        fitted_weights(Fleet(shared))


def test_non_negative_least_squares_is_exact() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        matrix, target = random.normal(size=(20, 3)), random.normal(size=20)
        found = non_negative_least_squares(matrix, target)
        gradient = matrix.T @ (matrix @ found - target)
        # the conditions of Karush, Kuhn and Tucker
        assert (found >= 0).all()
        assert (gradient >= -1e-9).all()
        assert np.abs(gradient * found).max() < 1e-9
