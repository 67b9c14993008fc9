# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing one part of a relocation to its end without its processes: after a reboot, or when the guardian gave up.

The edge's journal decides. No COMMITTED in it: roll back. The steps are those of ``endings``, as for a living part.
"""

from __future__ import annotations

import fcntl
import os
from functools import partial

from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE
from ansible_collections.relocate.mtd.plugins.module_utils._states import DEAD

from ..host import paths
from ..host.secrets import wipe
from ..memory import lazy_pages
from ..network.conntrack import PROTOCOLS, Conntrack
from ..network.flows import Flow, forget_services
from ..network.packet_rules import PacketRules
from ..protocol.addresses import Addresses
from ..protocol.channel import EDGES
from ..protocol.facts import DestinationFacts, EdgeFacts, SourceFacts
from ..protocol.journal import Journal
from ..protocol.states import AFTER_COMMIT, State
from . import company, drain, endings

#: For how long nothing may come of a copy's memory: its source has just been told to serve it.
STILL_SECONDS = 30.0
COMMIT, ROLL_BACK, SERVE, LOOK = "commit", "roll-back", "serve", "look"


class InProgress(RuntimeError):
    """The relocation has a living process here, which will bring it to an end."""


def hold_part(relocation: str, part: str) -> int:
    """Take a part of a relocation for this process and its children, as long as one of them lives.

    :raises InProgress: another process has it.
    """
    directory = paths.private_directory(paths.PARTS)
    fd = os.open(f"{directory}/{relocation}.{part}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise InProgress(f"relocation {relocation} is in progress on this host") from None
    return fd


def release_part(relocation: str, part: str, fd: int) -> None:
    """Give a part back and remove its lock file."""
    try:
        os.unlink(f"{paths.PARTS}/{relocation}.{part}")
    except FileNotFoundError:
        pass
    os.close(fd)


def recover(order: dict) -> dict:
    """Settle ``order["part"]`` of ``order["relocation"]``; ``order["verdict"]`` is needed unless the part is an edge's.

    An edge's journal has the verdict, if no other edge has taken over from it: then the verdict has to be given, too. With the
    verdict "look" nothing is settled: the answer is the journal's state, or "dead" for a copy that was restored, has
    died, and is not known to have run.

    With the verdict "serve" a source that has voted serves its memory again to a copy that lacks some: see :func:`_serve`. With
    ``order["gone"]``, a sentence, the destination is told that it never will. ``order["decided"]`` says that an edge's journal
    has the verdict: only then is a commit taken back. ``order["ran"]`` says that an edge has heard that the copy runs: its host
    may have died with it before that was on its own disk.

    Return ``changed``, ``outcome`` (the journal's last state, "unknown", "in-progress", or "lost": the copy was committed and
    died before the last of its memory came from the source), ``verdict``, for an edge ``places``, the hosts of its plan, and
    ``ran``, if it has heard that the copy runs, and ``notes``, if there is something that an operator should know.
    """
    relocation, part = order["relocation"], order["part"]
    journal = Journal.at(relocation, part)
    try:
        lock = hold_part(relocation, part)
    except InProgress:
        return {"changed": False, "outcome": "in-progress", "verdict": None}
    try:
        ran = {"ran": True} if part in EDGES and _heard_that_it_runs(journal) else {}
        return {**_settled(journal, order), **(_places(journal) if part in EDGES else {}), **ran}
    finally:
        release_part(relocation, part, lock)
        if part == "edge":
            _close_project(journal)


def _settled(journal: Journal, order: dict) -> dict:
    """Return what :func:`recover` does, for a part that has no process."""
    part = order["part"]
    verdict = order.get("verdict")
    project = company.project_of(journal) if part == "edge" else None
    if verdict == LOOK:
        return {"changed": False, "outcome": _seen(journal, part, project), "verdict": None}
    if part == "edge" and company.is_project(journal):
        return _settled_project(journal)
    if part in EDGES and verdict != ROLL_BACK:
        company.adopt_verdict(journal, project)
    if part in EDGES and verdict is None:
        verdict = COMMIT if journal.state in AFTER_COMMIT else ROLL_BACK
    if journal.state is None:
        if part != "edge":
            wipe(paths.session(order["relocation"]))  # killed, guardian and all, before it had written a line
        return {"changed": False, "outcome": "unknown", "verdict": verdict}
    if journal.finished:
        return {"changed": False, "outcome": journal.state.value, "verdict": verdict}
    if verdict == SERVE:
        return {"changed": False, "outcome": _serve(journal), "verdict": None}
    if verdict not in (COMMIT, ROLL_BACK):
        raise ValueError(f"the {part} cannot decide alone: the edge's journal has the verdict")
    if verdict == ROLL_BACK and journal.state in AFTER_COMMIT and not (part in EDGES or order.get("decided")):
        raise ValueError(
            f"the {part} has heard that the relocation was committed, and no edge's journal takes that back: see where "
            "the container runs, and remove what does not"
        )
    notes: list[str] = []
    if part == "destination":
        _destination(journal, verdict == COMMIT, order.get("gone") or "", bool(order.get("ran")))
    elif part == "source":
        _source(journal, verdict == COMMIT)
    else:
        notes = _edge(journal, verdict == COMMIT)
    outcome = "lost" if "lost" in journal.facts else journal.state.value
    return {"changed": True, "outcome": outcome, "verdict": verdict, **({"notes": notes} if notes else {})}


def _seen(journal: Journal, part: str, project: Journal | None) -> str:
    """Return the state of a part's journal, as it counts: a member of a project has the verdict of the project."""
    if part == "destination" and endings.died_unrun(DockerClient(), journal):
        return DEAD
    if journal.state not in AFTER_COMMIT and company.agreed(journal, project):
        return State.COMMITTED.value
    return journal.state.value if journal.state else "unknown"


def _settled_project(journal: Journal) -> dict:
    """Return what :func:`recover` does for a project's journal: it ends when its members' have, which are settled alone."""
    verdict = COMMIT if journal.state in AFTER_COMMIT else ROLL_BACK
    before = journal.state
    company.close(journal)
    assert journal.state is not None
    return {"changed": journal.state is not before, "outcome": journal.state.value, "verdict": verdict}


def _close_project(journal: Journal) -> None:
    """End the journal of the project that a member belongs to, if that was the last of its members without an end."""
    project = company.project_of(journal) if journal.state is not None else None
    if project is None or project.finished:
        return
    try:
        lock = hold_part(project.relocation, "edge")
    except InProgress:
        return
    try:
        company.close(Journal.at(project.relocation, "edge"))
    finally:
        release_part(project.relocation, "edge", lock)


def _heard_that_it_runs(journal: Journal) -> bool:
    """Return whether an edge's journal proves that the copy has run. DONE alone does not: recovery writes it by the verdict."""
    return not journal.times.keys().isdisjoint((State.DRAINING.value, State.RELEASED.value))


def _places(journal: Journal) -> dict:
    """Return as ``places`` which hosts are source and destination by the plan in an edge's journal, if there is one."""
    plan = EdgeFacts.of(journal).plan if journal.state is not None else {}
    hosts = {part: plan[part]["host"] for part in ("source", "destination") if "host" in plan.get(part, {})}
    return {"places": hosts} if hosts else {}


def _edge(journal: Journal, commit: bool) -> list[str]:
    """Settle an edge's part; return a sentence for each service that is the container's no more, and was left alone.

    Also one if the connection table cannot be read: the other parts wait for this one, and the source may be frozen.
    """
    facts = EdgeFacts.of(journal)
    plan = facts.plan
    armed, flows, moved = (Flow.read_all(each) for each in (facts.armed, facts.flows, facts.moved))
    source, destination = (Addresses.read(plan[end]) for end in ("source", "destination"))
    gateway = PacketRules(plan["container"], plan["services"], source, destination, [*armed, *flows])
    table = Conntrack()
    if commit:
        endings.turn_to_destination(gateway, table, destination, moved)
        gateway.release()
        gateway.reopen()
    else:
        endings.turn_to_source(gateway, table, source, flows).insist()
    left, removed = endings.Attempts(), source if commit else destination
    if plan["mode"] == RECREATE or not commit:  # the copy that is removed has no part in any conversation
        left.take(lambda: forget_services(table, removed, plan["services"], PROTOCOLS))
    gateway.persist()
    gateway.close()
    table.close()
    wipe(paths.session(_relocation(journal)))  # the other edge's part listens, and so has one
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")
    return [*gateway.astray, *(_still_led(plan, removed, problem) for problem in left.problems)]


def _still_led(plan: dict, host: Addresses, problem: str) -> str:
    """Return what an operator can do about conversations that may still lead to a container's services on a host."""
    commands = []
    for each in plan["services"]:
        place = f"--reply-src {host.like(each['virtual_address'])} --reply-port-src {each['host_port']}"
        commands.append(f"conntrack -D -p {each['protocol']} {place}")
    return (
        f"the edge may still lead conversations with {plan['container']} to {host.ip4}, where it is no more ({problem}): "
        f"remove them on the edge ({'; '.join(commands)})"
    )


def _source(journal: Journal, commit: bool) -> None:
    session = paths.session(_relocation(journal))
    end = endings.end_original if commit else endings.give_original_back
    end(journal, DockerClient(), lambda: endings.let_go(session))
    wipe(session)
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")


def _serve(journal: Journal) -> str:
    """Have the source's frozen memory served, if it is not: return "serving", or "gone" if it is not there any more."""
    session = paths.session(_relocation(journal))
    frozen = set(freezer.members(freezer.Freezer(*SourceFacts.of(journal).freezer)))
    try:
        if not lazy_pages.served_tasks(session) <= frozen:
            return "gone"
        lazy_pages.serve_again(session)
    except (FileNotFoundError, lazy_pages.PagesLost):
        return "gone"
    return "serving"


def _destination(journal: Journal, commit: bool, gone: str, ran: bool) -> None:
    docker, session = DockerClient(), paths.session(_relocation(journal))
    container_id = DestinationFacts.of(journal).container_id
    if commit:
        endings.accept(journal, session, living=False)
        runs = endings.let_copy_run(docker, container_id)
        if runs or ran:
            endings.note_that_it_ran(journal)
        if journal.state is State.DRAINING and gone and not drain.ended(journal, session):
            drain.give_up(journal, session, gone)
        elif journal.state is State.DRAINING:
            drain.settle(journal, session, STILL_SECONDS)
        if not runs and not DestinationFacts.of(journal).lost and not endings.has_run(docker, journal):
            endings.insist_that_docker_knows(docker, container_id)
            raise DockerError(0, "the copy was committed and is not running: its source must not be removed")
        endings.adopt_copy(journal, docker)
    else:
        cancel = partial(endings.cancel_gate, container_id, "the relocation was rolled back")
        endings.discard_copy(journal, docker, session, cancel)
    wipe(session)
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")


def _relocation(journal: Journal) -> str:
    return os.path.basename(journal.path).partition(".")[0]
