# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Δ between hosts as a picture, ordered by cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relocate.fleet.report import Report
from relocate.model.plots.style import figure

#: Up to so many hosts are named at the axes, and up to so many have their numbers in the cells.
NAMED = 60
NUMBERED = 16


def draw(report: Report, path: Path) -> None:
    """Write the heat map to a PNG, SVG or PDF file.

    :raises Refusal: another suffix, or the file cannot be written.
    """
    size = len(report.shown)
    inches = min(max(2.6 + 0.24 * size, 4.2), 10.0)
    signed = report.mode == "paper"
    bound = max(float(np.abs(report.delta).max()), 1e-9)
    with figure(path, 1, (inches + 1.0, inches)) as (axes,):
        image = axes.imshow(
            report.delta,
            cmap="PuOr_r" if signed else "viridis",
            vmin=-bound if signed else 0.0,
            vmax=bound,
            interpolation="nearest",
            aspect="equal",
        )
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if size <= NAMED:
            axes.set_xticks(range(size), report.shown, rotation=90 if size > 6 else 0)
            axes.set_yticks(range(size), report.shown)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        _boundaries(report, axes)
        if size <= NUMBERED:
            _numbers(report, axes, bound, signed)
        count = report.summary["hosts"]
        what = "hosts" if size == count else f"configurations of {count} hosts"
        title = f"Δ between {size} {what}"
        axes.set(title=title, xlabel="destination", ylabel="source")
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("Δ (eq. 3.3, signed)" if signed else "Δ: 0 alike, 1 nothing in common")


def _boundaries(report: Report, axes: object) -> None:
    """Draw a thin line between neighbours of different configurations, where hosts share any."""
    numbers = [report.number(host) for host in report.shown]
    if len(set(numbers)) > min(NAMED, len(numbers) - 1):
        return
    for place in range(1, len(numbers)):
        if numbers[place] != numbers[place - 1]:
            for line in (axes.axhline, axes.axvline):  # type: ignore[attr-defined]
                line(place - 0.5, color="white", linewidth=1.0)


def _numbers(report: Report, axes: object, bound: float, signed: bool) -> None:
    for row, values in enumerate(report.delta):
        for column, value in enumerate(values):
            level = abs(value) / bound
            dark = level > 0.6 if signed else level < 0.55
            axes.text(  # type: ignore[attr-defined]
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
