# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How ``relocate simulate FILE`` speaks: progress, one JSON document or a table, and a survival plot."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from relocate import reading
from relocate.errors import Refusal
from relocate.model.simulate import work
from relocate.model.simulate.simulation import Progress as Report
from relocate.model.simulate.simulation import Result, expected_seconds, simulate
from relocate.model.simulate.spec import Simulation

EXTREME = "its numbers lie too far apart to be computed with: use times and rates within a few powers of ten."
PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal


@contextmanager
def progress_bar(what: str) -> Iterator[Report]:
    """Yield a callable (done, total): a bar on a terminal, a plain line now and then elsewhere. Always on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr)

    yield line


def run(path: Path, trials: int | None, seed: int | None, plot: Path | None, as_json: bool) -> None:
    """Simulate the file and print. Raises Refusal for whatever is wrong with it; exit status 130 after Ctrl-C."""
    spec = reading.load(path, Simulation, keys="docs/simulator.md", trials=trials, seed=seed)
    try:
        with np.errstate(all="ignore"), progress_bar("trials") as report:
            if PLAIN_EVERY < (expected := expected_seconds(spec)) <= work.LIMIT_SECONDS:
                print(f"This takes about {work.words(expected)} on one core.", file=sys.stderr)
            result = simulate(spec, report, where=f"{path}:1: trials")
    except ValueError as error:
        raise Refusal(f"{path}:1: destination: {error}.") from None
    except (ArithmeticError, MemoryError):
        raise Refusal(f"{path}:1: {EXTREME}") from None
    document = result.document()
    if plot is not None:
        from relocate.model.plots import paper

        paper.survival_curve(result.spec, document, plot)
    if as_json:
        print(json.dumps(document, allow_nan=False))
    else:
        _print(result, document)
    if result.interrupted:
        sys.exit(130)


def _print(result: Result, document: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{result.tally.trials:,} trials in {result.seconds:.2f} s, seed {result.seed}")
    for name in ("", "estimate", "95 % interval", "exact"):
        table.add_column(name, justify="left" if not name else "right")
    _row(table, "attack succeeds in one stay beside its target", document["per_stay_success"])
    for point in document["survival"]:
        _row(table, f"survival at {point['at']:g}", point)
    _row(table, "mean time to compromise", document["mttc"])
    long_run, beside = document["long_run"], document["co_residence"]
    for name, estimate, exact in (
        ("hops per unit time (exact: in the long run)", document["hops_per_time"], long_run["hops_per_time"]),
        ("availability", document["availability"], long_run["availability"]),
        ("time beside an attacker: mean", beside["mean"], beside["exact_mean"]),
        ("time beside an attacker: variance", beside["variance"], beside["exact_variance"]),
    ):
        table.add_row(name, _digits(estimate), "", _digits(exact))
    console.print(table)
    for note in document["notes"]:
        console.print(f"note: {note}", highlight=False)


def _row(table: Table, name: str, value: dict[str, Any]) -> None:
    ends = value["ci95"]
    between = f"{_digits(ends[0])} … {_digits(ends[1])}" if ends else ""
    table.add_row(name, _digits(value["estimate"]), between, _digits(value["exact"]))


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
