# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a plan reads: the table of alternatives and what it cannot say, for terminal and report alike."""

from __future__ import annotations

import math

from rich import box
from rich.table import Table

from relocate.model.clock_plan.planned import Planned


def table(answer: Planned) -> Table:
    """Return the table of alternatives; the recommended one is marked."""
    goal = answer.plan.goal
    shown = Table(title=f"Survival ≥ {goal.survival:g} over {goal.horizon / 86400:g} days", box=box.SIMPLE_HEAD)
    for name in ("clock", "longest", "survival", "hops/h", "up", "goal"):
        shown.add_column(name, justify="left" if name == "clock" else "right", no_wrap=True)
    for found, check, band in zip(answer.alternatives, answer.confirmed, answer.bands, strict=True):
        survival = [f"{found.survival:.5f}", f"sim. {check['estimate']:.4f}"]
        hops = [f"{found.hops_per_hour:.1f}", f"wall {found.wall_hops_per_hour:.1f}"]
        if band is not None:
            survival.append(f"{band.survival[0]:.4f} … {band.survival[2]:.4f}")
            hops.append(f"{band.hops_per_hour[0]:.1f} … {band.hops_per_hour[2]:.1f}")
        shown.add_row(
            f"{'→' if found is answer.best else ' '} {found.name}",
            "none" if math.isinf(found.clock.longest) else f"{found.clock.longest:.4g} s",
            "\n".join(survival),
            "\n".join(hops),
            f"{found.availability:.5f}",
            "missed" if found.misses else "met",
        )
    return shown


def remarks(answer: Planned) -> list[str]:
    """Return what the table cannot say, in sentences."""
    problem, where = answer.problem, answer.where
    source = (
        f"{answer.measured.relocations} relocations of {answer.measured.path}"
        if answer.measured
        else "the plan file (no ledger)"
    )
    lines = [
        f"From {source}: exposure latency {problem.latency:.3g} s (95 %: {problem.latency_high:.3g} s), downtime "
        f"{problem.downtime:.3g} s, failed hops {problem.failure:.2%}.",
        "hops/h counts hours of operation, 3600/E S; by the wall clock each hop also takes latency and downtime.",
    ]
    for found in answer.alternatives:
        missed = f" Misses the goal: {'; '.join(found.misses)}." if found.misses else ""
        lines.append(f"{found.name}: {found.note}.{missed}")
    if where.beta is None:
        lines.append(
            "No differences between hosts were given: the placement is uniform, for the plan and for the scheduler."
        )
    else:
        lines.append(
            f"Placement: beta {where.beta:.3g} keeps every next hop above {where.floor:.3g} bits of min-entropy; an attacker "
            f"who knows the law and holds the best hosts is hit with probability {where.informed:.3f} per hop, "
            f"{where.uniform:.3f} if the draw were uniform."
        )
        lines.append("Survival, verdict and simulation are those of this placement, over all sets of attacked hosts.")
    if answer.measured is not None:
        lines.append("Third lines: 5 to 95 % over posterior draws of latency, downtime and failure rate.")
        if answer.measured.unreadable:
            lines.append(f"{answer.measured.unreadable} lines of the ledger could not be read and were skipped.")
    return lines
