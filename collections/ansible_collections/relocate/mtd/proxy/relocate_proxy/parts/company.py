# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's part of a project: several containers of one host that move together, with one freeze and one verdict.

Each member is a relocation of its own, with its own id, parts, and journals. The edge's parts of all are threads of one
process, and wait for each other (:meth:`Company.meet`) where the containers must not be apart:

=========  ==========================================================================================================
moment     what is true then of all members
=========  ==========================================================================================================
copied     images, first copies of files, and gated starts are at the destination; nothing has been frozen
held       nothing comes to any of them from outside
frozen     none runs; each is cut off from the others, then dumped
silent     all sockets of all copies are there: none is answered with a reset
decided    **the commit point**: all are restored, and the project's journal has the verdict of all of them
=========  ==========================================================================================================

If one of them cannot go on before that, all are taken back. The verdict is one line in one journal, that of the *project*. A
member's own journal follows it, and names the project, so that a restarted edge, and ``recover``, find it there
(:func:`adopt_verdict`). After the verdict each member is brought to its end like a container that moves alone.

One exception: a copy that dies while its tasks are being resumed, after the verdict. Its frozen original is all there is of it
and is let run, as with a container that moves alone; the others have run, and must not be taken back. That tears the project
apart, and the result says so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ..protocol.facts import EdgeFacts
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from ..protocol.words import sentence
from . import edge
from .edge import Edge

MOMENTS = ("copied", "held", "frozen", "silent", "decided")


class Abandoned(RuntimeError):
    """Another member of the project cannot be moved, so that none is."""


class Member(Edge):
    """The move of one container of a project, seen from the edge."""

    alone = False

    def __init__(self, specification: dict, journal: Journal, company: Company) -> None:
        super().__init__(specification, journal)
        self.company = company

    def run(self) -> dict:
        """Do the whole relocation and return the plan with results added."""
        try:
            self.stage()
            self.cutover()
        except Exception as error:
            if not self.company.decided:
                self.company.abandon(self, error)
                if self.company.doubt:
                    return self._result("in-doubt", {}, {}, [sentence(self.company.doubt)])
                return self.roll_back(self.company.reason(self, error))
        return self.finish()

    def meet(self, moment: str) -> None:
        """Return when all members have come to a moment. :raises Abandoned: one will not."""
        self.company.meet(moment)

    def _decide(self) -> None:
        """Return when the verdict is on the disk: commit, for all. :raises Abandoned: it is not."""
        self.verdict = {"moved": [flow.document() for flow in self.moved], "report": self.report}
        self.meet("decided")
        with contextlib.suppress(OSError):  # the project's journal has it
            self.journal.record(State.COMMITTED, **self.verdict)


class Company:
    """The move of a project.

    :param specification: ``id``, ``project``, and ``members``: what the edge is told of each.
    """

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.id, self.project = specification["id"], specification["project"]
        self.journal = journal
        self.decided = False
        self.doubt: Exception | None = None  # the verdict may be on the disk, or not
        self._first: tuple[Member, Exception] | None = None  # who could not go on, and why
        self._lock = threading.Lock()
        self.specifications: list[dict] = specification["members"]
        self.members = [Member(each, Journal.at(each["id"], "edge"), self) for each in self.specifications]
        self._barriers = {moment: threading.Barrier(len(self.members)) for moment in MOMENTS}
        self._barriers["decided"] = threading.Barrier(len(self.members), self._decide)

    def run(self) -> dict:
        """Move all members, or none, and return the result. Never raises for what can be rolled back."""
        members = [each["id"] for each in self.specifications]
        self.journal.record(State.STAGING, plan={"project": self.project, "members": members})
        return self._end([each.run for each in self.members])

    def resume(self) -> dict:
        """Bring the project to its end after this process was killed: the commit of all, or the rollback of all."""
        for each in self.members:
            adopt_verdict(each.journal, self.journal)
        pairs = zip(self.specifications, self.members)
        return self._end([partial(edge.resume, told, member.journal) for told, member in pairs])

    def _end(self, works: list[Callable[[], dict]]) -> dict:
        results = self._at_once(works)
        with contextlib.suppress(OSError):  # `recover` will
            close(self.journal)
        return self._result(results)

    @staticmethod
    def _at_once(works: list[Callable[[], dict]]) -> list[dict]:
        """Do some works at the same time and return what each returns. :raises Exception: what one has raised, at the end."""
        results: list[Any] = [None] * len(works)
        problems: list[BaseException] = []

        def do(number: int) -> None:
            try:
                results[number] = works[number]()
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=do, args=(number,)) for number in range(len(works))]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        if problems:
            raise problems[0]
        return results

    def _result(self, results: list[dict]) -> dict:
        first = [f"{self._first[0].plan.container}: {sentence(self._first[1])}"] if self._first else []
        return {
            "id": self.id,
            "project": self.project,
            "outcome": outcome(results),
            "problems": first,
            "members": results,
        }

    def meet(self, moment: str) -> None:
        """Return when all members have come to a moment. :raises Abandoned: one will not."""
        try:
            self._barriers[moment].wait()
        except threading.BrokenBarrierError:
            raise Abandoned("another container of the project cannot be moved") from None

    def abandon(self, member: Member, error: Exception) -> None:
        """A member cannot go on, and nothing is decided: let all others hear so. The first one has said why."""
        with self._lock:
            if self._first is not None:
                return
            self._first = member, error
        for barrier in self._barriers.values():
            barrier.abort()
        for each in self.members:
            if each is not member and each.peers is not None:
                each.peers.interrupt(sentence(error))

    def reason(self, member: Member, error: Exception) -> Exception:
        """Return why a member is taken back: its own error, or that of the one that could not go on."""
        if self._first is None or self._first[0] is member:
            return error
        guilty, cause = self._first
        return Abandoned(f"it moves with {guilty.plan.container} or not at all, and that one: {sentence(cause)}")

    def _decide(self) -> None:
        """Write the verdict of all members, as the last of them has been restored. :raises OSError: it could not be written."""
        verdicts = {each.id: each.verdict for each in self.members}
        try:
            self.journal.record(State.COMMITTED, verdicts=verdicts)
        except Exception as error:
            if self.journal.state is State.COMMITTED:  # it is on the disk, and what failed came after it
                self.decided = True
                return
            try:  # a failed fsync does not say whether it is there
                self.journal.record(State.ROUTING, taken_back=str(error))
            except Exception as problem:
                self.doubt = problem
            raise
        self.decided = True

    def close(self) -> None:
        """Let everything go that only a living process can hold."""
        for each in self.members:
            each.close()


def outcome(results: list[dict]) -> str:
    """Return how a project's move ended: like all its members, or "torn" if they have ended in different places."""
    ends = {each["outcome"] for each in results}
    if "in-doubt" in ends:
        return "in-doubt"
    if ends <= {"rolled-back", "refused"}:
        return "refused" if "refused" in ends else "rolled-back"
    return "committed" if ends == {"committed"} else "torn"


def project_of(journal: Journal) -> Journal | None:
    """Return the journal of the project that an edge's journal of a member names; None if it is none of a member."""
    project = EdgeFacts.of(journal).plan.get("together")
    return Journal.at(project, "edge") if isinstance(project, str) else None


def adopt_verdict(journal: Journal, project: Journal | None) -> None:
    """Write the project's verdict into a member's journal, if that lacks it and has none of its own.

    :param journal: of the member's edge. :param project: of the project's, or None if it moves alone.
    """
    if agreed(journal, project) and journal.state not in AFTER_COMMIT:
        assert project is not None
        verdict = project.facts.get("verdicts", {}).get(journal.relocation, {})
        journal.record(State.COMMITTED, moved=verdict.get("moved", []), report=verdict.get("report", {}))


def agreed(journal: Journal, project: Journal | None) -> bool:
    """Return whether a member's move is committed, by its own journal or by the project's."""
    if journal.state in AFTER_COMMIT or journal.finished or project is None or EdgeFacts.of(journal).taken_back:
        return journal.state in AFTER_COMMIT
    return project.state in AFTER_COMMIT


def is_project(journal: Journal) -> bool:
    """Return whether an edge's journal is that of a project, which has the verdict for its members, and no parts of its own."""
    return isinstance(EdgeFacts.of(journal).plan.get("members"), list)


def close(project: Journal) -> bool:
    """End a project's journal if all its members have ended; return whether it is at its end."""
    if project.state is None or project.finished:
        return project.finished
    members = [Journal.at(each, "edge") for each in EdgeFacts.of(project).plan["members"]]
    if not all(each.finished or each.state is None for each in members):
        return False
    everywhere = {"everywhere": True} if all(each.facts.get("everywhere") for each in members) else {}
    committed = project.state in AFTER_COMMIT
    project.record(State.DONE if committed else State.ROLLED_BACK, **everywhere)
    return True
