# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How whoever waits for the last page knows whether any still comes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from relocate_proxy.memory import lazy_pages

MIB = 1 << 20


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Return what waits for a transfer that reports so, with a clock that each look puts on by a second.

    It returns how many seconds passed before the transfer ended, or stood still for ten.
    """

    def wait(reports: Iterator[dict[str, Any]], end: float = 1000.0) -> float:
        now = itertools.count()
        clock = [0.0]

        def tick() -> float:
            clock[0] = float(next(now))
            return clock[0]

        monkeypatch.setattr(time, "monotonic", tick)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(lazy_pages, "outcome", lambda _: {"bytes": 1} if clock[0] > end else None)
        monkeypatch.setattr(lazy_pages, "report", lambda _: next(reports))
        try:
            lazy_pages.await_outcome("session", 10.0)
        except lazy_pages.StandsStill:
            pass
        return clock[0]

    return wait


def test_a_copy_that_forks_does_not_pass_for_one_whose_memory_comes(waiting: Callable[..., float]) -> None:
    """Each of its processes misses the same memory once more, until it ends: the source is gone all the same."""
    reports = ({"left": left * MIB, "received": 5} for left in itertools.cycle([128, 256, 384, 256]))
    assert waiting(reports) < 20


def test_what_comes_is_progress_whatever_else_the_copy_does(waiting: Callable[..., float]) -> None:
    """Even if more is missing each time; and so is what the copy gives back."""
    assert waiting({"left": (128 + n) * MIB, "received": n} for n in itertools.count()) > 1000
    assert waiting({"left": (10**6 - n) * MIB, "received": 0} for n in itertools.count()) > 1000


def test_what_has_told_nothing_yet_stands_still(waiting: Callable[..., float]) -> None:
    """A page process that never reports."""
    assert waiting(itertools.repeat({})) < 20
