# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's present and past for people and programs. Its future is in no view."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock
from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import make_url

from relocate.errors import Refusal
from relocate.schedule.audit import Audit, Stay, audit
from relocate.schedule.records import Firing, iso
from relocate.schedule.settings import Configuration
from relocate.schedule.store import Store
from relocate.terminal import cell

#: How exactly stays are measured, in seconds: by the busiest moment of the scheduler's loop, within these bounds.
RESOLUTION, COARSEST = 0.05, 1.0
COLOURS = {"committed": "green", "skipped": "dim", "refused": "yellow", "rolled-back": "yellow"}


def open_store(configuration: Configuration) -> Store:
    """Open the store of a scheduler that has run. Raises Refusal where there is none."""
    url = make_url(configuration.store.address)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise Refusal(f"there is no store {url.database}: no scheduler has run with this configuration yet")
    return Store.open(configuration.store.address, configuration.fleet)


def console() -> Console:
    """Return where tables go: as wide as the terminal, and wide enough where there is none."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=140)


def duration(seconds: float | None) -> str:
    """Return a duration for people: 4.2 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, name, below, part in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        if seconds < {60: 3600, 3600: 86400}.get(unit, float("inf")):
            return f"{seconds // unit:.0f} {name} {seconds % unit // below:.0f} {part}"
    return ""


def status(store: Store, configuration: Configuration, now: float | None = None) -> dict[str, Any]:
    """Return how the fleet is. A container whose clock has run out, and that a limit still holds back, is like any other."""
    now = time.time() if now is None else now
    holder = store.holder()
    alive = holder is not None and bool(holder[0]) and now - holder[1] < configuration.lease.ttl
    unfinished = store.unfinished()
    moving = {firing.container for firing in unfinished if firing.state == "launched"}
    pauses = store.pauses()
    totals = store.totals()
    last = {firing.container: firing for firing in store.history(limit=5000) if firing.outcome not in (None, "skipped")}
    tenants = []
    for row in store.tenants():
        name = row["container"]
        end = last.get(name)
        tenants.append(
            {
                "container": name,
                "host": row["host"],
                "since": iso(row["since"]),
                "stayed_seconds": round(max(now - row["since"], 0.0), 1),
                "clock": json.loads(row["clock"]),
                "state": "moving" if name in moving else "staying",
                "hops": totals.get(name, {}).get("committed", 0),
                "failed": sum(totals.get(name, {}).get(each, 0) for each in ("rolled-back", "failed", "in-doubt")),
                "last_outcome": end.outcome if end else None,
                "problem": row["problem"],
            }
        )
    return {
        "fleet": store.fleet,
        "scheduler": {
            "running": alive,
            "process": holder[0] if holder and holder[0] else None,
            "seen_at": iso(holder[1]) if holder else None,
        },
        "paused": [
            {
                "scope": each.scope,
                "name": each.name or None,
                "drain": each.drain,
                "since": iso(each.since),
                "why": each.why,
            }
            for each in pauses
        ],
        "in_flight": len(moving),
        "tenants": tenants,
    }


def status_tables(document: dict[str, Any]) -> list[Table | str]:
    """Return the same for a terminal."""
    scheduler = document["scheduler"]
    said = (
        "running"
        if scheduler["running"]
        else f"not running, last seen {scheduler['seen_at']}"
        if scheduler["seen_at"]
        else "has never run"
    )
    shown: list[Table | str] = [f"fleet [bold]{cell(document['fleet'])}[/bold]: the scheduler is [bold]{said}[/bold]"]
    for each in document["paused"]:
        what = "everything" if each["scope"] == "all" else f"{each['scope']} {cell(each['name'])}"
        why = f" ({cell(each['why'])})" if each["why"] else ""
        shown.append(f"[yellow]paused[/yellow]: {what}{', draining' if each['drain'] else ''}{why}")
    table = Table()
    for heading, side in (
        ("container", "left"),
        ("host", "left"),
        ("stayed", "right"),
        ("state", "left"),
        ("hops", "right"),
        ("failed", "right"),
        ("last", "left"),
        ("clock", "left"),
    ):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for tenant in document["tenants"]:
        clock = make_clock(tenant["clock"])
        table.add_row(
            cell(tenant["container"]),
            cell(tenant["host"]),
            duration(tenant["stayed_seconds"]),
            tenant["state"],
            str(tenant["hops"]),
            str(tenant["failed"]),
            cell(tenant["last_outcome"]),
            f"{clock.kind}, mean {duration(clock.mean) if clock.mean < 1e9 else 'none'}",
        )
    shown.append(table if document["tenants"] else "no tenants are known")
    shown += [
        f"[yellow]{cell(each['container'])}[/yellow]: {cell(each['problem'])}"
        for each in document["tenants"]
        if each["problem"]
    ]
    return shown


def past(store: Store, limit: int | None = None, container: str | None = None) -> list[Firing]:
    """Return the latest firings whose moves have begun, or never will; oldest first. One that waits is still to come."""
    return [each for each in store.history(limit=limit, container=container) if each.state != "waiting"]


def history_table(firings: Iterable[Firing]) -> Table:
    """Return firings for a terminal."""
    table = Table()
    for heading in ("alert (UTC)", "container", "from", "to", "outcome"):
        table.add_column(heading, no_wrap=heading != "container")
    for heading in ("stay", "exposed", "down"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    for firing in firings:
        outcome = firing.outcome or firing.state
        colour = COLOURS.get(outcome, "red" if firing.outcome else "cyan")
        changed = "" if firing.clamp == "none" else firing.clamp
        note = (firing.msg or changed) if firing.outcome not in (None, "committed") else changed
        table.add_row(
            (iso(firing.alerted_at) or "")[5:19].replace("T", " "),
            cell(firing.container),
            cell(firing.source),
            cell(firing.destination),
            f"[{colour}]{cell(outcome)}[/{colour}]",
            duration(None if firing.stay_ms is None else firing.stay_ms / 1000),
            "" if firing.exposure_latency_ms is None else f"{firing.exposure_latency_ms / 1000:.2f} s",
            "" if firing.downtime_ms is None else f"{firing.downtime_ms:.0f} ms",
            cell(note),
        )
    return table


def audits(firings: Iterable[Firing], now: float | None = None, level: float = 0.05) -> list[Audit]:
    """Test the stays of each clock that was in force against its law, most stays first; ``level`` is that of a false alarm.

    Every alert of a clock ends a stay, whatever became of the move that it asked for.
    """
    now = time.time() if now is None else now
    stays: dict[str, list[Stay]] = {}
    lateness = RESOLUTION
    for firing in firings:
        if firing.reason != "clock" or firing.clock is None or firing.stay_ms is None:
            continue
        seconds = firing.stay_ms / 1000
        began = firing.alerted_at - seconds
        drawn = None if firing.drawn_ms is None else firing.drawn_ms / 1000
        stay = Stay(seconds, firing.container, drawn, firing.clamp, max(now - began, 0.0))
        stays.setdefault(firing.clock, []).append(stay)
        if drawn is not None and firing.clamp == "none":
            lateness = max(lateness, abs(seconds - drawn))
    ordered = sorted(stays.items(), key=lambda item: -len(item[1]))
    resolution = min(lateness, COARSEST)  # a loop that is later than that does not keep to its clocks
    return [audit(given, make_clock(json.loads(words)), level=level, resolution=resolution) for words, given in ordered]
