# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wall clock that is stepped in the middle of a move changes no wait, no order and no verdict.

No namespace has a wall clock of its own, so hosts that share a kernel cannot rehearse this. What reads it is listed here
instead, each with the reason why a step does no harm; and the edge is run under a clock that jumps at every look.
"""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import relocate_proxy
from ansible_collections.relocate.mtd.plugins import module_utils
from relocate_proxy.protocol.states import State

from .parts.test_edge import Maker, scene

__all__ = ["scene"]  # the fixture

PROXY, UTILITIES = Path(relocate_proxy.__file__).parent, Path(next(iter(module_utils.__path__)))

#: What reads the wall clock on a host: (file, function), and why it may.
READERS = {
    ("protocol/journal.py", "record"): "it is shown, and bridges two processes in the result's timings",
    ("protocol/journal.py", "prune"): "it removes journals of relocations that have ended, and no others",
    ("host/volumes.py", "prune"): "it removes volumes that were put aside after their move had ended",
    ("files/trees.py", "scan"): "only makes more files doubtful: a change is seen by its time being another one",
    ("parts/edge.py", "cutover"): "it is shown",
    ("_docker.py", "happened"): "tells whether somebody stopped a container; outside the cutover",
    ("_docker.py", "reloaded"): "tells whether dockerd has read its settings again, while a host is prepared",
    ("_daemon.py", "reload"): "the same",
}
WALL = {("time", "time"), ("time", "time_ns"), ("time", "clock_gettime"), ("time", "clock_gettime_ns")}
WALL |= {("time", name) for name in ("localtime", "gmtime", "ctime")}
WALL |= {("datetime", name) for name in ("now", "utcnow", "today")} | {("date", "today")}


def readers(tree: ast.AST, function: str = "") -> Iterator[str]:
    """Yield the function around each place where the wall clock is named."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in WALL:
                yield function
        if isinstance(node, ast.ImportFrom) and node.module in ("time",):
            yield f"{function} imports from {node.module}"
        yield from readers(node, inner)


def test_whatever_reads_the_wall_clock_on_a_host_is_known() -> None:
    """All else measures with the monotonic clock, which nobody steps."""
    found = set()
    for root, paths in ((PROXY, PROXY.rglob("*.py")), (UTILITIES, UTILITIES.glob("*.py"))):
        for path in paths:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found |= {(str(path.relative_to(root)), function) for function in readers(tree)}
    assert found == set(READERS)
    shim = (PROXY.parent / "restore_shim.c").read_text(encoding="utf-8")
    assert not re.search(r"gettimeofday|clock_gettime|\btime\(", shim)


@pytest.mark.parametrize("at", range(0, 60, 7))
@pytest.mark.parametrize("drains", [False, True], ids=["stop-and-copy", "post-copy"])
def test_a_move_under_a_clock_that_jumps_ends_as_it_would(
    scene: Maker,
    monkeypatch: pytest.MonkeyPatch,
    drains: bool,
    at: int,
) -> None:
    """An hour back, a day on, at every look; with the edge killed at some step, and its next process under that clock."""

    def outcome() -> tuple[str, State | None, list[str]]:
        it = scene(drains=drains, at=at, when="after", error=KeyboardInterrupt())
        try:
            result = it.run()
        except KeyboardInterrupt:
            it.world.edge_gone()
            result = it.resume()
        assert result is not None
        it.recover()  # nothing to do, but where the source's last answer was lost with the edge
        ended = result["outcome"], it.state, it.steps.names
        shutil.rmtree(it.directory / "journal")
        return ended

    steady = outcome()
    jumps = itertools.cycle([-3600, 86_400, 0, -86_400 * 365])
    true_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: max(0, true_ns() + next(jumps) * 10**9))
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
    assert outcome() == steady
