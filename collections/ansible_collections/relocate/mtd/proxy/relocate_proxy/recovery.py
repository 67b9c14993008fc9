# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing one part of a relocation to its end without its processes: after a reboot, or when the guardian gave up.

The edge's journal decides. No COMMITTED in it: roll back. Every step here is the one that the living part would take, and
can be repeated.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError, Engine
from ansible_collections.relocate.mtd.plugins.module_utils._modes import POST_COPY

from . import paths
from .journal import Journal
from .states import AFTER_COMMIT, State

DRAIN_SECONDS = 300.0
COMMIT, ROLL_BACK = "commit", "roll-back"


class InProgress(RuntimeError):
    """The relocation has a living process here, which will bring it to an end."""


def hold_part(relocation: str, part: str) -> int:
    """Take a part of a relocation for this process and its children, as long as one of them lives.

    :raises InProgress: another process has it.
    """
    directory = paths.private_directory(f"{paths.RUN}/parts")
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
        os.unlink(f"{paths.RUN}/parts/{relocation}.{part}")
    except FileNotFoundError:
        pass
    os.close(fd)


def recover(order: dict) -> dict:
    """Settle ``order["part"]`` of ``order["relocation"]``; ``order["verdict"]`` is needed unless the part is the edge's.

    Return ``changed``, ``outcome`` (the journal's last state, "unknown", "in-progress", or "lost": the copy was committed and
    died before the last of its memory came from the source) and ``verdict``.
    """
    relocation, part = order["relocation"], order["part"]
    journal = Journal.at(relocation, part)
    try:
        lock = hold_part(relocation, part)
    except InProgress:
        return {"changed": False, "outcome": "in-progress", "verdict": None}
    try:
        verdict = order.get("verdict")
        if part == "edge":
            verdict = COMMIT if journal.state in AFTER_COMMIT else ROLL_BACK
        if journal.state is None:
            return {"changed": False, "outcome": "unknown", "verdict": verdict}
        if journal.finished:
            return {"changed": False, "outcome": journal.state.value, "verdict": verdict}
        if verdict not in (COMMIT, ROLL_BACK):
            raise ValueError(f"the {part} cannot decide alone: the edge's journal has the verdict")
        {"edge": _edge, "source": _source, "destination": _destination}[part](journal, verdict == COMMIT)
        outcome = "lost" if "lost" in journal.facts else journal.state.value
        return {"changed": True, "outcome": outcome, "verdict": verdict}
    finally:
        release_part(relocation, part, lock)


def _edge(journal: Journal, commit: bool) -> None:
    from .conntrack import Conntrack
    from .flows import Flow, give_back_on_edge, place_on_edge
    from .gateway import Gateway, forget_relocation

    plan = journal.facts["plan"]
    flows = [Flow.read(flow) for flow in journal.facts.get("flows", [])]
    moved = [Flow.read(flow) for flow in journal.facts.get("moved", [])]
    armed = [Flow.read(flow) for flow in journal.facts.get("armed", [])]
    forget_relocation(plan["services"], plan["source"]["address"], [*armed, *flows])
    gateway = Gateway(plan["container"], plan["services"], plan["source"]["address"], plan["destination"]["address"])
    gateway.route(plan["destination" if commit else "source"]["address"])
    table = Conntrack()
    if commit:
        for flow in moved:
            place_on_edge(table, flow)
    else:
        give_back_on_edge(table, flows, missing=False)
    gateway.persist()
    gateway.close()
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")


def _source(journal: Journal, commit: bool) -> None:
    from . import source
    from .part import wipe

    facts = journal.facts
    at = freezer.Freezer(*facts["freezer"])
    docker = Engine()
    source.let_go(paths.session(_relocation(journal)))
    if commit:
        source.kill_frozen(at, facts.get("veth"))
        source.remove_container(docker, facts["container_id"])
        source.forget_flows(journal)
    else:
        freezer.thaw(at)
        source.undo(docker, facts["container_id"], facts["restart_policy"])
        _start_if_stopped(docker, facts)
    wipe(paths.session(_relocation(journal)))
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")


def _start_if_stopped(docker: Engine, facts: dict[str, Any]) -> None:
    """After a reboot of the source nothing runs any more: a container that had a restart policy is started again."""
    found = docker.container(facts["container_id"])
    if found and not found["State"]["Running"] and facts["restart_policy"].get("Name") not in ("", "no"):
        docker.start(facts["container_id"])


def _destination(journal: Journal, commit: bool) -> None:
    from . import destination, drain
    from .part import wipe

    container_id = journal.facts.get("container_id", "")
    docker = Engine()
    if commit:
        if journal.state is State.PREPARED and journal.facts.get("mode") == POST_COPY:
            drain.accept_verdict(journal, paths.session(_relocation(journal)))
        if os.path.exists(paths.gate(container_id)):
            try:
                destination.open_gate(container_id)
            except TimeoutError:  # its keeper is dead; whether the copy runs is what Docker says next
                pass
        if journal.state is State.DRAINING:
            drain.settle(journal, paths.session(_relocation(journal)), DRAIN_SECONDS)
        found = docker.container(container_id)
        if "lost" not in journal.facts and (found is None or not found["State"]["Running"]):
            raise DockerError(0, "the copy was committed and is not running: its source must not be removed")
        if found:
            destination.adopt(docker, container_id, journal.facts.get("restart_policy", {}), journal.facts)
    else:
        destination.cancel_gate(container_id, "the relocation was rolled back")
        name = destination.provisional_name(journal.facts.get("container", ""), _relocation(journal))
        destination.discard(docker, container_id or name)
    wipe(paths.session(_relocation(journal)))
    journal.record(State.DONE if commit else State.ROLLED_BACK, reason="recovered")


def _relocation(journal: Journal) -> str:
    return os.path.basename(journal.path).partition(".")[0]
