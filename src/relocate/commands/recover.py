"""``relocate recover``: settles what a crash left."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.fleet_run import inventory_path
from relocate.lab import playbook
from relocate.lab.paths import project_root

ACTION = "relocate.mtd.relocations_recover"


def register(app: typer.Typer) -> None:
    """Add ``relocate recover`` to the command."""
    app.command("recover")(recover)


def recover(
    inventory: Annotated[
        str | None, typer.Option("--inventory", "-i", help="Inventory; RELOCATE_INVENTORY or the lab's without it.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="List what is unfinished and settle nothing.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Ansible's own output.")] = False,
) -> None:
    """Finish or roll back whatever a crash left half-done; leave what is in progress alone."""
    root = project_root()
    document: dict[str, Any] = {"settled": [], "left": []}

    def watch(event: dict[str, Any]) -> None:
        data = event.get("event_data") or {}
        if event["event"] in ("runner_on_ok", "runner_on_failed") and data.get("task_action") == ACTION:
            document.update({name: data["res"][name] for name in document if name in data["res"]})

    playbook.run(
        root,
        "playbooks/recover.yml",
        {},
        inventory=inventory_path(inventory, root),
        arguments="--check" if check else "",
        verbose=verbose and not json_,
        quiet=json_,
        watch=watch,
    )
    if json_:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    if not document["settled"]:
        console.print("Nothing was left half-done.")
        return
    table = Table("relocation", "container", "host", "part", "outcome")
    for each in document["settled"]:
        table.add_row(each["relocation"], each.get("container") or "", each["host"], each["part"], each["outcome"])
    console.print(table)
