# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How ``relocate simulate fig4`` and ``fig5`` speak: a table with residuals, the caveats, the plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from relocate.commands.simulate_file import progress_bar
from relocate.errors import Refusal
from relocate.model import measured
from relocate.model.laws.empirical import Empirical
from relocate.model.simulate import figures
from relocate.model.simulate.figures import Live, Options

FIGURE_TRIALS = 100_000_000


def run(which: str, options: Options, plot: Path | None, live: Path | None, as_json: bool) -> None:
    """Compute a figure and print it; write its plot where asked. Raises Refusal."""
    if options.attackers > options.hosts:
        raise Refusal(f"--attackers is {options.attackers}: it must lie between 1 and --hosts, {options.hosts}.", 2)
    if options.trials > FIGURE_TRIALS:
        raise Refusal(
            f"--trials is {options.trials}: a figure takes {FIGURE_TRIALS} at most, some minutes; ask for fewer.", 2
        )
    if which == "fig5" and options.hosts < 6:
        raise Refusal(f"--hosts is {options.hosts}: fig5 needs at least 6, one for each class.", 2)
    measured = _live(live) if live is not None else None
    with progress_bar("conditions") as report:
        document = (figures.fig4 if which == "fig4" else figures.fig5)(options, measured, report)
    if plot is not None:
        from relocate.model.plots import paper

        (paper.fig4 if which == "fig4" else paper.fig5)(document, plot)
    if as_json:
        print(json.dumps(document, allow_nan=False))
        return
    (_print_fig4 if which == "fig4" else _print_fig5)(document)
    if plot is not None:
        Console().print(f"plot: {plot}", highlight=False)


def _live(path: Path) -> Live:
    past = measured.read(path)
    return Live(
        Empirical.of(past),
        float(np.mean(past.latencies)) if past.latencies else 0.0,
        float(np.mean(past.downtimes)) if past.downtimes else 0.0,
        past.missed / past.relocations,
        past.relocations,
    )


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if not column else "right")
    return table


def _interval(case: dict[str, Any]) -> str:
    return f"{case['ci95'][0]:.4f} … {case['ci95'][1]:.4f}"


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)


def _print_fig4(document: dict[str, Any]) -> None:
    console = Console()
    table = _table(
        f"Fig. 4 ({document['mode']}): attacks resisted in one stay; the paper reports over {document['reported']:.0%}",
        ("", "λ·E[A]", "resisted", "95 % interval", "exact", "residual"),
    )
    for case in document["conditions"]:
        table.add_row(
            case["condition"],
            _number(case["rate_times_attack"]),
            _number(case["estimate"]),
            _interval(case),
            _number(case["exact"]),
            _number(case["residual"], "+.4f"),
        )
    console.print(table)
    if live := document["live"]:
        console.print(
            f"measured: {live['stays']} stays of {live['relocations']} relocations, mean stay "
            f"{live['mean_stay_seconds']:.4g} s, latency {live['latency_seconds']:.3g} s, failed {live['failure']:.1%}",
            highlight=False,
        )
    _caveats(console, document)


def _print_fig5(document: dict[str, Any]) -> None:
    console = Console()
    fit = document["fit"]
    table = _table(
        f"Fig. 5: survival at 2 attack times; the paper reports +{document['reported_gain']:.2f} over static",
        ("", "survival", "95 % interval", "exact", "gain"),
    )
    still = document["conditions"][0]["estimate"]
    cases = list(document["conditions"]) + ([{"condition": "measured", **document["live"]}] if document["live"] else [])
    for case in cases:
        gain = case["estimate"] - still
        table.add_row(
            case["condition"], _number(case["estimate"]), _interval(case), _number(case["exact"]), f"{gain:+.4f}"
        )
    console.print(table)
    moved = fit["relocated"]
    console.print(
        f"fit, one stay at λa = {fit['rate_times_attack']:.4f} with {fit['attackers']} of {fit['hosts']} hosts attacked: "
        f"static {fit['static']:.4f}, relocated {moved['estimate']:.4f} (exact {moved['exact']:.4f}), gain {fit['gain']:+.4f}, "
        f"residual {fit['residual']:+.4f}",
        highlight=False,
    )
    _caveats(console, document)


def _caveats(console: Console, document: dict[str, Any]) -> None:
    for caveat in document["caveats"]:
        console.print(f"• {caveat}", highlight=False)
