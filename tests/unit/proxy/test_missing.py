# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an address space still misses, while the process in it maps, unmaps and moves: against a plain table of pages."""

from __future__ import annotations

import itertools
import random

import pytest
from relocate_proxy.memory.missing import Extent, Missing

PAGES = 64


def table(missing: Missing) -> dict[int, int]:
    """Return where the source has each missing page; see that extents are in order and apart, and the sum is right."""
    extents = list(missing)
    assert all(left.end <= right.start for left, right in itertools.pairwise(extents))
    assert all(extent.start < extent.end for extent in extents)
    pages = {page: extent.image + page - extent.start for extent in extents for page in range(extent.start, extent.end)}
    assert missing.bytes == len(pages)
    return pages


def test_a_page_is_missing_once() -> None:
    """Whatever the image says."""
    missing = Missing([Extent(10, 20, 10), Extent(10, 40, 10), Extent(15, 16, 15)])
    assert table(missing) == {page: page for page in range(10, 40)}


@pytest.mark.parametrize("seed", range(10))
def test_extents_follow_whatever_is_done_to_memory(seed: int) -> None:
    chance = random.Random(seed)
    missing, model = Missing([Extent(5, 20, 5), Extent(20, 22, 20), Extent(30, 60, 30)]), {}
    model = table(missing)
    for _ in range(60):
        start = chance.randrange(PAGES)
        end = start + chance.randrange(1, 12)
        what = chance.choice(("cut", "move", "fork", "look"))
        if what == "cut":
            removed = missing.cut(start, end)
            expected = {page: model.pop(page) for page in range(start, end) if page in model}
            assert {
                page: each.image + page - each.start for each in removed for page in range(each.start, each.end)
            } == expected
        elif what == "move":
            to = chance.choice([place for place in range(PAGES) if place >= end or place + end - start <= start])
            moved = {page + to - start: model.pop(page) for page in range(start, end) if page in model}
            for page in range(to, to + end - start):
                model.pop(page, None)
            model.update(moved)
            missing.move(start, end, to)
        elif what == "fork":
            missing, parent = missing.duplicate(), missing
            parent.cut(0, PAGES)
        else:
            at = missing.at(start)
            assert (at.image + start - at.start if at else None) == model.get(start)
            parts = missing.of_image(start, end)
            found = {page: each.image + page - each.start for each in parts for page in range(each.start, each.end)}
            assert found == {page: source for page, source in model.items() if start <= source < end}
        assert table(missing) == model
