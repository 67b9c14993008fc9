# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Softmax, the min-entropy floor, the paper's draw and the entropies: exact values, edges and messages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    BETA_LIMIT,
    beta_for_floor,
    effective_number,
    entropy_rate_bits,
    min_entropy_bits,
    paper_row,
    shannon_bits,
    softmax_row,
    stationary,
)
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=40)


def test_the_model_documents_exact_check() -> None:
    share = softmax_row(np.linspace(0.0, 1.0, 29), 4.0)
    assert shannon_bits(share) == pytest.approx(4.131758, abs=5e-7)
    assert min_entropy_bits(share) == pytest.approx(2.886088, abs=5e-7)


def test_beta_zero_is_uniform() -> None:
    assert softmax_row([0.1, 0.9, 0.4], 0.0) == pytest.approx([1 / 3] * 3)


def test_an_excluded_host_is_never_drawn_even_when_likeness_is_preferred() -> None:
    for beta in (-30.0, 0.0, 5.0, math.inf):
        assert softmax_row([-math.inf, 0.2, 0.9], beta)[0] == 0.0
    assert paper_row([-math.inf, 0.2, 0.0])[0] == 0.0


def test_infinite_beta_is_uniform_over_the_maxima() -> None:
    assert softmax_row([0.5, 0.2, 0.5], math.inf) == pytest.approx([0.5, 0.0, 0.5])


def test_huge_differences_do_not_overflow() -> None:
    assert softmax_row([1e6, 0.0], 1e3) == pytest.approx([1.0, 0.0])


def test_counts_stand_for_identical_hosts() -> None:
    spread = softmax_row([0.3, 0.7, 0.7, 0.7], 3.0)
    packed = softmax_row([0.3, 0.7], 3.0, counts=[1, 3])
    assert packed == pytest.approx(spread[:2])
    assert shannon_bits(packed, [1, 3]) == pytest.approx(shannon_bits(spread))
    assert beta_for_floor([0.3, 0.5, 0.7], 1.2, counts=[2, 1, 1]) == pytest.approx(
        beta_for_floor([0.3, 0.3, 0.5, 0.7], 1.2)
    )


@given(ROWS, st.floats(0.01, 1.0))
def test_beta_keeps_the_floor_and_is_the_largest_that_does(row: list[float], share: float) -> None:
    floor = share * math.log2(len(row))
    beta = beta_for_floor(row, floor)
    assert min_entropy_bits(softmax_row(row, beta)) >= floor - 1e-9
    if beta < BETA_LIMIT:
        assert min_entropy_bits(softmax_row(row, beta * 1.01 + 1e-6)) < floor + 1e-9


def test_ties_at_the_top_need_no_limit() -> None:
    assert beta_for_floor([0.9, 0.9, 0.1], 1.0) == BETA_LIMIT


@pytest.mark.parametrize("floor", [0.0, -1.0, math.nan])
def test_a_floor_that_would_allow_an_argmax_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        beta_for_floor([0.1, 0.2], floor)


def test_a_floor_above_the_number_of_hosts_is_refused_with_that_number() -> None:
    with pytest.raises(ValueError, match=r"3 bits needs at least 8 hosts to choose from and there are 2"):
        beta_for_floor([0.1, -math.inf, 0.2], 3.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.1, math.nan], "index 1 is nan"),
        ([math.inf, 0.1], "index 0 is inf"),
        ([-math.inf], "no host may be drawn"),
        ([], "at least one host"),
        ([[0.1, 0.2]], r"shape \(1, 2\)"),
    ],
)
def test_rows_that_are_no_rows(row: list[float], message: str) -> None:
    for function in (lambda: softmax_row(row, 1.0), lambda: paper_row(row), lambda: beta_for_floor(row, 0.5)):
        with pytest.raises(ValueError, match=message):
            function()


def test_paper_row_follows_the_positive_part() -> None:
    assert paper_row([0.3, -0.2, 0.1, -math.inf]) == pytest.approx([0.75, 0.0, 0.25, 0.0])


def test_paper_row_from_the_highest_host_is_uniform() -> None:
    assert paper_row([-0.3, -0.2, -math.inf]) == pytest.approx([0.5, 0.5, 0.0])


def test_argmax_of_the_papers_signed_difference_ends_in_a_two_cycle() -> None:
    potential = np.array([0.1, 0.7, 0.4, 0.9, 0.3])
    visited = [0]
    for _ in range(6):
        row = potential - potential[visited[-1]]
        row[visited[-1]] = -math.inf
        visited.append(int(np.argmax(row)))
    assert visited == [0, 3, 1, 3, 1, 3, 1]


def test_the_source_cancels_out_of_a_softmax_over_signed_differences() -> None:
    potential = np.array([0.1, 0.7, 0.4, 0.9, 0.3])
    rows = [softmax_row(potential - potential[source], 4.0) for source in range(5)]
    for row in rows[1:]:
        assert row == pytest.approx(rows[0])


@given(st.integers(3, 12), st.integers(0, 10_000))
def test_argmax_of_any_symmetric_distance_ends_in_a_two_cycle(hosts: int, seed: int) -> None:
    distance = np.random.default_rng(seed).random((hosts, hosts))
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, -math.inf)
    path = [0]
    for _ in range(hosts + 2):
        path.append(int(np.argmax(distance[path[-1]])))
    assert path[-1] == path[-3]


def test_stationary_and_entropy_rate_of_a_known_chain() -> None:
    chain = [[0.5, 0.5], [0.25, 0.75]]
    assert stationary(chain) == pytest.approx([1 / 3, 2 / 3])
    expected = 1 / 3 * 1.0 + 2 / 3 * shannon_bits([0.25, 0.75])
    assert entropy_rate_bits(chain) == pytest.approx(expected)


def test_a_two_cycle_has_entropy_rate_zero() -> None:
    assert entropy_rate_bits([[0.0, 1.0], [1.0, 0.0]]) == pytest.approx(0.0)


def test_a_chain_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        stationary([[0.5, 0.5]])
    with pytest.raises(ValueError, match="sum to 1"):
        stationary([[0.5, 0.6], [0.5, 0.5]])


def test_effective_number_of_four_equal_configurations() -> None:
    assert effective_number(shannon_bits([0.25] * 4)) == pytest.approx(4.0)
