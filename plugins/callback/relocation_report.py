# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints a relocation's phases where a person can see them, and writes its result into the ledger."""

from __future__ import annotations

DOCUMENTATION = r"""
name: relocation_report
type: aggregate
short_description: Reports relocations and keeps the ledger
description:
  - After every C(relocate.mtd.container_relocate) task that tried or refused a move, prints where the container went, what each
    phase took, and appends the result to the ledger, one JSON document a line. After C(relocate.mtd.project_relocate), and
    after a move with the whole project, it does so for each container of the project.
  - The ledger is what metrics, reports and the planner read. It never holds what is still to come.
requirements:
  - enabled in C(ansible.cfg) (C(callbacks_enabled))
options:
  ledger:
    description: File that the results are appended to. An empty string keeps none.
    type: str
    default: ~/.local/state/relocate/ledger.jsonl
    env:
      - name: RELOCATE_LEDGER
    ini:
      - section: callback_relocation_report
        key: ledger
"""

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.relocate.mtd.plugins.module_utils import _homes
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import default_path, recorded
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

ACTION, OF_PROJECT = "relocate.mtd.container_relocate", "relocate.mtd.project_relocate"
DEFAULT = "~/.local/state/relocate/ledger.jsonl"  # the option's
#: Phases in the order in which they pass, and what they are called for people.
PHASES = (
    ("hold", "hold"),
    ("freeze", "freeze"),
    ("dump", "dump"),
    ("rewrite", "rewrite"),
    ("transfer", "transfer"),
    ("restore", "restore"),
    ("commit", "commit"),
    ("release", "release"),
)


def ledger_path(option: str) -> Path | None:
    """Return the ledger's file: what was set, else the user's; None when it is switched off."""
    if not option:
        return None
    if option == DEFAULT:
        return default_path()
    return _homes.given(option)


def entry(result: dict[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """Return what the ledger keeps of a task's result."""
    return {"at": now.isoformat(timespec="milliseconds"), **recorded(result)}


def append(path: Path, document: dict[str, Any]) -> None:
    """Append one line; concurrent writers do not mix, for a short append is one write."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (json.dumps(document, separators=(",", ":"), default=str) + "\n").encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def predicted(result: dict[str, Any]) -> list[str]:
    """Return a line on what was expected of a relocation that was carried out, if anything was."""
    if "predicted_downtime_ms" not in result:
        return []
    words = f"{result['mode']}, {result['predicted_downtime_ms']:.0f} ms predicted"
    if result.get("source_needed_ms"):
        words += f"; source needed for another {result['source_needed_ms']:.0f} ms"
    return [words]


def ended(result: dict[str, Any]) -> list[str]:
    """Return a line on a container that was moved and has ended since, if it has."""
    if result.get("exit_code") is None:
        return []
    return [f"it has ended there since, with exit status {result['exit_code']}: see docker logs {result['container']}"]


def lines(result: dict[str, Any]) -> list[str]:
    """Return a result as lines for people."""
    if "source" not in result:
        return [f"refused: {result.get('msg')}"]
    source, destination = result["source"]["host"], result["destination"]["host"]
    if result["outcome"] == "planned":
        mode = "".join(f", {line}" for line in predicted(result))
        return [f"{result['container']}: {source} -> {destination}{mode} (planned, nothing was touched)"]
    if result["outcome"] != "committed":
        return [f"{result['container']}: {source} -> {destination} {result['outcome']}: {result.get('msg')}"]
    timings = result.get("timings_ns") or {}
    phases = "  ".join(f"{label} {timings[name] / 1e6:.1f}" for name, label in PHASES if name in timings)
    flows = {"kept": 0, **(result.get("flows") or {})}
    if result.get("strategy") == "recreate":
        drain = {"connections": 0, "cut": 0, **(result.get("drain") or {})}
        return [
            f"{result['container']}: {source} -> {destination}   made anew, {drain['connections']} connections drained, "
            f"{drain['cut']} of them cut"
        ]
    return [
        f"{result['container']}: {source} -> {destination}   {result.get('address_before')} -> {result.get('address_after')}",
        f"down {result.get('downtime_ms') or 0:.1f} ms   ({phases} ms)",
        *predicted(result),
        f"{flows['kept']} connection{'' if flows['kept'] == 1 else 's'} kept, {result.get('packets_held', 0)} packets held, "
        f"{sum(result.get('bytes', {}).values()) / 2**20:.1f} MiB carried",
        *ended(result),
    ]


def project_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the end of a project's move as lines for people; those of its members follow."""
    if "source" not in result:
        return [] if result.get("members") else [f"refused: {result.get('msg')}"]
    source, destination = result["source"]["host"], result["destination"]["host"]
    return [f"project {result['project']}: {source} -> {destination} {result['outcome']}"]


class CallbackModule(CallbackBase):
    """Listens for results of relocations."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "relocation_report"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task succeeded."""
        self._report(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._report(result)

    def _report(self, outcome: Any) -> None:
        if (
            outcome.task.action not in (ACTION, OF_PROJECT) or "outcome" not in outcome.result
        ):  # a fault of ours, not a move
            return
        if outcome.task.action == ACTION and "members" not in outcome.result:
            self._report_one(dict(outcome.result))
            return
        for line in project_lines(outcome.result):
            self._display.display(f"  {shown(line)}")
        for each in outcome.result.get("members") or []:
            self._report_one(dict(each))

    def _report_one(self, told: dict[str, Any]) -> None:
        try:
            result = reports.move_result(told)
        except reports.Odd as odd:
            self._display.warning(f"the result of a relocation is none, and gets no line in the ledger: {odd}")
            return
        for line in lines(result):
            self._display.display(f"  {shown(line)}")
        path = ledger_path(self.get_option("ledger"))
        if path is None or result["outcome"] == "planned":
            return
        try:
            append(path, entry(result, datetime.datetime.now(datetime.timezone.utc)))
        except OSError as error:
            self._display.warning(f"the ledger {path} could not be written: {error}")
