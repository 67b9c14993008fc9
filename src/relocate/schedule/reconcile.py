# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of moves whose end nobody recorded: after a crash of the scheduler, or when a launcher was left in doubt.

Nothing is launched twice. Each source of truth is asked in turn: the ledger, the result that lies at the edge, recovery's
verdict from the journals, and at last the place where the container runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from relocate.schedule.discovery import Survey
from relocate.schedule.records import Firing

#: How long after a launch without any trace it is believed that none will come: Ansible needs seconds to reach the hosts.
GRACE = 45.0
#: The same for a container that no host has any more.
GONE = 600.0
ENDED = ("committed", "rolled-back", "refused", "failed")
#: Between two recoveries of what could not be settled.
FIRST_WAIT, LONGEST_WAIT = 10.0, 3600.0
VERDICTS = {"commit": "committed", "roll-back": "rolled-back"}


class Abandoned:
    """Relocations without an end that no process works on, whoever began them: when recovery shall see to them.

    At once, soon again (a container may stand still), and then more and more seldom for what recovery could not settle, such as
    the part of a host that is down.
    """

    def __init__(self) -> None:
        self._waits: dict[str, tuple[float, float]] = {}  # when next, and how long after that

    def seen(self, relocations: Collection[str], now: float) -> bool:
        """Take in what a survey has found; return whether there is something new."""
        new = bool(set(relocations) - set(self._waits))
        self._waits = {each: self._waits.get(each, (now, FIRST_WAIT)) for each in relocations}
        return new

    def due(self, now: float) -> bool:
        """Say whether recovery is to be run before the next survey."""
        return any(at <= now for at, _ in self._waits.values())

    def tried(self, now: float) -> None:
        """Recovery is being run."""
        self._waits = {
            each: (now + wait, min(2 * wait, LONGEST_WAIT)) if at <= now else (at, wait)
            for each, (at, wait) in self._waits.items()
        }


def settled_outcomes(settled: Iterable[Any]) -> dict[str, str]:
    """Return recovery's verdicts as outcomes, by relocation."""
    found = {}
    for each in settled:
        if isinstance(each, Mapping) and (outcome := VERDICTS.get(str(each.get("verdict")))):
            found[str(each.get("relocation"))] = outcome
    return found


def resolve(
    firing: Firing,
    *,
    entry: Mapping[str, Any] | None,
    seen: Survey,
    settled: Mapping[str, str],
    in_progress: Iterable[str],
    now: float,
) -> dict[str, Any] | None:
    """Return the result of a firing without an end, or None while it cannot be known yet.

    :param entry: its line in the ledger; ``settled`` and ``in_progress``: what recovery said.
    """
    for document in (entry, seen.results.get(firing.id)):
        if document is not None and document.get("outcome") in ENDED:
            return dict(document)
    place = seen.tenants.get(firing.container)
    known: dict[str, Any] = {"id": firing.id, "container": firing.container}
    if place is not None and place.host != firing.source:
        known["destination"] = {"host": place.host}
    if outcome := settled.get(firing.id):
        return {**known, "outcome": outcome, "msg": "settled by recovery from the hosts' journals"}
    age = now - (firing.launched_at or firing.alerted_at)
    if firing.id in seen.unfinished or firing.id in set(in_progress):
        return None
    if place is None and firing.container in seen.contested:
        hosts = " and ".join(each.host for each in seen.contested[firing.container])
        said = f"{hosts} all claim to run it: see which of them is right"
        return {**known, "outcome": "failed", "msg": said} if age > GONE else None
    if place is None:
        gone = age > GONE and not seen.silent
        return {**known, "outcome": "failed", "msg": "the container is on no host any more"} if gone else None
    if place.host != firing.source:
        return {**known, "outcome": "committed", "msg": "found at its destination; its figures were lost with the run"}
    if age < GRACE or seen.silent:
        return None
    return {
        **known,
        "outcome": "failed",
        "msg": "no trace of it on any host: it was interrupted before anything was touched",
    }
