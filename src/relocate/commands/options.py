# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments and options that several commands have: the same name, letter and meaning everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE, ASKABLE_STRATEGIES, PREFERENCES

from relocate.errors import Refusal

ContainerName = Annotated[str, typer.Argument(help="Name of the container.")]
Source = Annotated[
    str | None,
    typer.Option("--from", metavar="HOST", help="Where it runs; decides only if several hosts claim to run it."),
]
Mode = Annotated[
    str, typer.Option(metavar="|".join(ASKABLE), help="How the memory is carried; auto chooses by --prefer.")
]
Prefer = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(PREFERENCES),
        help="For auto: the safest mode within the limit, or the shortest pause. Default: the inventory's, else safety.",
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(ASKABLE_STRATEGIES),
        help="Live, or made anew there without its memory; auto: by its label, else live. Default: the inventory's, else auto.",
    ),
]
DrainLimit = Annotated[
    float | None,
    typer.Option(
        "--drain-limit",
        metavar="S",
        help="For recreate: cut connections that last longer at the source. Default: the inventory's, else 60.",
    ),
]
DowntimeLimit = Annotated[
    float | None,
    typer.Option("--downtime-limit", metavar="MS", help="Refuse a longer pause. Default: the inventory's, else 300."),
]
Inventory = Annotated[
    str | None, typer.Option("--inventory", "-i", help="Inventory. Default: RELOCATE_INVENTORY, else the lab's.")
]
Store = Annotated[
    str | None,
    typer.Option(metavar="DIRECTORY", help="The store of snapshots. Default: the inventory's relocate_snapshot_store."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ansible's own output.")]


def named(container: str | None, project: str | None) -> str:
    """Return what is meant: a container or a project. Raises Refusal if nothing, or too much, is named."""
    if (container is None) == (project is None):
        raise Refusal("name a container, or a project with --project, and not both", status=2)
    return str(project if container is None else container)


def of_project(wishes: dict[str, Any]) -> dict[str, Any]:
    """Return the wishes that a project's move has. Raises Refusal for what only a container alone can be asked."""
    if wishes["strategy"] not in (None, "auto", "live"):
        raise Refusal("--strategy recreate and --project do not go together: a project only moves live", status=2)
    if wishes["mode"] == "post-copy":
        raise Refusal(
            "--mode post-copy and --project do not go together: one of its containers could be lost alone", status=2
        )
    return {name: value for name, value in wishes.items() if name != "strategy"}
