# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: on the disk before the step, readable after a crash in the middle of a line."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.protocol import journal as journal_module
from relocate_proxy.protocol.journal import KEPT_SECONDS, Journal, prune, prune_results, unfinished
from relocate_proxy.protocol.states import State

ID = "20261123-120000-abcdef"


def _lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / f"{ID}.source.jsonl").read_text().splitlines()]


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    """The last state, every fact, and when each state was entered."""
    journal = Journal.at(ID, "source", str(tmp_path))
    assert journal.state is None and not journal.finished
    journal.record(State.STAGING, container_id="c1", veth="veth1")
    journal.record(State.STAGED, veth="veth2")
    again = Journal.at(ID, "source", str(tmp_path))
    assert again.state is State.STAGED
    assert again.facts == {"container_id": "c1", "veth": "veth2"} == journal.facts
    assert 0 < again.times["staging"] <= again.times["staged"]
    again.record(State.DONE)
    assert again.finished and Journal.at(ID, "source", str(tmp_path)).finished


def test_only_root_reads_it(tmp_path: Path) -> None:
    """The directory is made on the way, as private as the file."""
    directory = tmp_path / "journal"
    Journal.at(ID, "source", str(directory)).record(State.STAGING)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / f"{ID}.source.jsonl").stat().st_mode) == 0o600


def test_the_line_is_on_the_disk_before_the_step_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The new name is synced, then each line after it was written, before the state is believed in memory."""
    calls: list[str] = []
    journal = Journal.at(ID, "source", str(tmp_path))
    write, sync, datasync = os.write, os.fsync, os.fdatasync

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any) -> Any:
            calls.append(f"{name} {journal.state.value if journal.state else None}")
            return call(*arguments)

        return stand_in

    monkeypatch.setattr(os, "write", noted("write", write))
    monkeypatch.setattr(os, "fsync", noted("sync directory", sync))
    monkeypatch.setattr(os, "fdatasync", noted("sync line", datasync))
    journal.record(State.STAGING)
    journal.record(State.STAGED)
    assert calls == [
        "sync directory None", "write None", "sync line None", "write staging", "sync line staging",
    ]  # fmt: skip


def test_a_disk_that_refuses_leaves_the_state_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this process nor the next one believes in a step whose line is not safe."""
    journal = Journal.at(ID, "source", str(tmp_path))
    journal.record(State.STAGED)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output error"):
            journal.record(State.FREEZING)
    assert journal.state is State.STAGED
    assert Journal.at(ID, "source", str(tmp_path)).state is State.STAGED
    journal.record(State.ROLLED_BACK)
    assert [line["state"] for line in _lines(tmp_path)] == ["staged", "rolled-back"]


def test_a_disk_that_takes_half_a_line_is_a_disk_that_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel writes what still fits and says so only by a number."""
    journal = Journal.at(ID, "source", str(tmp_path))
    journal.record(State.STAGED)
    write, room = os.write, [10]

    def write_what_fits(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(fd, bytes(data)[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_what_fits)
        with pytest.raises(OSError, match="No space left"):
            journal.record(State.FREEZING)
    journal.record(State.ROLLED_BACK)
    assert [line["state"] for line in _lines(tmp_path)] == ["staged", "rolled-back"]


@pytest.mark.parametrize("torn", ['{"state":"comm', '{"state":"committed","at_ns":1}', "\0\0\0\0", "\xff"])
def test_a_torn_last_line_is_a_step_that_was_not_taken(tmp_path: Path, torn: str) -> None:
    """Whoever goes on after the crash is read, too: the torn line does not swallow what comes after it."""
    journal = Journal.at(ID, "source", str(tmp_path))
    journal.record(State.STAGED, container_id="c1")
    with Path(journal.path).open("ab") as file:
        file.write(torn.encode("latin-1"))
    resumed = Journal.at(ID, "source", str(tmp_path))
    assert (resumed.state, resumed.facts) == (State.STAGED, {"container_id": "c1"})
    resumed.record(State.VOTED, flows=[])
    resumed.record(State.ROLLED_BACK)
    after = Journal.at(ID, "source", str(tmp_path))
    assert (after.state, after.facts) == (State.ROLLED_BACK, {"container_id": "c1", "flows": []})
    assert [line["state"] for line in _lines(tmp_path)] == ["staged", "voted", "rolled-back"]


def test_what_has_no_end_is_found_and_what_has_one_is_not(tmp_path: Path) -> None:
    """Logs lie beside journals, and a journal may be empty."""
    assert unfinished(str(tmp_path / "nothing")) == []
    Journal.at("r1", "edge", str(tmp_path)).record(State.COMMITTED)
    Journal.at("r1", "source", str(tmp_path)).record(State.DONE)
    Journal.at("r2", "destination", str(tmp_path)).record(State.ROLLED_BACK)
    Journal.at("r3", "destination", str(tmp_path)).record(State.PREPARED, container_id="c3")
    (tmp_path / "r1.edge.log").write_text("words")
    (tmp_path / "r4.source.jsonl").write_text("")
    found = unfinished(str(tmp_path))
    assert [(relocation, part, journal.state) for relocation, part, journal in found] == [
        ("r1", "edge", State.COMMITTED),
        ("r3", "destination", State.PREPARED),
    ]
    assert found[1][2].facts == {"container_id": "c3"}


def test_old_journals_go_unless_somebody_has_to_settle_them(tmp_path: Path) -> None:
    for relocation, state in (("ended", State.DONE), ("doubtful", State.VOTED)):
        Journal.at(relocation, "source", str(tmp_path)).record(state)
        (tmp_path / f"{relocation}.source.log").write_text("words\n")
    assert prune(str(tmp_path)) == 0, "nothing is old yet"
    assert prune(str(tmp_path), now=time.time() + KEPT_SECONDS + 60) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["doubtful.source.jsonl", "doubtful.source.log"]


def test_too_many_journals_go_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest, with their logs; but not one without an end, nor an edge's that may have the verdict for such a one."""
    monkeypatch.setattr(journal_module, "KEPT_RELOCATIONS", 2)
    for relocation, part, state, facts in (
        ("20260101-a", "source", State.DONE, {}),
        ("20260102-b", "edge", State.DONE, {"everywhere": True}),
        ("20260103-c", "edge", State.DONE, {"reason": "recovered"}),
        ("20260104-d", "source", State.VOTED, {}),
        ("20260105-e", "edge", State.ROLLED_BACK, {"everywhere": True}),
        ("20260106-f", "destination", State.DONE, {}),
        ("20260107-g", "destination", State.ROLLED_BACK, {}),
    ):
        Journal.at(relocation, part, str(tmp_path)).record(state, **facts)
        (tmp_path / f"{relocation}.{part}.log").write_text("words\n")
    (tmp_path / "20260100-begins.source.log").write_text("it has no line yet\n")
    assert prune(str(tmp_path)) == 6 and prune(str(tmp_path)) == 0
    left = {path.name for path in tmp_path.iterdir()}
    kept = ("20260103-c.edge", "20260104-d.source", "20260106-f.destination", "20260107-g.destination")
    assert left == {f"{name}.{end}" for name in kept for end in ("jsonl", "log")} | {"20260100-begins.source.log"}


def test_two_that_end_at_once_may_remove_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone is gone: the end of a relocation is no reason to fail."""
    Journal.at("ended", "source", str(tmp_path)).record(State.DONE)
    monkeypatch.setattr(os, "listdir", lambda _: ["ended.source.jsonl", "gone.source.jsonl"])
    assert prune(str(tmp_path), now=time.time() + KEPT_SECONDS + 60) == 1


def test_results_that_nobody_fetches_do_not_fill_the_memory(tmp_path: Path) -> None:
    """The latest stay: a scheduler that comes back asks for them."""
    prune_results(str(tmp_path / "nothing"), 2)
    for name in ("20260103-c", "20260101-a", "20260102-b"):
        (tmp_path / f"{name}.json").write_text("{}")
    prune_results(str(tmp_path), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"20260102-b.json", "20260103-c.json"}
