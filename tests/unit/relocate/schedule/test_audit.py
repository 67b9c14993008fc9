# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit lets honest clocks pass at its rate, and catches dishonest ones. Seeds are fixed: these tests cannot flicker."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, make_clock

from relocate.schedule import audit_tests
from relocate.schedule.audit import Stay, audit

LAWS: list[dict[str, Any]] = [
    {"kind": "poisson", "rate": 0.1},
    {"kind": "truncated-poisson", "rate": 0.1, "ceiling": 15},
    {"kind": "capped-poisson", "rate": 0.1, "ceiling": 12},
    {"kind": "pmf-sample", "lambda": 4, "threshold": 0.15, "tick": 3.0},
    {"kind": "pmf-count", "lambda": 4, "threshold": 0.15, "rate": 0.3},
    {"kind": "erlang", "rate": 0.1, "shape": 3},
    {"kind": "uniform", "low": 2, "ceiling": 20},
]
POISSON = make_clock(LAWS[0])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffle less often: an exact test stays exact."""
    monkeypatch.setattr(audit_tests, "SHUFFLES", 99)


def fleet(clock: Clock, generator: np.random.Generator, stays: int = 200, containers: int = 6) -> list[Stay]:
    """Return honest stays, container after container in turn."""
    drawn = clock.stays(generator, stays).tolist()
    return [Stay(seconds, f"c{number % containers}") for number, seconds in enumerate(drawn)]


def wrong(result: Any) -> set[str]:
    """Return the names of the tests that failed."""
    return {test.name for test in result.tests if test.failed(result.level)}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law["kind"]))
def test_an_honest_clock_fails_as_often_as_the_level_says(law: dict[str, Any]) -> None:
    """At 5 %, of 200 audits: more than 20 would happen once in a thousand times, were the rate right."""
    clock, generator = make_clock(law), np.random.default_rng(20)
    failed = sum(audit(fleet(clock, generator, 90), clock).verdict == "fail" for _ in range(200))
    assert failed <= 20


def test_p_values_of_an_honest_clock_are_uniform() -> None:
    """Each test's own, not only the verdict."""
    generator = np.random.default_rng(3)
    seen: dict[str, list[float]] = {}
    for _ in range(300):
        for test in audit(fleet(POISSON, generator, 120), POISSON, resolution=0.001).tests:
            seen.setdefault(test.name, []).append(test.p_value)
    assert set(seen) == {"law", "order", "drift", "repeats", "step"}
    for name in ("law", "order", "drift", "step"):
        assert abs(np.mean(seen[name]) - 0.5) < 0.06, name
        assert 0.005 <= np.mean(np.array(seen[name]) < 0.05) <= 0.1, name


def test_stays_that_still_run_do_not_make_an_honest_clock_look_quick() -> None:
    """Seen for three mean stays only, most long ones are missing: said so by their room, they are not missed."""
    generator, told, untold = np.random.default_rng(4), 0, 0
    for _ in range(100):
        seen: list[Stay] = []
        for container in range(40):
            begun = 0.0
            for stay in POISSON.stays(generator, 50).tolist():
                if begun + stay > 30.0:
                    break
                seen.append(Stay(stay, f"c{container}", room=30.0 - begun))
                begun += stay
        told += audit(seen, POISSON).verdict == "fail"
        untold += audit([Stay(stay.seconds, stay.container) for stay in seen], POISSON).verdict == "fail"
    assert told <= 12 and untold >= 50


def test_the_same_stays_give_the_same_answer() -> None:
    """Also where the transforms are randomised."""
    clock = make_clock(LAWS[3])
    stays = fleet(clock, np.random.default_rng(5))
    assert audit(stays, clock) == audit(stays, clock)


def test_the_unit_of_time_does_not_matter() -> None:
    """Metamorphic: seconds or minutes, the same p-values where nothing is drawn from the stays themselves."""
    stays = fleet(POISSON, np.random.default_rng(6))
    minutes = [Stay(stay.seconds / 60, stay.container) for stay in stays]
    one, other = (
        audit(stays, POISSON),
        audit(minutes, make_clock({"kind": "poisson", "rate": 6.0}), resolution=0.05 / 60),
    )
    for first, second in zip(one.tests, other.tests, strict=True):
        assert first.statistic == pytest.approx(second.statistic), first.name


def test_a_wrong_rate_is_caught() -> None:
    """Half as fast as configured."""
    slow = make_clock({"kind": "poisson", "rate": 0.05})
    assert "law" in wrong(audit(fleet(slow, np.random.default_rng(7)), POISSON))


def test_a_period_with_jitter_is_caught() -> None:
    """The right mean is not enough."""
    generator = np.random.default_rng(8)
    stays = [Stay(10 + generator.normal(0, 1), "web") for _ in range(60)]
    assert "law" in wrong(audit(stays, POISSON))


def test_a_seed_used_twice_is_caught() -> None:
    """After every restart the same stays again: each follows the law, together they do not."""
    once = POISSON.stays(np.random.default_rng(9), 20).tolist()
    result = audit([Stay(seconds, "web") for _ in range(6) for seconds in once], POISSON, resolution=0.001)
    assert "repeats" in wrong(result)


def test_containers_with_the_same_seed_are_caught() -> None:
    """All hop at the same time. On a lattice equal stays are no proof; being equal in step is."""
    for law, name in ((LAWS[0], "step"), (LAWS[0], "repeats"), (LAWS[3], "step")):
        clock = make_clock(law)
        one = clock.stays(np.random.default_rng(10), 30).tolist()
        stays = [Stay(seconds, f"c{number}") for seconds in one for number in range(5)]
        assert name in wrong(audit(stays, clock, resolution=0.001)), law["kind"]


def test_drift_is_caught() -> None:
    """Twice as fast at the end as at the beginning, with the configured rate between."""
    generator = np.random.default_rng(11)
    rates = np.geomspace(0.05, 0.2, 300)
    stays = [Stay(float(seconds), f"c{n % 6}") for n, seconds in enumerate(generator.standard_exponential(300) / rates)]
    assert "drift" in wrong(audit(stays, POISSON))


def test_stays_that_depend_on_the_last_one_are_caught() -> None:
    """A long one after a short one: the law of each is right."""
    generator = np.random.default_rng(12)
    u = [generator.random()]
    for _ in range(199):
        u.append((1 - u[-1] + 0.1 * (generator.random() - 0.5)) % 1.0)
    assert "order" in wrong(audit([Stay(-math.log1p(-x) / 0.1, "web") for x in u], POISSON))


def test_stays_that_the_law_cannot_give_are_caught_and_counted() -> None:
    """Above a ceiling, between two ticks, below the shortest."""
    truncated, ticks, uniform = make_clock(LAWS[1]), make_clock(LAWS[3]), make_clock(LAWS[6])
    honest = fleet(truncated, np.random.default_rng(13), 50)
    result = audit([*honest, Stay(15.2, "c0")], truncated)
    assert result.impossible == 1 and "law" in wrong(result) and "cannot come from it" in result.text()
    assert audit([*fleet(ticks, np.random.default_rng(13), 50), Stay(4.5, "c0")], ticks).impossible == 1
    assert audit([Stay(1.5, "c0"), Stay(3.0, "c0")], uniform).impossible == 1


def test_what_was_measured_late_is_put_where_it_belongs() -> None:
    """A firing error of some milliseconds takes no stay off its lattice or above its ceiling."""
    for law in (LAWS[1], LAWS[2], LAWS[3]):
        clock, generator = make_clock(law), np.random.default_rng(14)
        late = [Stay(stay.seconds + 0.02 * generator.random(), stay.container) for stay in fleet(clock, generator)]
        result = audit(late, clock)
        assert result.passed and result.impossible == 0, law["kind"]


def test_clamped_stays_are_tested_as_drawn() -> None:
    """A minimum stay changes the short ones. Leaving those out would make an honest clock fail."""
    generator = np.random.default_rng(15)
    drawn = POISSON.stays(generator, 150).tolist()
    stays = [Stay(max(s, 5.0), "web", drawn=s, clamp="min-stay" if s < 5.0 else "none") for s in drawn]
    result = audit(stays, POISSON)
    assert result.passed and result.clamped == {"min-stay": sum(s < 5.0 for s in drawn)} and result.left_out == 0
    assert "tested as drawn, not as lived" in result.text()
    without = [Stay(stay.seconds, "web", clamp=stay.clamp) for stay in stays]
    unknown = audit(without, POISSON)
    assert unknown.verdict == "fail" and unknown.left_out == result.clamped["min-stay"] and "left out" in unknown.text()


def test_few_stays_leave_it_undecided_and_say_what_cannot_be_told() -> None:
    """Unless they already speak against the clock."""
    few = audit(fleet(POISSON, np.random.default_rng(16), 12, 2), POISSON)
    assert few.verdict == "undecided" and not few.passed
    assert "Fewer than 20 stays" in few.text() and "UNDECIDED" in few.text()
    assert audit([Stay(10.0, "web")] * 12, POISSON).verdict == "fail"


def test_no_stays() -> None:
    """Nothing to test is no pass."""
    nothing = audit([], POISSON)
    assert nothing.verdict == "undecided" and nothing.tests == () and "no stay to test" in nothing.text()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_very_few_stays_are_no_accident(number: int) -> None:
    """Every test that cannot be made is left out."""
    assert audit([Stay(7.0 + n, "web") for n in range(number)], POISSON).verdict == "undecided"


def test_a_deterministic_clock_passes_and_is_called_learnable() -> None:
    """The audit asks whether the clock is the configured one, not whether that is a good one."""
    periodic = make_clock({"kind": "periodic", "period": 10})
    result = audit([10.0] * 40, periodic)
    assert result.passed and "deterministic" in result.text()
    assert audit([10.0] * 39 + [11.0], periodic).verdict == "fail"


def test_a_clock_that_never_hops_contradicts_any_hop() -> None:
    """The static one."""
    assert audit([10.0, 20.0], make_clock({"kind": "static"})).verdict == "fail"


def test_the_verdict_is_a_sentence_and_a_document() -> None:
    """What is printed and what is machine-readable agree."""
    result = audit(fleet(POISSON, np.random.default_rng(17)), POISSON)
    assert result.text().startswith("PASS: 200 stays of 6 containers agree with the poisson clock (rate 0.1)")
    document = json.loads(json.dumps(result.document()))
    assert document["verdict"] == "pass" and document["clock"] == {"kind": "poisson", "rate": 0.1}
    assert [test["name"] for test in document["tests"]] == ["law", "order", "drift", "repeats", "step"]


def test_a_negative_stay_is_an_error() -> None:
    """It could only be a fault of whoever measured."""
    with pytest.raises(ValueError, match="no stay is negative"):
        audit([-1.0], POISSON)


def test_tails() -> None:
    """Against values from tables: chi-square 18.307 at 10 degrees and 5.991 at 2, P(N >= 10) for a mean of 5."""
    assert audit_tests.chi_square_tail(18.307, 10) == pytest.approx(0.05, abs=1e-5)
    assert audit_tests.chi_square_tail(5.991, 2) == pytest.approx(0.05, abs=1e-4)
    assert audit_tests.poisson_tail(10, 5.0) == pytest.approx(0.031828, abs=1e-6)
    assert audit_tests.poisson_tail(0, 5.0) == 1.0
    assert audit_tests.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_resolution_coarser_than_the_stays_finds_nothing() -> None:
    """A slow machine is late by more than a fast clock's mean stay: every pair is equal, as expected."""
    found, expected, p = audit_tests.repeats(np.array([0.1, 0.5, 0.9]), resolution=3.0)
    assert (found, expected) == (3, 3.0) and p > 0.5
