# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each finding of a soak, everything that is known about it is kept, and a long wait is told by its stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence import Event, Subject, cut_out, gather, stages

MOVE = "20261128-070413-7af2f68583b9"
WAIT = Subject("wait", "one", 7200, "waited", 100.0, 108.0, "10.88.0.2:4000#1", wait=True)
DOUBLE = Subject("double", "one", 7200, "two owners", 103.0, 103.0, "10.88.0.2:4000#1")
LATER = Subject("lost", "one", 7200, "a number", 300.0, 300.0, "10.88.0.2:4000#1")


def write(file: Path, *entries: dict[str, Any]) -> None:
    """Leave a file of JSON lines, the last one torn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(each) + "\n" for each in entries) + '{"half a li')


@pytest.fixture
def soak(tmp_path: Path) -> Path:
    """Return the directory of a soak in which one tenant was moved from 99 s to 109 s, and answered in the end."""
    connection = "10.88.0.2:4000"
    write(tmp_path / "moves.jsonl", {"id": MOVE, "container": "one", "begun": 99.0, "ended": 109.0})
    write(
        tmp_path / "calls.jsonl",
        {"port": 7200, "connection": f"{connection}#1", "number": 7, "called": 100.0, "returned": 108.0},
        {"port": 7200, "connection": "10.88.0.2:5000#1", "number": 8, "called": 100.0, "returned": 101.0},
        {"port": 7200, "at": 105.0, "error": "105.000: ConnectionError: closed"},
    )
    seen = {"at": 107.9, "host": "10.77.0.12", "port": 7200, "connection": connection, "number": 7}
    write(tmp_path / "seen.jsonl", {"watching": True}, seen, {**seen, "at": 130.0, "number": 9})
    write(
        tmp_path / "tables.jsonl",
        {"at": 101.0, "of": "nft", "line": "add element ip relocate held { tcp . 10.88.0.100 . 7200 : 0x1 }"},
        {"at": 101.0, "of": "nft", "line": "add element ip relocate held { tcp . 10.88.0.100 . 7201 : 0x2 }"},
        {"at": 102.0, "of": "conntrack", "line": "[UPDATE] tcp src=10.88.0.2 sport=4000 dport=7200 src=10.77.0.12"},
        {"at": 102.0, "of": "conntrack", "line": "[UPDATE] tcp src=10.88.0.2 sport=4001 dport=7200 src=10.77.0.12"},
    )
    fault = {"at": 90.0, "kind": "cut-source-edge", "line": "edge after holding", "struck": True, "container": "one"}
    write(
        tmp_path / "faults.jsonl",
        {**fault, "seconds": 11.0, "error": ""},
        {**fault, "at": 80.0, "seconds": 0.1, "error": "old"},
    )
    journal = [("staging", 99.0), ("holding", 100.5), ("committed", 107.0), ("done", 109.0)]
    entries = [{"state": state, "at_ns": int(at * 1e9), "fact": "x" * 1000} for state, at in journal]
    write(tmp_path / "hosts/host0" / f"{MOVE}.edge.jsonl", *entries)
    (tmp_path / "hosts/host1").mkdir()
    (tmp_path / "hosts/host1" / f"{MOVE}.source.log").write_text("what the source said\n")
    (tmp_path / "hosts/host1/another.source.log").write_text("of no matter\n")
    return tmp_path


def test_a_wait_is_told_by_its_stages(soak: Path) -> None:
    """What had begun before the wait is its first stage; what comes after it is none."""
    (said,) = cut_out(soak, [WAIT])
    assert said == (
        "one: waited: 0.50 s after edge staging, 0.50 s after edge holding, 6.00 s after nft: add element ip relocate held, "
        "1.00 s after edge committed; made to fail: cut-source-edge at edge after holding (00-wait-one)"
    )


def test_what_is_known_of_each_finding_is_kept(soak: Path) -> None:
    """Of its own tenant, of its own connection, around its own time."""
    cut_out(soak, [DOUBLE, LATER])
    own = soak / "evidence/00-double-one"
    assert sorted(file.name for file in own.iterdir()) == [
        f"{MOVE}.edge.jsonl.host0",
        f"{MOVE}.source.log.host1",
        "timeline.txt",
    ]
    page = (own / "timeline.txt").read_text()
    wanted = ["two owners", "cut-source-edge", "edge: nft", "sport=4000", "leaves, from 10.77.0.12", "8.000 s before"]
    assert not [words for words in [*wanted, "105.000: ConnectionError"] if words not in page]
    assert not [words for words in ("7201", "4001", "5000", "130.000") if words in page]
    assert max(map(len, page.splitlines())) < 500
    times = [float(line.split()[0]) for line in page.splitlines()[3:]]
    assert times == sorted(times) and len(times) == 10
    assert [file.name for file in (soak / "evidence/01-lost-one").iterdir()] == ["timeline.txt"]
    assert cut_out(soak, []) == [] and not (soak / "evidence").exists()


def test_stages_that_are_too_short_are_left_out() -> None:
    """And what happened at other times, or began nothing for a client."""
    events = [Event(5.0, "", "", "late"), Event(2.0, "", ""), Event(1.0, "", "", "first"), Event(1.01, "", "", "then")]
    assert [(round(seconds, 2), words) for seconds, words in stages(events, 0.5, 4.0)] == [
        (0.5, "before all of it"),
        (2.99, "then"),
    ]


def test_what_hosts_have_is_brought(tmp_path: Path) -> None:
    """A host that does not answer is left out."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/a.log").write_text("a")
    hosts = [("host0", ["tar", "-C", str(tmp_path / "journal"), "-cf", "-", "."]), ("host1", ["false"])]
    gather(hosts, tmp_path / "hosts")
    assert (tmp_path / "hosts/host0/a.log").read_text() == "a" and not list((tmp_path / "hosts/host1").iterdir())
