# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: the worked example, its refusals, the ledger's bands and the folder it writes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import PmfSample, make_clock

from relocate import reading
from relocate.commands import plan_report
from relocate.errors import Refusal
from relocate.model import measured
from relocate.model.clock_plan import planned, planner
from relocate.model.clock_plan.placed import Placed
from relocate.model.clock_plan.spec import PRESETS, PlanFile, duration

from ..ledgers import write_ledger

WORKED: dict[str, Any] = {
    "fleet": {"hosts": 30, "attackers": 3},
    "attack": {"family": "fixed", "mean": "10 min"},
    "measured": {"downtime": "2.5 s"},
    "goal": {"horizon": "30 d", "survival": 0.99},
    "trials": 200,
    "draws": 20,
}


def plan(**changes: Any) -> PlanFile:
    return PlanFile.model_validate(WORKED | changes)


@pytest.fixture(scope="module")
def worked() -> planned.Planned:
    return planned.make(plan(), None)


def test_the_worked_example(worked: planned.Planned) -> None:
    found = {alternative.name: alternative for alternative in worked.alternatives}
    assert found["poisson"].hops_per_hour == pytest.approx(79.5, abs=1)
    assert found["truncated-poisson"].hops_per_hour <= 15.5
    assert found["truncated-poisson"].clock.longest == pytest.approx(570)
    assert found["truncated-poisson"].survival == 1
    assert all(alternative.survival >= 0.99 for alternative in worked.alternatives)
    assert worked.best.name == "truncated-poisson"


def test_simulation_confirms_the_closed_forms(worked: planned.Planned) -> None:
    for found, check in zip(worked.alternatives, worked.confirmed, strict=True):
        spread = math.sqrt(found.survival * (1 - found.survival) / check["trials"])
        assert abs(check["estimate"] - found.survival) <= 4 * spread + 1e-9


def test_the_scheduler_gets_a_clock_it_can_build(worked: planned.Planned) -> None:
    settings = yaml.safe_load(worked.scheduler_yaml())
    clock = make_clock(settings["clock"])
    assert clock.longest == 570
    assert settings["destination"] == {"policy": "uniform"}, "what was planned and simulated"
    assert settings["limits"]["hops_per_hour"] >= 15


def test_a_memoryless_attack_is_refused_with_formula_three() -> None:
    for attack in ({"family": "exponential", "mean": "10 min"}, {"family": "erlang", "shape": 1, "mean": "10 min"}):
        with pytest.raises(Refusal, match=r"memoryless.*N/\(m mu\) = 30 x 600 / 3 = 6000 s.*formula 3"):
            planned.make(plan(attack=attack), None)


def test_an_attack_shorter_than_the_latency_is_refused() -> None:
    with pytest.raises(Refusal, match=r"Not defendable.*600 s.*700 s.*What would help"):
        planned.make(plan(measured={"latency": 700}), None)


def test_a_goal_that_cannot_be_had_is_refused_with_what_would_help() -> None:
    with pytest.raises(Refusal, match=r"15\.0 hops/h > 5.*What would help"):
        planned.make(plan(goal={"horizon": "30 d", "survival": 0.99, "hops_per_hour": 5}), None)


def test_failing_hops_lower_the_ceiling() -> None:
    problem = planner.pose(plan(measured={"failure": 0.05, "latency": "5 s"}), None)
    found = planner.solve(problem)[0]
    assert found.survival >= 0.99
    assert found.clock.longest < 0.95 * 595
    system = planner.system_for(problem, found.clock)
    assert system.success() > 0


def test_quantiles_and_presets_give_laws() -> None:
    law = plan(attack={"p10": "5 min", "p50": "10 min", "p90": "20 min"}).attack.law()
    assert [float(law.cdf(x)) for x in (300, 600, 1200)] == [pytest.approx(p, abs=1e-6) for p in (0.1, 0.5, 0.9)]
    for name, (_, _, _, shortest) in PRESETS.items():
        assert plan(attack={"preset": name}).attack.law().shortest == shortest


def test_the_ledger_is_measured_and_banded(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path)
    wanted = plan(
        fleet={"hosts": 12, "attackers": 2, "classes": {"count": 4}},
        goal={"horizon": "2 d", "survival": 0.95, "min_entropy_bits": 2.5},
    )
    answer = planned.make(wanted, measured.read(path))
    assert 3 < answer.problem.latency < 5
    assert 0 < answer.problem.failure < 0.25
    for band in answer.bands:
        assert band is not None
        assert band.survival[0] <= band.survival[1] <= band.survival[2]
        assert band.hops_per_hour[0] < band.hops_per_hour[2]
    assert answer.where.min_entropy >= 2.5
    assert answer.where.informed > answer.where.uniform
    plan_report.FIGURE_TRIALS, kept = 1000, plan_report.FIGURE_TRIALS
    try:
        plan_report.write(answer, tmp_path / "out")
    finally:
        plan_report.FIGURE_TRIALS = kept
    page = (tmp_path / "out" / "report.html").read_text()
    for name in ("pareto", "mttc", "timeline", "delta", "beta", "stays", "fig4", "fig5"):
        assert f'src="{name}.png"' in page
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 5000
    make_clock(yaml.safe_load((tmp_path / "out" / "scheduler.yml").read_text())["clock"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("10 min", 600), ("30d", 2592000), (2.5, 2.5), ("150 ms", 0.15), ("4", 4)]
)
def test_durations(text: Any, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fleet: {hosts: 30}\nattack: {family: fixed, mean: 1}\ngoal: {horizon: 1, survival: 0.9}",
            "plan.yml:1: fleet",
        ),
        (
            "fleet: {hosts: 3, attackers: 4}\nattack: {preset: x}\ngoal: {}",
            "fleet.attackers: it is 4: at most fleet.hosts, 3",
        ),
        ("fleet: {hosts: 3, attackers: 1}\nattack:\n  family: fixed\n  mean: soon\n", "plan.yml:4: attack.mean"),
        ("fleet: {hosts: 3, attackers: 1}\nattack: {preset: nope}\n", "attack.preset: it is 'nope'"),
        (
            "fleet: {hosts: 4, attackers: 1}\nattack: {family: fixed, mean: 1}\n"
            "goal: {horizon: 1, survival: 0.9, min_entropy_bits: 2}",
            "goal.min_entropy_bits: it is 2: 3 other hosts give at most 1.585 bits",
        ),
    ],
)
def test_bad_plans_are_refused_by_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.yml"
    path.write_text(text)
    with pytest.raises(Refusal) as refusal:
        reading.load(path, PlanFile)
    assert message in str(refusal.value)


def test_the_verdict_is_for_the_placement_that_is_handed_out() -> None:
    """Against brute force: every set of attacked hosts, every number of stays, under a draw that is far from uniform."""
    rng = np.random.default_rng(3)
    chain = rng.random((6, 6)) ** 4
    np.fill_diagonal(chain, 0)
    chain /= chain.sum(axis=1, keepdims=True)
    q, stays, uniform = 0.02, 400, (np.ones((6, 6)) - np.eye(6)) / 5

    def lived(transition: np.ndarray) -> float:
        total = 0.0
        for attacked in itertools.combinations(range(6), 2):
            stay = np.ones(6)
            stay[list(attacked)] = 1 - q
            total += float(np.full(6, 1 / 6) @ np.linalg.matrix_power(stay[:, None] * transition, stays) @ np.ones(6))
        return total / 15

    exact = lived(chain) / lived(uniform)
    assert abs(exact - 1) > 0.1, "a draw for which it matters"
    assert Placed(chain, 2, seed=1).quotient(q, stays) == pytest.approx(exact, rel=0.03)
    assert Placed(uniform, 2, seed=1).quotient(q, stays) == pytest.approx(1, abs=1e-3)
    assert Placed(uniform, 2, seed=1).slowness(q) == pytest.approx(1, abs=1e-3)
    assert Placed(chain, 2, seed=1).quotient(0.0, stays) == 1


def test_a_clock_with_ticks_keeps_away_from_the_edge_of_the_shortest_attack() -> None:
    """Beyond 596 s = 15 ticks, a stay and the latency of 4 s reach the shortest attack: survival falls from 0.994 to 0.989."""
    goal = {"horizon": "30 d", "survival": 0.99}
    quantiles = {"p10": "12 min", "p50": "20 min", "p90": "1 h", "shortest": "10 min"}
    measured = {"latency": "4 s", "downtime": "150 ms", "failure": 0.02}
    problem = planner.pose(plan(goal=goal, attack=quantiles, measured=measured), None)
    found = next(each for each in planner.solve(problem) if each.name == "paper")
    tick = found.clock.lattice
    assert tick is not None and 15 * tick < 0.996 * 596
    beyond = planner.lived(problem, PmfSample(planner.PAPER_LAMBDA, planner.PAPER_THRESHOLD, 1.01 * 596 / 15))
    assert beyond < 0.99 < 0.993 < found.survival


def test_a_simulation_that_contradicts_the_closed_form_takes_the_verdict_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        planned, "_confirm", lambda *_: {"estimate": 0.9, "ci95": [0.8, 0.95], "exact": 1.0, "trials": 1000}
    )
    with pytest.raises(Refusal, match=r"simulated survival 0\.9 < 0\.99"):
        planned.make(plan(), None)
