# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a state, for what comes in its own time: what Docker, a daemon or another process does after a command has ended.

The machine of a test may stop any process for seconds. A test that looks once, or after a fixed time, fails then for no reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds. A long limit costs nothing where all is well.
PATIENCE = 300.0
PAUSE_SECONDS = 0.1
Seen = TypeVar("Seen")


def until(
    look: Callable[[], Seen],
    what: str,
    wanted: Callable[[Seen], object] = bool,
    *,
    seconds: float = PATIENCE,
    vain: Callable[[], str] = str,
    words: Callable[[], str] = str,
) -> Seen:
    """Look again and again, until what is seen is what is wanted; return it.

    :param what: what is waited for. :param wanted: says whether what was seen is it; else it need only be true.
    :param vain: says why it cannot come any more, or nothing. :param words: what to show beside the failure, a log for example.
    :raises AssertionError: it did not come; with what was seen last.
    """
    deadline = time.monotonic() + seconds
    while True:
        late, reason = time.monotonic() > deadline, vain()
        seen = look()  # after these: what was there by then is never missed, however long this process has stood still
        if wanted(seen):
            return seen
        assert not reason, f"{what} cannot come: {reason}; last seen: {seen!r}\n{words()}"
        assert not late, f"waited {seconds:g} s in vain for {what}; last seen: {seen!r}\n{words()}"
        time.sleep(PAUSE_SECONDS)
