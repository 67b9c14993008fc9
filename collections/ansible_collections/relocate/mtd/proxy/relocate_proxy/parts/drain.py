# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination between the commit and the last page of a post-copy: the copy runs, and needs its source still.

As long as the source may have the memory, the copy is kept, and waits where a page is missing. If the memory is gone, so is
the copy: what the source holds then is older than what the clients have seen, and must never run. What remains is what
remains of a container that has crashed: its files, at the destination.
"""

from __future__ import annotations

import contextlib
import threading

from ansible_collections.relocate.mtd.plugins.module_utils._modes import POST_COPY

from ..memory import lazy_pages
from ..memory.page_process import kill_copy
from ..protocol.facts import DestinationFacts
from ..protocol.journal import Journal
from ..protocol.states import State
from .base import Part

#: Without a byte for so long a drain stands still: whoever waits for it is told. The page processes go on trying.
STILL_SECONDS = 60.0


def accept_verdict(journal: Journal, session: str, living: bool = True) -> None:
    """Write down that the copy may run.

    :param living: the source is there to take the container back: nothing is risked then.
    :raises PagesLost: in a post-copy, when memory will be missing: the copy has not run an instruction, and must not.
    """
    if DestinationFacts.of(journal).mode != POST_COPY:
        journal.record(State.COMMITTED)
        return
    pages = lazy_pages.outcome(session)
    if pages and "lost" in pages:
        raise lazy_pages.PagesLost(pages["lost"])
    report = lazy_pages.report(session)
    if living and report.get("left") and not report["connected"]:
        raise lazy_pages.PagesLost(f"the source cannot be reached for the rest of the memory: {report['problem']}")
    journal.record(State.DRAINING)


def begin(part: Part) -> None:
    """Tell the edge how it goes, until the last page is here, or will never be, or nothing comes.

    Returns at once; can be repeated.
    """

    def run() -> None:
        try:
            try:
                settled = settle(
                    part.journal, part.directory, STILL_SECONDS, lambda going: part.say("drained", going=going)
                )
            except lazy_pages.StandsStill as error:
                settled = {"stands": str(error)}
            part.say("drained", **settled)
        except OSError as error:  # the edge asks again, or recovery does
            print(f"the edge was not told of the last page: {error}", flush=True)

    threading.Thread(target=run, daemon=True).start()


def settle(journal: Journal, session: str, seconds: float, watch: lazy_pages.Watch = lambda _: None) -> dict:
    """Wait for the last page; return what :func:`lazy_pages.outcome` tells. A copy that lacks memory is dead, on the disk too.

    That nothing is missing is on the disk before anybody hears it: the session is wiped next, and whoever is killed then must
    not leave a copy of which nobody knows that it is whole.

    :param seconds: for how long nothing may come. :param watch: is told how it goes, every second.
    :raises StandsStill: pages are missing, their source must not be removed, and nothing comes.
    """
    facts = DestinationFacts.of(journal)
    if facts.lost:
        return {"lost": facts.lost}
    if facts.drained >= 0:
        return {"bytes": facts.drained}
    pages = lazy_pages.await_outcome(session, seconds, watch)
    if "lost" in pages:
        give_up(journal, session, pages["lost"])
    else:
        with contextlib.suppress(OSError):  # a disk that refuses must not end a drain
            journal.record(State.DRAINING, drained=pages.get("bytes", 0))
    return pages


def ended(journal: Journal, session: str) -> bool:
    """Return whether it is known how the drain has ended."""
    facts = DestinationFacts.of(journal)
    return bool(facts.lost) or facts.drained >= 0 or lazy_pages.outcome(session) is not None


def give_up(journal: Journal, session: str, reason: str) -> None:
    """End a copy whose memory is gone, and write that down."""
    facts = DestinationFacts.of(journal)
    kill_copy(facts.container_id, facts.pid)
    lazy_pages.end_processes(session)
    journal.record(State.DRAINING, lost=reason)
