# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol's page against the program: which part records which state, and which states end a part."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from relocate_proxy.parts import endings
from relocate_proxy.protocol.states import AFTER_COMMIT, FINAL, IN_DOUBT, State

from ..protocol_page import PARTS, documented

PARTS_DIRECTORY = Path(endings.__file__).parent
MODULES = {"source": ("source", "endings"), "destination": ("destination", "drain")}


def _recorded(part: str) -> set[State]:
    """Return the states that a part's module hands to ``record`` or ``close``, read from its source text."""
    text = "".join((PARTS_DIRECTORY / f"{name}.py").read_text(encoding="utf-8") for name in MODULES.get(part, (part,)))
    found = set()
    for call in ast.walk(ast.parse(text.replace("from __future__ import annotations", ""))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
            continue
        if call.func.attr in ("record", "close"):
            for node in ast.walk(call.args[0]):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "State":
                    found.add(State[node.attr])
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_part_records_the_states_of_its_column_and_no_others(part: str) -> None:
    """The page is what people read during an incident: it must be what is in the journals."""
    assert _recorded(part) == documented(part)


def test_every_state_belongs_to_somebody() -> None:
    """A state nobody records is one that no test of the protocol reaches."""
    assert set().union(*(documented(part) for part in PARTS)) == set(State)


def test_what_ends_a_part_what_binds_it_and_what_is_decided() -> None:
    """The sets that recovery decides by."""
    assert {State.DONE, State.ROLLED_BACK} == FINAL
    assert {State.VOTED, State.PREPARED} == IN_DOUBT
    assert {State.COMMITTED, State.DRAINING, State.RELEASED, State.DONE} == AFTER_COMMIT
    assert not IN_DOUBT & FINAL and not IN_DOUBT & AFTER_COMMIT


def test_a_state_is_its_own_name_in_a_journal() -> None:
    """Journals outlive programs: the words on the disk do not change when a member is renamed."""
    assert [state.value for state in State] == [
        "staging", "staged", "gated", "holding", "freezing", "voted", "restoring", "routing", "prepared",
        "committed", "draining", "released", "done", "rolled-back",
    ]  # fmt: skip
