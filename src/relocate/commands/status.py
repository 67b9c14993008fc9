# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate status``: what the scheduler watches over, and how it is. Never what comes next."""

from __future__ import annotations

import json

import typer

from relocate.commands import options
from relocate.commands.schedule import ConfigOption, configured
from relocate.schedule import views


def register(app: typer.Typer) -> None:
    """Add ``relocate status`` to the command."""
    app.command("status")(status)


def status(
    config: ConfigOption = None,
    json_: options.Json = False,
) -> None:
    """Show the tenants, where they are and since when; what is paused; whether the scheduler runs."""
    configuration = configured(config)
    store = views.open_store(configuration)
    document = views.status(store, configuration)
    if json_:
        typer.echo(json.dumps(document, indent=2))
        return
    console = views.console()
    for part in views.status_tables(document):
        console.print(part)
