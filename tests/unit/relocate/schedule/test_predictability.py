# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody learns from the scheduler when a container moves next: not from what it shows, writes or logs, nor from its endpoint.

The first tests change the future and nothing else, and see that everything that can be read stays the same, letter by letter.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest
from rich.console import Console

from relocate.schedule import tables, views
from relocate.schedule.engine import Engine
from relocate.schedule.firings import Phase
from relocate.schedule.records import iso
from relocate.schedule.timetable import Timetable

from .fleet import FAST, World

TIGHT = FAST + "limits:\n  in_flight: 1\n"


def rows(world: World) -> str:
    """Return every row of every table of the store."""
    found: dict[str, list[str]] = {}
    with world.store.reading() as connection:
        for table in tables.metadata.sorted_tables:
            found[table.name] = sorted(map(repr, connection.execute(sa.select(table)).all()))
    return json.dumps(found)


def shown(world: World, log: pytest.LogCaptureFixture) -> dict[str, str]:
    """Return all that can be read of a scheduler, except for what the machine itself says of its process."""
    metrics = generate_latest(world.engine.meter.registry).decode()
    status = views.status(world.store, world.engine.configuration, world.now)
    past = views.past(world.store)
    written = io.StringIO()
    page = Console(file=written, width=140)
    for each in (*views.status_tables(status), views.history_table(past)):
        page.print(each)
    return {
        "metrics": "\n".join(line for line in metrics.splitlines() if not re.search(r"process_|_created", line)),
        "status": json.dumps(status) + written.getvalue(),
        "history": json.dumps([each.document() for each in past]),
        "audit": repr(views.audits(past, world.now)),
        "store": rows(world),
        "log": "\n".join(map(str, ({**vars(record), "args": record.getMessage()} for record in log.records))),
        "ledger": world.ledger_file.read_text() if world.ledger_file.exists() else "",
        "launched": json.dumps([[firing.document(), move.variables] for firing, move in world.launched]),
        "objects": repr(world.engine.timetable) + repr(list(world.engine.timetable._hands.values())),
    }


def another_future(engine: Engine) -> None:
    """Have every clock run out at another time than it was going to."""
    for number, hand in enumerate(engine.timetable._hands.values()):
        hand.due += 1000.0 + number
        hand.drawn += 1000.0 + number
    engine.timetable._requeue()


@pytest.mark.parametrize("text", [FAST, TIGHT])
def test_another_future_changes_nothing_that_can_be_read(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All of it is a function of the past."""
    caplog.set_level(logging.DEBUG)
    world = World(tmp_path, text)
    world.begin()
    world.run(60)
    before = shown(world, caplog)
    assert world.launched
    assert all(before.values())
    another_future(world.engine)
    after = shown(world, caplog)
    assert [place for place in before if after[place] != before[place]] == []


def moments(engine: Engine, now: float) -> Iterable[str]:
    """Yield how the due times could be written, to a tenth of a millisecond and better."""
    for hand in engine.timetable._hands.values():
        for number in (hand.due, hand.due - now, hand.due - hand.since, hand.drawn):
            yield from (f"{number:.4f}", f"{number * 1000:.2f}", repr(number))
        yield str(iso(hand.due))[:21]


def test_no_due_time_is_written_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In no form, at any moment of a minute."""
    caplog.set_level(logging.DEBUG)
    world = World(tmp_path, TIGHT)
    world.begin()
    for _ in range(30):
        world.run(2)
        text = "\n".join(shown(world, caplog).values())
        found = [moment for moment in moments(world.engine, world.now) if moment in text]
        assert not found


def test_a_move_that_is_held_back_is_announced_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It moves as soon as another has ended: only the store's own row knows, for the next process."""
    caplog.set_level(logging.DEBUG)
    world = World(tmp_path, TIGHT, takes=1e9)
    world.begin()
    at = world.engine.firings.containers
    while not (held := at(Phase.WAITING) - at(Phase.MOVING)):
        before = shown(world, caplog)
        world.run(0.25)
    now = shown(world, caplog)
    (name,) = held
    status = views.status(world.store, world.engine.configuration, world.now)
    assert {each["state"] for each in status["tenants"] if each["container"] == name} == {"staying"}
    assert "waiting" not in now["status"] + now["history"] + now["metrics"] + now["log"]
    for place in ("metrics", "history", "log", "ledger", "launched"):
        assert now[place] == before[place], place
    kept = [column.name for column in tables.firing.columns]
    assert not {"due", "due_at", "next", "next_at", "moves_at"} & set(kept)


def reaches(start: Any, wanted: type) -> bool:
    """Return whether an object of a type can be reached from another by references."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type) or type(each).__name__ in ("module", "frame"):
            continue
        seen.add(id(each))
        if isinstance(each, wanted):
            return True
        if type(each).__name__ == "function":  # its globals are its module's
            waiting += [cell.cell_contents for cell in each.__closure__ or () if cell.cell_contents is not None]
            continue
        waiting += gc.get_referents(each)
    return False


def test_the_endpoint_cannot_know(tmp_path: Path) -> None:
    """What serves the metrics has no way to the clocks: neither its answers nor the time that they take depend on them."""
    world = World(tmp_path)
    engine = world.begin()
    assert reaches(engine, Timetable)
    assert not reaches(engine.meter, Timetable)
