# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real relocations measured: exposure latency, downtime, failures and stays, read from the ledger (JSON lines)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import default_path

from relocate.errors import Refusal
from relocate.reading import file_name

OUTCOMES = ("committed", "rolled-back", "refused", "failed")


@dataclass
class Measured:
    """Sums and samples of a ledger. Times in seconds; only committed relocations give latencies and downtimes."""

    path: Path
    committed: int = 0
    missed: int = 0  # rolled back, refused or failed: the container stayed where it was
    latencies: list[float] = field(default_factory=list)
    downtimes: list[float] = field(default_factory=list)
    stays: list[float] = field(default_factory=list)
    unreadable: int = 0

    @property
    def relocations(self) -> int:
        return self.committed + self.missed


def read(path: Path) -> Measured:
    """Read a ledger; ``default`` is the one that relocations are written to.

    A line that is not a JSON object with a known outcome is counted as unreadable, and skipped. Raises Refusal with
    status 2 where there is no such file, with 1 where it holds no relocation.
    """
    path = default_path() if path == Path("default") else path
    measured = Measured(path)
    arrived: dict[str, float] = {}
    try:
        if path.exists() and not path.is_file():  # a device may have no end
            raise Refusal(f"the ledger {file_name(path)} is no file but a directory or device: give a file", 2)
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.strip():
                    _add(measured, _parse(line), arrived)
    except OSError as error:
        raise Refusal(
            f"the ledger {file_name(path)} cannot be read: {error.strerror}: give a file that can", 2
        ) from None
    if measured.relocations == 0:
        raise Refusal(
            f"the ledger {file_name(path)} holds no relocation: give another, or leave it out and state the values."
        )
    return measured


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and entry.get("outcome") in OUTCOMES else None


def _add(measured: Measured, entry: dict[str, Any] | None, arrived: dict[str, float]) -> None:
    if entry is None:
        measured.unreadable += 1
        return
    _add_stay(measured, entry, arrived)
    if entry["outcome"] != "committed":
        measured.missed += 1
        return
    measured.committed += 1
    if (latency := _exposure_latency(entry)) is not None:
        measured.latencies.append(latency)
    if (downtime := _number(entry.get("downtime_ms"))) is not None:
        measured.downtimes.append(downtime / 1e3)


def _add_stay(measured: Measured, entry: dict[str, Any], arrived: dict[str, float]) -> None:
    """A stay ends with every alert of the clock, whatever became of the hop: a failed one draws the clock anew."""
    container, moment = str(entry.get("container")), _moment(entry.get("started_at"))
    stay = _number(entry.get("stay_ms"))
    if stay is not None:
        measured.stays.append(stay / 1e3)
    elif moment is not None and container in arrived and moment >= arrived[container]:
        measured.stays.append(moment - arrived[container])
    if moment is not None:
        arrived[container] = moment


def _exposure_latency(entry: dict[str, Any]) -> float | None:
    """Alert to frozen, in seconds: as measured, else the phases that come before the freeze."""
    if (measured := _number(entry.get("exposure_latency_ms"))) is not None:
        return measured / 1e3
    timings = entry.get("timings_ns")
    if not isinstance(timings, dict):
        return None
    parts = [_number(timings.get(phase)) for phase in ("stage", "hold", "freeze")]
    known = [part for part in parts if part is not None]
    return sum(known) / 1e9 if known else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e300:
        return None
    return float(value)


def _moment(value: Any) -> float | None:
    """Epoch seconds, or ISO 8601."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    return _number(value)
