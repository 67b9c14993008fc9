# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A firing is in one phase at a time."""

from __future__ import annotations

from relocate.schedule.firings import Firings, Phase
from relocate.schedule.records import Firing


def firing(number: int) -> Firing:
    return Firing(f"f{number}", f"c{number}", "host1", "clock", "waiting", 0.0)


def test_a_firing_is_in_one_phase_at_a_time_and_order_is_kept() -> None:
    table, made = Firings(), [firing(number) for number in range(3)]
    table.put(Phase.ALERTED, *made)
    for phase in Phase:
        table.put(phase, *made)
        assert {each: table.count(each) for each in Phase if table.count(each)} == {phase: 3}
        assert table.of(phase) == made
    assert table.containers(Phase.ENDED, Phase.WAITING) == {"c0", "c1", "c2"}
    table.drop(made[:1])
    assert table.ids(Phase.ENDED) == {"f1", "f2"}


def test_results_are_taken_once_and_outlast_their_firing() -> None:
    table, one = Firings(), firing(1)
    table.put(Phase.ENDED, one)
    table.keep_result(one, {"outcome": "committed"})
    table.drop([one])
    assert table.take_results() == [(one, {"outcome": "committed"})]
    assert table.take_results() == []
