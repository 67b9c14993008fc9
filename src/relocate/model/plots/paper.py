# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fig. 4, Fig. 5 and the survival curve of a simulation, drawn from the documents that the commands print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from relocate.model.laws.exposure import Exposure
from relocate.model.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, figure, label_end
from relocate.model.simulate.figures import PaperCurve, families, paper_clock
from relocate.model.simulate.spec import Simulation

FAMILY_COLOURS = {"fixed": BLUE, "Erlang-4": GREEN, "exponential": ORANGE}


def fig4(document: dict[str, Any], path: Path) -> None:
    """Left: share resisted, static and relocated. Right: share resisted against hop rate x attack time, by attack law."""
    target = document["reported"]
    cases = {case["law"]: case for case in document["conditions"]}
    with figure(path, 2, (7.4, 3.1)) as (bars, curves):
        shown = (("static", "static", GREY), ("fixed", "Poisson clock", BLUE), ("paper", "paper's clock", PURPLE))
        for at, (law, _, colour) in enumerate(shown):
            estimate, (low, high) = cases[law]["estimate"], cases[law]["ci95"]
            bars.bar(at, estimate, 0.55, color=colour)
            spread = [[max(estimate - low, 0)], [max(high - estimate, 0)]]
            bars.errorbar(at, estimate, spread, color="black", capsize=4, linewidth=1)
            bars.annotate(f"{estimate:.3f}", (at, estimate), xytext=(0, 4), textcoords="offset points", ha="center")
        bars.axhline(target, color=RED, linewidth=0.9, linestyle="--")
        bars.text(-0.36, target + 0.02, f"reported: {target:.0%}", color=RED)
        bars.set_xticks(range(len(shown)), [name for _, name, _ in shown])
        bars.set(ylim=(0, 1.05), ylabel="attacks resisted in one stay", title="a  Static and relocated")
        bars.grid(axis="x", visible=False)
        bars.tick_params(axis="x", length=0)

        x = np.linspace(0, 9, 400)
        for name, attack in families().items():
            curves.plot(x, 1 - attack.transform(x).real, color=FAMILY_COLOURS[name], label=f"{name} attack")
        steps = PaperCurve.of(paper_clock(target)[0])
        curves.step(steps.x, steps.y, where="pre", color=PURPLE, linewidth=1, label="paper's clock, fixed attack")
        for law, colour in (*FAMILY_COLOURS.items(), ("paper", PURPLE)):
            curves.plot(cases[law]["rate_times_attack"], cases[law]["estimate"], "o", color=colour)
        if live := document["live"]:
            label = f"measured, {live['stays']} stays"
            curves.plot(live["attack_in_stays"], live["resisted"], color=RED, linestyle=":", label=label)
        curves.axhline(target, color=RED, linewidth=0.9, linestyle="--")
        curves.legend(loc="lower right")
        curves.set(xlim=(0, 9), ylim=(0, 1.05), title="b  The same share at different hop rates")
        curves.set_xlabel("mean attack time / mean stay")
        for axes in (bars, curves):
            axes.yaxis.set_major_formatter(PercentFormatter(1))


def fig5(document: dict[str, Any], path: Path) -> None:
    """Left: survival by destination policy over the horizon, with bands. Right: the same when a hop loses all progress."""
    looks = {"high": ("high Δ", BLUE), "uniform": ("uniform", SKY), "low": ("low Δ", RED), "static": ("static", GREY)}
    cases = {case["condition"]: case for case in document["conditions"]}
    with figure(path, 2, (7.4, 3.1)) as (kept, lost):
        kept.text(7.9, 0.24, "survival at 2 attack times", ha="right", fontsize=8)
        for row, (condition, (name, colour)) in enumerate(looks.items()):
            case = cases[condition]
            at = np.array([point["at"] for point in case["curve"]])
            estimate = np.array([point["estimate"] for point in case["curve"]])
            low, high = np.array([point["ci95"] for point in case["curve"]]).T
            steps = condition == "static"
            kept.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0, step="post" if steps else None)
            kept.plot(at, estimate, color=colour, drawstyle="steps-post" if steps else "default")
            kept.plot(case["at"], case["estimate"], "o", color=colour)
            label_end(kept, at[-1], estimate[-1], name, colour, {"high": 4.0, "uniform": -2.0}.get(condition, 0.0))
            kept.text(7.9, 0.185 - 0.055 * row, f"{name}  {case['estimate']:.3f}", color=colour, ha="right", fontsize=8)
        if live := document["live"]:
            at = np.array([point["at"] for point in live["curve"]])
            survived = [point["estimate"] for point in live["curve"]]
            kept.plot(at, survived, color=GREEN, linestyle=":")
            label_end(kept, at[-1], survived[-1], f"high Δ, {live['stays']}\nmeasured stays", GREEN)
        kept.axvline(2, color="black", linewidth=0.7, linestyle=":")
        kept.set_title("a  A hop keeps progress by likeness")
        reset, still = document["reset"], document["fit"]["static"]
        lost.plot(reset["at"], reset["relocated"], color=BLUE)
        lost.plot([0, 1, 1, reset["at"][-1]], [1, 1, still, still], color=GREY)
        label_end(lost, reset["at"][-1], reset["relocated"][-1], "relocated", BLUE)
        label_end(lost, reset["at"][-1], still, "static", GREY)
        worse = np.array(reset["relocated"]) < still
        if worse.any():
            first = reset["at"][int(np.argmax(worse))]
            lost.axvspan(first, reset["at"][-1], color=RED, alpha=0.07, linewidth=0)
            lost.text((first + reset["at"][-1]) / 2, 0.94, "moving is worse", color=RED, ha="center", fontsize=8)
        lost.set_title("b  A hop loses all progress")
        for axes in (kept, lost):
            axes.set(xlim=(0, 8), ylim=(0, 1.02), xlabel="horizon (attack times)", ylabel="survival")


def survival_curve(spec: Simulation, document: dict[str, Any], path: Path) -> None:
    """Survival at the file's horizons with 95 % intervals, the exact values as a line where they are known."""
    points = document["survival"]
    at = [point["at"] for point in points]
    with figure(path) as (axes,):
        known = [(point["at"], point["exact"]) for point in points if point["exact"] is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=BLUE, label="exact")
        estimate = np.array([point["estimate"] for point in points])
        ends = np.array([point["ci95"] for point in points])
        spread = np.abs(np.stack([estimate - ends[:, 0], ends[:, 1] - estimate]))
        count = document["trials"]
        axes.errorbar(at, estimate, spread, fmt="o", color=ORANGE, capsize=3, label=f"simulated, {count:,} trials")
        mean = Exposure.of(spec.law_of_clock(), spec.latency, spec.failure).mean
        axes.set(ylim=(0, 1.02), xlim=(0, None), xlabel="time", ylabel="survival", title=f"Mean exposure {mean:.3g}")
        axes.legend(loc="lower left")
