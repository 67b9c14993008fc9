# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which quantity grows? Samples of many hours, and for each quantity how much it may grow. Pure functions.

What there is on a host depends on how many containers are there, and how many moves are under way. What each of these brings
with it is found by least squares and taken away. Through what is left a line is laid (Theil–Sen: the median of the slopes
between all pairs, so that an odd moment does not count), from the end of the warm-up. What it rises in the whole run is the
growth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.prediction import slope

WARM_UP = 0.2  # the part of the run in which caches fill, heaps find their size, every host gets every image
FEWEST = 15  # samples that a slope needs: with fewer, it is the chance of who is where
APART_SECONDS = 1.0  # of two samples that a slope is taken of
CAUSES = ("containers", "proxies")  # what brings much else with it
EVERYWHERE = "all hosts"  # where what wanders from host to host is counted


@dataclass(frozen=True)
class Limit:
    """How much a quantity may have risen: ``most``, and ``per_move`` for each move in the fleet, for what is kept on purpose.

    :ivar why: what it is kept for, or what makes it unsteady.
    """

    most: float
    per_move: float = 0.0
    why: str = ""


HEAP = "Go's heap breathes"
MOVING = "as many as moves are under way"
CLIENTS = "connections of clients that are not closed at once"
KEPT = "kept for 30 days, and of so many relocations at most"

#: What is not named here may rise by ``OTHER``.
LIMITS = {
    "KiB of dockerd": Limit(40960, why=HEAP),
    "KiB of containerd": Limit(20480, why=HEAP),
    "KiB of a containerd-shim": Limit(4096, why=HEAP),
    "KiB of proxies": Limit(65536, why=MOVING),
    "KiB of Docker": Limit(2048, why="the layers of the containers that are here"),
    "KiB of /run": Limit(8192, why="memory images of what is under way"),
    "KiB of logs": Limit(1024, 4.0, "the daemon's own log, which its operator rotates"),
    "KiB of journals": Limit(64, 24.0, KEPT),  # an edge has 17 connections in it four times
    "journals and logs": Limit(8, 4.0, KEPT),
    "connections tracked": Limit(200, why="ended connections are kept for two minutes"),
    "descriptors of dockerd": Limit(12, why=CLIENTS),
    "descriptors of containerd": Limit(12, why=CLIENTS),
    "descriptors of a containerd-shim": Limit(4, why="some of its container's"),
    "threads": Limit(30, why="Go's daemons keep threads that have once been needed"),
    "processes": Limit(12, why=MOVING),
    "nft rules and elements": Limit(12, why=MOVING),
    "files in /tmp": Limit(8),
    "KiB of the scheduler": Limit(20480, why="its history grows by its moves, and is read again when it is started"),
    "KiB of its store": Limit(4096, 2.0, "SQLite's log of writes; firings are kept for store.keep_days"),
    "KiB of the ledger": Limit(16, 8.0, "it is the record; its operator rotates it"),
    "KiB of its runs": Limit(512, 8.0, "the output of failed runs, kept_runs of them"),
}
OTHER = Limit(6, why="things come and go with the containers")


@dataclass(frozen=True)
class Growth:
    """What became of one quantity on one host, and what it may be."""

    host: str
    name: str
    first: float
    last: float
    risen: float
    allowed: float

    @property
    def grows(self) -> bool:
        """Whether it has risen more than it may."""
        return self.risen > self.allowed

    def __str__(self) -> str:
        return f"{self.host}: {self.name} has risen by {self.risen:.0f} (from {self.first:.0f}), {self.allowed:.0f} is allowed"


def without_causes(
    points: Sequence[tuple[float, float]], causes: Sequence[Sequence[float]]
) -> list[tuple[float, float]]:
    """Return points less what the causes bring with them: as much as is usual of each stays in.

    :param causes: for each point, how much there was of each.
    """
    varying = [column for column in np.asarray(causes, dtype=float).T if column.std() > 0]
    if not varying:
        return list(points)
    times, numbers = np.asarray(points).T
    by_cause = np.column_stack([column - column.mean() for column in varying])
    known = np.column_stack([np.ones_like(times), times - times[0], by_cause])
    weights = np.linalg.lstsq(known, numbers, rcond=None)[0][2:]
    return list(zip(times.tolist(), (numbers - by_cause @ weights).tolist(), strict=True))


def growths(samples: Iterable[tuple[float, str, Mapping[str, float]]], moves: Sequence[float]) -> list[Growth]:
    """Return the growth of every quantity of every host; nothing of one that has too few samples.

    :param samples: (when, host, name → number). :param moves: when each move of the fleet was begun.
    """
    taken = sorted(samples, key=lambda sample: sample[:2])
    series: dict[tuple[str, str], list[tuple[float, float]]] = {}
    causes: dict[str, list[list[float]]] = {}
    latest: Counter[str] = Counter()
    for at, host, numbers in taken:
        for name, number in numbers.items():
            series.setdefault((host, name), []).append((at, float(number)))
        causes.setdefault(host, []).append([float(numbers.get(name, 0)) for name in CAUSES])
        if "containers" in numbers:
            latest[host] = int(numbers["containers"])
            series.setdefault((EVERYWHERE, "containers"), []).append((at, float(latest.total())))
    found = []
    for (host, name), points in series.items():
        if name == "containers" and host != EVERYWHERE:
            continue
        warm = points[0][0] + WARM_UP * (points[-1][0] - points[0][0])
        first = next(index for index, point in enumerate(points) if point[0] >= warm)
        points = points[first:]
        if len(points) < FEWEST:
            continue
        if name not in CAUSES and len(causes[host]) == len(points) + first:
            points = without_causes(points, causes[host][first:])
        begun, ended = points[0][0], points[-1][0]
        limit = LIMITS.get(name, OTHER)
        of_moves = limit.per_move * sum(begun <= at <= ended for at in moves)
        risen = (slope(points, APART_SECONDS) or 0.0) * (ended - begun)
        found.append(Growth(host, name, points[0][1], points[-1][1], risen, limit.most + of_moves))
    return found


def table(found: Iterable[Growth]) -> str:
    """Return for each quantity the host where it has risen most, as a table in Markdown."""
    worst: dict[str, Growth] = {}
    for each in found:
        if each.name not in worst or each.risen - each.allowed > worst[each.name].risen - worst[each.name].allowed:
            worst[each.name] = each
    lines = ["| quantity | on | first | last | risen | may rise by | why |", "|---|---|---|---|---|---|---|"]
    for each in sorted(worst.values(), key=lambda each: each.name):
        why = LIMITS.get(each.name, OTHER).why
        risen = f"**{each.risen:.0f}**" if each.grows else f"{each.risen:.0f}"
        lines.append(
            f"| {each.name} | {each.host} | {each.first:.0f} | {each.last:.0f} | {risen} | {each.allowed:.0f} | {why} |"
        )
    return "\n".join(lines) + "\n"
