# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pages an address space still misses, and where the source has them.

The two differ once the copy has moved memory (mremap). Addresses are multiples of a page.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_BEHIND = 1 << 64


class Extent(NamedTuple):
    """A range that misses its pages. ``image`` is where its beginning was when the container was frozen."""

    start: int
    end: int
    image: int

    def part(self, start: int, end: int) -> Extent:
        """Return what is within a range that overlaps it."""
        start, end = max(start, self.start), min(end, self.end)
        return Extent(start, end, self.image + start - self.start)


class Missing:
    """Extents, in order; none overlaps another.

    :ivar bytes: how much is missing.
    """

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._extents: list[Extent] = []
        self._moved = False
        self.bytes = 0
        for extent in sorted(extents):
            self.cut(extent.start, extent.end)  # a page is missing once, whatever the image says
            self._insert([extent])

    def __iter__(self) -> Iterator[Extent]:
        return iter(list(self._extents))

    def duplicate(self) -> Missing:
        """Return the same for a child that was forked off."""
        child = Missing()
        child._extents, child._moved, child.bytes = list(self._extents), self._moved, self.bytes
        return child

    def at(self, address: int) -> Extent | None:
        """Return the extent that has an address."""
        found = self.within(address, address + 1)
        return found[0] if found else None

    def within(self, start: int, end: int) -> list[Extent]:
        """Return all extents that overlap a range, in order."""
        first, last = self._bounds(start, end)
        return self._extents[first:last]

    def of_image(self, start: int, end: int) -> list[Extent]:
        """Return the parts whose pages are in this range of the source."""
        candidates = self._extents if self._moved else self.within(start, end)
        found = []
        for extent in candidates:
            low, high = max(extent.image, start), min(extent.image + extent.end - extent.start, end)
            if low < high:
                offset = extent.start - extent.image
                found.append(extent.part(low + offset, high + offset))
        return found

    def cut(self, start: int, end: int) -> list[Extent]:
        """Take a range out, and return what was missing in it."""
        first, last = self._bounds(start, end)
        if first == last:
            return []
        removed = [extent.part(start, end) for extent in self._extents[first:last]]
        head, tail = self._extents[first], self._extents[last - 1]
        left = [head.part(head.start, start)] if head.start < start else []
        left += [tail.part(end, tail.end)] if end < tail.end else []
        self._extents[first:last] = left
        self.bytes -= sum(extent.end - extent.start for extent in removed)
        return removed

    def move(self, start: int, end: int, to: int) -> None:
        """Follow memory that was moved; what was missing where it is now is not wanted any more."""
        removed = self.cut(start, end)
        self.cut(to, to + end - start)
        self._insert(
            [extent._replace(start=extent.start + to - start, end=extent.end + to - start) for extent in removed]
        )
        self._moved = self._moved or bool(removed)

    def _insert(self, extents: list[Extent]) -> None:
        if extents:
            place = bisect.bisect_left(self._extents, extents[0])
            self._extents[place:place] = extents
            self.bytes += sum(extent.end - extent.start for extent in extents)

    def _bounds(self, start: int, end: int) -> tuple[int, int]:
        first = bisect.bisect_right(self._extents, (start, _BEHIND, _BEHIND))
        if first and self._extents[first - 1].end > start:
            first -= 1
        return first, max(first, bisect.bisect_left(self._extents, (end, 0, 0)))
