# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of messages against the parts that say and hear them, and the facts against the lines that have them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.parts import base, destination, endings, restarted, source, standby
from relocate_proxy.parts.recreated_destination import RecreatedDestination
from relocate_proxy.parts.recreated_source import RecreatedSource
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.documents import EdgeSpecification, Plan, Specification
from relocate_proxy.protocol.facts import FACTS
from relocate_proxy.protocol.messages import MESSAGES, check

from .world import NEW, NEW6, OLD, OLD6, PLAN

DIRECTORY = Path(endings.__file__).parent
#: Every part that listens, for each strategy.
LISTENERS: dict[str, list[type[base.Listening]]] = {
    "source": [source.Source, RecreatedSource],
    "destination": [destination.Destination, RecreatedDestination],
    "standby": [standby.Standby],
}
#: Which files write the journal of which part, and say its messages.
FILES = {
    "source": ("base", "source", "recreated_source", "endings"),
    "destination": ("base", "destination", "recreated_destination", "drain", "endings"),
    "edge": ("edge", "recreating"),
    "standby": ("base", "standby"),
}


def calls(part: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every method call in a part's files, with the method's name."""
    for name in FILES[part]:
        for node in ast.walk(ast.parse((DIRECTORY / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node.func.attr, node


def texts(part: str, *methods: str, position: int = 0) -> set[str]:
    """Return the constant strings at a place of these methods' arguments."""
    return {
        node.args[position].value
        for name, node in calls(part)
        if name in methods and len(node.args) > position and isinstance(node.args[position], ast.Constant)
    }  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", LISTENERS)
def test_a_part_hears_what_the_edge_may_say_and_nothing_else(part: str) -> None:
    """Every message to it has a handler, and every handler a message."""
    names = {name for listener in LISTENERS[part] for name in dir(listener)}
    heard = {name.removeprefix("on_") for name in names if name.startswith("on_")}
    assert heard == {kind for (kind, _), message in MESSAGES.items() if message.receiver == part}


@pytest.mark.parametrize("part", LISTENERS)
def test_a_part_says_what_is_in_the_table(part: str) -> None:
    """With all its fields, at every place."""
    said = texts(part, "say", "say_if_heard")
    gate = {"commit", "routed", "cancel", "prime", "restore"}  # what the destination says to its keeper
    assert said - gate == {kind for (kind, _), message in MESSAGES.items() if message.sender == part}
    for name, node in calls(part):
        kind = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if name in ("say", "say_if_heard") and (kind, part) in MESSAGES and MESSAGES[kind, part].sender == part:
            given = {keyword.arg for keyword in node.keywords}
            assert None in given or given >= set(MESSAGES[kind, part].fields), f"{part} says {kind} with {given}"


def test_a_restarted_part_hears_what_can_come_after_its_word() -> None:
    """The edge repeats these to it."""
    for part, resumed in (("source", restarted.RestartedSource), ("destination", restarted.RestartedDestination)):
        heard = {name.removeprefix("on_") for name in dir(resumed) if name.startswith("on_")}
        after = {"finish", "roll_back", "drain", *(("commit",) if part == "destination" else ())}
        assert heard == after


def test_the_edge_says_and_expects_what_is_in_the_table() -> None:
    """Nothing else, and all of it."""
    told = texts("edge", "tell", "_insist", position=1)
    assert told == {kind for (kind, _), message in MESSAGES.items() if message.sender == "edge"}
    expected = texts("edge", "expect", position=1) | texts("edge", "_insist", "expect", position=2)
    expected -= set(LISTENERS)  # a deadline's ``expect`` names the part in that place
    answers = {kind for (kind, _), message in MESSAGES.items() if message.receiver == "edge"} - {"failed"}
    assert expected == answers


@pytest.mark.parametrize("part", FACTS)
def test_a_fact_that_is_written_can_be_read(part: str) -> None:
    """Whoever settles a part after a crash knows every fact of its lines."""
    writers = [each for each in ("source", "destination") if "endings" in FILES[part]]  # it has lines of both
    known = {each.name for writer in {part, *writers} for each in fields(FACTS[writer])}
    for name, node in calls(part):
        if name in ("record", "close") and node.args:
            written = {keyword.arg for keyword in node.keywords if keyword.arg}
            assert written <= known, f"line {node.lineno} writes {written - known}"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (None, "sent something that is no message"),
        (["describe"], "sent something that is no message"),
        ({"kind": 5}, "sent something that is no message"),
        ({"kind": "post_copy"}, "asked for 'post_copy', which the edge does not know; run prepare.yml again"),
        ({"kind": "describe"}, "asked for 'describe', which the edge does not know"),
        (
            {"kind": "gated", "address": "1.2.3.4", "container_id": "c"},
            "asked for 'gated', which the edge does not know",
        ),
        ({"kind": "dumped"}, "message 'dumped' has no proper 'flows'"),
        ({"kind": "dumped", "flows": {}}, "message 'dumped' has no proper 'flows'"),
        ({"kind": "copied", "bytes": True}, "message 'copied' has no proper 'bytes'"),
        ({"kind": "failed", "reason": None}, "message 'failed' has no proper 'reason'"),
        (
            {"kind": "described", "document": {}, "address": "10.0.0.1", "address6": "fd00::/64"},
            "message 'described' has no proper 'address6'",
        ),
    ],
)
def test_what_is_no_message_of_the_source_is_refused(message: Any, problem: str) -> None:
    """The other host may be somebody else's by now."""
    with pytest.raises(ValueError, match=problem):
        check("source", "edge", message)


@pytest.mark.parametrize(
    ("sender", "receiver", "message"),
    [
        ("source", "edge", {"kind": "described", "document": {}}),
        ("destination", "edge", {"kind": "gated", "container_id": "c2"}),
        ("edge", "source", {"kind": "arm"}),
    ],
)
def test_a_container_may_have_an_ipv6_address_or_none(sender: str, receiver: str, message: dict[str, Any]) -> None:
    """An IPv4 address it has always."""
    for addresses in (Addresses("172.20.1.2"), Addresses("172.20.1.2", "fd00:20:1::2")):
        told = {**message, **addresses.document()}
        check(sender, receiver, told)
        assert Addresses.read(told) == addresses
    for wrong in ({"address6": "fd00:20:1::2"}, {"address": "172.20.1.2", "address6": None}):
        with pytest.raises(ValueError, match="has no proper 'address"):
            check(sender, receiver, {**message, **wrong})


def test_addresses_of_before_and_after_stand_beside_each_other() -> None:
    """In a result. One that there is not has no field: an older ledger has none either."""
    before, after = Addresses("172.20.1.2", "fd00:20:1::2"), Addresses("172.20.2.2")
    result = {**before.document("_before"), **after.document("_after")}
    assert result == {
        "address_before": "172.20.1.2",
        "address6_before": "fd00:20:1::2",
        "address_after": "172.20.2.2",
    }
    assert (Addresses.read(result, "_before"), Addresses.read(result, "_after")) == (before, after)


def test_an_address_is_answered_with_one_of_its_family() -> None:
    """Or with none: the other's would lead nowhere."""
    both = Addresses("172.20.1.2", "fd00:20:1::2")
    assert (both.like("10.88.0.2"), both.like("2001:db8::2")) == both
    for alone, other in ((Addresses("172.20.1.2"), "2001:db8::2"), (Addresses("", "fd00:20:1::2"), "10.88.0.2")):
        with pytest.raises(LookupError, match=f"has no address of the family of {other}"):
            alone.like(other)


def test_what_has_ipv6_gets_it_elsewhere() -> None:
    """A listener would be out of reach, and a connection has nowhere to go. One that has none may get it."""
    both, one = Addresses("172.20.1.2", "fd00:20:1::2"), Addresses("172.20.2.2")
    with pytest.raises(LookupError, match="its network at the destination gives it none"):
        both.insist_on(one)
    one.insist_on(both)
    assert one.has_like("10.88.0.2") and not one.has_like("2001:db8::2") and both.has_like("2001:db8::2")


def test_what_the_controller_hands_over() -> None:
    """Whole, or refused with what is missing and the remedy."""
    told = {"id": "r1", "credentials": {}, "plan": PLAN, "source": [OLD, 1], "destination": [NEW, 2]}
    edge = EdgeSpecification.read(told)
    assert (edge.plan.source, edge.plan.destination, edge.addresses["destination"]) == (
        Addresses(OLD),
        Addresses(NEW),
        (NEW, 2),
    )
    assert edge.plan.document is PLAN
    for name in ("id", "plan", "source"):
        with pytest.raises(ValueError, match=f"the specification lacks {name}: .* run prepare.yml again"):
            EdgeSpecification.read({key: value for key, value in told.items() if key != name})
    with pytest.raises(ValueError, match="the plan lacks mode, services: "):
        Plan.read({key: value for key, value in PLAN.items() if key not in ("mode", "services")})
    with pytest.raises(ValueError, match="the specification lacks credentials, listen"):
        Specification.read({"id": "r1"})


def test_a_host_that_has_an_ipv6_address_is_told_so() -> None:
    """Nobody listens there: it is where its containers are seen from outside."""
    ends = {"source": {**PLAN["source"], "address6": OLD6}, "destination": {**PLAN["destination"], "address6": NEW6}}
    plan = Plan.read({**PLAN, **ends})
    assert (plan.source, plan.destination) == (Addresses(OLD, OLD6), Addresses(NEW, NEW6))
    told = {"id": "r1", "credentials": {}, "listen": OLD}
    assert Specification.read(told).addresses == Addresses(OLD)
    both = Specification.read({**told, "listen6": OLD6})
    assert (both.listen, both.addresses) == (OLD, Addresses(OLD, OLD6))
