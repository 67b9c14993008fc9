# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What grows is found among what only comes and goes."""

from __future__ import annotations

import random
from collections.abc import Callable

from growth import LIMITS, OTHER, Growth, growths, table

MINUTES = 60
MOVES = [float(second) for second in range(0, MINUTES * 60, 4)]


def growth(name: str, number: Callable[[float], float], minutes: int = MINUTES) -> list[Growth]:
    """Return the growth of one quantity that is looked at once a minute; ``number`` gets the part of the run that is over."""
    samples = [(minute * 60.0, "host1", {name: number(minute / minutes)}) for minute in range(minutes + 1)]
    return growths(samples, MOVES)


def test_what_comes_and_goes_does_not_grow() -> None:
    """Nor does what is high at the end by chance, or was low before it was warm."""
    drawn = random.Random(1)
    (noisy,) = growth("veths", lambda _: drawn.randrange(4, 16))
    (late,) = growth("veths", lambda part: 40 if part > 0.97 else 5)
    (cold,) = growth("KiB of dockerd", lambda part: 90000 + 60000 * min(part / 0.15, 1))
    assert not noisy.grows and not late.grows and not cold.grows


def test_what_stays_behind_grows() -> None:
    """One veth in twenty moves; a descriptor in each."""
    drawn = random.Random(2)
    (veths,) = growth("veths", lambda part: 10 + part * len(MOVES) / 20 + drawn.randrange(-4, 5))
    (descriptors,) = growth("descriptors of dockerd", lambda part: 60 + part * len(MOVES))
    assert veths.grows and descriptors.grows
    assert "host1: veths has risen by" in str(veths)


def test_what_containers_bring_with_them_does_not_grow() -> None:
    """More and more containers wander to a host; one descriptor that stays in twenty moves is found all the same."""
    drawn = random.Random(3)
    for leak in (0, 1):
        samples = []
        for minute in range(MINUTES + 1):
            containers = 2 + minute // 15 + drawn.randrange(3)
            numbers = {"containers": containers, "proxies": drawn.randrange(8)}
            numbers["descriptors of dockerd"] = 20 + 7 * containers + leak * minute * len(MOVES) // 20 // MINUTES
            numbers["processes"] = 9 + 2 * containers + numbers["proxies"]
            samples.append((minute * 60.0, "host1", numbers))
        found = {each.name: each for each in growths(samples, MOVES)}
        assert found["descriptors of dockerd"].grows == bool(leak) and not found["processes"].grows


def test_containers_that_stay_behind_are_found_over_all_hosts() -> None:
    """On each host they come and go."""
    for leak in (0, 1):
        samples = []
        for minute in range(MINUTES + 1):
            here = 6 + 6 * (minute // 2 % 2) + leak * minute // 5
            samples += [
                (minute * 60.0, "host1", {"containers": here}),
                (minute * 60.0 + 1, "host2", {"containers": 18 - here}),
            ]
            samples[-1][2]["containers"] += leak * minute // 5
        (found,) = growths(samples, MOVES)
        assert (found.host, found.grows) == ("all hosts", bool(leak))


def test_what_is_kept_may_grow_with_the_moves() -> None:
    """Two files a move, and not twenty."""
    (few,) = growth("journals and logs", lambda part: 2 * part * len(MOVES))
    (many,) = growth("journals and logs", lambda part: 20 * part * len(MOVES))
    assert not few.grows and many.grows


def test_too_few_samples_say_nothing() -> None:
    """And a quantity without a limit of its own has the common one."""
    assert growth("veths", lambda part: 100 * part, minutes=4) == []
    assert growth("gates", lambda part: 100 * part)[0].allowed == OTHER.most
    assert all(limit.most > 0 for limit in LIMITS.values())


def test_the_table_shows_the_worst_host() -> None:
    """In bold, if it grows."""
    found = [Growth("host1", "veths", 3, 4, 1.0, 6.0), Growth("host2", "veths", 3, 40, 37.0, 6.0)]
    assert table(found).splitlines()[2:] == [f"| veths | host2 | 3 | 40 | **37** | 6 | {OTHER.why} |"]
