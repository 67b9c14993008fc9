# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source and destination after a kill: started again by their guardian, with nothing but the journal.

Before their word was given they roll back at once. After it they wait for the edge's verdict, as the killed process would have.
"""

from __future__ import annotations

from functools import partial

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from ..host import paths
from ..host.secrets import wipe
from ..protocol.facts import DestinationFacts, SourceFacts
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from . import drain, endings, leaving
from .base import Part


def resume(part: str, specification: dict, journal: Journal) -> None:
    """Bring a killed "source" or "destination" to its end."""
    {"source": _resume_source, "destination": _resume_destination}[part](specification, journal)


def _resume_source(specification: dict, journal: Journal) -> None:
    if journal.state in (State.VOTED, State.COMMITTED):
        RestartedSource(specification, journal).serve()
        return
    session = paths.session(specification["id"])
    endings.give_original_back(journal, DockerClient(), lambda: endings.let_go(session))
    wipe(session)
    journal.record(State.ROLLED_BACK, reason="the source's proxy was killed before its vote")


def _resume_destination(specification: dict, journal: Journal) -> None:
    if journal.state in (State.PREPARED, State.COMMITTED, State.DRAINING):
        RestartedDestination(specification, journal).serve()
        return
    reason = "the destination's proxy was killed"
    container_id, session = DestinationFacts.of(journal).container_id, paths.session(specification["id"])
    endings.discard_copy(journal, DockerClient(), session, lambda: endings.cancel_gate(container_id, reason))
    wipe(session)
    journal.record(State.ROLLED_BACK, reason=f"{reason} before the copy was complete")


class RestartedSource(Part):
    """A source that has voted: the container is frozen, and only the edge may say what becomes of it.

    One that was made anew elsewhere runs, until its connections are over.
    """

    name = "source"

    def on_drain(self, _: dict) -> None:
        """Say how many connections are left."""
        self.say("drained", left=leaving.visits(DockerClient(), SourceFacts.of(self.journal).container_id))

    def on_finish(self, _: dict) -> None:
        """The destination runs."""
        if not self.journal.finished:
            endings.end_original(self.journal, DockerClient(), lambda: endings.let_go(self.directory))
        self.close(State.DONE)
        self.say("finished", timings_ns={}, bytes={})

    def roll_back(self, reason: str) -> None:
        """The container runs on here."""
        endings.give_original_back(self.journal, DockerClient(), lambda: endings.let_go(self.directory))
        self.close(State.ROLLED_BACK, reason=reason)
        self.say_if_heard("rolled_back")


class RestartedDestination(Part):
    """A destination whose copy is restored: it waits in its keeper for the verdict, or runs already."""

    name = "destination"

    def __init__(self, specification: dict, journal: Journal) -> None:
        super().__init__(specification, journal)
        self.docker = DockerClient()
        self.facts = DestinationFacts.of(journal)
        self.container_id = self.facts.container_id

    def on_commit(self, _: dict) -> None:
        """The copy may run, if it does not yet. If it does not, nobody may decide: see ``Destination.on_commit``."""
        if self.facts.mode == RECREATE:  # the old one still runs, and is kept if this one does not
            leaving.insist_that_it_runs(self.docker, self.container_id)
        elif self.journal.state is State.PREPARED:
            endings.insist_on_copy(self.container_id)
        endings.accept(self.journal, self.directory)
        if self.facts.mode == RECREATE:
            endings.adopt_copy(self.journal, self.docker)
        self.say("accepted")
        if endings.let_copy_run(self.docker, self.container_id):
            self.say("running", address=self.facts.address)
            endings.note_that_it_ran(self.journal)

    def on_drain(self, _: dict) -> None:
        """Say when the last page is here, or that it will never be."""
        drain.begin(self)

    def on_finish(self, _: dict) -> None:
        """The source is gone."""
        if not self.journal.finished:
            endings.adopt_copy(self.journal, self.docker)
        ended = endings.exit_code(self.docker, self.container_id)
        self.close(State.DONE)
        self.say("finished", timings_ns={}, **ended)

    def on_roll_back(self, message: dict) -> None:
        """The edge's verdict. An edge that does not know it says so: what was heard first, counts."""
        if message.get("unless_accepted") and self.journal.state in AFTER_COMMIT:
            self.say("accepted")
        else:
            super().on_roll_back(message)

    def roll_back(self, reason: str) -> None:
        """The source runs on."""
        cancel = partial(endings.cancel_gate, self.container_id, reason)
        endings.discard_copy(self.journal, self.docker, self.directory, cancel)
        self.close(State.ROLLED_BACK, reason=reason)
        self.say_if_heard("rolled_back")
