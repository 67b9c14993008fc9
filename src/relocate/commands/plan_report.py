# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner's folder: scheduler.yml, report.html and the plots, all readable without a network."""

from __future__ import annotations

import html
from pathlib import Path

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock
from rich.console import Console

from relocate.commands import plan_text
from relocate.errors import Refusal
from relocate.model.clock_plan.planned import Planned
from relocate.model.plots import paper, plan
from relocate.model.simulate import figures

FIGURE_TRIALS = 100_000

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>RELOCATE: plan</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
pre {{ background: #f5f5f5; padding: 1rem; overflow-x: auto; line-height: 1.25 }}
figure {{ margin: 2rem 0 }} img {{ max-width: 100% }} figcaption {{ color: #555 }}
</style>
<h1>Plan: {title}</h1>
<pre>{table}</pre>
<ul>{remarks}</ul>
<h2>Scheduler</h2>
<pre>{scheduler}</pre>
<h2>Figures</h2>
{figures}
</html>
"""


def write(answer: Planned, folder: Path) -> None:
    """Write the report. Raises Refusal where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scheduler.yml").write_text(answer.scheduler_yaml(), encoding="utf-8")
        shown = "\n".join(
            f'<figure><img src="{name}" alt="{html.escape(caption)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
            for name, caption in _plots(answer, folder)
        )
        goal = answer.plan.goal
        page = _PAGE.format(
            title=html.escape(f"survival {goal.survival:g} over {goal.horizon / 86400:g} days with {answer.best.name}"),
            table=html.escape(_plain_table(answer)),
            remarks="".join(f"<li>{html.escape(line)}</li>" for line in plan_text.remarks(answer)),
            scheduler=html.escape(answer.scheduler_yaml()),
            figures=shown,
        )
        (folder / "report.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{folder} cannot be written: {error.strerror}.") from None


def _plain_table(answer: Planned) -> str:
    console = Console(width=130, no_color=True)
    with console.capture() as capture:
        console.print(plan_text.table(answer))
    return capture.get()


def _plots(answer: Planned, folder: Path) -> list[tuple[str, str]]:
    """Draw every plot that this plan has data for; return (file name, caption)."""
    made = [
        ("pareto.png", "Survival against hops per hour along each clock's dial; dots are the alternatives."),
        ("mttc.png", "Mean time to compromise against hop rate. The exponential line is flat: formula 3."),
        ("timeline.png", "One simulated run of each clock; a red dot is a stay in which an attack succeeded."),
    ]
    plan.pareto(answer, folder / "pareto.png")
    plan.mttc(answer.problem, folder / "mttc.png")
    plan.timeline(answer, folder / "timeline.png")
    if (matrix := answer.plan.fleet.matrix) is not None:
        plan.heat_map(matrix, folder / "delta.png")
        plan.beta_trade_off(answer, folder / "beta.png")
        made.append(("delta.png", "Differences between hosts, like hosts together."))
        made.append(
            ("beta.png", "What beta buys (difference per hop) and costs (entropy, an informed attacker's chance).")
        )
    if answer.measured is not None and answer.measured.stays:
        running = answer.plan.running_clock
        clock, whose = (make_clock(running), "running") if running else (answer.best.clock, "planned")
        statistic, p = plan.stays(answer.measured.stays, clock, whose, folder / "stays.png")
        verdict = "are consistent with" if p >= 0.01 else "do not follow"
        made.append(("stays.png", f"The ledger's stays {verdict} the {whose} clock: D = {statistic:.3f}, p = {p:.2g}."))
    options = figures.Options(trials=FIGURE_TRIALS)
    paper.fig4(figures.fig4(options), folder / "fig4.png")
    paper.fig5(figures.fig5(options), folder / "fig5.png")
    made.append(("fig4.png", "The paper's Fig. 4 with its fit; see docs/model.md for what it leaves open."))
    made.append(("fig5.png", "The paper's Fig. 5 with its fit."))
    return made
