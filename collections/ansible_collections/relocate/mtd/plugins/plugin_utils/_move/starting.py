# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the three parts of a planned move, each with its own key, and waits for what the edge's reports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ansible.utils.display import Display
from ansible_collections.relocate.mtd.plugins.module_utils._modes import CONNECTIONS_WORDS, DRAINING_WORDS, RECREATE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import (
    Misbehaves,
    Remotes,
    Unreachable,
    checked,
    said,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import WHOLE, shown

WAIT_SLICE = 30  # seconds one module call waits for the result


def run_parts(remotes: Remotes, document: dict[str, Any], timeout: int) -> dict[str, Any]:
    """Return the result document of the move, whatever its outcome; C(in-doubt) when nothing came in ``timeout`` seconds.

    A copy's memory that still comes is something, too.

    :raises Refused: a part cannot begin; what was started before gives up by itself.
    """
    pair = bool(document.get("standby"))
    keys = credentials.make(document["id"], (*credentials.PARTS, *(["standby"] if pair else [])))
    kept = [each["address"] for each in document.get("kept_addresses") or []]
    places = _start_hosts(remotes, document, keys, {"kept_addresses": kept} if kept else None)
    edge = document["edge"]["host"]
    if pair:
        follows = {"listen": document["standby"]["address"], "plan": document, **places}
        port = _start(remotes, document, "standby", {**follows, "credentials": keys["standby"]})
        places["standby"] = [document["standby"]["address"], port]
    timeout += int(document.get("drain_limit_s") or 0)
    problem = f"the edge reported no result within {timeout} s"
    try:
        _start(remotes, document, "edge", {"plan": document, "credentials": keys["edge"], **places})
    except Unreachable as error:  # it may have begun, and may go on: what it does counts, whatever it told
        problem = error.message
    for host in [edge, document["standby"]["host"]] if pair else [edge]:  # the other edge has it if it had to take over
        try:
            result = _await_result(remotes, document, host, timeout)
        except Unreachable as error:
            problem = error.message
            continue
        if result is not None:
            return result
        break
    return {**document, "outcome": "in-doubt", "rolled_back": False, "problems": [problem]}


def run_project(remotes: Remotes, document: dict[str, Any], timeout: int) -> dict[str, Any]:
    """Return what the edge reports of the move of a project: its C(outcome), C(problems), and C(members), a result each.

    :param document: its plan, with a plan of each of its C(members).
    :raises Refused: a part cannot begin; what was started before gives up by itself.
    """
    members = document["members"]
    together = {"addresses": sorted({each["address"] for member in members for each in member["kept_addresses"]})}
    told = []
    for member in members:
        keys = credentials.make(member["id"])
        places = _start_hosts(remotes, member, keys, {"together": together})
        told.append({"id": member["id"], "plan": member, "credentials": keys["edge"], **places})
    problem = f"the edge reported no result within {timeout} s"
    try:
        _start(remotes, document, "edge", {"project": document["project"], "members": told})
        result = _await_result(remotes, document, document["edge"]["host"], timeout, reports.project_result_of)
        if result is not None:
            return result
    except Unreachable as error:  # it may have begun, and may go on
        problem = error.message
    doubt = {"outcome": "in-doubt", "rolled_back": False, "problems": [problem]}
    return {**doubt, "members": [{**member, **doubt} for member in members]}


def _start_hosts(
    remotes: Remotes, document: dict[str, Any], keys: dict[str, Any], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Start the parts of source and destination; return where they listen. :raises Refused: one cannot begin."""
    places = {}
    for part in ("source", "destination"):  # the source knows if another relocation has the container
        own = document[part]
        specification = {"listen": own["address"], "container": document["container"]}
        if "address6" in own:
            specification["listen6"] = own["address6"]
        specification |= {"mode": document["mode"], "memory_bytes": document["memory_bytes"], **(more or {})}
        if part == "destination" and document.get("networks"):
            specification["networks"] = document["networks"]
        port = _start(remotes, document, part, {**specification, "credentials": keys[part]})
        places[part] = [document[part]["address"], port]
    return places


def _await_result(
    remotes: Remotes,
    document: dict[str, Any],
    edge: str,
    timeout: int,
    result_of: Callable[[dict[str, Any], Any], dict[str, Any]] = reports.result_of,
) -> dict[str, Any] | None:
    """Return the result that an edge has; None when it has none in time.

    :param result_of: returns what an edge's answer says of the plan.
    :raises Unreachable: it does not answer; :raises Misbehaves: it cannot, for it was started anew, say.
    """
    deadline, left = time.monotonic() + timeout, None
    while time.monotonic() < deadline:
        answer = remotes.of(edge).module(
            "relocate.mtd.relocation_session", state="finished", relocation=document["id"], timeout=WAIT_SLICE
        )
        if answer.get("failed"):
            raise Misbehaves(f"{edge} cannot tell how the move ended ({said(answer)})")
        if answer.get("result") is not None:
            return checked(edge, lambda result: result_of(document, result), answer["result"])
        drain = answer.get("drain")
        if isinstance(drain, dict) and "container" in document:  # a project drains nothing
            Display().display(drain_words(document, drain))
            if drain.get("left") != left:  # however large it is, as long as it comes
                deadline, left = time.monotonic() + timeout, drain.get("left")
    return None


def drain_words(document: dict[str, Any], drain: dict[str, Any]) -> str:
    """Return how the memory of a copy that runs already comes, in one line."""
    if document.get("strategy") == RECREATE:
        many, limit = drain.get("connections"), document["drain_limit_s"]
        counted = many if isinstance(many, int) and 0 <= many < WHOLE else "some"
        return (
            f"{document['container']} runs on {document['destination']['host']}; {counted} {CONNECTIONS_WORDS} "
            f"{document['source']['host']}, for at most {limit:g} s"
        )
    left, rate = (_mebibytes(drain.get(name)) for name in ("left", "rate"))
    words = f"{document['container']} runs on {document['destination']['host']}; {left:.1f} MiB {DRAINING_WORDS} "
    words += f"{document['source']['host']}, {rate:.1f} MiB/s"
    problem = drain.get("problem") or ("" if drain.get("connected", True) else "the source is not connected")
    return f"{words} ({shown(problem)})" if problem else words


def _mebibytes(value: object) -> float:
    """Return bytes that a host reports in MiB; 0 if they are none."""
    return value / 2**20 if isinstance(value, int) and 0 <= value < WHOLE else 0.0


def _start(remotes: Remotes, document: dict[str, Any], part: str, specification: dict[str, Any]) -> int:
    """Start one part and return its port. :raises Refused: it cannot begin."""
    host = document[part]["host"]
    answer = remotes.of(host).module(
        "relocate.mtd.relocation_session",
        state="started",
        relocation=document["id"],
        part=part,
        specification=json.dumps({"id": document["id"], **specification}),
    )
    if answer.get("failed"):
        raise Refused(f"{host}: {said(answer)}")
    return checked(host, reports.started, answer)
