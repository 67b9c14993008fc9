# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate pause`` and ``relocate resume``: the whole fleet, a host (cordon, drain), or a container."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from relocate.arguments import checked_name
from relocate.commands.schedule import ConfigOption, InventoryOption, configured
from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import playbook
from relocate.move.relocation import inventory_path
from relocate.schedule import views
from relocate.schedule.records import Pause
from relocate.schedule.settings import Configuration
from relocate.schedule.store import Store

HostOption = Annotated[
    str | None, typer.Option("--host", metavar="HOST", help="A host: nothing is moved from it or to it.")
]
ContainerOption = Annotated[str | None, typer.Option("--container", metavar="NAME", help="One container.")]


def register(app: typer.Typer) -> None:
    """Add both to the command."""
    app.command("pause")(pause)
    app.command("resume")(resume)


def _scope(host: str | None, container: str | None) -> tuple[str, str]:
    if host is not None and container is not None:
        raise Refusal("--host and --container exclude each other: give the command twice", 2)
    for option, given in (("--host", host), ("--container", container)):
        if given is not None:
            checked_name(option, given)
    if host is not None:
        return "host", host
    return ("container", container) if container is not None else ("all", "")


def _words(scope: str, name: str) -> str:
    return "everything" if scope == "all" else f"{scope} {name}"


def _cordon(configuration: Configuration, host: str, cordoned: bool) -> None:
    """Set or remove the host's own mark, which relocations that no scheduler asked for keep to as well."""
    root = project_root()
    inventory = inventory_path(configuration.inventory, root)
    playbook.run(root, "playbooks/cordon.yml", {"host": host, "cordoned": cordoned}, inventory=inventory, quiet=True)


def _store(configuration: Configuration) -> Store:
    """Return the store. Raises Refusal where no scheduler has ever kept to what is in it: a pause would hold nothing."""
    store = views.open_store(configuration)
    if store.holder() is None:
        raise Refusal(
            f"no scheduler of the fleet '{configuration.fleet}' has run with this configuration yet, so there is nothing to "
            "pause: name the running scheduler's configuration with --config"
        )
    return store


def pause(
    host: HostOption = None,
    container: ContainerOption = None,
    drain: Annotated[bool, typer.Option("--drain", help="With --host: move its tenants away first.")] = False,
    why: Annotated[str | None, typer.Option("--why", help="A note for whoever looks at the status.")] = None,
    config: ConfigOption = None,
    inventory: InventoryOption = None,
) -> None:
    """Keep the scheduler from moving anything, a host's containers, or one container.

    Moves under way are finished. The clocks keep running.
    """
    scope, name = _scope(host, container)
    if drain and scope != "host":
        raise Refusal("--drain needs --host", 2)
    configuration = configured(config, inventory)
    store = _store(configuration)
    if scope == "host":
        _cordon(configuration, name, True)
    changed = store.set_pause(Pause(scope, name, drain, time.time(), why))
    doing = "paused, and its tenants are moved away" if drain else "paused"
    running = views.status(store, configuration)["scheduler"]["running"]
    later = "" if running else "; no scheduler runs at the moment: the one that starts next keeps to it"
    typer.echo(f"{_words(scope, name)} {'is now' if changed else 'was already'} {doing}{later}")


def resume(
    host: HostOption = None,
    container: ContainerOption = None,
    config: ConfigOption = None,
    inventory: InventoryOption = None,
) -> None:
    """End a pause. What became due during it is not made up for: the clocks have been drawn again since."""
    scope, name = _scope(host, container)
    configuration = configured(config, inventory)
    store = _store(configuration)
    if scope == "host":
        _cordon(configuration, name, False)
    resumed = store.clear_pause(scope, name)
    typer.echo(f"{_words(scope, name)} {'goes on' if resumed else 'was not paused'}")
