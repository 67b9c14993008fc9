# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times what a client waits while a container moves whose processes have unix connections, beside one whose have none.

Whom each end names (SO_PEERCRED) is read, carried and compared in the freeze: this is what that costs, with CRIU's part of it.
Run it alone: ``python tests/bench/bench_peers.py [--quick]`` (root). It brings up a lab of its own, and takes it down again.
Writes build/bench/peers.json. docs/benchmarks.md says what each number means.
"""

from __future__ import annotations

import sys
from typing import Any

from cutover.beside import OUTPUT, Variant, between, parser_of, run
from rich.console import Console
from rich.table import Table

MEMORY_MIB = 8
COUNTS = (0, 20)  # unix connections between the server and its child
HOPS = 20
MODE = "stop-and-copy"


def variant(count: int) -> Variant:
    """Return the container in which a child has so many connections to the server; it has a child and a socket anyway."""
    return Variant(f"peers-{count}", f"-u /peers {count} PORT {MEMORY_MIB}")


def table(document: dict[str, Any]) -> Table:
    """Return what was measured."""
    found = Table(title="Moves with unix connections", title_justify="left")
    phases = list(dict.fromkeys(name for each in document["runs"] for name in each["phases_ms"]))
    found.add_column("connections")
    for heading in ("hops", "gap, ms (95 %)", "max", "÷ none", "down, ms", *phases, "lost"):
        found.add_column(heading, justify="right")
    for each in document["runs"]:
        gap, down = each["gap_ms"], each["down_ms"]
        found.add_row(
            each["variant"].removeprefix("peers-"),
            str(each["n"]),
            between(each["gap_interval_ms"]),
            f"{gap['max']:.0f}" if gap else "",
            between(each["ratio"], 2),
            f"{down['median']:.0f}" if down else "",
            *(f"{each['phases_ms'].get(name, 0):.1f}" for name in phases),
            str(each["lost"] + each["resets"] + len(each["failures"])),
        )
    return found


def show(console: Console, document: dict[str, Any]) -> None:
    """Print it."""
    console.print(table(document))


def main() -> int:
    """Return the exit status: 0 when nothing was lost."""
    arguments = parser_of(__doc__, HOPS).parse_args()
    return run(arguments, [variant(count) for count in COUNTS], MODE, show, OUTPUT / "peers.json")


if __name__ == "__main__":
    sys.exit(main())
