# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source for ansible-rulebook: its coroutine, run as ansible-rulebook runs it (by path), on a clock of its own."""

from __future__ import annotations

import asyncio
import itertools
import runpy
from typing import Any

import pytest
import yaml
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock

from relocate.schedule.audit import Stay, audit
from tests.paths import COLLECTION

EDA = COLLECTION / "extensions" / "eda"
SOURCE = runpy.run_path(str(EDA / "plugins" / "event_source" / "poisson.py"))
POISSON = {"kind": "poisson", "rate": 0.1}


class Enough(Exception):
    """So many events were asked for."""


class Shift(asyncio.SelectorEventLoop):
    """A loop whose time passes when somebody sleeps, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.shifted = 0.0

    def time(self) -> float:
        """Return the moment, with all that was slept away."""
        return super().time() + getattr(self, "shifted", 0.0)

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.shifted += seconds


class Kept:
    """A queue that notes what came when, and ends the source after so many. ``slow`` is how long taking one takes."""

    def __init__(self, loop: Shift, many: int, slow: float = 0.0) -> None:
        self.loop, self.many, self.slow = loop, many, slow
        self.events: list[tuple[float, dict[str, Any]]] = []

    async def put(self, item: dict[str, Any]) -> None:
        """Note an event."""
        self.events.append((self.loop.shifted, item))
        self.loop.pass_by(self.slow)
        if len(self.events) >= self.many:
            raise Enough


def run(monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], many: int, slow: float = 0.0) -> Kept:
    """Run the source until it has given so many events."""
    loop = Shift()

    async def sleep(seconds: float) -> None:
        loop.pass_by(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    kept = Kept(loop, many, slow)
    try:
        with pytest.raises(Enough):
            loop.run_until_complete(SOURCE["main"](kept, args))
    finally:
        loop.close()
    return kept


def test_each_container_has_a_clock_of_its_own_and_it_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals of each follow the law; drawn from the system's entropy, so the level is one in a million."""
    kept = run(monkeypatch, {"containers": ["web", "db"], "clock": POISSON}, 400)
    last = dict.fromkeys(("web", "db"), 0.0)
    stays = []
    for at, item in kept.events:
        name = item["relocate"]["container"]
        stays.append(Stay(at - last[name], name))
        last[name] = at
    result = audit(stays, make_clock(POISSON), level=1e-6)
    assert result.passed and result.containers == 2, result.text()


def test_a_slow_consumer_gets_one_event_for_what_was_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of 10 s, and a consumer that takes 1000: not a hundred events at once."""
    kept = run(monkeypatch, {"containers": ["web"], "clock": {"kind": "periodic", "period": 10}}, 4, slow=1000.0)
    times = [round(at) for at, _ in kept.events]
    assert times[0] == 10 and all(1000 <= later - earlier <= 1010 for earlier, later in itertools.pairwise(times))


def test_an_event_says_what_has_happened_and_nothing_of_what_will(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, a reason, the moment of the alert, an id for the move."""
    kept = run(monkeypatch, {"containers": ["web"], "clock": POISSON, "eda_feedback_queue": None}, 2)
    first, second = (item["relocate"] for _, item in kept.events)
    assert set(first) == {"container", "reason", "alerted_at", "relocation_id"}
    assert first["container"] == "web" and first["relocation_id"] != second["relocation_id"]


def test_containers_may_have_clocks_of_their_own() -> None:
    """A key over the common clock, or a whole other one."""
    own = [{"name": "web", "clock": {"rate": 0.5}}, {"name": "db", "clock": {"kind": "periodic", "period": 60}}, "api"]
    clocks = SOURCE["read"]({"containers": own, "clock": POISSON})
    assert clocks["web"] == make_clock({"kind": "poisson", "rate": 0.5})
    assert clocks["db"] == make_clock({"kind": "periodic", "period": 60})
    assert clocks["api"] == make_clock(POISSON)
    assert SOURCE["read"]({"containers": ["web"]})["web"].kind == "truncated-poisson"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "needs containers: a list of names"),
        ({"containers": []}, "needs containers"),
        ({"containers": "web"}, "needs containers"),
        ({"containers": ["web"], "rate": 1}, "has no argument rate"),
        ({"containers": ["web", "web"]}, "web is there twice"),
        ({"containers": ["we b"]}, "'we b' is no container's name"),
        ({"containers": [{"clock": POISSON}]}, "nothing is no container's name"),
        ({"containers": [{"name": "web", "rate": 1}]}, "a container has no rate"),
        ({"containers": ["web"], "clock": 7}, "clock is 7: it must be a mapping"),
        ({"containers": ["web"], "clock": {"kind": "poison"}}, "web: clock.kind is 'poison'"),
        ({"containers": ["web"], "clock": {"kind": "poisson", "rate": "1"}}, "clock.rate is '1': it must be a number"),
        (
            {"containers": ["web"], "clock": {"kind": "pmf-count", "lambda": 0.5, "threshold": 0.1, "rate": 1}},
            "every stay would be 0",
        ),
    ],
)
def test_arguments_that_make_no_clock_are_refused(args: dict[str, Any], says: str) -> None:
    """One sentence, with the container and the key."""
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        SOURCE["read"](args)


def test_the_rulebook_hands_over_what_the_source_gives() -> None:
    """Every field that it reads of an event is one the source sends, and the source takes the arguments it gives."""
    (rulebook,) = yaml.safe_load((EDA / "rulebooks" / "relocate.yml").read_text())
    (rule,) = rulebook["rules"]
    sent = SOURCE["event"]("web")["relocate"]
    given = yaml.safe_dump(rule["action"]["run_playbook"]["extra_vars"])
    assert {word.split(" ")[0] for word in given.split("event.relocate.")[1:]} == set(sent)
    assert set(rulebook["sources"][0]["relocate.mtd.poisson"]) == SOURCE["KNOWN"]
