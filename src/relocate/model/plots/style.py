# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look for all plots: column width, one typeface, colours that colour-blind readers tell apart, direct labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relocate.errors import Refusal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
# M. Okabe and K. Ito's palette
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#6B6B6B",
)

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "savefig.dpi": 200,
    "svg.hashsalt": "relocate",  # the same plot gives the same file
}


@contextmanager
def figure(path: Path, columns: int = 1, size: tuple[float, float] | None = None) -> Iterator[list[Axes]]:
    """Yield ``columns`` axes side by side and write them to ``path`` (PNG, SVG or PDF by its suffix).

    Raises Refusal for another suffix, or where the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise Refusal(f"{path}: plots are written as {', '.join(FORMATS)}; choose one of these endings.", 2)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        canvas = Figure(figsize=size or (4.4 * columns, 3.1), layout="constrained")
        yield list(canvas.subplots(1, columns, squeeze=False)[0])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            canvas.savefig(path, metadata=metadata)
        except OSError as error:
            raise Refusal(f"{path} cannot be written: {error.strerror}.") from None


def label_end(axes: Axes, x: float, y: float, text: str, colour: str, up: float = 0.0) -> None:
    """Write ``text`` just right of the end of a line, in its colour, ``up`` points higher."""
    axes.annotate(text, (x, y), xytext=(4, up), textcoords="offset points", va="center", color=colour, fontsize=8)
