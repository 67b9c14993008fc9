# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate plan``: read, plan, print, write the folder with the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.console import Console

from relocate import reading
from relocate.commands import plan_text
from relocate.commands.simulate_file import EXTREME, progress_bar
from relocate.errors import Refusal
from relocate.model.clock_plan import planned
from relocate.model.clock_plan.spec import PlanFile


def run(file: Path, ledger: Path | None, out: Path | None, as_json: bool) -> None:
    """Plan and print. Raises Refusal for a bad file and for a goal that cannot be had."""
    plan = reading.load(file, PlanFile, keys="docs/planner.md")
    try:
        with np.errstate(all="ignore"), progress_bar("alternatives") as report:
            answer = planned.make(plan, planned.read_ledger(plan, ledger), report, where=f"{file}:1: goal.horizon")
    except ValueError as error:
        raise Refusal(f"{file}:1: {error}.") from None
    except (ArithmeticError, MemoryError):
        raise Refusal(f"{file}:1: {EXTREME}") from None
    if out is not None:
        from relocate.commands import plan_report

        plan_report.write(answer, out)
    if as_json:
        print(json.dumps(answer.document(), allow_nan=False))
        return
    console = Console()
    console.print(plan_text.table(answer))
    for line in plan_text.remarks(answer):
        console.print(f"• {line}", highlight=False)
    console.print()
    console.print(answer.scheduler_yaml(), highlight=False, end="", soft_wrap=True)
    if out is not None:
        console.print(f"\nreport: {out / 'report.html'}", highlight=False)
