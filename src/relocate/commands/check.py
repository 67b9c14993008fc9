# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate check``: whether a container can be moved, and to which hosts; every reason at once, and nothing changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.arguments import checked_wishes
from relocate.commands import options
from relocate.move import relocation
from relocate.terminal import cell, print_result


def register(app: typer.Typer) -> None:
    """Add ``relocate check`` to the command."""
    app.command("check")(check)


def _verdict(destination: dict[str, Any]) -> str:
    return "[red]no[/red]" if destination["refusals"] else "[green]yes[/green]"


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the verdicts: first what holds wherever the container goes, then host by host."""
    name, source = cell(result["container"]), cell(result["source"])
    console.print(f"[bold]{name}[/bold] runs on {source}.")
    if result["refusals"]:
        console.print("It [red]cannot leave[/red]:")
        for reason in result["refusals"]:
            console.print(f"  • {cell(reason)}")
        if result.get("remedy"):
            console.print(f"  → {cell(result['remedy'])}")
    table = Table("host", "can take it", "mode", "pause", "why not, or why this mode")
    for each in result["destinations"]:
        pause = each.get("predicted_downtime_ms")
        table.add_row(
            cell(each["host"]),
            _verdict(each),
            cell(each.get("mode")),
            "" if pause is None else f"{pause:.0f} ms",
            "\n".join(f"• {cell(reason)}" for reason in each["refusals"]) or cell(each.get("mode_why")),
        )
    console.print(table if result["destinations"] else "There is no other host in the inventory.")
    if result["movable"]:
        console.print(f"Move it with: relocate move {name}", style="dim")


def check(
    container: options.ContainerName,
    to: Annotated[
        str | None,
        typer.Option("--to", "-t", metavar="HOST", help="Look at this host only. Default: all but the source."),
    ] = None,
    source: options.Source = None,
    mode: options.Mode = "auto",
    prefer: options.Prefer = None,
    strategy: options.Strategy = None,
    downtime_limit: options.DowntimeLimit = None,
    inventory: options.Inventory = None,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Tell whether a container can be moved, and to which hosts; change nothing.

    Exit status: 0 if it can go to one of the hosts, 1 if not.
    """
    wishes = checked_wishes(
        container,
        to=to,
        source=source,
        mode=mode,
        prefer=prefer,
        strategy=strategy,
        downtime_limit=downtime_limit,
    )
    result = relocation.check(
        container,
        **wishes,
        inventory=inventory,
        verbose=verbose and not json_,
        quiet=json_,
    )
    if json_:
        print_result(result)
    else:
        show(Console(highlight=False), result)
    if not result["movable"]:
        raise typer.Exit(1)
