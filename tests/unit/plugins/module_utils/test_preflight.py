# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table beside this file: each row changes one thing of what could be moved, and names the sentence it must give."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.relocate.mtd.plugins.module_utils import _preflight

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("preflight.yaml").read_text())

HOST: dict[str, Any] = {
    "docker_version": "28.5.2",
    "docker_problem": None,
    "criu_version": "4.2.1",
    "kernel": "6.18.0",
    "pycriu": True,
    "proxy": True,
    "runtime": True,
    "cordoned": False,
    "architecture": "x86_64",
    "cpu_flags": "fpu sse2",
    "networks": ["bridge"],
    "memory_available_bytes": 4 << 30,
    "disk_available_bytes": 4 << 30,
}
INSPECTED: dict[str, Any] = {
    "Id": "a1",
    "Name": "/web",
    "State": {"Running": True, "Status": "running", "Paused": False, "Restarting": False, "Dead": False},
    "Config": {"Tty": False},
    "HostConfig": {
        "NetworkMode": "default",
        "Privileged": False,
        "IpcMode": "private",
        "LogConfig": {"Type": "json-file"},
    },
    "Mounts": [],
    "ExecIDs": None,
    "NetworkSettings": {"Networks": {"bridge": {}}},
}
CONTAINER: dict[str, Any] = {
    "name": "web",
    "ports": [{"protocol": "tcp", "host_port": 8080, "container_port": 80}],
    "memory_bytes": 8 << 20,
    "layer_bytes": 0,
    "network": None,
}
MOVE: dict[str, Any] = {
    "host": HOST,
    "containers": [{"name": "other", "state": "running"}],
    "used_ports": [("tcp", 22)],
    "container": CONTAINER,
    "source": copy.deepcopy(HOST),
}
OTHERS: dict[str, Any] = {"web": INSPECTED, "helper": {"Name": "/helper", "HostConfig": {"NetworkMode": "bridge"}}}
CHECKS = {
    "guests": (OTHERS, lambda others: _preflight.guest_refusals(INSPECTED, others.values())),
    "container": (INSPECTED, _preflight.container_refusals),
    "recreate": (INSPECTED, lambda inspected: _preflight.recreate_refusals(inspected, [])),
    "host": (HOST, lambda host: _preflight.host_refusals("host2", host)),
    "destination": (MOVE, lambda move: _preflight.destination_refusals("host2", **move)),
}


def changed(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a document with other values at the named places."""
    made = copy.deepcopy(document)
    for place, value in change.items():
        inside = made
        *way, last = place.split(".")
        for step in way:
            inside = inside[step]
        inside[last] = value
    return made


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_stands_against_the_ordinary_case(check: str) -> None:
    """Each row's sentence therefore comes from its change."""
    document, refusals = CHECKS[check]
    assert refusals(document) == []


@pytest.mark.parametrize(
    ("check", "row"),
    [pytest.param(check, row, id=f"{check}-{row['set']}") for check, rows in TABLE.items() for row in rows],
)
def test_row(check: str, row: dict[str, Any]) -> None:
    """One change, one sentence."""
    document, refusals = CHECKS[check]
    assert refusals(changed(document, row["set"])) == ([row["says"]] if row["says"] else [])


def test_everything_that_stands_in_the_way_is_said_at_once() -> None:
    """Nobody wants to hear of the next reason after having removed the first."""
    change = {"State.Paused": True, "Config.Tty": True, "HostConfig.Privileged": True}
    assert len(_preflight.container_refusals(changed(INSPECTED, change))) == 3


def _sentences() -> list[str]:
    """Return of every sentence in the program its longest piece that is the same for all containers and hosts."""
    tree = ast.parse(Path(str(_preflight.__file__)).read_text(encoding="utf-8"))
    pieces = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            constant = [part.value for part in node.values if isinstance(part, ast.Constant)]
            pieces.append(max((str(piece) for piece in constant), key=len))
    return pieces


@pytest.mark.parametrize("piece", _sentences())
def test_every_sentence_of_the_program_is_in_the_table(piece: str) -> None:
    """A refusal that is added needs a row."""
    assert any(piece in (row["says"] or "") for rows in TABLE.values() for row in rows)


def test_what_keeps_a_container_from_being_made_anew() -> None:
    """Its bind mounts, too, and whatever would show it another host."""
    found = _preflight.recreate_refusals(changed(INSPECTED, {"HostConfig.Privileged": True}), ["no policy names /srv"])
    assert len(found) == 2 and "is privileged" in found[0] and found[1] == "no policy names /srv"
