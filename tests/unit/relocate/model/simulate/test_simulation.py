# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator against the closed forms at a million trials (fixed seeds, |z| < 4), and the relations every run must keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from relocate.model.laws import attacks
from relocate.model.laws.closed_forms import chase_mttc
from relocate.model.simulate.placement import Chain, alias_table, transition_matrix
from relocate.model.simulate.simulation import simulate
from relocate.model.simulate.spec import ClassesSpec, Simulation
from relocate.model.simulate.trials import Chunk, stream

CLOCKS: list[dict[str, Any]] = [
    {"kind": "poisson", "rate": 0.5},
    {"kind": "capped-poisson", "rate": 0.5, "ceiling": 3},
    {"kind": "truncated-poisson", "rate": 0.5, "ceiling": 5},
    {"kind": "uniform", "low": 1, "ceiling": 5},
    {"kind": "erlang", "rate": 0.5, "shape": 3},
    {"kind": "pmf-sample", "lambda": 4, "threshold": 0.15, "tick": 0.5},
    {"kind": "pmf-count", "lambda": 4, "threshold": 0.15, "rate": 2},
    {"kind": "pmf-tick", "lambda": 4, "threshold": 0.15},
    {"kind": "periodic", "period": 2.5},
    {"kind": "static"},
]
ATTACKS: list[dict[str, Any]] = [
    {"family": "fixed", "mean": 2.0},
    {"family": "exponential", "mean": 2.0},
    {"family": "erlang", "mean": 2.0, "shape": 4},
    {"family": "uniform", "low": 0.5, "high": 3.0},
    {"family": "lognormal", "mean": 2.0, "sigma": 0.6},
]


def spec(**changes: Any) -> Simulation:
    """Return a small system with ``changes``."""
    base: dict[str, Any] = {
        "hosts": 12,
        "attackers": 4,
        "attack": {"family": "fixed", "mean": 2.0},
        "clock": {"kind": "poisson", "rate": 0.5},
        "horizon": [1.0, 3.0, 10.0],
        "trials": 40_000,
        "seed": 3,
    }
    return Simulation.model_validate(base | changes)


def check_shares(document: dict[str, Any]) -> None:
    """Assert |z| < 4 for every proportion and mean that has an exact value."""
    trials = document["trials"]
    for share in [document["per_stay_success"], *document["survival"]]:
        exact = share["exact"]
        assert exact is not None
        spread = math.sqrt(exact * (1 - exact) / trials)
        assert abs(share["estimate"] - exact) <= 4 * spread + 1e-6, share
    mttc = document["mttc"]
    if mttc["exact"] is not None and mttc["estimate"] is not None:
        spread = (mttc["ci95"][1] - mttc["ci95"][0]) / (2 * 1.96)
        assert abs(mttc["estimate"] - mttc["exact"]) <= 4 * spread + 1e-9, mttc


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda entry: str(entry["family"]))
@pytest.mark.parametrize("clock", CLOCKS, ids=lambda entry: str(entry["kind"]))
def test_every_clock_and_attack_against_its_closed_form(clock: dict[str, Any], attack: dict[str, Any]) -> None:
    check_shares(simulate(spec(clock=clock, attack=attack)).document())


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda entry: str(entry["kind"]))
def test_latency_failures_and_downtime_against_the_closed_form(clock: dict[str, Any]) -> None:
    system = spec(clock=clock, latency=0.3, failure=0.25, downtime=0.2, start="attacked", attack=ATTACKS[2])
    check_shares(simulate(system).document())


def test_a_million_trials_of_formula_three() -> None:
    ready = spec(
        hosts=30,
        attackers=5,
        attack={"family": "fixed", "mean": 1.0},
        clock={"kind": "poisson", "rate": 1.5},
        start="attacked",
        trials=1_000_000,
    )
    document = simulate(ready).document()
    check_shares(document)
    assert document["mttc"]["exact"] == pytest.approx(13.926756, abs=5e-7)
    assert document["mttc"]["trials"] == 1_000_000
    assert document["hops_per_time"] == pytest.approx(1.5, rel=2e-3)


def test_a_million_trials_of_the_chase() -> None:
    chased = spec(
        attack={"family": "exponential", "mean": 1.0},
        clock={"kind": "poisson", "rate": 2.0},
        progress={"model": "chase", "chase_rate": 0.5},
        horizon=[5.0],
        trials=1_000_000,
    )
    document = simulate(chased).document()
    check_shares(document)
    assert document["mttc"]["exact"] == chase_mttc(0.5, 1, 2) == 7
    assert document["survival"][0]["exact"] == pytest.approx(0.496317, abs=5e-7)
    beside = simulate(
        spec(**chased.model_dump(exclude={"trials", "start"}), start="attacked", trials=100_000)
    ).document()
    check_shares(beside)


def test_leaked_information_has_the_mean_of_no_clock_and_the_variance_of_its_own() -> None:
    for policy in ("uniform", "uniform-with-self"):
        document = simulate(spec(destination={"policy": policy}, trials=100_000)).document()["co_residence"]
        assert document["exact_mean"] == pytest.approx(10 * 4 / 12)
        spread = math.sqrt(document["exact_variance"] / 100_000)
        assert abs(document["mean"] - document["exact_mean"]) < 4 * spread
        assert document["variance"] == pytest.approx(document["exact_variance"], rel=0.03)


def test_pymtdevaluators_example_in_one_pass() -> None:
    example = spec(
        hosts=1,
        attackers=1,
        attack={"family": "erlang", "mean": 24.0, "shape": 4},
        clock={"kind": "periodic", "period": 5.5},
        horizon=[float(hour) for hour in range(1, 49)],
        trials=480_000,
    )
    document = simulate(example, to_compromise=False).document()
    last = document["survival"][-1]
    assert 1 - last["exact"] == pytest.approx(0.113151, abs=1e-6)
    for point in document["survival"]:
        spread = math.sqrt(point["exact"] * (1 - point["exact"]) / 480_000)
        assert abs(point["estimate"] - point["exact"]) < 4 * spread + 1e-6


# Metamorphic relations


def test_rescaling_time_changes_nothing_but_the_unit() -> None:
    slow = simulate(spec()).document()
    fast = simulate(
        spec(attack={"family": "fixed", "mean": 0.2}, clock={"kind": "poisson", "rate": 5.0}, horizon=[0.1, 0.3, 1.0])
    ).document()
    for one, other in zip(slow["survival"], fast["survival"], strict=True):
        assert one["estimate"] == pytest.approx(other["estimate"], abs=2e-4)  # the same seed, scaled
        assert one["exact"] == pytest.approx(other["exact"], abs=1e-6)
    assert slow["mttc"]["exact"] == pytest.approx(10 * fast["mttc"]["exact"])


def test_beta_zero_is_uniform() -> None:
    delta = ClassesSpec(count=3).matrix(12)
    rows = transition_matrix("softmax", delta, beta=0.0)
    assert np.allclose(rows, (1 - np.eye(12)) / 11)
    soft = simulate(spec(destination={"policy": "softmax", "beta": 0.0, "classes": {"count": 3}})).document()
    for estimate, exact in zip(soft["survival"], simulate(spec()).document()["survival"], strict=True):
        spread = math.sqrt(exact["exact"] * (1 - exact["exact"]) / soft["trials"])
        assert abs(estimate["estimate"] - exact["exact"]) <= 4 * spread


def test_hops_that_always_fail_are_a_static_container() -> None:
    failing, static = simulate(spec(failure=1.0)).document(), simulate(spec(clock={"kind": "static"})).document()
    assert failing["hops_per_time"] == static["hops_per_time"] == 0
    for one, other in zip(failing["survival"], static["survival"], strict=True):
        assert one["exact"] == other["exact"]
        spread = math.sqrt(2 * one["exact"] * (1 - one["exact"]) / 40_000)
        assert abs(one["estimate"] - other["estimate"]) <= 4 * spread


def test_without_attackers_everybody_survives() -> None:
    document = simulate(spec(attackers=0)).document()
    assert [point["estimate"] for point in document["survival"]] == [1, 1, 1]
    assert [point["exact"] for point in document["survival"]] == [1, 1, 1]
    assert document["mttc"]["estimate"] is None
    assert document["co_residence"]["mean"] == 0


def test_more_hosts_never_lower_survival_under_reset() -> None:
    exact = [simulate(spec(hosts=hosts, trials=1)).document()["survival"][-1]["exact"] for hosts in (4, 6, 12, 50)]
    assert exact == sorted(exact)
    seen = [simulate(spec(hosts=hosts)).document()["survival"][-1]["estimate"] for hosts in (4, 12, 50)]
    assert seen == sorted(seen)


def test_progress_models_are_ordered() -> None:
    """Forgetting less never helps the container: reset >= retain >= accumulate."""
    classes = {"policy": "uniform", "classes": {"count": 3}}
    survived = [
        simulate(spec(progress={"model": model}, destination=classes)).document()["survival"][-1]["estimate"]
        for model in ("reset", "retain", "accumulate")
    ]
    assert survived == sorted(survived, reverse=True)
    assert survived[0] - survived[2] > 0.1


def test_a_ceiling_below_the_attack_time_is_sure() -> None:
    document = simulate(spec(clock={"kind": "truncated-poisson", "rate": 0.1, "ceiling": 1.9})).document()
    assert document["survival"][-1] == {
        "at": 10.0,
        "estimate": 1.0,
        "ci95": [pytest.approx(0.9999, abs=1e-4), 1.0],
        "exact": 1.0,
    }
    assert any("never be compromised" in note for note in document["notes"])


# Engine


def test_a_seed_gives_the_same_numbers_and_another_does_not() -> None:
    one, two, other = (simulate(spec(seed=seed)).document() for seed in (5, 5, 6))
    assert one["survival"] == two["survival"]
    assert one["survival"] != other["survival"]


def test_availability_is_one_less_downtime_per_cycle() -> None:
    document = simulate(spec(downtime=0.5, horizon=[200.0], trials=2000)).document()
    assert document["availability"] == pytest.approx(0.8, abs=0.005)
    assert document["long_run"] == {"hops_per_time": pytest.approx(0.4), "availability": pytest.approx(0.8)}


def test_alias_tables_keep_the_distribution() -> None:
    row = np.array([0.5, 0.0, 0.2, 0.05, 0.25])
    keep, other = alias_table(row)
    mass = np.zeros(5)
    for column in range(5):
        mass[column] += keep[column] / 5
        mass[other[column]] += (1 - keep[column]) / 5
    assert np.allclose(mass, row)
    hosts = Chain(np.tile(row, (5, 1))).next(stream(3), np.zeros(200_000, dtype=np.uint16))
    seen = np.bincount(hosts, minlength=5) / 200_000
    assert np.all(np.abs(seen - row) <= 4 * np.sqrt(row * (1 - row) / 200_000))


def test_a_container_never_hops_to_itself() -> None:
    for policy, beta in (("softmax", 4.0), ("paper", None), ("argmax", None)):
        rows = transition_matrix(policy, ClassesSpec(count=3).matrix(12), beta=beta)
        assert np.all(np.diag(rows) == 0)
        assert np.allclose(rows.sum(axis=1), 1)


def test_memory_is_bounded_by_the_chunk() -> None:
    """The state of a chunk is a few arrays of its size; nothing is kept per hop."""
    import tracemalloc

    scenario = spec(horizon=[2000.0]).scenario()
    tracemalloc.start()
    Chunk(scenario, 4096, stream(1)).run(to_compromise=False, stay_limit=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4096 * 8 * 40  # 1 000 stays per trial would be 32 MB and more


def test_ctrl_c_returns_what_was_reached() -> None:
    def stop(done: int, total: int) -> None:
        if done >= 16384 * 2:
            raise KeyboardInterrupt

    document = simulate(spec(trials=1_000_000), stop).document()
    assert document["interrupted"]
    assert document["trials"] == 2 * 16384
    check_shares({**document, "per_stay_success": document["survival"][0]})
    assert any("Interrupted after" in note for note in document["notes"])


def test_floored_attacks_never_come_early() -> None:
    law = attacks.Floored(attacks.Lognormal(10.0, 1.0), 6.0)
    sample = law.sample(stream(2), 100_000)
    assert sample.min() == 6.0 == law.shortest
    assert abs(sample.mean() - law.average) < 4 * sample.std() / math.sqrt(sample.size)
    assert law.cdf(5.999) == 0
    for z in (0.05, 0.5):
        values = np.exp(-z * sample)
        assert abs(values.mean() - law.transform(z).real) < 4 * values.std() / math.sqrt(sample.size)
