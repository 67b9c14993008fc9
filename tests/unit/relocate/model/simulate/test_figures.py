# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's figures: the numbers they must show, the calibrations behind them, and that the plots get drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relocate.errors import Refusal
from relocate.model.laws.empirical import Empirical
from relocate.model.measured import default_path, read
from relocate.model.plots import paper
from relocate.model.simulate import figures

from ..ledgers import write_ledger

OPTIONS = figures.Options(trials=100_000)


def test_calibrated_rates() -> None:
    rates = {name: figures.calibrated_rate(law, 0.87) for name, law in figures.families().items()}
    assert rates["fixed"] == pytest.approx(2.0402, abs=5e-5)
    assert rates["Erlang-4"] == pytest.approx(2.6615, abs=5e-5)
    assert rates["exponential"] == pytest.approx(6.6923, abs=5e-5)


def test_the_papers_clock_comes_within_a_thousandth() -> None:
    clock, ticks = figures.paper_clock(0.87)
    assert 1 - clock.survivor(float(ticks)) == pytest.approx(0.87, abs=0.002)


@pytest.mark.parametrize("mode", ["paper", "hardened"])
def test_fig4_resists_87_percent(mode: str) -> None:
    document = figures.fig4(figures.Options(trials=1_000_000, paper=mode == "paper"))
    assert document["mode"] == mode
    assert document["resisted"]["estimate"] == pytest.approx(0.870, abs=0.002)
    by_law = {case["law"]: case for case in document["conditions"]}
    assert by_law["static"]["estimate"] == 0
    for case in document["conditions"]:
        spread = (case["exact"] * (1 - case["exact"]) / 1_000_000) ** 0.5
        assert abs(case["estimate"] - case["exact"]) <= 4 * spread


@pytest.fixture(scope="module")
def fig5() -> dict[str, Any]:
    return figures.fig5(OPTIONS)


def test_fig5_survival(fig5: dict[str, Any]) -> None:
    survived = {case["condition"]: case["estimate"] for case in fig5["conditions"]}
    spread = 4 * (0.25 / OPTIONS.trials) ** 0.5
    assert survived["static"] == pytest.approx(2 / 3, abs=spread)
    assert survived["high"] == pytest.approx(0.957, abs=0.003)
    assert survived["uniform"] == pytest.approx(0.950, abs=0.003)
    assert abs(survived["high"] - survived["uniform"]) < 0.01
    assert survived["static"] < survived["low"] < survived["uniform"]


def test_fig5_fit(fig5: dict[str, Any]) -> None:
    fit = fig5["fit"]
    assert fit["relocated"]["exact"] == pytest.approx(0.9567, abs=5e-5)
    assert fit["gain"] == pytest.approx(0.29, abs=0.003)
    lost = fig5["reset"]
    still = 2 / 3
    crossing = next(at for at, share in zip(lost["at"], lost["relocated"], strict=True) if at > 1 and share < still)
    assert 4.5 <= crossing <= 5.0


def test_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path)
    measured = read(path)
    assert measured.relocations == 60
    assert measured.unreadable == 1
    assert len(measured.stays) == 59
    assert max(measured.stays) <= 570
    assert len(measured.latencies) == len(measured.downtimes) == measured.committed
    assert 0.05 < np.mean(measured.downtimes) < 0.2


def test_ledger_falls_back_on_the_phases(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    entry = {"container": "web", "outcome": "committed", "timings_ns": {"stage": 3e9, "freeze": 1e8}, "stay_ms": 5000}
    path.write_text(json.dumps(entry) + "\n")
    measured = read(path)
    assert measured.latencies == [pytest.approx(3.1)]
    assert measured.stays == [5.0]
    with pytest.raises(Refusal, match="at least 2 are needed"):
        Empirical.of(measured)


def test_the_default_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELOCATE_LEDGER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "relocate" / "ledger.jsonl"
    write_ledger(tmp_path / "here.jsonl")
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "here.jsonl"))
    assert read(Path("default")).relocations == 60


def test_an_empty_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("")
    with pytest.raises(Refusal, match="holds no relocation"):
        read(path)
    with pytest.raises(Refusal, match="cannot be read"):
        read(tmp_path / "none")


def test_measured_stays_are_a_clock() -> None:
    clock = Empirical((1.0, 2.0, 2.0, 5.0))
    assert clock.mean == 2.5
    assert [float(clock.survivor(x)) for x in (0.5, 2.0, 2.1, 6)] == [1, 0.75, 0.25, 0]
    assert [float(clock.expected_min(x)) for x in (1, 2, 5)] == [1, 1.75, 2.5]
    assert set(clock.stays(np.random.default_rng(1), 100)) == {1.0, 2.0, 5.0}


def test_plots_are_drawn_with_the_measured_overlay(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write_ledger(path)
    measured = read(path)
    live = figures.Live(Empirical.of(measured), 4.0, 0.1, 0.05, measured.relocations)
    few = figures.Options(trials=2000)
    four, five = figures.fig4(few, live), figures.fig5(few, live)
    assert four["live"]["stays"] == 59
    assert 0.5 < five["live"]["estimate"] <= 1
    paper.fig4(four, tmp_path / "fig4.svg")
    paper.fig5(five, tmp_path / "fig5.png")
    assert (tmp_path / "fig4.svg").read_text().count("<path") > 20
    assert (tmp_path / "fig5.png").stat().st_size > 20_000
    with pytest.raises(Refusal, match="plots are written as"):
        paper.fig4(four, tmp_path / "fig4.gif")
