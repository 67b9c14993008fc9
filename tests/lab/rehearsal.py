# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of every part, on real hosts: which there are, how one is made to happen, and what must be true afterwards."""

from __future__ import annotations

import ast
import functools
import itertools
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from direct import ANSWER_SECONDS, Direct, Heart, NotStarted
from fleet import ROOT
from outside import PAUSE_SECONDS, Outside, Scene, Striking

PROXY = ROOT / "collections/ansible_collections/relocate/mtd/proxy"
sys.path.insert(0, str(PROXY))

from relocate_proxy.protocol.faults import MOMENTS  # noqa: E402
from relocate_proxy.protocol.states import AFTER_COMMIT, IN_DOUBT, State  # noqa: E402

SERVED_SECONDS = 15.0  # in which clients are served, if they are to be served at all before somebody says recover
MODULES = {"source": ("source", "endings"), "destination": ("destination", "drain"), "edge": ("edge",)}
PARTS = tuple(MODULES)

__all__ = ["AFTER_COMMIT", "IN_DOUBT", "PARTS", "Fault", "State", "every_fault", "journaled", "rehearse"]


@functools.cache
def journaled(part: str) -> list[State]:
    """Return the states that a part writes into its journal, in the protocol's order, read from the program itself."""
    trees = [
        ast.parse((PROXY / f"relocate_proxy/parts/{name}.py").read_text(encoding="utf-8")) for name in MODULES[part]
    ]
    named = {
        node.attr
        for tree in trees
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args
        if call.func.attr in ("record", "close")
        for node in ast.walk(call.args[0])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "State"
    }
    return [state for state in State if state.name in named]


@dataclass(frozen=True)
class Fault:
    """One part fails at one line of its journal.

    :ivar of_post_copy: the line of a post-copy, where a stop-and-copy has the same one and the world is another behind it.
    """

    part: str
    state: State
    moment: str
    do: str
    of_post_copy: bool = False

    def __str__(self) -> str:
        return f"{self.part}-{self.state.value}-{self.moment}-{self.do}{'-post-copy' if self.of_post_copy else ''}"

    @property
    def place(self) -> str:
        """The line, as the tables name it."""
        return f"{self.state.value}, post-copy" if self.of_post_copy else self.state.value

    @property
    def in_post_copy(self) -> bool:
        """Whether the line is reached in a post-copy only."""
        return self.of_post_copy or self.state is State.DRAINING

    def order(self, do: str | None = None) -> dict[str, Any]:
        """Return the order that is left on the host of the part; with ``do``, for another deed at the same line."""
        limit = {"seconds": PAUSE_SECONDS} if do == "pause" else {}
        return {
            "part": self.part,
            "state": self.state.value,
            "moment": self.moment,
            "do": do or self.do,
            **limit,
        }

    @property
    def trigger(self) -> Fault | None:
        """What must fail elsewhere for this line to be reached at all: nothing is rolled back without a reason."""
        if self.state is not State.ROLLED_BACK:
            return None
        if self.part == "destination":
            return Fault("source", State.VOTED, "before", "fail")
        return Fault("destination", State.RESTORING, "after", "fail")


def every_fault(*deeds: str) -> list[Fault]:
    """Return the whole matrix: every line of a stop-and-copy, and those of a post-copy that stand in another world."""
    places = [(part, state, False) for part in PARTS for state in journaled(part)]
    places += [(part, state, True) for part in PARTS for state in journaled(part) if differs(part, state)]
    return [
        Fault(part, state, moment, do, of_post_copy)
        for (part, state, of_post_copy), moment, do in itertools.product(places, MOMENTS, deeds)
    ]


def differs(part: str, state: State) -> bool:
    """Say whether a post-copy has this line as well, and memory may be missing at the destination there.

    It is on its way from the votes on. The destination writes ``draining`` where it else writes ``committed``.
    """
    if state is State.DRAINING or (part, state) == ("destination", State.COMMITTED):
        return False
    return state in IN_DOUBT | AFTER_COMMIT


@dataclass(frozen=True)
class Outcome:
    """How a move that was made to fail ended.

    :ivar ended: ``committed``, ``rolled-back``, or ``lost`` (the tenant died, as it does on a host without us).
    :ivar gap_ms: the longest wait of a client that asks all the time; the pause in which the fault was made is part of it.
    :ivar recovered: clients were served only after ``relocate recover``.
    """

    ended: str
    gap_ms: float
    recovered: bool = False


class NothingToStrike(Exception):
    """What the fault is to break is not there at this line."""


def rehearse(direct: Direct, heart: Heart, fault: Fault, outside: Outside | None = None) -> Outcome:
    """Let a move fail in this way and see that the fleet is whole again; return which way it ended.

    One copy runs, the connection's numbers go on, and nothing is left. ``relocate recover`` may be needed where a guardian is
    dead or both ends of a channel are; it is never needed for clients to be served when one process has failed. To settle
    what is settled changes nothing.

    :param outside: breaks something beside the parts while one of them is paused at that line.
    :raises NothingToStrike: there is nothing to break at that line; the fleet is whole.
    :raises NotStarted: no move was begun.
    """
    direct.mode = "post-copy" if fault.in_post_copy else outside.mode if outside else "stop-and-copy"
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    scene = Scene(direct, here, there)
    heart.longest_ms = 0.0
    struck = None
    with outside.prepared(scene) if outside else nullcontext():
        for each in (trigger for trigger in (fault.trigger,) if trigger):
            direct.order(scene.hosts[each.part], **each.order())
        direct.order(scene.hosts[fault.part], **fault.order("pause" if outside else None))
        if outside:
            struck = Striking(scene, outside, scene.hosts[fault.part])
        try:
            begin = outside.begin if outside and outside.begin else lambda _: direct.start(here, there)
            identifier = begin(scene)
            result = direct.result(identifier)
        except NotStarted:
            if struck:
                struck.give_up()
            raise
        finally:
            if struck:
                struck.join()
    if struck and struck.struck and struck.error:  # what was broken is not whole again: nothing can be said of the rest
        raise struck.error
    orders = [each for each in (fault.trigger, fault) if each]
    return _settled(scene, heart, identifier, result, orders, outside, struck)


def _settled(
    scene: Scene,
    heart: Heart,
    identifier: str,
    result: dict[str, Any] | None,
    orders: list[Fault],
    outside: Outside | None,
    struck: Striking | None,
) -> Outcome:
    direct, fault = scene.direct, orders[-1]
    alone = outside.alone if outside else fault.do != "kill-guardian"
    mortal = bool(outside and outside.mortal)
    problem = _problem(heart, ANSWER_SECONDS if alone and not mortal else SERVED_SECONDS)
    if alone and not mortal:  # its guardian, or the others, mend it without anybody
        assert not problem, f"clients are not served: {problem}\n{direct.words(identifier)}"
    direct.wait_until_quiet()
    result = result or direct.result(identifier)  # one that came later than anybody waited for it
    left = [str(each) for each in orders if direct.ordered(scene.hosts[each.part])]
    assert not left, f"{left} was never reached:\n{direct.words(identifier)}"
    if alone and not mortal:
        assert len(direct.settled()) == 1, direct.words(identifier)
    settle = outside.settle if outside and outside.settle else _recovered
    ended, changed = settle(scene, identifier)
    if changed:  # else that was the second time already: the parts had settled it themselves
        again = settle(scene, identifier)
        assert again == (ended, False), f"settled twice: {ended}, then {again}"
    running = direct.running() or ([] if mortal else direct.settled())
    words = f"{running}, {ended}:\n{direct.words(identifier)}"
    committed = ended["edge"] == "done"
    if struck:
        struck.check()
        if not struck.struck:
            assert running == [scene.there if committed else scene.here], words
            raise NothingToStrike
    if outside and outside.ends_host and running == [scene.there if committed else scene.here] and _problem(heart):
        assert not direct.leftovers(), f"left by {fault}: {direct.leftovers()}"
        return Outcome("lost", heart.longest_ms)  # and another process of it runs where it has to
    if mortal and not running:
        left_over = direct.leftovers("exited|dead|created")
        assert not left_over, f"left by {fault}: {left_over}"
        return Outcome("lost", heart.longest_ms)
    assert running == [scene.there if committed else scene.here], words
    taken_back = result is not None and (
        result["rolled_back"] or result["outcome"] == "refused"
    )  # a link measured as bad
    assert result is None or taken_back is not committed or result["outcome"] == "in-doubt", result
    heart.assert_beats()
    direct.assert_nothing_left()
    return Outcome("committed" if committed else "rolled-back", heart.longest_ms, bool(problem))


def _recovered(scene: Scene, identifier: str) -> tuple[dict[str, str], bool]:
    return scene.direct.recovered(identifier, scene.here, scene.there)


def _problem(heart: Heart, seconds: float = SERVED_SECONDS) -> str:
    """Return why clients are not served; "" if they are."""
    try:
        heart.assert_beats(seconds)
    except AssertionError as error:
        return str(error) or "the client has an error"
    return ""
