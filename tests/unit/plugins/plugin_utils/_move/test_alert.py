# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an alert adds to a relocation's result."""

from __future__ import annotations

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import alert

AT = "2026-11-23T12:00:00.000+00:00"


def test_a_move_that_no_clock_asked_for_is_left_alone() -> None:
    assert alert.annotate({"outcome": "committed"}, {}) == {"outcome": "committed"}


def test_the_exposure_is_from_the_alert_to_the_freeze() -> None:
    result = alert.annotate(
        {"outcome": "committed", "frozen_at": "2026-11-23T12:00:01.250+00:00"},
        {"at": AT, "stay_ms": 5000.0, "drawn_ms": 4000.0, "clamp": "min-stay"},
    )
    assert result["exposure_latency_ms"] == 1250.0
    assert result["alerted_at"] == AT
    assert (result["stay_ms"], result["drawn_ms"], result["clamp"]) == (5000.0, 4000.0, "min-stay")


def test_unknown_parts_of_an_alert_are_left_out() -> None:
    assert alert.annotate({}, {"at": AT, "stay_ms": None}) == {"alerted_at": AT}


@pytest.mark.parametrize(
    ("alerted", "frozen"),
    [
        (AT, None),
        (AT, "soon"),
        (AT, "2026-11-23T12:00:01"),  # without an offset it cannot be compared
        (AT, "2026-11-23T11:59:59.000+00:00"),  # the edge's clock lags behind
        ("never", "2026-11-23T12:00:01.250+00:00"),
    ],
)
def test_what_cannot_be_measured_is_not_given(alerted: str, frozen: str | None) -> None:
    assert alert.exposure_ms(alerted, frozen) is None


def test_z_is_an_offset() -> None:
    assert alert.exposure_ms("2026-11-23T12:00:00Z", "2026-11-23T12:00:00.500Z") == 500.0
