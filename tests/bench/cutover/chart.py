# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two pictures of a bench run: what a client waits, and where our own downtime goes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from relocate.commands.move import PHASES

from .summary import OUR_MODES

#: Of the phases in the order in which they pass. Okabe and Ito's colours can be told apart by everybody.
PALETTE = ("#56b4e9", "#999999", "#0072b2", "#cc79a7", "#e69f00", "#009e73", "#000000", "#d55e00")
COLOURS = dict(zip(PHASES, cycle(PALETTE), strict=False))
REST = "#e3e3e3"
OURS, THEIRS = "#0072b2", "#b0b0b0"
STYLE = {
    "font.size": 15,
    "axes.titlesize": 17,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
    "svg.fonttype": "none",
}


def size(mib: int) -> str:
    """Return a size as people say it."""
    return f"{mib // 1024} GiB" if mib >= 1024 and mib % 1024 == 0 else f"{mib} MiB"


def milliseconds(value: float) -> str:
    """Return a time in a form that fits beside a bar."""
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.1f} s" if value < 10_000 else f"{value / 1000:.0f} s"


def _save(figure: Any, path: Path) -> list[Path]:
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for target in written:
        figure.savefig(target, dpi=160, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return written


def _panels(sizes: Sequence[int], most: int) -> tuple[Any, list[Axes]]:
    """Return a figure with one panel per size, two beside each other; ``most`` bars in a panel."""
    columns = min(2, len(sizes))
    rows = -(-len(sizes) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(16, rows * (0.62 * most + 1.3) + 1.2), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(hspace=0.06, wspace=0.04)
    for spare in axes.flat[len(sizes) :]:
        spare.set_visible(False)
    return figure, list(axes.flat[: len(sizes)])


def tick(value: float, _position: int) -> str:
    """Return a time at an axis."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def gaps(runs: Sequence[dict[str, Any]], path: Path) -> list[Path]:
    """Draw the median gap of every pipeline, per size, on one logarithmic scale; whiskers reach from the least to the most.

    Returns the files written, none when nothing was measured.
    """
    measured = [run for run in runs if run["gap_ms"]]
    sizes = sorted({run["mib"] for run in measured})
    if not sizes:
        return []
    of = {mib: [run for run in measured if run["mib"] == mib] for mib in sizes}
    largest = max(run["gap_ms"]["max"] for run in measured)
    least = min(run["gap_ms"]["min"] for run in measured)
    with mpl.rc_context(STYLE):
        figure, axes = _panels(sizes, max(map(len, of.values())))
        figure.suptitle("What a client waits while its server moves", fontsize=22, fontweight="bold", x=0.01, ha="left")
        for mib, ax in zip(sizes, axes, strict=True):
            names = [run["pipeline"] for run in of[mib]]
            medians = [run["gap_ms"]["median"] for run in of[mib]]
            reach = [
                [median - run["gap_ms"]["min"] for median, run in zip(medians, of[mib], strict=True)],
                [run["gap_ms"]["max"] - median for median, run in zip(medians, of[mib], strict=True)],
            ]
            ours = [name in (*OUR_MODES, "rollback") for name in names]
            colours = [OURS if own else THEIRS for own in ours]
            ax.barh(
                names, medians, color=colours, height=0.66, xerr=reach, error_kw={"ecolor": "#444444", "capsize": 4}
            )
            for row, run in enumerate(of[mib]):
                at = run["gap_ms"]["max"] * 1.08
                weight = "bold" if ours[row] else "normal"
                ax.text(at, row, milliseconds(medians[row]), va="center", fontweight=weight)
            ax.set_xscale("log")
            ax.set_xlim(min(10.0, least / 2), largest * 2.5)
            ax.xaxis.set_major_formatter(tick)
            ax.invert_yaxis()
            ax.set_title(size(mib))
            ax.grid(axis="x", color="#dddddd")
            ax.set_axisbelow(True)
        figure.supxlabel("longest wait of a client that asks every 2 ms: median, least and most", fontsize=15)
        return _save(figure, path)


def phases(runs: Sequence[dict[str, Any]], path: Path) -> list[Path]:
    """Draw the phases of our own downtime, one stacked bar per mode, one panel with a scale of its own per size.

    The mark is the median downtime. Phases of different hosts may overlap: then the parts reach beyond the mark; what no
    phase accounts for is drawn pale. Returns the files written, none when nothing was measured.
    """
    measured = [run for run in runs if run["pipeline"] in OUR_MODES and run["down_ms"]]
    sizes = sorted({run["mib"] for run in measured})
    if not sizes:
        return []
    of = {mib: [run for run in measured if run["mib"] == mib] for mib in sizes}
    with mpl.rc_context(STYLE):
        figure, axes = _panels(sizes, max(map(len, of.values())))
        figure.suptitle("Where the downtime goes", fontsize=22, fontweight="bold", x=0.01, ha="left")
        for mib, ax in zip(sizes, axes, strict=True):
            for row, run in enumerate(of[mib]):
                left = _stack(ax, row, run["phases_ms"])
                down = run["down_ms"]["median"]
                if down > left:
                    ax.barh(row, down - left, left=left, color=REST, height=0.66)
                ax.plot([down, down], [row - 0.42, row + 0.42], color="#111111", linewidth=3, solid_capstyle="butt")
                ax.annotate(
                    milliseconds(down), (max(down, left), row), (8, 0), textcoords="offset points", va="center",
                    fontweight="bold",
                )  # fmt: skip
            ax.set_yticks(range(len(of[mib])), [run["pipeline"] for run in of[mib]])
            ax.set_xlim(0, max(max(sum(run["phases_ms"].values()), run["down_ms"]["median"]) for run in of[mib]) * 1.2)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            ax.xaxis.set_major_formatter(tick)
            ax.invert_yaxis()
            ax.set_title(size(mib))
            ax.grid(axis="x", color="#dddddd")
            ax.set_axisbelow(True)
        shown = [name for name in PHASES if any(run["phases_ms"].get(name, 0) > 0 for run in measured)]
        handles = [Patch(color=COLOURS[name], label=name) for name in shown] + [Patch(color=REST, label="other")]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, handlelength=1.2)
        return _save(figure, path)


def _stack(ax: Axes, row: int, of_run: dict[str, float]) -> float:
    """Draw the parts of one bar; return where they end."""
    left = 0.0
    for name in PHASES:
        value = of_run.get(name, 0.0)
        if value:
            ax.barh(row, value, left=left, color=COLOURS[name], height=0.66)
            left += value
    return left
