# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file that needs nothing else: every string of a host is escaped, no script, no outside resource."""

from __future__ import annotations

import base64
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from relocate.errors import Refusal
from relocate.fleet import heatmap
from relocate.fleet.report import Report

#: Up to so many hosts the heat map is a table whose cells explain themselves; beyond, a picture.
CELLS = 40

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse}th,td{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #e4e4e4}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.heat{border-spacing:1px;border-collapse:separate}
.heat td{width:2.6rem;text-align:center;border:0;padding:.3rem 0;font-size:.8rem}
.heat th{border:0;font-weight:400;font-size:.8rem;white-space:nowrap}.heat thead th{writing-mode:vertical-rl;padding:.3rem 0}
.figures{display:flex;flex-wrap:wrap;gap:1rem}.figures div{border:1px solid #e4e4e4;border-radius:.5rem;padding:.6rem 1rem}
.figures b{display:block;font-size:1.3rem}img{max-width:100%}
"""


def write(report: Report, path: Path, expected: list[dict[str, Any]] | None = None, what: str = "") -> None:
    """Write the page; with ``expected``, the next hops of ``what`` as :meth:`Report.expected` gives them.

    :raises Refusal: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(report, expected, what), encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}.") from None


def render(report: Report, expected: list[dict[str, Any]] | None = None, what: str = "") -> str:
    """Return the page."""
    heat = _cells(report) if len(report.shown) <= CELLS else _picture(report)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Fleet heterogeneity</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>Fleet heterogeneity</h1>{_figures(report.summary)}"
        f"<h2>Δ between hosts, ordered by likeness</h2>{heat}<h2>Configurations</h2>{_classes(report)}"
        f"{_hops(expected, what) if expected else ''}</body></html>\n"
    )


def _figures(summary: dict[str, Any]) -> str:
    rate = summary["hop_entropy_rate_bits"]
    shown = [
        ("hosts", f"{summary['hosts']}"),
        ("configurations", f"{summary['configurations']}"),
        ("effective configurations", f"{summary['effective_configurations']:.2f}"),
        ("Shannon entropy of the fleet", f"{summary['shannon_bits']:.2f} bits"),
        ("entropy rate of the hop chain", "not computed" if rate is None else f"{rate:.2f} bits per hop"),
        ("mode", str(summary["mode"])),
        ("weights " + ", ".join(summary["weights"]), " / ".join(f"{v:.2f}" for v in summary["weights"].values())),
    ]
    return f'<div class="figures">{"".join(f"<div><b>{escape(v)}</b>{escape(k)}</div>" for k, v in shown)}</div>'


def _cells(report: Report) -> str:
    bound = max(float(np.abs(report.delta).max()), 1e-9)
    head = "".join(f"<th>{escape(host)}</th>" for host in report.shown)
    rows = []
    for source, values in zip(report.shown, report.delta, strict=True):
        parts = report.fleet.terms_row(source, report.mode)
        cells = []
        for target, value in zip(report.shown, values, strict=True):
            place = report.fleet.index(target)
            why = ", ".join(f"{term.upper()} {part[place]:.2f}" for term, part in parts.items())
            tip = escape(f"{source} → {target}: Δ {value:.3f} ({why})", quote=True)
            cells.append(f'<td title="{tip}" style="{_colour(float(value) / bound)}">{value:.2f}</td>')
        rows.append(f"<tr><th>{escape(source)}</th>{''.join(cells)}</tr>")
    return f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _colour(level: float) -> str:
    """Return a cell's style: white where hosts are alike, blue (orange below 0) the more they differ."""
    hue, depth = (210, level) if level >= 0 else (30, -level)
    return f"background:hsl({hue} 65% {97 - 52 * depth:.0f}%);color:{'#fff' if depth > 0.7 else '#1b1f24'}"


def _picture(report: Report) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heat.png"
        heatmap.draw(report, path)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="heat map of the differences between hosts" src="data:image/png;base64,{data}">'


def _classes(report: Report) -> str:
    rows = []
    for name, members, hop in zip(report.names, report.members, report.hops, strict=True):
        hosts = ", ".join(members[:8]) + (f" and {len(members) - 8} more" if len(members) > 8 else "")
        figures = ("–", "–") if hop is None else (f"{hop.shannon_bits:.2f}", f"{hop.min_entropy_bits:.2f}")
        numbers = "".join(f'<td class="n">{figure}</td>' for figure in (str(len(members)), *figures))
        rows.append(f"<tr><td>{escape(name)}</td><td>{escape(hosts)}</td>{numbers}</tr>")
    head = (
        "<tr><th>configuration</th><th>hosts</th><th>number</th><th>next hop, bits</th><th>min-entropy, bits</th></tr>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _hops(expected: list[dict[str, Any]], what: str) -> str:
    terms = list(expected[0]["terms"])
    head = "".join(f"<th>{escape(name)}</th>" for name in ("destination", "probability", "Δ", *map(str.upper, terms)))
    rows = []
    for row in expected:
        figures = (f"{row['probability']:.1%}", f"{row['delta']:.3f}", *(f"{row['terms'][term]:.2f}" for term in terms))
        numbers = "".join(f'<td class="n">{figure}</td>' for figure in figures)
        rows.append(f"<tr><td>{escape(row['host'])}</td>{numbers}</tr>")
    title = f"<h2>Next hop of {escape(what)}, if all hosts can take it</h2>"
    return f"{title}<table><tr>{head}</tr>{''.join(rows)}</table>"
