# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: what is there by default, how levels combine, and that mistakes are named with line and key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from relocate import reading
from relocate.errors import Refusal
from relocate.model.clock_plan import planned
from relocate.model.clock_plan.spec import PlanFile
from relocate.schedule.config import load, parse
from relocate.schedule.settings import merged
from tests.paths import ROOT

EXAMPLES = ROOT / "docs" / "examples"
CLOCK = "relocate.mtd/clock-"


def test_the_defaults_are_usable() -> None:
    configuration = load(None)
    clock, problem = configuration.clock_for({})
    assert (clock.kind, problem) == ("truncated-poisson", None)
    assert clock.longest == 3600
    assert configuration.launcher.kind == "runner"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "clock:\n  kind: poisson\n  rate: 0.1\n  ceiling: 5\n",
            4,
            "clock.ceiling: it has no effect on the poisson clock",
        ),
        ("clock:\n  kind: poisson\n  rate: -1\n", 3, "clock.rate: it is -1"),
        ("clock:\n  kind: clepsydra\n", 2, "it must be one of truncated-poisson"),
        ("limits:\n  in_flight: many\n", 2, "limits.in_flight"),
        ("limits:\n\n  hops: 3\n", 3, "limits.hops: there is no such key"),
        (
            "limits:\n  windows:\n  - days: [mon, dies]\n    from: '22:00'\n    to: '23:00'\n",
            3,
            "limits.windows[0].days[1]: it is 'dies': it must be one of",
        ),
        ("limits:\n  windows:\n  - from: '22:00'\n", 3, "limits.windows[0].to: it is missing"),
        ("limits:\n  windows:\n  - from: '22:00+02:00'\n    to: '23:00'\n", 3, "the time zone is limits.timezone"),
        ("limits:\n  timezone: Middle/Earth\n", 1, "the time zone 'Middle/Earth' is unknown"),
        ("limits:\n  blackouts:\n  - {from: 2026-12-24, to: 2026-12-20}\n", 3, "a blackout ends after it begins"),
        ("store:\n  url: mysql://x\n", 2, "the store 'mysql' is unknown"),
        ("destination:\n  policy: argmax\n", 2, "use one of softmax, paper, uniform"),
        ("lease: {ttl: 2, beat: 2}\n", 1, "one missed beat would end the lease"),
        ("metrics:\n  listen: '9469'\n", 2, "give HOST:PORT"),
        ("launcher:\n  kind: magic\n", 1, "kind must be one of runner, stream, awx and null"),
        ("launcher:\n  kind: 'null'\n  seconds: -1\n", 3, "launcher.seconds"),
        ("groups:\n  web:\n    clock: {threshold: 2}\n", 2, "groups.web: clock.threshold has no effect"),
        ("fleet: a\nlog: {}\nfleet: b\n", 3, "fleet: it stands in line 1 already"),
        ("fleet: [\n", 2, "this is no YAML"),
        ("- 1\n", 1, "a mapping of keys is needed"),
        ("clock:\n  {kind: pmf-count, lambda: 0.5, threshold: 0.1, rate: 1}\n", 2, "every stay 0"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(text: str, line: int, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(text, "fleet.yml")
    assert refused.value.status == 1
    assert said in str(refused.value)
    assert f"fleet.yml:{line}: " in str(refused.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(Refusal) as refused:
        parse("a: 1\nb: 2\n", "x")
    assert [line[:7] for line in str(refused.value).splitlines()] == ["x:1: a:", "x:2: b:"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"none\.yml does not exist"):
        load(tmp_path / "none.yml")


def test_levels_refine_one_another_until_one_names_a_kind() -> None:
    configuration = parse(
        "clock: {kind: truncated-poisson, rate: 0.01, ceiling: 500}\n"
        "groups:\n"
        "  web: {clock: {rate: 0.05}}\n"
        "  db: {clock: {kind: poisson, rate: 0.002}}\n"
    )
    web, _ = configuration.clock_for({"relocate.mtd/tenant": "web"})
    assert web.parameters() == {"rate": 0.05, "ceiling": 500.0}
    db, _ = configuration.clock_for({"relocate.mtd/tenant": "db"})
    assert (db.kind, db.parameters()) == ("poisson", {"rate": 0.002})
    own, _ = configuration.clock_for({"relocate.mtd/tenant": "web", CLOCK + "ceiling": "60"})
    assert own.parameters() == {"rate": 0.05, "ceiling": 60.0}
    paper, problem = configuration.clock_for(
        {CLOCK + "kind": "pmf-sample", CLOCK + "lambda": "4", CLOCK + "threshold": "0.15", CLOCK + "tick": "10"}
    )
    assert (paper.kind, problem) == ("pmf-sample", None)
    assert merged({"kind": "poisson", "rate": 1}, {"kind": "static"}) == {"kind": "static"}


@pytest.mark.parametrize("labels", [{CLOCK + "rate": "often"}, {CLOCK + "rate": "-3"}, {CLOCK + "speed": "1"}])
def test_a_label_that_makes_no_clock_is_passed_over_and_told(labels: dict[str, str]) -> None:
    configuration = parse("clock: {rate: 0.01}\n")
    clock, problem = configuration.clock_for(labels)
    assert clock.parameters()["rate"] == 0.01
    assert problem is not None and problem.startswith("its labels are passed over: clock.")


def test_labels_can_be_switched_off() -> None:
    configuration = parse("clock: {rate: 0.01}\nlabels: {clock: false}\n")
    assert configuration.clock_for({CLOCK + "rate": "9"})[0].parameters()["rate"] == 0.01


def test_a_time_of_day_without_quotes_is_what_it_looks_like() -> None:
    """YAML 1.1 reads 22:30 as a number in base 60; for this reader it is text."""
    configuration = parse("limits: {windows: [{from: 22:30, to: 6:15}]}\n")
    window = configuration.limits.windows[0]
    assert (str(window.start), str(window.end)) == ("22:30:00", "06:15:00")


def test_the_example_in_the_documentation_can_be_read() -> None:
    """With what its comments say."""
    configuration = load(EXAMPLES / "schedule.yml")
    clock, problem = configuration.clock_for({"relocate.mtd/tenant": "payments"})
    assert problem is None and clock.parameters()["ceiling"] == 570
    assert configuration.clock_for({})[0].parameters()["ceiling"] == 3600


def test_what_the_planner_writes_can_be_read() -> None:
    plan = reading.load(EXAMPLES / "plan.yml", PlanFile).model_copy(update={"trials": 10, "draws": 2})
    made = planned.make(plan, None)
    text = made.scheduler_yaml()
    configuration, wanted = parse(text, "plan"), yaml.safe_load(text)
    assert configuration.clock == wanted["clock"]
    assert configuration.limits.hops_per_hour == wanted["limits"]["hops_per_hour"]
    assert configuration.destination == wanted["destination"]
    # of a fleet whose differences are known, it writes weights as well
    where = planned.Where(3.0, 2.5, 3.0, 4.0, 4.0, 0.2, 0.1)
    assert "weights" in parse(dataclasses.replace(made, where=where).scheduler_yaml(), "plan").destination
