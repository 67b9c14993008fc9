# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate recover``: settles what a crash left."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from relocate.arguments import checked_name
from relocate.commands import options
from relocate.move import relocation
from relocate.terminal import cell


def register(app: typer.Typer) -> None:
    """Add ``relocate recover`` to the command."""
    app.command("recover")(recover)


def recover(
    inventory: options.Inventory = None,
    gone: Annotated[
        list[str] | None,
        typer.Option(
            "--gone", metavar="HOST", help="This host will never come back: give up what waits for its memory."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="List what is unfinished and settle nothing.")] = False,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Finish or roll back whatever a crash left half-done; leave moves in progress alone."""
    for host in gone or ():
        checked_name("--gone", host)
    document = relocation.recover(
        inventory=inventory, gone=gone or (), check=check, verbose=verbose and not json_, quiet=json_
    )
    if json_:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    for each in document["in_progress"]:
        console.print(f"Relocation {cell(each)} is in progress and is left to its own processes.")
    if not document["settled"]:
        console.print("Nothing was left half-done.")
        return
    table = Table("relocation", "container", "host", "part", "outcome")
    for each in document["settled"]:
        table.add_row(*(cell(each.get(name)) for name in ("relocation", "container", "host", "part", "outcome")))
    console.print(table)
    for note in [note for each in document["settled"] for note in each.get("notes") or ()]:
        console.print(f"{cell(note)}.", soft_wrap=True)
