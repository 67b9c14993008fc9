# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows, blackouts and the nights on which the clocks are set."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relocate.schedule.calendar import HORIZON_DAYS, Blackout, Calendar, Window

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def calendar(windows: list[dict[str, Any]], blackouts: list[dict[str, Any]] | None = None) -> Calendar:
    return Calendar(
        "Europe/Berlin",
        [Window.model_validate(each) for each in windows],
        [Blackout.model_validate(each) for each in blackouts or []],
    )


NIGHT = calendar([{"days": ["fri", "sat"], "from": "22:00", "to": "06:00"}])


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-27T21:59:59", False),  # a Friday
        ("2026-11-27T22:00:00", True),
        ("2026-11-28T05:59:59", True),
        ("2026-11-28T06:00:00", False),
        ("2026-11-29T03:00:00", True),  # Sunday morning belongs to Saturday's window
        ("2026-11-29T23:00:00", False),
    ],
)
def test_a_window_over_midnight(moment: str, is_open: bool) -> None:
    assert NIGHT.is_open(at(moment)) is is_open


def test_the_next_opening() -> None:
    assert NIGHT.next_open(at("2026-11-23T12:00:00")) == at("2026-11-27T22:00:00")
    inside = at("2026-11-28T01:00:00")
    assert NIGHT.next_open(inside) == inside


def test_a_window_keeps_its_hours_when_the_clocks_are_set() -> None:
    daily = calendar([{"from": "04:00", "to": "05:00"}])
    for day in ("2026-03-29", "2026-10-25"):
        assert daily.next_open(at(f"{day}T00:30:00")) == at(f"{day}T04:00:00")


def test_a_blackout_of_whole_days_includes_the_last() -> None:
    closed = calendar([], [{"from": "2026-12-24", "to": "2026-12-26"}])
    assert not closed.is_open(at("2026-12-26T23:59:59"))
    assert closed.is_open(at("2026-12-27T00:00:00"))
    assert closed.next_open(at("2026-12-25T12:00:00")) == at("2026-12-27T00:00:00")


def test_a_blackout_of_moments_inside_a_window() -> None:
    mixed = calendar(
        [{"from": "22:00", "to": "06:00"}],
        [{"from": "2026-11-27T23:00:00+01:00", "to": "2026-11-28T07:00:00+01:00"}],
    )
    assert mixed.next_open(at("2026-11-27T23:30:00")) == at("2026-11-28T22:00:00")


def test_overlapping_blackouts_are_gone_through() -> None:
    closed = calendar([], [{"from": "2026-12-24", "to": "2026-12-26"}, {"from": "2026-12-26", "to": "2026-12-31"}])
    assert closed.next_open(at("2026-12-24T00:00:00")) == at("2027-01-01T00:00:00")


def test_a_calendar_without_any_opening_says_so() -> None:
    assert calendar([], [{"from": "2026-01-01", "to": "2030-01-01"}]).next_open(at("2026-06-01T00:00:00")) is None


def test_without_windows_and_blackouts_it_is_always_open() -> None:
    assert calendar([]).always_open
    assert not NIGHT.always_open


@given(
    moment=st.floats(at("2026-01-01T00:00:00"), at("2027-12-31T00:00:00")),
    start=st.times(),
    end=st.times(),
    days=st.sets(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1),
)
def test_an_opening_is_open_and_nothing_before_it_is(moment: float, start: Any, end: Any, days: set[str]) -> None:
    assume(start != end)
    subject = calendar([{"days": sorted(days), "from": start, "to": end}])
    opening = subject.next_open(moment)
    if opening is None:  # only where the one hour of a day in spring that does not exist is the whole window
        return
    assert moment <= opening < moment + HORIZON_DAYS * 86400
    assert subject.is_open(opening)
    for part in (0.0, 0.3, 0.9, 0.999):
        before = moment + part * (opening - moment)
        assert opening == moment or before >= opening or not subject.is_open(before)
