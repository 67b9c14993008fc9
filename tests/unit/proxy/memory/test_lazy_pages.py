# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How whoever waits for the last page knows whether any still comes."""

from __future__ import annotations

import itertools
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host import paths
from relocate_proxy.memory import lazy_pages

MIB = 1 << 20


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Return what waits for a transfer that reports so, with a clock that each look puts on by a second.

    It returns how many seconds passed before the transfer ended, or stood still for ten.
    """

    def wait(reports: Iterator[dict[str, Any]], end: float = 1000.0) -> float:
        now = itertools.count()
        clock = [0.0]

        def tick() -> float:
            clock[0] = float(next(now))
            return clock[0]

        monkeypatch.setattr(time, "monotonic", tick)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(lazy_pages, "outcome", lambda _: {"bytes": 1} if clock[0] > end else None)
        monkeypatch.setattr(lazy_pages, "report", lambda _: next(reports))
        try:
            lazy_pages.await_outcome("session", 10.0)
        except lazy_pages.StandsStill:
            pass
        return clock[0]

    return wait


def test_a_copy_that_forks_does_not_pass_for_one_whose_memory_comes(waiting: Callable[..., float]) -> None:
    """Each of its processes misses the same memory once more, until it ends: the source is gone all the same."""
    reports = ({"left": left * MIB, "received": 5, "placed": 5} for left in itertools.cycle([128, 256, 384, 256]))
    assert waiting(reports) < 20


def test_what_finds_its_place_is_progress_whatever_else_the_copy_does(waiting: Callable[..., float]) -> None:
    """Even if more is missing each time; and so is what the copy gives back."""
    assert waiting({"left": (128 + n) * MIB, "placed": n} for n in itertools.count()) > 1000
    assert waiting({"left": (10**6 - n) * MIB, "placed": 0} for n in itertools.count()) > 1000


def test_what_comes_and_finds_no_place_is_no_progress(waiting: Callable[..., float]) -> None:
    """The same pages may come for ever: that is how ``criu lazy-pages`` stood still."""
    assert waiting({"left": 128 * MIB, "received": n, "placed": 5} for n in itertools.count()) < 20


def test_what_has_told_nothing_yet_stands_still(waiting: Callable[..., float]) -> None:
    """A page process that never reports."""
    assert waiting(itertools.repeat({})) < 20


def test_whoever_has_memory_served_again_is_not_kept_waiting_by_what_serves(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery's own complaints go into a pipe that is read to its end, and the server stays until the last page is there."""
    program = (
        "import sys, time; print('{}', flush=True); print('a complaint', file=sys.stderr, flush=True); time.sleep(60)"
    )
    (tmp_path / "long_lived.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lazy_pages, "PROGRAM", "long_lived")
    session = Path(paths.private_directory(paths.session("r1")))
    (session / lazy_pages.ORDER).write_text("{}")
    started: list[Any] = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *words, **named: started.append(popen(*words, **named)) or started[-1]
    )
    complaints, end = os.pipe()
    own = os.dup(2)
    os.dup2(end, 2)
    try:
        assert lazy_pages.serve_again(str(session))
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(end)
    try:
        assert select.select([complaints], [], [], 30)[0] and os.read(complaints, 100) == b"", (
            "nobody else writes there"
        )
        assert started[0].poll() is None
        deadline = time.monotonic() + 30
        while (said := Path(paths.log("r1", "source")).read_text()) != "a complaint\n":
            assert time.monotonic() < deadline, said
    finally:
        started[0].kill()
        started[0].wait()
        os.close(complaints)
