# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the one part of a snapshot on its host, and waits for what it reports. What it works on is a sealed file there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _paths
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import MEMORY_FACTOR, MEMORY_RESERVE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remote, checked, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

TRIAL_SECONDS = 30  # that a container may stand still for a dump on trial
WAIT_SLICE = 30  # seconds one module call waits for the result


def place(identifier: str) -> str:
    """Return where the sealed file of a snapshot lies on a host: see C(protocol/recording.py) of the proxy."""
    return f"{_paths.RECORDINGS}/relocate-{identifier}.sealed"


def try_dump(
    remote: Remote, container: str, identifier: str, listening: dict[str, str], timeout: int
) -> dict[str, Any]:
    """Have a container dumped on trial; return how long it stood still (C(frozen_ms)), and its C(memory_bytes).

    :param listening: what the part is told of its host. :raises Refused: it cannot be dumped; :raises Unreachable: see above.
    """
    told = {"container": container, **listening}
    result = run_part(remote, "source", identifier, told, {"trial": True, "seconds": TRIAL_SECONDS}, timeout)
    frozen = (result.get("timings_ns") or {}).get("frozen_total", 0)
    return {"frozen_ms": round(frozen / 1e6, 1), "memory_bytes": (result.get("bytes") or {}).get("memory", 0)}


def memory_problem(host: str, facts: Mapping[str, Any], container: Mapping[str, Any], what: str) -> list[str]:
    """Return why a host has no room for the image of a container in its memory. :param what: needs it, for the sentence."""
    needed = int(container["memory_bytes"] * MEMORY_FACTOR) + MEMORY_RESERVE
    available = facts.get("memory_available_bytes")
    if available is None or available >= needed:
        return []
    return [f"{host} has {available >> 20} MiB of memory available and the {what} needs {needed >> 20} MiB: free some"]


def run_part(
    remote: Remote, part: str, identifier: str, specification: dict[str, Any], recording: dict[str, Any], timeout: int
) -> dict[str, Any]:
    """Start the part and return its result.

    :param specification: ``container`` and ``listen``. :param recording: its ``key``, and ``seconds`` that it may freeze.
    :raises Refused: it did not begin, did not end in time, or failed; :raises Unreachable: the host does not answer any more.
    """
    told = {"id": identifier, "credentials": {}, "mode": "stop-and-copy", **specification}
    told["recording"] = {"name": place(identifier).rpartition("/")[2], **recording}
    session = "relocate.mtd.relocation_session"
    answer = remote.module(session, state="started", relocation=identifier, part=part, specification=json.dumps(told))
    if answer.get("failed"):
        raise Refused(f"{remote.host}: {said(answer)}")
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = remote.module(session, state="finished", relocation=identifier, timeout=WAIT_SLICE)
        if answer.get("failed"):
            raise Refused(f"{remote.host}: {said(answer)}")
        if answer.get("result") is not None:
            result: dict[str, Any] = checked(remote.host, reports.move_result, answer["result"])
            if result.get("outcome") not in ("recorded", "committed"):
                raise Refused(
                    f"{remote.host}: {'; '.join(map(shown, result.get('problems') or ['it gave no reason']))}"
                )
            return result
    raise Refused(f"{remote.host} reported no result within {timeout} s: run recover.yml to settle {identifier}")


def forget(remote: Remote, identifier: str) -> None:
    """Remove the sealed file from a host."""
    remote.module("ansible.builtin.file", path=place(identifier), state="absent")
