# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments and options that several commands have: the same name, letter and meaning everywhere."""

from __future__ import annotations

from typing import Annotated

import typer
from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE, ASKABLE_STRATEGIES, PREFERENCES

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
