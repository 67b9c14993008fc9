"""How a plan reads: the table of alternatives and what it cannot say, for terminal and report alike."""

from __future__ import annotations

import math

from rich.table import Table

from relocate.model.planned import Planned


def table(answer: Planned) -> Table:
    """Return the table of alternatives; the recommended one is marked."""
    goal = answer.plan.goal
    shown = Table(title=f"Survival ≥ {goal.survival:g} over {goal.horizon / 86400:g} days")
    for name in (
        "clock",
        "longest",
        "survival",
        "simulated",
        "hops/h",
        "in wall time",
        "availability",
        "meets the goal",
    ):
        shown.add_column(name, justify="left" if name in ("clock", "meets the goal") else "right")
    for found, check, band in zip(answer.alternatives, answer.confirmed, answer.bands, strict=True):
        survival = f"{found.survival:.5f}"
        hops = f"{found.wall_hops_per_hour:.1f}"
        if band is not None:
            survival += f"\n{band.survival[0]:.5f} … {band.survival[2]:.5f}"
            hops += f"\n{band.hops_per_hour[0]:.1f} … {band.hops_per_hour[2]:.1f}"
        shown.add_row(
            f"{'→ ' if found is answer.best else '  '}{found.name}",
            "none" if math.isinf(found.clock.longest) else f"{found.clock.longest:.4g} s",
            survival,
            f"{check['estimate']:.4f}\n{check['ci95'][0]:.4f} … {check['ci95'][1]:.4f}",
            f"{found.hops_per_hour:.1f}",
            hops,
            f"{found.availability:.5f}",
            "yes" if not found.misses else "; ".join(found.misses),
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
        "hops/h counts hours of operation, 3600/E S; in wall time each hop also takes latency and downtime.",
    ]
    lines += [f"{found.name}: {found.note}." for found in answer.alternatives]
    if where.beta is None:
        lines.append(
            "No differences between hosts were given: placement was taken as uniform; the floor is for the scheduler."
        )
    else:
        lines.append(
            f"Placement: beta {where.beta:.3g} keeps every next hop above {where.floor:.3g} bits of min-entropy; an attacker "
            f"who knows the law and holds the best hosts is hit with probability {where.informed:.3f} per hop, "
            f"{where.uniform:.3f} if the draw were uniform."
        )
        lines.append("Survival is computed for uniform placement; the simulated column uses the softmax placement.")
    if answer.measured is not None:
        lines.append("Second lines: 5 to 95 % over posterior draws of latency, downtime and failure rate.")
        if answer.measured.unreadable:
            lines.append(f"{answer.measured.unreadable} lines of the ledger could not be read and were skipped.")
    return lines
