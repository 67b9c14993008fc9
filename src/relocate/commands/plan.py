# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate plan``: the cheapest clock that reaches a goal, or a refusal with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relocate.arguments import checked_path

HELP = """Find the cheapest clock and placement that reach a survival goal, or say what would help instead.

FILE is a plan file (docs/planner.md). The answer contains the scheduler's configuration."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="plan", help=HELP)(plan)


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    ledger: Annotated[
        Path | None, typer.Option(help="Measured relocations; overrides the file's ledger.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write scheduler.yml, report.html and its plots to this folder.", show_default=False),
    ] = None,
) -> None:
    """Plan; see HELP."""
    checked_path("--out", out)
    from relocate.commands import plan_run

    plan_run.run(file, ledger, out, as_json)
