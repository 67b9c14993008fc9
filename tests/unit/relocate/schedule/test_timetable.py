# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks: order, law, clamps, and what a restart does to them. Time is virtual, seeds are fixed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, make_clock
from hypothesis import given
from hypothesis import strategies as st

from relocate.model.laws.numerics import ks_test
from relocate.schedule.calendar import Calendar, Window
from relocate.schedule.timetable import Alert, Entry, Timetable


def clock(**settings: Any) -> Clock:
    return make_clock({"kind": "truncated-poisson", "rate": 0.1, "ceiling": 30.0} | settings)


def run(table: Timetable, until: float, step: float) -> list[Alert]:
    """Look at the clocks every ``step`` seconds, as a loop that is late does."""
    alerts = []
    moment = 0.0
    while moment < until:
        moment += step
        alerts += table.due(moment)
    return alerts


def test_alerts_come_in_order_and_none_is_lost_to_a_slow_loop() -> None:
    quick, slow = (Timetable(np.random.default_rng(4)) for _ in range(2))
    for table in (quick, slow):
        table.enter([Entry(f"c{i}", clock(), 0.0) for i in range(5)], 0.0)
    seldom = run(slow, 600.0, 300.0)
    assert [alert.due for alert in seldom[: len(seldom) // 2]] == sorted(
        alert.due for alert in seldom[: len(seldom) // 2]
    )
    assert len(run(quick, 600.0, 0.5)) == len(seldom) > 200


def test_due_times_follow_from_one_another_and_have_the_clock_s_law() -> None:
    table = Timetable(np.random.default_rng(8))
    table.enter([Entry(f"c{i}", clock(), 0.0) for i in range(20)], 0.0)
    last: dict[str, float] = {}
    stays = []
    for alert in run(table, 2000.0, 7.0):
        assert alert.since == last.get(alert.name, 0.0)
        assert alert.due == pytest.approx(alert.since + alert.drawn)
        last[alert.name] = alert.due
        stays.append(alert.due - alert.since)
    assert len(stays) > 3000
    assert ks_test(stays, clock().cdf)[1] > 0.01


def test_what_is_still_to_come_is_in_no_representation() -> None:
    table = Timetable(np.random.default_rng(8))
    table.enter([Entry("web", clock(), 0.0)], 0.0)
    hand = table._hands["web"]
    assert str(hand.due) not in repr(hand) and str(hand.drawn) not in repr(hand)
    assert repr(table) == object.__repr__(table)


def test_a_minimum_stay_is_kept_and_told() -> None:
    table = Timetable(np.random.default_rng(2), min_stay=8.0)
    table.enter([Entry("web", clock(), 0.0)], 0.0)
    alerts = run(table, 2000.0, 1.0)
    for alert in alerts:
        assert alert.due - alert.since >= 8.0 - 1e-9
        assert (alert.clamp == "min-stay") == (alert.drawn < 8.0)
    assert {alert.clamp for alert in alerts} == {"none", "min-stay"}


def test_a_closed_time_is_drawn_anew_from_the_opening_and_not_put_at_it() -> None:
    open_hour = Calendar("UTC", [Window.model_validate({"from": "01:00", "to": "02:00"})], [])
    table = Timetable(np.random.default_rng(2), calendar=open_hour)
    table.enter([Entry(f"c{i}", clock(rate=0.001, ceiling=3000.0), 0.0) for i in range(50)], 0.0)
    alerts = table.due(7200.0)
    assert alerts and all(open_hour.is_open(alert.due) for alert in alerts)
    clamped = [alert for alert in alerts if alert.clamp == "window"]
    assert len(clamped) >= 50 and not any(alert.due == 3600.0 for alert in clamped)
    assert all(alert.drawn != alert.due - alert.since for alert in clamped)


def test_a_window_that_no_draw_meets_is_met_all_the_same() -> None:
    """A periodic clock of an hour and a window of a minute: no redraw falls into it."""
    minute = Calendar("UTC", [Window.model_validate({"from": "01:00", "to": "01:01"})], [])
    table = Timetable(np.random.default_rng(2), calendar=minute)
    table.enter([Entry("web", make_clock({"kind": "periodic", "period": 3600.0}), 100.0)], 100.0)
    due = table.next_due()
    assert due is not None and minute.is_open(due)


def test_a_clock_that_is_found_amid_a_stay_says_that_nothing_was_drawn_for_it() -> None:
    table = Timetable(np.random.default_rng(2))
    table.enter([Entry("old", clock(), 0.0), Entry("new", clock(), 20.0)], 20.0)
    first = {alert.name: alert for alert in reversed(table.due(60.0))}
    assert first["old"].clamp == "joined" and math.isnan(first["old"].drawn) and first["old"].due > 20.0
    assert first["new"].clamp == "none"


def test_a_container_that_outstayed_the_ceiling_is_due_at_once() -> None:
    table = Timetable(np.random.default_rng(2))
    table.enter([Entry("web", clock(), 0.0)], 100.0)
    alert = table.due(100.0)[0]
    assert (alert.due, alert.clamp) == (100.0, "overdue")


def test_a_restart_leaves_the_law_of_stays_as_it_was() -> None:
    """Killed every 9 seconds with 2 seconds of outage: what was due amid those is due at once, and tested as drawn."""
    source = np.random.default_rng(21)
    names = [f"c{i}" for i in range(40)]
    last = dict.fromkeys(names, 0.0)
    drawn: list[float] = []
    clamps: set[str] = set()
    begun, alive = 0.0, 0.0
    while begun < 1500.0:
        table = Timetable(source)
        table.enter([Entry(name, clock(), last[name]) for name in names], begun, alive)
        alive = begun + 9.0
        for alert in table.due(alive):
            last[alert.name] = alert.due
            drawn.append(alert.drawn)
            clamps.add(alert.clamp)
        begun = alive + 2.0
    assert clamps == {"none", "outage"}
    assert ks_test(drawn, clock().cdf)[1] > 0.01


def test_leaving_and_entering_again() -> None:
    table = Timetable(np.random.default_rng(2))
    table.enter([Entry("a", clock(), 0.0), Entry("b", clock(), 0.0)], 0.0)
    table.leave(["a", "nobody"])
    assert (len(table), "a" in table, table.names()) == (1, False, {"b"})
    assert {alert.name for alert in table.due(300.0)} == {"b"}
    table.enter([Entry("a", clock(), 300.0)], 300.0)
    assert {alert.name for alert in table.due(400.0)} == {"a", "b"}


def test_setting_the_time_of_day_moves_no_alert() -> None:
    table, other = (Timetable(np.random.default_rng(2)) for _ in range(2))
    for each in (table, other):
        each.enter([Entry("a", clock(), 0.0)], 0.0)
    other.shift(1000.0)
    assert (other.next_due() or 0) - (table.next_due() or 0) == pytest.approx(1000.0)


def test_a_round_by_hand_takes_the_first_and_goes_on() -> None:
    table = Timetable(np.random.default_rng(2))
    table.enter([Entry("a", clock(), 0.0), Entry("b", clock(), 0.0)], 0.0)
    soonest = table.next_due()
    first = table.first()
    assert first is not None and first.due == soonest and len(table) == 2
    static = Timetable(np.random.default_rng(2))
    static.enter([Entry("a", make_clock({"kind": "static"}), 0.0)], 0.0)
    assert static.first() is None and Timetable().first() is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["enter", "leave", "due"])), max_size=60))
def test_the_heap_never_gives_an_alert_of_a_clock_that_is_gone(steps: list[tuple[str, str]]) -> None:
    """Whatever is entered, entered again and removed: alerts are of those present, in order, each from its own clock."""
    table = Timetable(np.random.default_rng(2))
    present: dict[str, float] = {}
    now = 0.0
    for name, step in steps:
        now += 3.0
        if step == "enter":
            table.enter([Entry(name, clock(), now)], now)
            present[name] = now
        elif step == "leave":
            table.leave([name])
            present.pop(name, None)
        else:
            alerts = table.due(now)
            assert [alert.due for alert in alerts] == sorted(alert.due for alert in alerts)
            for alert in alerts:
                assert alert.since == present[alert.name] and alert.due <= now
                present[alert.name] = alert.due
        assert table.names() == set(present)
    upcoming = table.next_due()
    assert (upcoming is None) == (not present)
