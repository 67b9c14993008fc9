# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may start: each limit by itself, and that no sequence of events breaks the counts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relocate.schedule.limits import GO, Asked, Judgement, Kind, Limits, Pauses
from relocate.schedule.settings import LimitSettings

NOON = 1_795_435_200.0  # a Monday, 12:00 UTC


def limits(**settings: Any) -> Limits:
    return Limits(
        LimitSettings.model_validate({"in_flight": 3, "in_flight_per_host": 2, "in_flight_per_edge": 3} | settings)
    )


def ask(container: str = "web", host: str = "h1", edge: str = "e", forced: bool = False) -> Asked:
    return Asked(container, host, edge, forced)


def test_counts_of_the_fleet_the_host_and_the_edge() -> None:
    subject = limits()
    subject.started(ask("a"), NOON)
    subject.started(ask("b"), NOON)
    assert subject.judge(ask("c"), NOON) == Judgement(Kind.WAIT, "limit")  # two on h1
    assert subject.judge(ask("c", "h2"), NOON) == GO
    subject.started(ask("c", "h2"), NOON)
    assert subject.judge(ask("d", "h3"), NOON) == Judgement(Kind.WAIT, "limit")  # three in the fleet
    subject.finished("a", "committed", "h2", NOON)
    assert subject.judge(ask("d", "h3"), NOON) == GO
    edges = limits(in_flight_per_edge=1)
    edges.started(ask("a"), NOON)
    assert edges.judge(ask("b", "h2"), NOON).kind is Kind.WAIT
    assert edges.judge(ask("b", "h2", "other"), NOON) == GO


def test_a_container_that_moves_is_not_moved() -> None:
    subject = limits()
    subject.started(ask("a"), NOON)
    assert subject.moving("a") and subject.judge(ask("a", "h2"), NOON) == Judgement(Kind.WAIT, "moving")


def test_hops_per_hour_of_one_container() -> None:
    subject = limits(hops_per_hour=2)
    for minute in (0, 10):
        subject.started(ask("a"), NOON + minute * 60)
        subject.finished("a", "committed", "h2", NOON + minute * 60)
    assert subject.judge(ask("a"), NOON + 1200) == Judgement(Kind.WAIT, "limit", NOON + 3600)
    assert subject.judge(ask("b"), NOON + 1200) == GO
    assert subject.judge(ask("a"), NOON + 3600) == GO


def test_the_minimum_stay_counts_from_the_arrival() -> None:
    subject = limits(min_stay=100)
    subject.started(ask("a"), NOON)
    subject.finished("a", "committed", "h2", NOON + 30)
    assert subject.judge(ask("a", "h2"), NOON + 120) == Judgement(Kind.WAIT, "min-stay", NOON + 130)
    assert subject.judge(ask("a", "h2"), NOON + 130) == GO


def test_outside_a_window_moves_wait_for_the_opening() -> None:
    subject = limits(windows=[{"from": "13:00", "to": "14:00"}])
    assert subject.judge(ask(), NOON) == Judgement(Kind.WAIT, "window", NOON + 3600)
    assert subject.judge(ask(), NOON + 3600) == GO
    assert subject.judge(ask(forced=True), NOON) == GO


def test_pauses() -> None:
    subject = limits()
    subject.pauses = Pauses(everything=True)
    assert subject.judge(ask(forced=True), NOON) == Judgement(Kind.DROP, "paused")
    subject.pauses = Pauses(containers=frozenset({"web"}))
    assert subject.judge(ask(), NOON) == Judgement(Kind.DROP, "paused")
    assert subject.judge(ask("db"), NOON) == GO
    subject.pauses = Pauses(hosts=frozenset({"h1"}))
    assert subject.judge(ask(), NOON) == Judgement(Kind.DROP, "cordoned")
    assert subject.judge(ask(forced=True), NOON) == Judgement(Kind.DROP, "cordoned")
    subject.pauses = Pauses(hosts=frozenset({"h1"}), draining=frozenset({"h1"}))
    assert subject.judge(ask(), NOON) == Judgement(Kind.DROP, "cordoned")
    assert subject.judge(ask(forced=True), NOON) == GO


def fail(subject: Limits, container: str, now: float, outcome: str = "rolled-back", to: str | None = None) -> list[Any]:
    subject.started(ask(container), now)
    return subject.finished(container, outcome, to, now)


def test_back_off_doubles_up_to_its_most_and_ends_with_success() -> None:
    subject = limits(backoff={"first": 10, "most": 35}, breaker={"failures": 99})
    for wait in (10, 20, 35, 35):
        fail(subject, "a", NOON)
        assert subject.judge(ask("a"), NOON + wait - 0.1) == Judgement(Kind.DROP, "back-off")
        assert subject.judge(ask("a"), NOON + wait) == GO
        assert subject.judge(ask("b"), NOON) == GO
    subject.started(ask("a"), NOON)
    subject.finished("a", "committed", "h2", NOON)
    fail(subject, "a", NOON)
    assert subject.judge(ask("a"), NOON + 10) == GO


def test_the_breaker_opens_tries_one_and_closes_or_opens_for_longer() -> None:
    subject = limits(backoff={"first": 0}, breaker={"failures": 2, "cool_down": 100, "most": 150})
    assert fail(subject, "a", NOON) == []
    (opened,) = fail(subject, "b", NOON)
    assert (opened.host, opened.failures, opened.seconds) == ("h1", 2, 100)
    assert subject.judge(ask("c"), NOON + 99) == Judgement(Kind.DROP, "breaker")
    assert subject.judge(ask("c", "h2"), NOON) == GO
    assert subject.judge(ask("c"), NOON + 100) == GO
    subject.started(ask("c"), NOON + 100)
    assert subject.judge(ask("d"), NOON + 101) == Judgement(Kind.DROP, "breaker"), "one is tried, and only one"
    (again,) = subject.finished("c", "failed", None, NOON + 110)
    assert again.seconds == 150
    subject.started(ask("c"), NOON + 260)
    assert subject.finished("c", "committed", "h2", NOON + 261) == []
    assert subject.judge(ask("d"), NOON + 261) == GO


def test_a_failure_counts_against_both_ends() -> None:
    subject = limits(breaker={"failures": 1})
    assert {each.host for each in fail(subject, "a", NOON, to="h2")} == {"h1", "h2"}


def test_a_refusal_is_the_container_s_and_not_the_host_s() -> None:
    subject = limits(backoff={"first": 5}, breaker={"failures": 1})
    assert fail(subject, "a", NOON, "refused") == []
    assert subject.judge(ask("a"), NOON).reason == "back-off"
    assert subject.judge(ask("b"), NOON) == GO


def test_what_an_earlier_life_learned_is_remembered() -> None:
    subject = limits(hops_per_hour=1, breaker={"failures": 1, "cool_down": 60}, min_stay=30)
    subject.remember(ask("a"), NOON - 100, "committed", "h2", NOON - 10)
    subject.remember(ask("b", "h3"), NOON - 20, "failed", None, NOON - 10)
    assert subject.judge(ask("a", "h2"), NOON).reason == "min-stay"
    assert subject.judge(ask("a", "h2"), NOON + 60).reason == "limit"
    assert subject.judge(ask("c", "h3"), NOON).reason == "breaker"
    assert subject.in_flight == 0


def test_a_launch_that_was_withdrawn_leaves_no_trace() -> None:
    subject = limits(hops_per_hour=1, in_flight=1)
    subject.started(ask("a"), NOON)
    subject.withdrawn("a")
    assert subject.judge(ask("a"), NOON) == GO and subject.in_flight == 0
    subject.withdrawn("a")


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.sampled_from(["h1", "h2"]),
        st.sampled_from(["ask", "committed", "rolled-back", "refused", "withdrawn"]),
        st.floats(0, 200),
    ),
    max_size=80,
)


@given(EVENTS)
def test_no_sequence_of_events_exceeds_a_limit(events: list[tuple[str, str, str, float]]) -> None:
    """Counted independently: what was let go and has not ended, by fleet, host and edge."""
    subject = limits(in_flight=3, in_flight_per_host=2, hops_per_hour=4, backoff={"first": 20})
    flying: dict[str, str] = {}
    starts: dict[str, list[float]] = {}
    now = NOON
    for container, host, event, wait in events:
        now += wait
        if event == "ask":
            if subject.judge(ask(container, host), now).kind is Kind.GO:
                assert container not in flying
                subject.started(ask(container, host), now)
                flying[container] = host
                starts.setdefault(container, []).append(now)
        elif event == "withdrawn":
            if container in flying:
                starts[container].pop()
            subject.withdrawn(container)
            flying.pop(container, None)
        else:
            subject.finished(container, event, None, now)
            flying.pop(container, None)
        assert subject.in_flight == len(flying) <= 3
        assert all(list(flying.values()).count(each) <= 2 for each in ("h1", "h2"))
        for moments in starts.values():
            assert len([moment for moment in moments if moment > now - 3600]) <= 4
