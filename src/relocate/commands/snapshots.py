# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate snapshots``: the snapshots in the store."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.arguments import checked_directory, checked_name
from relocate.commands import options
from relocate.move import relocation
from relocate.terminal import cell


def register(app: typer.Typer) -> None:
    """Add ``relocate snapshots`` to the command."""
    app.command("snapshots")(snapshots)


def _mebibytes(value: Any) -> str:
    return f"{value / 2**20:.1f} MiB" if isinstance(value, int) else ""


def snapshots(
    container: Annotated[str | None, typer.Argument(help="Only those of this container.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every recording with its manifest: as long as reading them takes.")
    ] = False,
    store: options.Store = None,
    inventory: options.Inventory = None,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """List snapshots, each container's newest first.

    Exit status: 0, or 1 if one of them cannot be used.
    """
    if container is not None:
        checked_name("the container", container)
    result = relocation.snapshots(
        container,
        verify=verify,
        store=checked_directory("--store", store),
        inventory=inventory,
        verbose=verbose and not json_,
        quiet=json_,
    )
    found = result["snapshots"]
    if json_:
        typer.echo(json.dumps({"store": result["store"], "snapshots": found}, indent=2))
    elif not found:
        Console(highlight=False).print(f"The store {cell(result['store'])} has none.")
    else:
        table = Table("container", "snapshot", "made", "on", "memory", "size", "problem")
        for each in found:
            words = (cell(each.get(name)) for name in ("container", "id", "at", "host"))
            sizes = (_mebibytes(each.get(name)) for name in ("memory_bytes", "bytes"))
            table.add_row(*words, *sizes, cell(each.get("problem")))
        Console(highlight=False).print(table)
    if any(each["problem"] for each in found):
        raise typer.Exit(1)
