# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a move is predicted to stop a container, what that is learned from, and which mode is chosen by it."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import (
    MIB,
    Cost,
    downtime_ms,
    limit_problem,
    over_budget,
    together_ms,
    with_left,
)
from ansible_collections.relocate.mtd.plugins.module_utils._speed import memory_speed
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import ledger, prediction
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.prediction import (
    DEFAULTS,
    DUMP_PER_WRITE,
    PREFERENCE_MS,
    RESTORE_PER_READ,
    Prediction,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
COST = Cost(100.0, 0.5, 0.1, 1.0, 2.0, 3.0, 4.0, overlapped=False)
STOP, POST, PRE = "stop-and-copy", "post-copy", "pre-copy"


def test_the_formula() -> None:
    """Fixed, connections, looking, and for each MiB carried its dump, its way and its restore."""
    assert downtime_ms(COST, 10 * MIB, flows=4) == 100 + 4 * 0.5 + 10 * (0.1 + 2 + 3 + 4)
    assert downtime_ms(COST._replace(overlapped=True), 10 * MIB) == 100 + 10 * (0.1 + max(2, 3) + 4)
    assert downtime_ms(COST._replace(share=0.0), 10 * MIB) == 100 + 10 * 0.1
    assert downtime_ms(COST._replace(factor=2.0), 10 * MIB) == 100 + 2 * 10 * 9.1
    assert downtime_ms(COST, 0) == 100


def test_what_went_ahead_is_restored_all_the_same() -> None:
    """In a pre-copy: 2 of 10 MiB are dumped and carried in the freeze, and 10 are restored."""
    cost = with_left(COST, 10 * MIB, 2 * MIB, ahead=True)
    assert (cost.share, cost.ahead) == (0.2, 0.8)
    assert downtime_ms(cost, 10 * MIB) == pytest.approx(100 + 10 * 0.1 + 2 * (2 + 3) + 10 * 4)
    assert with_left(COST, MIB, 3 * MIB, ahead=True)[3] == 1.0 and with_left(COST, 0, 0, ahead=True).ahead == 0.0
    assert DEFAULTS[PRE].share + DEFAULTS[PRE].ahead == 1.0


@given(st.floats(0, 1e6), st.floats(0, 1e12), st.integers(0, 10**4))
def test_more_never_takes_less(limit: float, memory: float, flows: int) -> None:
    """And nothing is over its own prediction."""
    predicted = downtime_ms(COST, memory, flows)
    assert predicted <= downtime_ms(COST, memory + MIB, flows + 1)
    assert over_budget("web", STOP, {STOP: predicted}, predicted) is None
    assert (over_budget("web", STOP, {STOP: predicted}, limit) is None) == (predicted <= limit)


def test_over_the_limit_there_is_a_remedy() -> None:
    """The shortest of the modes that fit, if there is one."""
    predictions = {STOP: 812.4, POST: 141.0, PRE: 250.0}
    assert over_budget("web", STOP, predictions, 300.0) == (
        "moving web by stop-and-copy is predicted to stop it for 812 ms and downtime_limit_ms is 300: "
        "use mode post-copy (141 ms), or raise downtime_limit_ms"
    )
    assert over_budget("web", STOP, predictions, 99.5) == (
        "moving web by stop-and-copy is predicted to stop it for 812 ms and downtime_limit_ms is 99.5: raise downtime_limit_ms"
    )


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_limits_that_are_none(limit: float) -> None:
    """One sentence."""
    assert limit_problem(limit) == f"downtime_limit_ms is {limit:g}: it must be a number of milliseconds above 0"
    assert limit_problem(0.1) is None


def test_a_host_measures_its_memory() -> None:
    """Into tmpfs and out of it; both take time."""
    speed = memory_speed(size=MIB, rounds=1)
    assert set(speed) == {"write_ms_per_mib", "read_ms_per_mib"} and all(value > 0 for value in speed.values())


WEB = {"memory_bytes": 100 * MIB, "connections": 7}
SLOW, FAST = ({"memory_speed": {"write_ms_per_mib": ms, "read_ms_per_mib": ms / 2}} for ms in (4.0, 1.0))


def test_hosts_are_predicted_by_their_own_speeds() -> None:
    """The source writes, the destination reads; a host that could not measure gets the default."""
    found = prediction.predict(WEB, [STOP], ("host1", SLOW), ("host2", FAST), [])[STOP]
    assert (found.cost.dump_ms, found.cost.restore_ms) == (4.0 * DUMP_PER_WRITE, 0.5 * RESTORE_PER_READ)
    assert found.ms == round(downtime_ms(found.cost, 100 * MIB, flows=7), 1) and found.relocations == 0
    unknown = prediction.predict(WEB, [STOP], ("host1", {}), ("host2", {"memory_speed": {}}), [])[STOP]
    assert unknown.cost == DEFAULTS[STOP]
    assert prediction.basis(unknown) == "from the hosts' memory speeds; no move in this mode is known yet"


def entry(memory_mib: float, down: float, mode: str = STOP, **other: Any) -> dict[str, Any]:
    """Return a committed relocation as the ledger has it."""
    return {
        "at": NOW.isoformat(),
        "outcome": "committed",
        "mode": mode,
        "source": {"host": "host1", "address": "10.77.0.11"},
        "destination": {"host": "host2", "address": "10.77.0.12"},
        "measured": {"memory_bytes": memory_mib * MIB, "link_ms_per_mib": 3.0},
        "cost": COST._asdict(),
        "flows": {"ingress": 0, "egress": 0},
        "downtime_ms": down,
        **other,
    }


def truth(memory_mib: float) -> float:
    """What the hosts of these tests really need: less for a start and more for each MiB than was thought."""
    return 60 + 2.0 * 9.1 * memory_mib


def test_the_ledger_corrects_the_factor_and_the_fixed_part() -> None:
    """One in five was disturbed by something else on the host, and does not count."""
    entries = [entry(size, truth(size)) for size in (8, 16, 32, 64) for _ in range(4)]
    entries += [entry(8, 4000.0), entry(64, 9000.0), entry(16, 2500.0), entry(32, 1.0)]
    cost, count = prediction.learned(COST, entries, NOW)
    assert (cost.factor, cost.fixed_ms, count) == (pytest.approx(2.0), pytest.approx(60.0), 20)
    assert downtime_ms(cost, 100 * MIB) == pytest.approx(truth(100))


def test_one_size_teaches_the_fixed_part_alone() -> None:
    """No line can be drawn through one point."""
    cost, count = prediction.learned(COST, [entry(8, 150.0)] * 5, NOW)
    assert (cost.factor, count) == (1.0, 5)
    assert downtime_ms(cost, 8 * MIB) == pytest.approx(150.0)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(8, 500.0)] * 2,
        [entry(8, 500.0, at="2026-11-01T00:00:00+00:00")] * 9,
        [entry(8, 500.0, at="yesterday")] * 9,
        [entry(8, 500.0, at="2026-11-23T00:00:00")] * 9,
        [entry(8, 0.0)] * 9,
        [entry(8, 500.0, measured=None)] * 9,
    ],
)
def test_what_does_not_teach(entries: list[dict[str, Any]]) -> None:
    """Too few, too old, nobody knows how old, and those that do not say how long or how large."""
    assert prediction.learned(COST, entries, NOW) == (COST, 0)


def test_entries_of_before_costs_were_recorded_teach_as_well() -> None:
    """By the memory of their plan, and the speeds of now."""
    old = [{**entry(0, 300.0, measured=None, memory_bytes=10 * MIB), "cost": None}] * 3
    cost, count = prediction.learned(COST, old, NOW)
    assert count == 3 and downtime_ms(cost, 10 * MIB) == pytest.approx(300.0)


def test_what_is_only_reserved_counts_for_its_container_alone() -> None:
    """And is not learned as what every move of the fleet takes."""
    web = {"memory_bytes": 10 * MIB, "connections": 0}
    plain, reserved = (
        prediction.predict(each, [STOP], ("a", {}), ("b", {}), [], NOW)[STOP].ms
        for each in (web, {**web, "walk_ms": 700.0})
    )
    assert reserved == pytest.approx(plain + 700.0)
    known = [entry(size, truth(size) + 700.0, walk_ms=700.0) for size in (8, 16, 32, 64)]
    cost, _ = prediction.learned(COST, known, NOW)
    assert (cost.factor, cost.fixed_ms) == (pytest.approx(2.0), pytest.approx(60.0))


def test_the_link_of_these_two_hosts() -> None:
    """Either way; of others, where these have never exchanged anything."""
    there = entry(8, 1, measured={"link_ms_per_mib": 8.0})
    back = {**there, "source": there["destination"], "destination": there["source"]}
    far = {**entry(8, 1, measured={"link_ms_per_mib": 90.0}), "destination": {"host": "host9", "address": "x"}}
    assert prediction.link_between([there, back, far], "host2", "host1") == 8.0
    assert prediction.link_between([far], "host1", "host2") == 90.0
    assert prediction.link_between([entry(8, 1, measured={})], "host1", "host2") is None


def test_a_mode_that_was_never_tried_gets_what_others_taught() -> None:
    """The machine is twice as slow as that of the defaults."""
    base = DEFAULTS[STOP]
    slow = [
        entry(size, 2 * downtime_ms(base, size * MIB), cost=base._asdict(), measured={"memory_bytes": size * MIB})
        for size in (1, 128, 1, 128, 1, 128)
    ]
    found = prediction.predict({"memory_bytes": 64 * MIB}, [STOP, POST], ("host1", {}), ("host2", {}), slow, NOW)
    for mode in (STOP, POST):
        assert found[mode].ms == pytest.approx(2 * downtime_ms(DEFAULTS[mode], 64 * MIB), rel=1e-2)
    assert (found[STOP].relocations, found[POST].relocations) == (6, 0)
    assert prediction.basis(found[STOP]) == "from the last 6 moves in this mode"


def predicted(**ms: float) -> dict[str, Prediction]:
    """Return predictions by mode (underscores for hyphens)."""
    return {name.replace("_", "-"): Prediction(name.replace("_", "-"), COST, value, 0) for name, value in ms.items()}


@pytest.mark.parametrize(
    ("predictions", "limit", "mode", "why"),
    [
        (predicted(stop_and_copy=500), 300, STOP, "the only mode available"),
        (predicted(post_copy=500), 300, POST, "the only mode available"),
        (predicted(post_copy=400, pre_copy=450), 300, POST, "the shortest pause"),
        (predicted(stop_and_copy=90, post_copy=95), 300, STOP, "the safest, and it keeps the limit of 300 ms"),
        (
            predicted(stop_and_copy=299, post_copy=40, pre_copy=50),
            300,
            STOP,
            "the safest, and it keeps the limit of 300 ms",
        ),
        (predicted(stop_and_copy=500, post_copy=140), 600, STOP, "the safest, and it keeps the limit of 600 ms"),
        (predicted(stop_and_copy=500, post_copy=140), 300, POST, "; stop-and-copy (500 ms) would not"),
        (predicted(stop_and_copy=500, post_copy=140, pre_copy=200), 300, PRE, "; stop-and-copy (500 ms) would not"),
        (
            predicted(stop_and_copy=500, post_copy=140, pre_copy=330),
            300,
            POST,
            "; stop-and-copy (500 ms) and pre-copy (330 ms) would not",
        ),
        (predicted(stop_and_copy=500, post_copy=400, pre_copy=450), 300, POST, "the shortest pause"),
        (predicted(stop_and_copy=305, post_copy=301), 300, STOP, "would be shorter by 4 ms only"),
    ],
)
def test_auto_takes_the_safest_mode_that_keeps_the_limit(
    predictions: dict[str, Prediction], limit: float, mode: str, why: str
) -> None:
    """Where none does the move is refused; the sentence names the shortest."""
    chosen, reason = prediction.choose(predictions, limit)
    assert chosen == mode and why in reason
    assert prediction.decide("auto", predictions, limit)["mode"] == mode


@pytest.mark.parametrize(
    ("predictions", "limit", "mode", "why"),
    [
        (predicted(stop_and_copy=500), 300, STOP, "the only mode available"),
        (predicted(stop_and_copy=90, post_copy=95), 300, STOP, "the shortest pause"),
        (predicted(stop_and_copy=290, post_copy=140), 300, POST, "the shortest pause; stop-and-copy would last 290 ms"),
        (predicted(stop_and_copy=500, post_copy=140, pre_copy=130), 300, PRE, "the shortest pause"),
        (predicted(stop_and_copy=150, post_copy=150 - PREFERENCE_MS), 300, STOP, "would be shorter by 15 ms only"),
        (predicted(stop_and_copy=305, post_copy=295), 300, POST, "the shortest pause"),
        (predicted(stop_and_copy=305, post_copy=301), 300, STOP, "would be shorter by 4 ms only"),
    ],
)
def test_auto_takes_the_shortest_pause_if_told(
    predictions: dict[str, Prediction], limit: float, mode: str, why: str
) -> None:
    """Stop-and-copy if the difference is small; but not over the limit."""
    chosen, reason = prediction.choose(predictions, limit, "pause")
    assert chosen == mode and why in reason
    assert prediction.decide("auto", predictions, limit, "pause")["mode"] == mode


def test_the_decision_is_a_document() -> None:
    """What the plan says, in JSON."""
    found = prediction.decide("auto", predicted(stop_and_copy=500, post_copy=140), 300.0)
    assert json.loads(json.dumps(found)) == found
    assert (found["mode"], found["mode_asked"], found["predicted_downtime_ms"]) == (POST, "auto", 140)
    assert found["predictions"] == {STOP: 500, POST: 140} and Cost(**found["cost"]) == COST
    asked = prediction.decide(STOP, predicted(stop_and_copy=500, post_copy=140), 300.0)
    assert (asked["mode"], asked["mode_why"], asked["predicted_downtime_ms"]) == (STOP, "asked for", 500)


def test_the_ledgers_latest_entries(tmp_path: Path) -> None:
    """From the end of a file of any size; what is torn or no document is passed over."""
    path = tmp_path / "ledger.jsonl"
    assert ledger.latest(path) == []
    lines = [json.dumps({"n": number}) for number in range(100)]
    path.write_text("\n".join([*lines, "{torn", "7", ""]))
    assert ledger.latest(path) == [{"n": number} for number in range(100)]
    assert ledger.latest(path, tail=30) == [{"n": 98}, {"n": 99}]


def test_another_fleet_with_the_same_names_teaches_nothing() -> None:
    """Names and addresses have to be this fleet's; nor does what was not carried out."""
    fleet = {("host1", "10.77.0.11"), ("host2", "10.77.0.12")}
    others = [
        entry(8, 1, destination={"host": "host2", "address": "192.0.2.2"}),
        entry(8, 1, outcome="rolled-back"),
        {"outcome": "refused"},
        {"outcome": "committed", "source": "host1"},
    ]
    assert ledger.committed_between([*others, entry(8, 2)], fleet) == [entry(8, 2)]


@pytest.mark.parametrize(
    ("named", "state", "path"),
    [("/l", "/s", "/l"), ("", "/s", "/s/relocate/ledger.jsonl"), ("", "", "/h/.local/state/relocate/ledger.jsonl")],
)
def test_where_the_ledger_is(monkeypatch: pytest.MonkeyPatch, named: str, state: str, path: str) -> None:
    """The same as the callback writes."""
    for name, value in (("RELOCATE_LEDGER", named), ("XDG_STATE_HOME", state), ("HOME", "/h")):
        monkeypatch.setenv(name, value)
    assert ledger.default_path() == Path(path)


def of_project(seen: list[float], predicted: list[float], **more: Any) -> list[dict[str, Any]]:
    moved = {"together": f"{seen}", **more}
    pairs = zip(seen, predicted, strict=True)
    return [entry(8, down, predicted_downtime_ms=said, **moved) for down, said in pairs]


def test_what_projects_took_is_learned_from_whole_moves_of_them() -> None:
    """The longest of the pauses counts, against the sum of what was predicted."""
    slow, fast, usual = (of_project([50, seen], [60, 40]) for seen in (300, 90, 200))
    assert prediction.learned_together([slow, fast, usual], NOW) == (2.0, 3)
    assert prediction.learned_together([slow, fast], NOW) == (1.0, 0), "too few"
    old = of_project([50, 900], [60, 40], at="2020-01-01T00:00:00+00:00")
    alone = of_project([900], [10])
    silent = of_project([50, 900], [60, 0])
    assert prediction.learned_together([old, alone, silent, slow, fast, usual], NOW) == (2.0, 3)
    stuck = of_project([50, 90_000], [60, 40])
    assert prediction.learned_together([stuck] * 3, NOW) == (10.0, 3)


def test_moves_of_projects_are_found_in_the_ledger() -> None:
    fleet = {("host1", "10.77.0.11"), ("host2", "10.77.0.12")}
    first, second = of_project([1, 2], [1, 1]), of_project([3, 4], [1, 1])
    lost = of_project([5, 6], [1, 1], outcome="rolled-back")
    mixed = [first[0], second[0], *lost, entry(8, 2), first[1], second[1]]
    assert ledger.together_between(mixed, fleet) == [first, second]
    assert together_ms([100.0, 50.0], 1.5) == 225.0
