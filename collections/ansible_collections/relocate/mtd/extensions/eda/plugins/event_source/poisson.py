# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event source for ansible-rulebook: an unpredictable clock for each container, one event whenever one runs out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: poisson
short_description: An event whenever a container's clock has run out
description:
  - Keeps one clock for each container, drawn from the operating system's entropy, and puts an event into the queue when it has
    run out. The next stay begins at that moment, not when a playbook has ended.
  - The clocks are the same as the scheduler's (C(relocate schedule)). This source keeps nothing on disk, knows no limits and no
    maintenance windows, and draws anew when the rulebook is started again.
  - Nothing of what is to come is logged.
options:
  containers:
    description: The containers' names; or mappings with C(name) and a C(clock) of their own, which stands over the common one.
    type: list
    elements: raw
    required: true
  clock:
    description:
      - The clock of all containers, such as C({kind: truncated-poisson, rate: 0.001, ceiling: 3600}). Times in seconds, rates
        per second. C(docs/model.md) of the project has all kinds.
    type: dict
    default: {kind: truncated-poisson, rate: 0.0011111, ceiling: 3600}
requirements:
  - numpy
"""

EXAMPLES = r"""
- name: Relocate on an unpredictable clock
  hosts: all
  sources:
    - name: The clocks
      relocate.mtd.poisson:
        containers: [web, db]
        clock: {kind: truncated-poisson, rate: 0.001, ceiling: 3600}
  rules:
    - name: A clock has run out
      condition: event.relocate.container is defined
      action:
        run_playbook:
          name: playbooks/relocate.yml
          extra_vars:
            container: "{{ event.relocate.container }}"
            reason: clock
"""

import asyncio
import datetime
import heapq
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

# ansible-rulebook runs this file by its path, and does not know where collections are imported from.
_ROOT = str(Path(__file__).resolve().parents[7])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, ClockError, make_clock
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import Odd, container_name

DEFAULT_CLOCK: dict[str, Any] = {"kind": "truncated-poisson", "rate": 1 / 900, "ceiling": 3600.0}
KNOWN = frozenset({"containers", "clock"})
IGNORED = frozenset({"eda_feedback_queue"})  # ansible-rulebook's own
LONGEST_SLEEP = 3600.0  # seconds: a timer over years is more than some event loops take


class Queue(Protocol):
    """Where events go: asyncio's queue, or ansible-rulebook's."""

    async def put(self, item: dict[str, Any]) -> None:
        """Add an event."""


def read(args: Mapping[str, Any]) -> dict[str, Clock]:
    """Return the clock of each container. Raises ValueError with one sentence for arguments that make none."""
    for key in args:
        if key not in KNOWN | IGNORED:
            raise ValueError(f"relocate.mtd.poisson has no argument {key}: it takes containers and clock.")
    containers = args.get("containers")
    if not isinstance(containers, list) or not containers:
        raise ValueError("relocate.mtd.poisson needs containers: a list of names.")
    common = _mapping(args.get("clock", DEFAULT_CLOCK), "clock")
    clocks: dict[str, Clock] = {}
    for given in containers:
        own: Mapping[str, Any] = {}
        name = given
        if isinstance(given, Mapping):
            if unknown := sorted(set(given) - {"name", "clock"}):
                raise ValueError(f"relocate.mtd.poisson: a container has no {unknown[0]}: give name and clock.")
            name, own = given.get("name"), _mapping(given.get("clock", {}), f"the clock of {given.get('name')}")
        try:
            name = container_name(name)
        except Odd as odd:
            raise ValueError(f"relocate.mtd.poisson: {odd}.") from None
        if name in clocks:
            raise ValueError(f"relocate.mtd.poisson: the container {name} is there twice.")
        try:
            clock = make_clock(own if "kind" in own else {**common, **own})
        except ClockError as error:
            raise ValueError(f"relocate.mtd.poisson: {name}: {error}") from None
        if clock.mean == 0:
            raise ValueError(f"relocate.mtd.poisson: {name}: every stay would be 0: raise clock.threshold.")
        clocks[name] = clock
    return clocks


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(
            f"relocate.mtd.poisson: {what} is {value!r}: it must be a mapping such as {{kind: poisson, rate: 0.001}}."
        )
    return value


def event(container: str) -> dict[str, Any]:
    """Return the event of a clock that has just run out."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {
        "relocate": {"container": container, "reason": "clock", "alerted_at": now, "relocation_id": str(uuid.uuid4())}
    }


async def main(queue: Queue, args: dict[str, Any]) -> None:
    """Put an event into ``queue`` whenever a container's clock has run out, for ever.

    :param args: ``containers`` and ``clock``, as documented above.
    """
    clocks = read(args)
    loop = asyncio.get_running_loop()
    start = loop.time()
    heap = [(start + clock.draw(), name) for name, clock in clocks.items()]
    heapq.heapify(heap)
    while True:
        due, name = heap[0]
        wait = due - loop.time()
        if wait > 0:
            await asyncio.sleep(min(wait, LONGEST_SLEEP))
            continue
        await queue.put(event(name))
        # From the alert, not from now: a slow consumer does not slow the clock. What was slept through is one event, not many.
        due += clocks[name].draw()
        while due <= loop.time():
            due += clocks[name].draw()
        heapq.heapreplace(heap, (due, name))
