# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown while the memory of a copy comes, also when a host says odd things of it."""

from __future__ import annotations

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._modes import CONNECTIONS_WORDS, DRAINING_WORDS
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.starting import drain_words

PLAN = {"container": "web", "source": {"host": "host1"}, "destination": {"host": "host2"}}


def test_how_much_is_missing_and_how_fast_it_comes() -> None:
    going = {"left": 12 << 20, "rate": 3 << 19, "connected": True, "problem": ""}
    said = "web runs on host2; 12.0 MiB of its memory are still on host1, 1.5 MiB/s"
    assert drain_words(PLAN, going) == said and DRAINING_WORDS in said
    assert drain_words(PLAN, {**going, "connected": False}) == f"{said} (the source is not connected)"
    assert drain_words(PLAN, {**going, "problem": "broken\x1b[2J"}) == f"{said} (broken\\x1b[2J)"


@pytest.mark.parametrize("odd", [None, -1, 10**400, "many", [1], {}])
def test_odd_numbers_are_none(odd: object) -> None:
    assert "; 0.0 MiB " in drain_words(PLAN, {"left": odd, "rate": odd})


def test_how_many_connections_are_left() -> None:
    plan = {**PLAN, "strategy": "recreate", "drain_limit_s": 60.0}
    said = "web runs on host2; 3 of its connections are still on host1, for at most 60 s"
    assert drain_words(plan, {"connections": 3, "seconds": 1.0}) == said and CONNECTIONS_WORDS in said
    assert drain_words(plan, {"connections": "\x1b"}).startswith("web runs on host2; some of its connections")
