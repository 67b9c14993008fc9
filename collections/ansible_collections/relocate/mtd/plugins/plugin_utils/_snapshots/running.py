# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the one part of a snapshot on its host, and waits for what it reports. What it works on is a sealed file there."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _paths
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remote, checked, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

WAIT_SLICE = 30  # seconds one module call waits for the result


def place(identifier: str) -> str:
    """Return where the sealed file of a snapshot lies on a host: see C(protocol/recording.py) of the proxy."""
    return f"{_paths.RECORDINGS}/relocate-{identifier}.sealed"


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
