# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the three parts of a planned move, each with its own key, and waits for what the edge's reports."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable, checked, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

WAIT_SLICE = 30  # seconds one module call waits for the result


def run_parts(remotes: Remotes, document: dict[str, Any], timeout: int) -> dict[str, Any]:
    """Return the result document of the move, whatever its outcome; C(in-doubt) when none came in ``timeout`` seconds.

    :raises Refused: a part cannot begin; what was started before gives up by itself.
    """
    keys = credentials.make(document["id"])
    places = {}
    for part in ("source", "destination"):  # the source knows if another relocation has the container
        specification = {"listen": document[part]["address"], "container": document["container"]}
        specification |= {"mode": document["mode"], "memory_bytes": document["memory_bytes"]}
        port = _start(remotes, document, part, {**specification, "credentials": keys[part]})
        places[part] = [document[part]["address"], port]
    edge = document["edge"]["host"]
    problem = f"the edge reported no result within {timeout} s"
    try:
        _start(remotes, document, "edge", {"plan": document, "credentials": keys["edge"], **places})
        for _ in range(0, timeout, WAIT_SLICE):
            answer = remotes.of(edge).module(
                "relocate.mtd.relocation_session", state="finished", relocation=document["id"], timeout=WAIT_SLICE
            )
            if answer.get("failed"):
                break
            if answer.get("result") is not None:
                return checked(edge, lambda result: reports.result_of(document, result), answer["result"])
    except Unreachable as error:  # the edge may have begun, and may go on: what it does counts, whatever it told
        problem = error.message
    return {**document, "outcome": "in-doubt", "rolled_back": False, "problems": [problem]}


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
