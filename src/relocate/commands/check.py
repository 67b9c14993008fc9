# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate check``: whether a container, or a project, can be moved, and to which hosts; every reason at once."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.arguments import checked_wishes
from relocate.commands import options
from relocate.errors import Refusal
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
    if "dump" in result:
        frozen, size = result["dump"]["frozen_ms"], result["dump"]["memory_bytes"] / 2**20
        console.print(f"A dump on trial took {frozen:.0f} ms, of {size:.0f} MiB; it runs on.")
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


def show_project(console: Console, result: dict[str, Any]) -> None:
    """Print the verdicts on a project: what keeps its members here, then host by host and member by member."""
    name, source = cell(result["project"]), cell(result["source"])
    names = ", ".join(each["container"] for each in result["members"])
    console.print(f"The project [bold]{name}[/bold] runs on {source}: {cell(names)}.")
    if result["refusals"]:
        console.print("It [red]cannot leave[/red]:")
        for reason in result["refusals"]:
            console.print(f"  • {cell(reason)}")
    table = Table("host", "container", "can take it", "mode", "pause", "why not, or why this mode")
    for host in result["destinations"]:
        for each in host["members"]:
            _project_row(table, host["host"], each["container"], each)
        own = [reason for reason in host["refusals"] if not any(reason in each["refusals"] for each in host["members"])]
        makes = [
            f"makes {each['name']}{' anew' if each['what'] == 'renewed' else ''}" for each in host.get("networks", [])
        ]
        why = host.get("predicted_from")
        row = {**host, "refusals": own, "mode": "", "mode_why": "; ".join(filter(None, [why, *makes]))}
        _project_row(table, host["host"], "all", row, verdict=_verdict(host))
        table.add_section()
    console.print(table if result["destinations"] else "There is no other host in the inventory.")
    left = result["left_behind"]
    for stays, why in (
        (left["stopped"], "does not run"),
        (left["others"], "is on a network of it and not of the project"),
    ):
        for each in stays:
            console.print(f"{cell(each)} stays: it {why}.")
    if result["movable"]:
        console.print(f"Move it with: relocate move --project {name}", style="dim")


def _project_row(table: Table, host: str, container: str, row: dict[str, Any], verdict: str | None = None) -> None:
    pause = row.get("predicted_downtime_ms")
    table.add_row(
        cell(host),
        cell(container),
        verdict or _verdict(row),
        cell(row.get("mode")),
        "" if pause is None else f"{pause:.0f} ms",
        "\n".join(f"• {cell(reason)}" for reason in row["refusals"]) or cell(row.get("mode_why")),
    )


def check(
    container: Annotated[str | None, typer.Argument(help="Name of the container.")] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="NAME", help="Look at all running containers of a Compose project instead."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", "-t", metavar="HOST", help="Look at this host only. Default: all but the source."),
    ] = None,
    source: options.Source = None,
    mode: options.Mode = "auto",
    prefer: options.Prefer = None,
    strategy: options.Strategy = None,
    downtime_limit: options.DowntimeLimit = None,
    dump: Annotated[
        bool, typer.Option("--dump", help="Have it dumped on trial, too: it stands still for that, and runs on.")
    ] = False,
    inventory: options.Inventory = None,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Tell whether a container, or a project, can be moved, and to which hosts; change nothing.

    With --dump, CRIU dumps the container on trial, if nothing else stands in the way, and throws the images away.

    Exit status: 0 if it can go to one of the hosts, 1 if not.
    """
    name = options.named(container, project)
    wishes = checked_wishes(
        name,
        to=to,
        source=source,
        mode=mode,
        prefer=prefer,
        strategy=strategy,
        downtime_limit=downtime_limit,
    )
    told: dict[str, Any] = {"inventory": inventory, "verbose": verbose and not json_, "quiet": json_}
    if dump and project is not None:
        raise Refusal("--dump is of one container: name that in place of --project", status=2)
    if project is None:
        result = relocation.check(name, **wishes, dump=dump, **told)
    else:
        result = relocation.check_project(name, **options.of_project(wishes), **told)
    if json_:
        print_result(result)
    else:
        (show if project is None else show_project)(Console(highlight=False), result)
    if not result["movable"]:
        raise typer.Exit(1)
