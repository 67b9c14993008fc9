# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test on hosts waits for a state, and says what it saw when the state did not come."""

from __future__ import annotations

import itertools

import pytest
import waiting
from waiting import until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no test wait."""
    monkeypatch.setattr(waiting, "PAUSE_SECONDS", 0.0)


def test_what_comes_is_returned_as_it_was_seen() -> None:
    seen = iter(("", "", "the line", "another line"))
    assert until(lambda: next(seen), "a line") == "the line"


def test_a_wanted_value_may_be_false() -> None:
    seen = iter((2, 1, 0))
    assert until(lambda: next(seen), "none left", lambda left: left == 0) == 0


def test_who_waits_in_vain_says_what_for_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"in vain for none left; last seen: 3\nthe log"):
        until(lambda: 3, "none left", lambda left: left == 0, seconds=-1.0, words=lambda: "the log")


def test_what_is_there_at_the_last_look_is_not_missed() -> None:
    """Whoever was stopped past the limit looks once more."""
    assert until(lambda: "there", "it", seconds=-1.0) == "there"


def test_who_cannot_wait_any_longer_looks_once_more_and_says_why() -> None:
    assert until(lambda: "there", "it", vain=lambda: "its process has ended") == "there"
    numbers = itertools.count()
    with pytest.raises(AssertionError, match="it cannot come: its process has ended; last seen: 3"):
        until(
            lambda: next(numbers), "it", lambda _: False, vain=lambda: "its process has ended" if next(numbers) else ""
        )
