# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bench run on the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from .chart import size

VERDICTS = {
    "aim": "[green]reached, and the aim[/green]",
    "must": "[green]reached[/green]",
    "missed": "[red]missed[/red]",
    "not measured": "[yellow]not measured[/yellow]",
}


def _number(values: dict[str, float] | None, name: str) -> str:
    return f"{values[name]:.0f}" if values else ""


def runs_table(runs: list[dict[str, Any]]) -> Table:
    """Return every cell: times in milliseconds."""
    table = Table(title="Client gap and downtime (ms)", title_justify="left")
    for heading in ("memory", "pipeline"):
        table.add_column(heading)
    for heading in ("hops", "gap median", "p99", "min", "max", "down median", "resets", "lost"):
        table.add_column(heading, justify="right")
    for run in runs:
        gap, down = run["gap_ms"], run["down_ms"]
        table.add_row(
            size(run["mib"]),
            run["pipeline"],
            str(run["n"]),
            *[_number(gap, name) for name in ("median", "p99", "min", "max")],
            _number(down, "median"),
            str(run["resets"]),
            str(run["lost"]),
        )
    return table


def notes(runs: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for everything that was left out or failed; one reason for several sizes is said once."""
    said: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        if "skipped" in run:
            said.setdefault((f"{run['pipeline']} was left out", run["skipped"]), []).append(size(run["mib"]))
        for failure in run.get("failures", []):
            said.setdefault((f"{run['pipeline']} failed", failure), []).append(size(run["mib"]))
    return [f"{what} ({', '.join(dict.fromkeys(sizes))}): {why}" for (what, why), sizes in said.items()]


def figures_table(ratios: dict[str, dict[str, Any]], labels: dict[str, str]) -> Table:
    """Return every figure with what it had to be."""
    table = Table(title="Figures (smaller is better)", title_justify="left")
    table.add_column("")
    for heading in ("measured", "must", "aim"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for key, ratio in ratios.items():
        unit = " ms" if ratio["unit"] == "ms" else ""
        shown = ["" if ratio[name] is None else f"{ratio[name]:g}{unit}" for name in ("value", "must", "aim")]
        table.add_row(labels[key], *shown, VERDICTS[ratio["met"]])
    return table
