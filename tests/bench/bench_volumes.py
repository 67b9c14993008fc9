# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times what a client waits while a container moves with a volume that is being written, beside the same container without one.

Run it alone: ``python tests/bench/bench_volumes.py [--quick]`` (root). It brings up a lab of its own, and takes it down again.
Writes build/bench/volumes.json. docs/benchmarks.md says what each number means.
"""

from __future__ import annotations

import sys
from typing import Any

from cutover.beside import OUTPUT, Variant, between, parser_of, run
from rich.console import Console
from rich.table import Table

MEMORY_MIB = 8
RATE_MB = 20
SIZES = (0, 256, 2048)  # MiB of volume data
QUICK = (0, 256)
HOPS = 10
MODE = "stop-and-copy"
MOST_RATIO = 1.5  # of the gap to that of the container without a volume


def variant(mib: int) -> Variant:
    """Return the container with a volume of so many MiB, all of which it writes again and again.

    0: it has none, and the same processes with the same work: what CRIU takes for these is the same.
    """
    volume = f"-v bench-volume-{mib}:/data" if mib else ""
    return Variant(f"volume-{mib or 'none'}", f"PORT {MEMORY_MIB} /data {mib} {RATE_MB}", volume)


def verdict(ratio: dict[str, float] | None) -> str:
    """Return a ratio, and whether it is one that was promised."""
    if not ratio:
        return "[yellow]not measured[/yellow]"
    colour, word = ("green", "") if ratio["value"] <= MOST_RATIO else ("red", ", missed")
    return f"[{colour}]{between(ratio, 2)}{word}[/{colour}]"


def table(document: dict[str, Any]) -> Table:
    """Return what was measured."""
    found = Table(title=f"Moves with a volume, written at {RATE_MB} MB/s", title_justify="left")
    found.add_column("volume")
    headings = (
        "hops",
        "gap, ms (95 %)",
        "max",
        f"÷ none (≤ {MOST_RATIO})",
        "down, ms",
        "whole, s",
        "sent, MiB",
        "lost",
    )
    for heading in headings:
        found.add_column(heading, justify="right")
    for each in document["runs"]:
        gap, down, seconds, sent = each["gap_ms"], each["down_ms"], each["seconds"], each["volume_bytes"]
        found.add_row(
            each["variant"].removeprefix("volume-"),
            str(each["n"]),
            between(each["gap_interval_ms"]),
            f"{gap['max']:.0f}" if gap else "",
            verdict(each["ratio"]),
            f"{down['median']:.0f}" if down else "",
            f"{seconds['median']:.0f}" if seconds else "",
            f"{sent['median'] / (1 << 20):.0f}" if sent else "",
            str(each["lost"] + each["resets"] + len(each["failures"])),
        )
    return found


def show(console: Console, document: dict[str, Any]) -> None:
    """Print it."""
    console.print(table(document))


def main() -> int:
    """Return the exit status: 0 when nothing was lost."""
    parser = parser_of(__doc__, HOPS)
    parser.add_argument("--sizes", help=f"MiB of the volumes ({','.join(str(each) for each in SIZES if each)})")
    arguments = parser.parse_args()
    sizes: tuple[int, ...] = QUICK if arguments.quick else SIZES
    if arguments.sizes:
        sizes = (0, *(int(word) for word in arguments.sizes.split(",")))
    variants = [variant(mib) for mib in sizes]
    return run(
        arguments, variants, MODE, show, OUTPUT / "volumes.json", rate_mb_per_second=RATE_MB, most_ratio=MOST_RATIO
    )


if __name__ == "__main__":
    sys.exit(main())
