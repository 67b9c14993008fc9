# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate history``: every alert of the clocks and what became of it, and whether the clocks were honest."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from relocate.arguments import checked_name
from relocate.commands import options
from relocate.commands.schedule import ConfigOption, configured
from relocate.errors import Refusal
from relocate.schedule import views


def register(app: typer.Typer) -> None:
    """Add ``relocate history`` to the command."""
    app.command("history")(history)


def history(
    config: ConfigOption = None,
    container: Annotated[str | None, typer.Option("--container", help="Show only this container's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show the latest N; --audit takes all.")] = 20,
    audit: Annotated[
        bool, typer.Option("--audit", help="Test the stays against the configured law: is the clock honest?")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Show past alerts with their stays, exposure latencies and downtimes."""
    if container is not None:
        checked_name("--container", container)
    store = views.open_store(configured(config))
    firings = views.past(store, limit=None if audit else limit, container=container)
    if audit:
        found = views.audits(firings)
        if json_:
            typer.echo(json.dumps([each.document() for each in found], indent=2))
        for each in found if not json_ else ():
            typer.echo(each.text())
        if not found:
            raise Refusal("there is no stay to audit: no clock has run out yet")
        if any(each.verdict == "fail" for each in found):
            raise typer.Exit(1)
        return
    if json_:
        typer.echo(json.dumps([firing.document() for firing in firings], indent=2))
        return
    views.console().print(views.history_table(firings) if firings else "nothing has happened yet")
