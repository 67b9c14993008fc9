# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each mode would stop a container, and which mode is taken.

The formula is in C(module_utils/_downtime.py). Its coefficients come, in this order, from

1. the ledger: the latest relocations of the same fleet in that mode, by a robust straight line (Theil and Sen) of the
   downtime over the formula's own proportional part. It corrects a factor and the fixed part;
2. the hosts: the time for a MiB into and out of tmpfs, which every host measures when it is looked at;
3. C(DEFAULTS): near what C(tests/bench/bench_cutover.py) measured.

Pure functions; nothing here asks a host or reads a file.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._downtime import Cost, downtime_ms
from ansible_collections.relocate.mtd.plugins.module_utils._images import HANDLING_MS_PER_MIB
from ansible_collections.relocate.mtd.plugins.module_utils._modes import (
    MODES,
    POST_COPY,
    PRE_COPY,
    RECREATE,
    SAFEST_FIRST,
    SAFETY,
    STOP_AND_COPY,
)

#: What a mode costs where nothing is known: rounded up from what C(make bench) saw on a machine of 2 cores. What a pre-copy
#: leaves for its freeze is a guess until its rounds are made; it is measured then.
DEFAULTS = {
    STOP_AND_COPY: Cost(60.0, 1.5, 0.0, 1.0, 0.8, 1.0, 1.2, overlapped=True),
    POST_COPY: Cost(65.0, 1.5, 0.03, 0.0, 0.8, 1.0, 1.2, overlapped=True),
    PRE_COPY: Cost(65.0, 1.5, 0.07, 0.1, 0.8, 1.0, 1.2, overlapped=True, ahead=0.9),
}
#: CRIU's dump copies pages into tmpfs while the proxy reads and encrypts them; its restore reads them into fresh pages.
DUMP_PER_WRITE, RESTORE_PER_READ = 2.0, 1.3

#: How many relocations of a mode are learned from at most, the latest ones.
LATEST = 40
#: Older relocations do not count.
OLDEST = datetime.timedelta(days=7)
#: With fewer relocations nothing is learned.
FEWEST = 3
#: A factor is fitted to relocations whose proportional parts differ by as many ms; nearer ones only show noise.
SPREAD_MS = 20.0
FACTORS = (0.1, 10.0)  # beyond, something else than speed is wrong

#: Where the pause comes first, stop-and-copy is kept all the same unless another mode is shorter by more than this.
PREFERENCE_MS = 15.0


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One mode's. :ivar relocations: how many of the ledger's it rests on; 0 if on the hosts' speeds and the defaults."""

    mode: str
    cost: Cost
    ms: float
    relocations: int


def with_speeds(cost: Cost, source: Mapping[str, Any], destination: Mapping[str, Any], link_ms: float | None) -> Cost:
    """Return a cost with the speeds of two hosts.

    :param source: and ``destination``: ``host`` of C(relocation_info); :param link_ms: each MiB, if it is known.
    """
    write = (source.get("memory_speed") or {}).get("write_ms_per_mib")
    read = (destination.get("memory_speed") or {}).get("read_ms_per_mib")
    return cost._replace(
        dump_ms=write * DUMP_PER_WRITE if write else cost.dump_ms,
        restore_ms=read * RESTORE_PER_READ if read else cost.restore_ms,
        link_ms=link_ms or cost.link_ms,
    )


def link_between(entries: Sequence[Mapping[str, Any]], source: str, destination: str) -> float | None:
    """Return the milliseconds a MiB took between two hosts (either way), else between any two; None if nobody knows.

    :param entries: committed relocations of the fleet; each has measured its link before its freeze.
    """
    found = [(_places(entry), link) for entry in entries if (link := _measured(entry, "link_ms_per_mib"))]
    here = [link for places, link in found if places == {source, destination}]
    chosen = (here or [link for _, link in found])[-LATEST:]
    return statistics.median(chosen) if chosen else None


def _places(entry: Mapping[str, Any]) -> set[str]:
    return {entry["source"]["host"], entry["destination"]["host"]}


def _measured(entry: Mapping[str, Any], name: str) -> float | None:
    value = (entry.get("measured") or {}).get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _sample(entry: Mapping[str, Any], base: Cost) -> tuple[float, float] | None:
    """Return an entry's proportional part by the formula and its real downtime, both in ms; None if it does not say."""
    memory = _measured(entry, "memory_bytes") or entry.get("memory_bytes")
    down = entry.get("downtime_ms")
    if not isinstance(memory, int | float) or not isinstance(down, int | float) or not down > 0:
        return None
    try:
        cost = Cost(**entry["cost"])
    except (KeyError, TypeError):  # written before costs were recorded
        cost = base
    flows = sum((entry.get("flows") or {}).get(direction, 0) for direction in ("ingress", "egress"))
    walk = entry.get("walk_ms")  # its own, and no matter of the fleet's
    own = float(walk) if isinstance(walk, int | float) else 0.0
    return downtime_ms(cost._replace(fixed_ms=0.0, factor=1.0), memory, flows), max(float(down) - own, 0.0)


def slope(points: Sequence[tuple[float, float]], apart: float) -> float | None:
    """Return the median slope of all pairs of points that are ``apart`` (Theil and Sen); None if there are too few."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2) if abs(b[0] - a[0]) >= apart]
    return statistics.median(slopes) if len(slopes) >= FEWEST else None


def learned(cost: Cost, entries: Sequence[Mapping[str, Any]], now: datetime.datetime) -> tuple[Cost, int]:
    """Return a cost corrected by earlier relocations in its mode, and how many there were.

    :param entries: committed relocations of the fleet in this mode, oldest first.
    """
    recent = [entry for entry in entries if _age(entry, now) <= OLDEST][-LATEST:]
    points = [point for entry in recent if (point := _sample(entry, cost))]
    if len(points) < FEWEST:
        return cost, 0
    found = slope(points, SPREAD_MS)
    factor = cost.factor if found is None else min(max(found, FACTORS[0]), FACTORS[1])
    fixed = statistics.median(down - factor * part for part, down in points)
    return cost._replace(fixed_ms=max(fixed, 0.0), factor=factor), len(points)


def learned_together(
    moves: Sequence[Sequence[Mapping[str, Any]]], now: datetime.datetime | None = None
) -> tuple[float, int]:
    """Return by which factor the pause of a project was off from the sum of what was predicted of its members.

    And from how many moves that is known; 1 and 0 where it is not.

    :param moves: the entries of the members of each move, oldest first.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    found = []
    for members in moves:
        if any(_age(each, now) > OLDEST for each in members):
            continue
        predicted = [value for each in members if (value := _milliseconds(each, "predicted_downtime_ms"))]
        seen = [value for each in members if (value := _milliseconds(each, "downtime_ms"))]
        if len(predicted) == len(seen) == len(members) > 1:
            found.append(max(seen) / sum(predicted))
    found = found[-LATEST:]
    if len(found) < FEWEST:
        return 1.0, 0
    return round(min(max(statistics.median(found), FACTORS[0]), FACTORS[1]), 3), len(found)


def _milliseconds(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _age(entry: Mapping[str, Any], now: datetime.datetime) -> datetime.timedelta:
    try:
        return now - datetime.datetime.fromisoformat(str(entry.get("at") or entry.get("started_at")))
    except (ValueError, TypeError):
        return OLDEST * 2


def predict(
    container: Mapping[str, Any],
    modes: Sequence[str],
    source: tuple[str, Mapping[str, Any]],
    destination: tuple[str, Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    now: datetime.datetime | None = None,
) -> dict[str, Prediction]:
    """Return the prediction of each mode.

    A mode that this fleet has not tried yet gets what the others have taught: they stop and start the same things.

    :param container: as C(relocation_info) describes it: ``memory_bytes``, ``connections`` and ``walk_ms`` count.
    :param modes: those that are available. :param source: and ``destination``: name, and ``host`` of C(relocation_info).
    :param entries: committed relocations of this fleet, oldest first.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    memory, flows = container["memory_bytes"], container.get("connections", 0)
    link = link_between(entries, source[0], destination[0])
    costs, counts = {}, {}
    for mode in MODES:
        base = with_speeds(DEFAULTS[mode], source[1], destination[1], link)
        own = [entry for entry in entries if entry.get("mode") == mode]
        costs[mode], counts[mode] = learned(base, own, now)
    taught = [mode for mode in MODES if counts[mode]]
    found = {}
    for mode in modes:
        cost = costs[mode]
        if taught and not counts[mode]:
            ratio = statistics.median(costs[each].fixed_ms / DEFAULTS[each].fixed_ms for each in taught)
            factor = statistics.median(costs[each].factor for each in taught)
            cost = cost._replace(fixed_ms=cost.fixed_ms * ratio, factor=factor)
        cost = _rounded(cost._replace(fixed_ms=cost.fixed_ms + (container.get("walk_ms") or 0.0)))
        found[mode] = Prediction(mode, cost, round(downtime_ms(cost, memory, flows), 1), counts[mode])
    return found


def image_sent(container: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return what it takes to send a container's image, while the container runs: C(bytes), and the predicted C(ms)."""
    size = int(container.get("image_bytes") or 0)
    each = HANDLING_MS_PER_MIB + float(decision["cost"]["link_ms"])
    return {"bytes": size, "ms": round(size / (1 << 20) * each, 1)}


def _rounded(cost: Cost) -> Cost:
    numbers = {name: round(value, 4) for name, value in cost._asdict().items() if name != "overlapped"}
    return cost._replace(**numbers)


def choose(predictions: Mapping[str, Prediction], limit_ms: float, prefer: str = SAFETY) -> tuple[str, str]:
    """Return the mode that C(auto) takes, and why in one clause.

    :param predictions: of all available modes, one at least. :param prefer: one of C(PREFERENCES).
    """
    if len(predictions) == 1:
        return next(iter(predictions)), "the only mode available"
    if prefer == SAFETY:
        safer: list[str] = []
        for mode in SAFEST_FIRST:
            if mode not in predictions:
                continue
            if predictions[mode].ms <= limit_ms:
                why = f"; {' and '.join(safer)} would not" if safer else ""
                return mode, f"the safest, and it keeps the limit of {limit_ms:g} ms{why}"
            safer.append(f"{mode} ({predictions[mode].ms:.0f} ms)")
    return _shortest(predictions, limit_ms)


def _shortest(predictions: Mapping[str, Prediction], limit_ms: float) -> tuple[str, str]:
    best = min(predictions.values(), key=lambda each: (each.ms, SAFEST_FIRST.index(each.mode)))
    plain = predictions.get(STOP_AND_COPY)
    if plain is None or best.mode == STOP_AND_COPY:
        return best.mode, "the shortest pause"
    if plain.ms - best.ms <= PREFERENCE_MS and (plain.ms <= limit_ms or best.ms > limit_ms):
        return STOP_AND_COPY, f"{best.mode} would be shorter by {plain.ms - best.ms:.0f} ms only, and less safe"
    return best.mode, f"the shortest pause; stop-and-copy would last {plain.ms:.0f} ms"


def decide(
    asked: str,
    predictions: Mapping[str, Prediction],
    limit_ms: float,
    prefer: str = SAFETY,
) -> dict[str, Any]:
    """Return what the plan says of its mode.

    :param asked: C(auto) or one of the predicted modes. :param predictions: of all available modes.
    :param prefer: what C(auto) looks at first, one of C(PREFERENCES).
    """
    mode, why = choose(predictions, limit_ms, prefer) if asked == "auto" else (asked, "asked for")
    chosen = predictions[mode]
    return {
        "mode": mode,
        "mode_asked": asked,
        "mode_why": why,
        "predictions": {name: each.ms for name, each in predictions.items()},
        "predicted_downtime_ms": chosen.ms,
        "predicted_from": basis(chosen),
        "downtime_limit_ms": limit_ms,
        "cost": chosen.cost._asdict(),
    }


def without_pause(asked: str, limit_ms: float, drain_limit_s: float) -> dict[str, Any]:
    """Return what the plan says where the container is made anew: nothing is held, and no memory travels.

    :param asked: the mode that was asked for; it does not matter. :param drain_limit_s: for how long connections may go on.
    """
    return {
        "strategy": RECREATE,
        "mode": RECREATE,
        "mode_asked": asked,
        "mode_why": "no memory travels",
        "modes_unavailable": {},
        "predictions": {RECREATE: 0.0},
        "predicted_downtime_ms": 0.0,
        "predicted_from": "both run while the old one drains",
        "downtime_limit_ms": limit_ms,
        "drain_limit_s": drain_limit_s,
        "cost": Cost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, overlapped=True)._asdict(),
    }


def basis(prediction: Prediction) -> str:
    """Return what a prediction rests on, in words."""
    if prediction.relocations:
        return f"from the last {prediction.relocations} moves in this mode"
    return "from the hosts' memory speeds; no move in this mode is known yet"
