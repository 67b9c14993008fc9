# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix has every line of the protocol, and what is chosen from it is what was asked for."""

from __future__ import annotations

import pytest
from matrix import INSIDE, every_cell, in_turn, select
from outside import CRIU_FAULTS, SIDES, kinds
from relocate_proxy.protocol.faults import DEEDS, MOMENTS
from relocate_proxy.protocol.states import State

from ...proxy.protocol_page import PARTS, documented

#: Kinds that are made at some lines only, and why that loses nothing.
AT_SOME_LINES = {
    **{f"criu-fault-{number}-{part}": "CRIU counts for itself" for part in SIDES for number in CRIU_FAULTS[part]},
    **{
        name: "the parts have no channel to the controller once they have begun"
        for part in (*SIDES, "edge")
        for name in ("kill-controller", f"cut-controller-{part}", f"hang-ssh-{part}")
    },
    **{f"lose-host-{part}": "the journals of the other hosts are all that is left" for part in SIDES},
    "kill-runc": "it is there from the restore to the verdict only",
    **{f"memory-full-{part}": "memory is asked for at some lines only" for part in SIDES},
}


def test_every_line_of_the_protocol_is_a_row_for_every_kind_of_failure() -> None:
    """A state that is added to the protocol's page is injected into, in every way that can come to something else there."""
    places = {(part, state) for part in PARTS for state in documented(part)}
    found = {(cell.fault.part, cell.fault.state, cell.fault.moment, cell.kind) for cell in every_cell()}
    assert {(*place, moment, kind) for place in places for moment in MOMENTS for kind in INSIDE} <= found
    everywhere = {name for name, each in kinds().items() if each.only is None}
    assert len(everywhere) > 20 and set(kinds()) == everywhere | set(AT_SOME_LINES)
    in_place_of_committed = {("destination", State.COMMITTED)}
    for kind in everywhere:
        met = {(part, state) for part, state, moment, name in found if name == kind and moment == "after"}
        assert met == places - (in_place_of_committed if kinds()[kind].mode == "post-copy" else set()), kind
    assert {state for _, state, _, _ in found} == set(State)


def test_before_and_after_a_line_are_two_where_the_line_changes_what_can_become_of_a_failure() -> None:
    """Where a part gives its word or hears the verdict first, and where the line's own disk fails."""
    cells = [
        cell for cell in every_cell() if cell.outside and cell.outside.only is None and cell.fault.moment == "before"
    ]
    bound = {("source", State.VOTED), ("destination", State.PREPARED), ("edge", State.COMMITTED)}
    for name, outside in kinds().items():
        if outside.only is None:
            own = {(outside.journal, state) for state in documented(outside.journal)} if outside.journal else set()
            assert {(cell.fault.part, cell.fault.state) for cell in cells if cell.kind == name} == own | bound
    journals = {name: each.journal for name, each in kinds().items() if "full-journal" in name}
    assert set(journals.values()) == set(PARTS) and all(name.endswith(part) for name, part in journals.items())


def test_a_post_copy_has_its_own_lines_from_the_votes_on() -> None:
    """Memory is on its way there. It is the same again where the controller, or what only a post-copy has, fails."""
    lines = {(cell.fault.part, cell.fault.state) for cell in every_cell() if cell.fault.of_post_copy}
    assert lines == {
        ("source", State.VOTED),
        ("source", State.COMMITTED),
        ("source", State.DONE),
        ("destination", State.PREPARED),
        ("destination", State.DONE),
        ("edge", State.COMMITTED),
        ("edge", State.RELEASED),
        ("edge", State.DONE),
    }
    here = {cell.kind for cell in every_cell() if cell.fault.of_post_copy}
    absent = set(kinds()) - here
    assert set(INSIDE) <= here and absent == {
        name for name, each in kinds().items() if each.begin or each.mode == "post-copy" or "criu-fault" in name
    }
    assert all(cell.fault.in_post_copy for cell in every_cell() if "draining" in cell.line)


def test_every_deed_of_a_part_is_in_the_matrix() -> None:
    """``pause`` is how all the other failures find their moment."""
    assert set(INSIDE) == set(DEEDS) - {"pause"}


def test_what_has_one_moment_only_is_there_once() -> None:
    """CRIU counts its own faults: the line is only where the wrapper is in place."""
    cells = [str(cell) for cell in every_cell()]
    assert len(cells) == len(set(cells))
    assert [cell for cell in cells if "criu-fault-" in cell] == [
        "source before freezing: criu-fault-1-source",
        "source before freezing: criu-fault-3-source",
        "source before freezing: criu-fault-5-source",
        "destination before restoring: criu-fault-6-destination",
    ]


def test_a_selection() -> None:
    """By part, state, moment and the beginning of the kind's name, but by whole words of it."""
    cells = select(every_cell(), parts=["source"], states=["voted"], moments=["after"], kinds=["kill", "cut"])
    names = {cell.kind for cell in cells}
    assert {"kill", "kill-guardian", "kill-keeper", "cut-source-edge"} <= names
    assert "hang" not in names and {cell.line for cell in cells} == {
        "source after voted",
        "source after voted, post-copy",
    }
    assert not select(every_cell(), kinds=["kil"])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sample_is_the_same_for_the_same_seed(seed: int) -> None:
    """And in the order of the protocol."""
    cells = every_cell()
    drawn = select(cells, sample=20, seed=seed)
    assert drawn == select(cells, sample=20, seed=seed) != select(cells, sample=20, seed=seed + 1)
    assert sorted(map(cells.index, drawn)) == list(map(cells.index, drawn)) and len(drawn) == 20
    assert select(cells[:5], sample=20) == cells[:5]


def test_a_run_that_ends_early_has_met_all_kinds() -> None:
    """As often as each other, and those first that are named."""
    cells = every_cell()
    order = in_turn(cells, seed=3)
    kinds = {cell.kind for cell in cells}
    assert {cell.kind for cell in order[: len(kinds)]} == kinds
    assert sorted(map(str, order)) == sorted(map(str, cells)) and order != in_turn(cells, seed=4)
    early = in_turn(cells, seed=3, first=["kill-pages", "hang-ssh"])
    named = [cell for cell in cells if cell.kind.startswith(("kill-pages-", "hang-ssh-"))]
    assert sorted(map(str, early[: len(named)])) == sorted(map(str, named))
