# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate move``: one relocation, shown as it happens."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from relocate.arguments import checked_wishes, checked_words
from relocate.commands import options
from relocate.errors import Refusal
from relocate.move.relocation import relocate, relocate_project
from relocate.terminal import cell, paragraph, print_result

#: Phases of the pause in the order in which they pass.
PHASES = ("hold", "freeze", "dump", "rewrite", "transfer", "restore", "commit", "release")
COLOURS = ("red", "cyan", "blue", "magenta", "yellow", "green", "bright_white", "bright_cyan")
BAR_WIDTH = 48


def register(app: typer.Typer) -> None:
    """Add ``relocate move`` to the command."""
    app.command("move")(move)


def phase_bar(timings_ns: dict[str, int], width: int = BAR_WIDTH) -> Text:
    """Return the phases of a pause as a bar whose parts are as long as they took."""
    present = [(name, timings_ns[name]) for name in PHASES if timings_ns.get(name)]
    total = sum(value for _, value in present) or 1
    bar = Text()
    for name, value in present:
        cells = max(1, round(width * value / total)) if value / total > 0.02 else 0
        bar.append("█" * cells, style=COLOURS[PHASES.index(name)])
    return bar


def phase_words(timings_ns: dict[str, int]) -> Text:
    """Return the phases as words in the colours of the bar."""
    words = Text()
    for name, colour in zip(PHASES, COLOURS, strict=True):
        if timings_ns.get(name):
            words.append(f"{name} ", style=colour)
            words.append(f"{timings_ns[name] / 1e6:.1f}  ")
    return words


def how(result: dict[str, Any]) -> str:
    """Return the mode of a committed relocation, and what was expected of it."""
    words = [result["mode"]]
    if result.get("predicted_downtime_ms") is not None:
        words.append(f"{result['predicted_downtime_ms']:.0f} ms predicted")
    if result.get("rounds"):
        ahead = sum(each["bytes"] for each in result["rounds"]) / 2**20
        words.append(f"{ahead:.0f} MiB went ahead in {len(result['rounds'])} rounds")
    if result.get("source_needed_ms"):
        words.append(f"source needed for another {result['source_needed_ms']:.0f} ms")
    return ", ".join(words)


def show(console: Console, result: dict[str, Any]) -> None:
    """Print a committed relocation."""
    table = Table.grid(padding=(0, 2))
    source, destination = cell(result["source"]["host"]), cell(result["destination"]["host"])
    table.add_row("container", f"[bold]{cell(result['container'])}[/bold]  {source} → [bold]{destination}[/bold]")
    table.add_row("address", f"{cell(result['address_before'])} → [bold]{cell(result['address_after'])}[/bold]")
    if result.get("choice", {}).get("why"):
        table.add_row("why", cell(result["choice"]["why"]))
    if result.get("strategy") == "recreate":
        _show_drain(console, table, result)
        return
    table.add_row("down", f"[bold]{result['downtime_ms']:.1f} ms[/bold]  ({cell(how(result))})")
    table.add_row("", phase_bar(result["timings_ns"]))
    table.add_row("", phase_words(result["timings_ns"]))
    if result.get("exit_code") is not None:
        status, name = cell(result["exit_code"]), cell(result["container"])
        table.add_row(
            "[red]ended[/red]", f"it has ended there since, with exit status {status}: see docker logs {name}"
        )
    flows = result["flows"]
    table.add_row("connections", f"{flows['kept']} kept, {flows['lost']} lost; {result['packets_held']} packets held")
    console.print(table)


def _show_drain(console: Console, table: Table, result: dict[str, Any]) -> None:
    """Print what became of the connections of a container that was made anew, and of the container that had them."""
    drain = result.get("drain") or {"connections": 0, "cut": 0, "seconds": 0.0}
    table.add_row("anew", "made from its image and settings; its memory is lost")
    table.add_row(
        "connections",
        f"{drain['connections']} drained at {cell(result['source']['host'])} in {drain['seconds']:.0f} s, "
        f"{drain['cut']} of them cut",
    )
    console.print(table)


def _show_steps(console: Console, result: dict[str, Any]) -> None:
    console.print(paragraph(result["diff"]["after"].rstrip()), markup=False, highlight=False, soft_wrap=True)


def show_plan(console: Console, result: dict[str, Any]) -> None:
    """Print what a relocation would do."""
    _show_steps(console, result)
    console.print("Nothing was changed. Run it without --check to carry it out.", style="dim")


def show_project(console: Console, result: dict[str, Any]) -> None:
    """Print a project that was moved, with a line for each of its containers."""
    source, destination = cell(result["source"]["host"]), cell(result["destination"]["host"])
    console.print(f"project {cell(result['project'])}  {source} → [bold]{destination}[/bold]")
    table = Table()
    for column in ("container", "address", "down", "connections", "packets held"):
        table.add_column(column)
    for each in result["members"]:
        flows = each.get("flows") or {"kept": 0, "lost": 0}
        table.add_row(
            cell(each["container"]),
            cell(each.get("address_after") or ""),
            f"{each.get('downtime_ms') or 0:.1f} ms",
            f"{flows['kept']} kept, {flows['lost']} lost",
            str(each.get("packets_held", 0)),
        )
    console.print(table)


def move(
    container: Annotated[str | None, typer.Argument(help="Name of the container.")] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="NAME",
            help="Move all running containers of a Compose project instead, together: all of them, or none.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", "-t", metavar="HOST", help="Destination. Without it, one of the eligible hosts is drawn."),
    ] = None,
    source: options.Source = None,
    mode: options.Mode = "auto",
    prefer: options.Prefer = None,
    strategy: options.Strategy = None,
    drain_limit: options.DrainLimit = None,
    downtime_limit: options.DowntimeLimit = None,
    reason: Annotated[str, typer.Option(help="The reason, for the ledger.")] = "manual",
    inventory: options.Inventory = None,
    check: Annotated[bool, typer.Option("--check", help="Print the plan and change nothing.")] = False,
    json_: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Move a container, or a project, to another host, live; or, if asked, make it anew there and drain the old one."""
    name = options.named(container, project)
    wishes = checked_wishes(
        name,
        to=to,
        source=source,
        mode=mode,
        prefer=prefer,
        strategy=strategy,
        downtime_limit=downtime_limit,
        drain_limit=drain_limit,
    )
    checked_words("--reason", reason)
    told: dict[str, Any] = {"reason": reason, "inventory": inventory, "check": check}
    told |= {"verbose": verbose and not json_, "quiet": json_}
    if project is not None:
        result = relocate_project(name, **options.of_project(wishes), **told)
    else:
        result = relocate(name, **wishes, drain_limit_s=drain_limit, **told)
    if json_:
        print_result(result)
    if result["outcome"] not in ("committed", "planned"):
        if json_:
            raise typer.Exit(1)
        if check and "diff" in result:  # refused for what the plan predicts: show it
            _show_steps(Console(highlight=False), result)
        raise Refusal(str(result.get("msg") or f"the move ended as {result['outcome']}"))
    if not json_:
        shows = show if project is None else show_project
        (show_plan if result["outcome"] == "planned" else shows)(Console(highlight=False), result)
