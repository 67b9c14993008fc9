# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination between the commit and the last page of a post-copy: the copy runs, and needs its source still.

If that is lost now, so is the copy: what the source holds is of a past that the clients have left behind, and must never run.
What remains is what remains of a container that has crashed: its files, at the destination.
"""

from __future__ import annotations

import threading

from ansible_collections.relocate.mtd.plugins.module_utils._modes import POST_COPY

from ..memory import lazy_pages
from ..memory.page_process import kill_copy
from ..protocol.journal import Journal
from ..protocol.states import State
from .base import Part

#: Any memory over any link; it ends before if the source is lost.
SECONDS = 3600.0


def accept_verdict(journal: Journal, session: str) -> None:
    """Write down that the copy may run.

    :raises PagesLost: in a post-copy, when memory will be missing: the copy has not run an instruction, and must not.
    """
    if journal.facts.get("mode") != POST_COPY:
        journal.record(State.COMMITTED)
        return
    pages = lazy_pages.outcome(session)
    if pages and "lost" in pages:
        raise lazy_pages.PagesLost(pages["lost"])
    journal.record(State.DRAINING)


def begin(part: Part) -> None:
    """Tell the edge when the last page is here, or that it will never be. Returns at once; can be repeated."""

    def run() -> None:
        try:
            part.say("drained", **settle(part.journal, part.directory, SECONDS))
        except (OSError, TimeoutError) as error:  # the edge asks again, or recovery does
            print(f"the edge was not told of the last page: {error}", flush=True)

    threading.Thread(target=run, daemon=True).start()


def settle(journal: Journal, session: str, seconds: float) -> dict:
    """Wait for the last page; return what :func:`lazy_pages.outcome` tells. A copy that lacks memory is dead, on the disk too.

    :raises TimeoutError: pages still come, from a source that must not be removed yet.
    """
    if "lost" in journal.facts:
        return {"lost": journal.facts["lost"]}
    pages = lazy_pages.await_outcome(session, seconds)
    if "lost" in pages:
        kill_copy(journal.facts["container_id"], journal.facts["pid"])
        lazy_pages.end_processes(session)
        journal.record(State.DRAINING, lost=pages["lost"])
    return pages
