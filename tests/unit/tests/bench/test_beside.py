# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with more and with less to carry move in turns, and are shown beside each other."""

from __future__ import annotations

import io
from typing import Any

import bench_peers
import bench_volumes
import pytest
from cutover.beside import Tenant, Variant, between, move_in_turns
from cutover.pipeline import Sample
from cutover.shell import CommandFailed
from rich.console import Console
from rich.table import Table


class Moving(Tenant):
    """A tenant that moves at once, or fails."""

    def __init__(self, name: str, did: list[str], gap: float = 100.0, fails: int = 0) -> None:
        super().__init__(
            type("Lab", (), {"hosts": ("host1", "host2")})(), Variant(name, "PORT 8"), 7110, "stop-and-copy"
        )
        self.did, self.gap, self.fails = did, gap, fails

    def begin(self) -> None:
        self.did.append(f"begin {self.variant.name}")

    def hop(self) -> None:
        self.did.append(self.variant.name)
        if self.fails:
            self.fails -= 1
            raise CommandFailed("no")
        self.seconds.append(10.0)
        self.samples.append(Sample(self.gap, self.gap - 5, {"dump": 20.0, "restore": 30.0}))
        self.results.append({"bytes": {"volumes": 3 << 20}})


def shown(table: Table) -> str:
    """Return a table as text."""
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run(*tenants: Moving, hops: int = 4) -> dict[str, Any]:
    """Move them, and return the document."""
    rounds: list[int] = []
    move_in_turns(list(tenants), hops, Console(file=io.StringIO()), lambda: rounds.append(1))
    assert len(rounds) == hops
    return {"runs": [tenant.document(tenants[0]) for tenant in tenants]}


def test_they_move_in_turns_and_one_that_fails_begins_anew_until_it_has_failed_thrice_in_a_row() -> None:
    did: list[str] = []
    run(Moving("a", did), Moving("b", did, fails=9))
    assert did == ["a", "b", "begin b", "a", "b", "begin b", "a", "b", "begin b", "a"]


def test_the_ratio_is_to_the_first() -> None:
    did: list[str] = []
    document = run(Moving("volume-none", did), Moving("volume-256", did, 140), Moving("volume-2048", did, 160, fails=1))
    assert [each["ratio"]["value"] for each in document["runs"]] == [1.0, 1.4, 1.6]
    text = shown(bench_volumes.table(document))
    assert "1.40 (1.40 to 1.40)" in text and "1.60 (1.60 to 1.60), missed" in text
    assert text.count("missed") == 1


def test_phases_are_shown_beside_each_other() -> None:
    document = run(Moving("peers-0", []), Moving("peers-20", [], 110))
    assert [each["phases_ms"] for each in document["runs"]] == [{"dump": 20.0, "restore": 30.0}] * 2
    text = shown(bench_peers.table(document))
    assert "restore" in text and "1.10 (1.10 to 1.10)" in text


def test_what_was_not_measured_is_not_shown() -> None:
    document = run(Moving("volume-none", [], fails=9), Moving("volume-256", []))
    assert document["runs"][0]["failures"] == ["no"] * 3
    assert "not measured" in shown(bench_volumes.table(document)) and between(None) == ""


@pytest.mark.parametrize("mib", [0, 256])
def test_both_do_the_same_work(mib: int) -> None:
    """The one without a volume has the same processes."""
    variant = bench_volumes.variant(mib)
    assert variant.arguments == f"PORT 8 /data {mib} 20"
    assert ("-v" in variant.options) == bool(mib)
