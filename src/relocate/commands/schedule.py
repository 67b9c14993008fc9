# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate schedule``: the long-lived scheduler."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.errors import Refusal
from relocate.move.relocation import checked_inventory
from relocate.schedule import config, dryrun, logs
from relocate.schedule.discovery import survey
from relocate.schedule.records import Firing
from relocate.schedule.service import Service
from relocate.schedule.settings import Configuration
from relocate.schedule.views import duration
from relocate.terminal import cell

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Configuration. Default: /etc/relocate/schedule.yml, if it exists."
    ),
]
InventoryOption = Annotated[
    str | None, typer.Option("--inventory", "-i", help="Inventory to use instead of the configuration's.")
]


def register(app: typer.Typer) -> None:
    """Add ``relocate schedule`` to the command."""
    app.command("schedule")(schedule)


def configured(file: Path | None, inventory: str | None = None) -> Configuration:
    """Return the configuration that a command is to use. Raises Refusal: 1 for what is wrong in it, 2 for no file."""
    configuration = config.load(file or config.default_file())
    if inventory is None:
        return configuration
    return configuration.model_copy(update={"inventory": checked_inventory(inventory)})


def schedule(
    config_: ConfigOption = None,
    inventory: InventoryOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Move what is already due, or the one that comes first, and exit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what such clocks would draw, from a test seed; move nothing.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="The test seed of --dry-run. Default: 1.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="How many alerts --dry-run prints.")] = 20,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and exit.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --once or --dry-run: one JSON document.")] = False,
) -> None:
    """Run the scheduler: move each tenant whenever its random clock runs out."""
    if seed is not None and not dry_run:
        raise Refusal("--seed is for --dry-run alone: what moves containers is drawn from the system's entropy", 2)
    if once + dry_run + check > 1:
        raise Refusal("--once, --dry-run and --check exclude one another", 2)
    file = config_ or config.default_file()
    configuration = configured(file, inventory)
    if check:
        typer.echo(f"{file or 'the default configuration'}: nothing is wrong with it")
        return
    if dry_run:
        _dry_run(configuration, 1 if seed is None else seed, count, json_)
        return
    logs.setup(configuration.log.format, configuration.log.level)
    if once:
        _once(configuration, file, json_)
        return
    status = Service(configuration, file=file).run()
    if status:
        raise Refusal("moves were still under way at the end: the hosts settle them, see 'relocate recover'", status)


def _once(configuration: Configuration, file: Path | None, json_: bool) -> None:
    made: list[tuple[Firing, dict[str, Any]]] = []
    Service(configuration, file=file, once=True, observe=lambda firing, result: made.append((firing, result))).run()
    if json_:
        typer.echo(json.dumps([firing.document() for firing, _ in made], indent=2))
    wrong = [firing for firing, result in made if result.get("outcome") != "committed"]
    if not made and not json_:
        raise Refusal("nothing was moved: the log above says why")
    if wrong:
        if json_:
            raise typer.Exit(1)
        raise Refusal(str(wrong[0].msg or f"the move of {wrong[0].container} ended as {wrong[0].outcome}"))


def _dry_run(configuration: Configuration, seed: int, count: int, json_: bool) -> None:
    now = time.time()
    tenants = survey(configuration.inventory, now).tenants.values()
    document = dryrun.drawn(configuration, tenants, seed, count, now)
    if json_:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False, file=sys.stdout)
    console.print(f"[bold yellow]{document['warning']}[/bold yellow]", soft_wrap=True)
    table = Table()
    for heading, side in (
        ("from the start", "right"),
        ("container", "left"),
        ("stay", "right"),
        ("changed by", "left"),
    ):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for alert in document["alerts"]:
        changed = "" if alert["clamp"] == "none" else alert["clamp"]
        table.add_row(duration(alert["at"]), cell(alert["container"]), duration(alert["stay"]), changed)
    console.print(table)
    for tenant in document["tenants"]:
        if tenant["problem"]:
            console.print(f"[yellow]{cell(tenant['container'])}[/yellow]: {cell(tenant['problem'])}")
