# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of every part, on real hosts: which there are, how one is made to happen, and what must be true afterwards."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from direct import EDGE, Direct, Heart
from fleet import ROOT, Fleet

PROXY = ROOT / "collections/ansible_collections/relocate/mtd/proxy"
sys.path.insert(0, str(PROXY))

from relocate_proxy.protocol.faults import MOMENTS  # noqa: E402
from relocate_proxy.protocol.states import AFTER_COMMIT, State  # noqa: E402

MODULES = {"source": ("source", "endings"), "destination": ("destination", "drain"), "edge": ("edge",)}
PARTS = tuple(MODULES)

__all__ = ["AFTER_COMMIT", "PARTS", "Fault", "State", "every_fault", "instead_of_criu", "journaled", "rehearse"]


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
    """One part fails at one line of its journal."""

    part: str
    state: State
    moment: str
    do: str

    def __str__(self) -> str:
        return f"{self.part}-{self.state.value}-{self.moment}-{self.do}"

    @property
    def trigger(self) -> Fault | None:
        """What must fail elsewhere for this line to be reached at all: nothing is rolled back without a reason."""
        if self.state is not State.ROLLED_BACK:
            return None
        if self.part == "destination":
            return Fault("source", State.VOTED, "before", "fail")
        return Fault("destination", State.RESTORING, "after", "fail")


def every_fault(*deeds: str) -> list[Fault]:
    """Return the whole matrix."""
    places = [(part, state) for part in PARTS for state in journaled(part)]
    return [Fault(*place, moment, do) for place, moment, do in itertools.product(places, MOMENTS, deeds)]


def rehearse(direct: Direct, heart: Heart, fault: Fault) -> str:
    """Let a move fail in this way and see that the fleet is whole again; return which way it ended.

    One copy runs, the connection's numbers go on, and nothing is left. ``relocate recover`` may be needed where a guardian is
    dead or both ends of a channel are; it is never needed for clients to be served when one process has failed.
    """
    direct.mode = "post-copy" if fault.state is State.DRAINING else "stop-and-copy"
    (here,) = direct.running()
    there = next(host for host in direct.hosts if host != here)
    hosts = {"source": here, "destination": there, "edge": EDGE}
    orders = [each for each in (fault.trigger, fault) if each]
    for each in orders:
        direct.order(hosts[each.part], part=each.part, state=each.state.value, moment=each.moment, do=each.do)
    identifier = direct.start(here, there)
    result = direct.result(identifier)
    alone = fault.do != "kill-guardian"
    if alone:  # its guardian, or the others, mend it without anybody
        heart.assert_beats()
    direct.wait_until_quiet()
    left = [str(each) for each in orders if direct.ordered(hosts[each.part])]
    assert not left, f"{left} was never reached:\n{direct.words(identifier)}"
    if alone:
        assert len(direct.running()) == 1, direct.words(identifier)
    ended = direct.recover(identifier, here, there)
    running = direct.running()
    assert len(running) == 1, f"{running}, {ended}:\n{direct.words(identifier)}"
    committed = ended["edge"] == "done"
    assert running == [there if committed else here], ended
    assert result is None or result["rolled_back"] is not committed or result["outcome"] == "in-doubt", result
    heart.assert_beats()
    assert not direct.leftovers(), f"left by {fault}: {direct.leftovers()}"
    return "committed" if committed else "rolled-back"


@contextmanager
def instead_of_criu(fleet: Fleet, host: str, script: str) -> Iterator[None]:
    """Have a script run first wherever the host's software calls ``criu``."""
    wrapper = f'#!/bin/sh\n{script}\nexec /run/real/criu "$@"\n'
    setup = (
        "set -e; at=$(command -v criu); mkdir -p /run/real; cp $at /run/real/criu; cat >/run/criu-instead; "
        "chmod 755 /run/criu-instead; mount --bind /run/criu-instead $at"
    )
    fleet.on(host, setup, data=wrapper)
    try:
        yield
    finally:
        fleet.on(host, "umount $(command -v criu); rm -rf /run/real /run/criu-instead")
