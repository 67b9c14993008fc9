# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stays that have lasted a while already: drawing them again leaves their law as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.beyond import stays_beyond
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock

from relocate.model.laws.numerics import ks_test

CLOCKS: list[dict[str, Any]] = [
    {"kind": "truncated-poisson", "rate": 0.1, "ceiling": 20.0},
    {"kind": "capped-poisson", "rate": 0.1, "ceiling": 20.0},
    {"kind": "poisson", "rate": 0.1},
    {"kind": "pmf-sample", "lambda": 4, "threshold": 0.15, "tick": 2.0},
    {"kind": "pmf-count", "lambda": 4, "threshold": 0.15, "rate": 0.3},
    {"kind": "erlang", "rate": 0.1, "shape": 3},
    {"kind": "uniform", "low": 2.0, "ceiling": 18.0},
]


@pytest.mark.parametrize("settings", CLOCKS, ids=lambda each: each["kind"])
def test_a_stay_that_is_interrupted_and_drawn_again_keeps_its_law(settings: dict[str, Any]) -> None:
    """Stays that outlast 5 s are drawn again from there: all together are still of the clock's law."""
    clock = make_clock(settings)
    source = np.random.default_rng(11)
    first = clock.stays(source, 20_000)
    lasting = first > 5.0
    assert lasting.sum() > 1000
    again = first.copy()
    again[lasting] = stays_beyond(clock, source, np.full(int(lasting.sum()), 5.0))
    assert (again[lasting] > 5.0).all()
    if clock.lattice is None and settings["kind"] != "capped-poisson":
        assert ks_test(again, clock.cdf)[1] > 0.01
    else:  # a law with atoms: compare it where they are
        points = np.unique(first)[:50] if clock.lattice else np.linspace(0.5, 20.0, 40)
        empirical = np.searchsorted(np.sort(again), points, side="right") / again.size
        assert np.abs(empirical - clock.cdf(points)).max() < 0.015


@pytest.mark.parametrize("settings", CLOCKS, ids=lambda each: each["kind"])
def test_nothing_elapsed_is_an_ordinary_draw(settings: dict[str, Any]) -> None:
    clock = make_clock(settings)
    drawn = stays_beyond(clock, np.random.default_rng(3), np.zeros(100))
    assert (drawn == clock.stays(np.random.default_rng(3), 100)).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "truncated-poisson", "rate": 0.1, "ceiling": 20.0},
        {"kind": "capped-poisson", "rate": 0.1, "ceiling": 20.0},
        {"kind": "uniform", "ceiling": 20.0},
        {"kind": "periodic", "period": 20.0},
    ],
    ids=lambda each: each["kind"],
)
def test_what_has_outstayed_the_longest_stay_is_due(settings: dict[str, Any]) -> None:
    passed = np.array([20.0, 25.0, 1e6])
    assert (stays_beyond(make_clock(settings), np.random.default_rng(1), passed) == passed).all()


def test_mixed_times_are_each_exceeded() -> None:
    clock = make_clock({"kind": "truncated-poisson", "rate": 0.1, "ceiling": 20.0})
    passed = np.linspace(0.0, 19.9, 500)
    drawn = stays_beyond(clock, np.random.default_rng(5), passed)
    assert ((drawn > passed) & (drawn <= 20.0)).all()


def test_a_periodic_clock_goes_on_where_it_was() -> None:
    clock = make_clock({"kind": "periodic", "period": 10.0})
    assert stays_beyond(clock, np.random.default_rng(1), np.array([0.0, 3.0, 9.9])).tolist() == [10.0, 10.0, 10.0]


def test_a_static_clock_never_fires() -> None:
    assert np.isposinf(stays_beyond(make_clock({"kind": "static"}), np.random.default_rng(1), np.array([5.0]))).all()
