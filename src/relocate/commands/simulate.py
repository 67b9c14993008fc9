# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate simulate``: what protection a setting gives, and the paper's two figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relocate.arguments import PICTURES, checked_path
from relocate.errors import Refusal
from relocate.model.simulate.work import MOST_TRIALS

HELP = """Estimate how much protection a setting gives: survival, time to compromise and cost.

TARGET is a simulation file (docs/simulator.md), or fig4 or fig5: the paper's two figures."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="simulate", help=HELP)(simulate)


def simulate(
    target: Annotated[str, typer.Argument(metavar="FILE|fig4|fig5", help="A simulation file, or one of the figures.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, max=MOST_TRIALS, help="Trials; overrides the file.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Seed; overrides the file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the plot to this PNG, SVG or PDF file.", show_default=False)
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper/--hardened", help="fig4: show the paper's own clock first, or the Poisson clock.")
    ] = False,
    resisted: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Figures: calibrate to this share of resisted attacks.")
    ] = 0.87,
    hosts: Annotated[int, typer.Option(min=2, max=2000, help="fig5: hosts.")] = 30,
    attackers: Annotated[int, typer.Option(min=1, max=2000, help="fig5: attacked hosts.")] = 10,
    live: Annotated[
        Path | None, typer.Option(metavar="LEDGER", help="Figures: overlay what this ledger measured.")
    ] = None,
) -> None:
    """Run one simulation; see HELP."""
    checked_path("--plot", plot, PICTURES)
    if target in ("fig4", "fig5"):
        from relocate.commands.simulate_figures import Options, run

        options = Options(trials or 1_000_000, 7 if seed is None else seed, paper, resisted, hosts, attackers)
        run(target, options, plot, live, as_json)
    elif live is not None:
        raise Refusal("--live is for fig4 and fig5: leave it out", 2)
    else:
        from relocate.commands import simulate_file

        simulate_file.run(Path(target), trials, seed, plot, as_json)
