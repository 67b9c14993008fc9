# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate restore``: a container comes back from a snapshot."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from relocate.arguments import checked_directory, checked_name
from relocate.commands import options
from relocate.move import relocation
from relocate.terminal import cell, print_result


def register(app: typer.Typer) -> None:
    """Add ``relocate restore`` to the command."""
    app.command("restore")(restore)


def restore(
    container: options.ContainerName,
    snapshot: Annotated[
        str, typer.Option("--from", metavar="SNAPSHOT|latest", help="Which snapshot; see: relocate snapshots NAME.")
    ] = "latest",
    to: Annotated[
        str | None,
        typer.Option(
            "--to", "-t", metavar="HOST", help="Destination. Without it, one of those that can take it is drawn."
        ),
    ] = None,
    dead: Annotated[
        list[str] | None,
        typer.Option(
            "--host-is-dead",
            metavar="HOST",
            help="This host is switched off, or cut off for good. You must know: silence proves nothing. May be repeated.",
        ),
    ] = None,
    store: options.Store = None,
    inventory: options.Inventory = None,
    check: Annotated[bool, typer.Option("--check", help="Check everything and change nothing.")] = False,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Restore a container from a snapshot, where no other copy of it can be.

    The edge stops sending to dead hosts first. When one comes back, run: relocate recover.
    """
    checked_name("the container", container)
    checked_name("--from", snapshot)
    for host in [*([to] if to is not None else []), *(dead or [])]:
        checked_name("a host", host)
    result = relocation.restore(
        container,
        snapshot=snapshot,
        destination=to,
        dead=dead,
        store=checked_directory("--store", store),
        inventory=inventory,
        check=check,
        verbose=verbose and not json_,
        quiet=json_,
    )
    if json_:
        print_result(result)
        return
    console = Console(highlight=False)
    name, host, made = cell(result["container"]), cell(result["host"]), cell(result["at"])
    if result["outcome"] == "planned":
        console.print(f"{name} can be restored on {host}, as it was at {made}. Nothing was changed.")
        return
    console.print(
        f"[bold]{name}[/bold] runs on [bold]{host}[/bold] as it was at {made}; its TCP connections are closed."
    )
    for each in result["dead"]:
        console.print(f"When {cell(each)} comes back, run: relocate recover")
