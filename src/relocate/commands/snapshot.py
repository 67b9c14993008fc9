# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate snapshot``: keeps a running container as it is now, to be restored when its host is lost."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from relocate.arguments import checked_directory, checked_name
from relocate.commands import options
from relocate.errors import Refusal
from relocate.move import relocation
from relocate.terminal import cell, print_result


def register(app: typer.Typer) -> None:
    """Add ``relocate snapshot`` to the command."""
    app.command("snapshot")(snapshot)


def snapshot(
    container: options.ContainerName,
    source: options.Source = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="Keep so many of its snapshots. Default: the inventory's, else 5.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(metavar="D", help="Keep them for so many days. Default: the inventory's, else 30.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DIRECTORY",
            help="The store of snapshots. Default: the inventory's relocate_snapshot_store.",
        ),
    ] = None,
    inventory: options.Inventory = None,
    check: Annotated[bool, typer.Option("--check", help="Say whether one could be made, and make none.")] = False,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a snapshot of a running container, which runs on."""
    checked_name("the container", container)
    if source is not None:
        checked_name("--from", source)
    if keep is not None and keep < 1:
        raise Refusal(f"--keep is {keep}: at least one snapshot is kept", status=2)
    if days is not None and not 0 < days < 36500:
        raise Refusal(f"--days is {days:g}: give a number of days above 0 and below 36500", status=2)
    result = relocation.snapshot(
        container,
        source=source,
        store=checked_directory("--to", store),
        keep=keep,
        days=days,
        inventory=inventory,
        check=check,
        verbose=verbose and not json_,
        quiet=json_,
    )
    if json_:
        print_result(result)
        return
    console = Console(highlight=False)
    name, host = cell(result["container"]), cell(result["host"])
    if result["outcome"] == "planned":
        console.print(f"A snapshot of {name} on {host} can be made. Nothing was changed.")
        return
    size = result["bytes"]["recording"] / 2**20
    console.print(f"[bold]{name}[/bold] on {host}: snapshot [bold]{cell(result['snapshot'])}[/bold], {size:.1f} MiB")
    console.print(f"It stood still for {result['frozen_ms']:.0f} ms. Store: {cell(result['store'])}")
    if result["removed"]:
        console.print(f"Removed, because of --keep or --days: {cell(', '.join(result['removed']))}")
