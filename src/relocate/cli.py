# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``relocate`` command: registers the subcommands and turns a refusal into one sentence and an exit status."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Annotated, Any

import typer
import typer.main

from relocate import __version__
from relocate.errors import Refusal
from relocate.reading import one_line
from relocate.terminal import paragraph

#: Wrong usage. Typer has it from Click or, since it brings its own, from there.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="relocate",
    help="Moving-target defence for containers: moves running containers from host to host, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Each module has ``register(app)``. The order is that of ``relocate --help``.
COMMANDS = (
    "demo",
    "lab",
    "check",
    "move",
    "recover",
    "snapshot",
    "snapshots",
    "restore",
    "fleet",
    "simulate",
    "plan",
    "schedule",
    "status",
    "history",
    "pause",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"relocate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Moving-target defence for containers."""


@cache
def build() -> typer.Typer:
    """Return the application with every subcommand registered."""
    for name in COMMANDS:
        importlib.import_module(f"relocate.commands.{name}").register(app)
    return app


@cache
def command() -> Any:
    """Return what Typer makes of the application."""
    return typer.main.get_command(build())


def main() -> None:
    """Entry point. Exit status: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    try:
        sys.exit(command()(prog_name="relocate", standalone_mode=False) or 0)
    except Refusal as refusal:
        typer.echo(f"relocate: {paragraph(refusal)}", err=True)
        sys.exit(refusal.status)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a subcommand: its help
            error.show()
        else:
            typer.echo(f"relocate: {_usage(error)}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("relocate: interrupted", err=True)
        sys.exit(130)


def _usage(error: Any) -> str:
    """Return what is wrong with a command line as one sentence: it may repeat a million characters of it."""
    path = error.ctx.command_path if error.ctx else "relocate"
    return f"{one_line(error.format_message().rstrip('.'))}: see '{path} --help'"
