# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A soak's directory is read and judged tenant by tenant, and the summary says what was found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from chaos import LEFT_OUT, suitable
from history import read
from matrix import INSIDE, every_cell

HOSTS = {"host1": "10.77.0.11", "host2": "10.77.0.12"}


def write(directory: Path, **files: list[dict[str, Any]]) -> None:
    """Leave what a soak leaves: two tenants, of which one is moved once, at 10 s."""
    tenants = {"one": {"port": 7200, "host": "host1"}, "two": {"port": 7201, "host": "host2"}}
    (directory / "setup.json").write_text(json.dumps({"tenants": tenants, "addresses": HOSTS}))
    move = {
        "id": "20261128-aaaa",
        "container": "one",
        "source": "host1",
        "destination": "host2",
        "begun": 9.5,
        "ended": 10.5,
        "committed": True,
    }
    calls, seen = [], []
    for port, hosts in ((7200, ("host1", "host2")), (7201, ("host2", "host2"))):
        for number in range(1, 200):
            at, host = number / 10, hosts[number > 100]
            told = {"port": port, "number": number}
            calls.append({**told, "connection": "10.88.0.2:4000#1", "called": at, "returned": at + 0.02})
            seen.append({**told, "connection": "10.88.0.2:4000", "at": at + 0.01, "host": HOSTS[host]})
    whole = {"faults": [], "calls": calls, "seen": [{"watching": True}, *seen, {"missed": 0}], "moves": [move]}
    (directory / "complete").touch()
    for name, entries in whole.items():
        text = "".join(json.dumps(each) + "\n" for each in [*entries, *files.get(name, [])])
        (directory / f"{name}.jsonl").write_text(text + '{"half a li')


def test_a_good_history(tmp_path: Path) -> None:
    """One port for each tenant; the same client's port at both is no matter."""
    write(tmp_path)
    report = read(tmp_path)
    assert report.verdict.well and report.missed == 0 and not report.cut
    assert (report.verdict.calls, report.verdict.sightings, len(report.waits)) == (398, 398, 1)
    assert "| doubles | 0 |" in report.text() and "20 ms (median)" in report.text()


def test_a_planted_double_is_found_in_its_tenant(tmp_path: Path) -> None:
    """host2 answers for the tenant that it does not have yet; the other tenant is there with right."""
    double = {"port": 7200, "number": 50, "connection": "10.88.0.2:4000", "at": 5.011, "host": HOSTS["host2"]}
    write(tmp_path, seen=[double])
    report = read(tmp_path)
    assert not report.verdict.well and len(report.verdict.doubles) == 1
    assert report.verdict.doubles[0].words.startswith("one: host2 answered 50") and "| doubles | 1 |" in report.text()


def test_a_run_that_was_killed_is_judged_as_far_as_its_moves_are_known(tmp_path: Path) -> None:
    """A move after the last look at them would seem to make a second owner."""
    late = {"port": 7200, "number": 199, "connection": "10.88.0.2:4000", "at": 30.0, "host": HOSTS["host1"]}
    write(tmp_path, seen=[late])
    assert len(read(tmp_path).verdict.doubles) == 1
    (tmp_path / "complete").unlink()
    os.utime(tmp_path / "moves.jsonl", (25.0, 25.0))
    report = read(tmp_path)
    assert report.verdict.well and report.verdict.calls == 398
    os.utime(tmp_path / "moves.jsonl", (15.0, 15.0))
    assert read(tmp_path).verdict.calls == 2 * 99


def test_an_answer_twice_and_a_cut_are_found(tmp_path: Path) -> None:
    """What a client got again, and a connection that ended."""
    again = {"port": 7201, "number": 199, "connection": "10.88.0.2:4000#1", "called": 20.0, "returned": 20.1}
    write(tmp_path, calls=[again, {"port": 7200, "at": 20.0, "error": "20.000: ConnectionError: closed"}])
    report = read(tmp_path)
    assert len(report.verdict.repeated) == 1 and [str(each) for each in report.cut] == [
        "7200: 20.000: ConnectionError: closed"
    ]


def test_what_a_docker_refuses_that_is_started_again_is_no_cut(tmp_path: Path) -> None:
    """Only there, only then, and only a connection that was not there yet."""
    restart = {"at": 14.0, "kind": "kill-dockerd-source", "line": "", "struck": True, "container": "", "host": "host2"}
    restart |= {"seconds": 5.0, "error": ""}
    refused = {"port": 7200, "at": 15.0, "error": "15.000: ConnectionRefusedError: [Errno 111] Connection refused"}
    write(tmp_path, faults=[restart], calls=[refused])
    report = read(tmp_path)
    assert not report.cut and len(report.refused) == 1 and "| connections cut | 0 |" in report.text()
    write(tmp_path, faults=[restart], calls=[{**refused, "at": 5.0}, {**refused, "error": "15: ConnectionResetError"}])
    assert len(read(tmp_path).cut) == 2
    write(tmp_path, faults=[{**restart, "host": "host1"}, {**restart, "struck": False}], calls=[refused])
    report = read(tmp_path)
    assert len(report.cut) == 1 and [subject.kind for subject in report.subjects] == ["cut"]


def test_a_tenant_that_is_away_for_a_while_is_one_finding(tmp_path: Path) -> None:
    """All its clients try again and again."""
    errors = [{"port": 7200, "at": at, "error": f"{at}: ConnectionRefusedError"} for at in (5.0, 50.0, 51.0, 59.0)]
    write(tmp_path, calls=errors)
    report = read(tmp_path)
    assert len(report.cut) == 4
    assert [(each.words, each.begun, each.ended) for each in report.subjects] == [
        ("7200: 5.0: ConnectionRefusedError (1 in all)", 5.0, 5.0),
        ("7200: 50.0: ConnectionRefusedError (3 in all)", 50.0, 59.0),
    ]


@pytest.mark.parametrize("kind", [*INSIDE, "kill-dockerd-source", "cut-source-edge", "kill-criu-destination"])
def test_the_fleet_gets_what_leaves_its_tenants_alive(kind: str) -> None:
    """And nothing that kills a tenant, or puts something over what other moves need."""
    kinds = {cell.kind for cell in every_cell() if suitable(cell)}
    assert kind in kinds and not [each for each in kinds if each.startswith(LEFT_OUT)]
