# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two commands as a user calls them: files, refusals by line and key, one JSON document and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from relocate.commands import plan as plan_command
from relocate.commands import simulate as simulate_command
from relocate.commands import simulate_file
from relocate.errors import Refusal

GOOD = """hosts: 30
attackers: 10
attack: {family: fixed, mean: 4.0}
clock: {kind: poisson, rate: 0.5}
destination: {policy: uniform}
start: attacked
horizon: [2, 5, 24]
trials: 20000
seed: 7
"""
PLAN = """fleet: {hosts: 30, attackers: 3}
attack: {family: fixed, mean: 10 min}
measured: {downtime: 2.5 s}
goal: {horizon: 30 d, survival: 0.99}
trials: 100
"""


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    application = typer.Typer()
    simulate_command.register(application)
    plan_command.register(application)
    return application


def call(app: typer.Typer, *arguments: str) -> str:
    """Run a command and return its standard output; re-raise what it refused."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, Refusal):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_takes_long_says_so_before_it_begins(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten trials, each of a hundred thousand hops that fail: one chunk, so no progress is told before the end."""
    begun = []

    def simulate(*_: object, **__: object) -> None:
        begun.append(True)
        raise ValueError("enough")

    monkeypatch.setattr(simulate_file, "simulate", simulate)
    path = tmp_path / "slow.yml"
    for failure, words in (("0.999999", "This takes about "), ("0.1", "")):
        path.write_text(GOOD.replace("20000", "10") + f"failure: {failure}\n")
        result = CliRunner().invoke(app, ["simulate", str(path)])
        assert result.stderr.startswith(words) and bool(result.stderr) == bool(words), result.stderr
    assert begun == [True, True]


def refused(app: typer.Typer, tmp_path: Path, text: str) -> str:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(Refusal) as refusal:
        call(app, "simulate", str(path))
    assert refusal.value.status == 1
    return str(refusal.value)


def test_simulate_prints_one_document(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    document = json.loads(
        call(app, "simulate", str(tmp_path / "good.yml"), "--json", "--plot", str(tmp_path / "s.png"))
    )
    assert set(document) >= {
        "inputs", "per_stay_success", "mttc", "survival", "hops_per_time", "availability", "co_residence", "seconds",
        "trials_per_second",
    }  # fmt: skip
    assert document["per_stay_success"]["exact"] == pytest.approx(0.135335, abs=5e-7)
    assert [point["at"] for point in document["survival"]] == [2, 5, 24]
    assert (tmp_path / "s.png").stat().st_size > 5000


def test_simulate_prints_a_table(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    shown = call(app, "simulate", str(tmp_path / "good.yml"))
    assert "mean time to compromise" in shown
    assert "exact" in shown


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 7", "seed: 7\nhorizons: [1]", "bad.yml:10: horizons: there is no such key"),
        ("rate: 0.5", "rate: 0.5, celling: 1", "bad.yml:4: clock.celling: it is unknown"),
        ("attackers: 10", "attackers: 31", "bad.yml:2: attackers: it is 31: it must lie between 0 and hosts, 30"),
        (
            "attackers: 10",
            "attackers: [1, 30]",
            "bad.yml:2: attackers: it lists [1, 30]: different numbers from 0 to 29",
        ),
        ("kind: poisson, rate: 0.5", "kind: capped-poisson, rate: 1, ceiling: 0", "bad.yml:4: clock.ceiling: it is 0"),
        (
            "kind: poisson, rate: 0.5",
            "kind: pmf-sample, lambda: 4, threshold: 0.2",
            "clock.threshold: it is 0.2: it never fires. With lambda = 4 it must lie in [0, 0.1954)",
        ),
        ("kind: poisson, rate: 0.5", "kind: pmf-count, lambda: 1, threshold: 0.1, rate: 1", "every stay is 0"),
        ("horizon: [2, 5, 24]", "horizon: 0", "bad.yml:7: horizon: it is 0"),
        ("horizon: [2, 5, 24]", "horizon: []", "bad.yml:7: horizon: it is []"),
        ("mean: 4.0", "mean: -4", "bad.yml:3: attack.mean: it is -4: it must be at least 1e-12"),
        ("mean: 4.0", "mean: .nan", "bad.yml:3: attack.mean: it is .nan"),
        (", mean: 4.0", "", "attack.mean: it is missing: the fixed family needs it"),
        ("start: attacked", "latency: -1", "latency: it is -1: it must be at least 0"),
        ("start: attacked", "failure: 1.5", "failure: it is 1.5: it must be at most 1"),
        ("start: attacked", "start: sideways", "start: it is 'sideways'"),
        ("policy: uniform", "policy: softmax, beta: 1", "destination.delta: it is missing: the softmax policy needs"),
        ("policy: uniform", "policy: softmax, classes: {count: 3}", "needs either beta or min_entropy_bits"),
        ("policy: uniform", "policy: paper, delta: none.csv", "none.csv does not exist"),
        ("start: attacked", "progress: {model: chase}", "progress.chase_rate: it is missing"),
        (
            "start: attacked",
            "progress: {model: retain}",
            "progress.model: it is retain, which keeps progress by likeness",
        ),
        ("hosts: 30", "hosts: [", "bad.yml:3: this is no YAML"),
    ],
)
def test_mistakes_are_named(app: typer.Typer, tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refused(app, tmp_path, GOOD.replace(old, new, 1))


def test_a_matrix_of_the_wrong_size_is_named(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "delta.csv").write_text("host,a,b\na,0,1\nb,1,0\n")
    text = GOOD.replace("policy: uniform", "policy: softmax, beta: 1, delta: delta.csv")
    assert "delta.csv:1: the file has 2 rows of numbers, and hosts is 30" in refused(app, tmp_path, text)
    small = text.replace("hosts: 30", "hosts: 2").replace("attackers: 10", "attackers: 1")
    (tmp_path / "good.yml").write_text(small)
    assert json.loads(call(app, "simulate", str(tmp_path / "good.yml"), "--json"))["trials"] == 20000


def test_a_floor_that_cannot_be_had_is_named(app: typer.Typer, tmp_path: Path) -> None:
    text = GOOD.replace("policy: uniform", "policy: softmax, min_entropy_bits: 6, classes: {count: 3}")
    assert "min-entropy floor of 6 bits" in refused(app, tmp_path, text)


def test_no_such_file_is_wrong_usage(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="does not exist") as refusal:
        call(app, "simulate", str(tmp_path / "none.yml"))
    assert refusal.value.status == 2


def test_fig4_and_fig5_print_one_document(app: typer.Typer) -> None:
    four = json.loads(call(app, "simulate", "fig4", "--json", "--trials", "20000"))
    assert four["resisted"]["estimate"] == pytest.approx(0.87, abs=0.01)
    assert len(four["caveats"]) >= 3
    five = json.loads(call(app, "simulate", "fig5", "--json", "--trials", "2000"))
    assert {case["condition"] for case in five["conditions"]} == {"static", "low", "uniform", "high"}


def test_plan_prints_one_document_or_the_schedulers_yaml(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "plan.yml").write_text(PLAN)
    document = json.loads(call(app, "plan", str(tmp_path / "plan.yml"), "--json"))
    assert document["recommended"] == "truncated-poisson"
    assert document["scheduler"]["clock"]["ceiling"] == 570
    shown = call(app, "plan", str(tmp_path / "plan.yml"))
    assert "kind: truncated-poisson" in shown
    assert "→ truncated-poisson" in shown
