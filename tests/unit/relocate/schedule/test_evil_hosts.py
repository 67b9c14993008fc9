# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that answer anything: real Ansible asks them by the real playbook, and each of their interpreters is a liar."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import playbook, relocation
from relocate.schedule import discovery
from relocate.schedule.discovery import INFO, Listener, Roster
from relocate.schedule.records import Tenant
from tests.paths import COLLECTION, ROOT

ENABLED = {"relocate.mtd/enabled": "true"}


def web(name: Any = "web", **other: Any) -> dict[str, Any]:
    """Return a tenant."""
    return {"name": name, "state": "running", "labels": ENABLED, "started_at": "2026-11-27T00:00:00Z", **other}


def info(*containers: Any, **other: Any) -> dict[str, Any]:
    """Return what a host brings."""
    return {"host": {"docker_version": "28"}, "containers": list(containers), "unfinished": [], **other}


def answered(document: Any) -> str:
    """Return a module's output."""
    return json.dumps({"changed": False, "relocation_info": document})


EVIL: dict[str, str] = {
    "template": answered(info(web("{{ lookup('ansible.builtin.pipe', 'touch MARK') }}"))),
    "no-name": answered(info({"state": "running", "labels": ENABLED})),
    "null-name": answered(info(web(None))),
    "five": answered(info(web()) | {"containers": 5}),
    "no-part": answered(info(web("mine"), unfinished=[{"relocation": "r1", "state": "voted"}])),
    "digits": answered(info(web("mine", memory_bytes=10**400))),
    "surrogate": answered(info(web("mine", labels={**ENABLED, "x": "\ud800"}))),
    "escape": answered(info(web("\x1b[2Jmine\n"))),
    "nothing": "",
    "empty": "{}",
    "null": answered(None),
    "list": "[]",
    "deep": '{"changed": false, "relocation_info": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "twice": answered(info(web("mine"), web("mine"))),
    "facts": json.dumps({"ansible_facts": {"relocate_edge": "MARK", "relocate_asked": 5}, "relocation_info": 7}),
}


@pytest.fixture
def fleet(project: Path, tmp_path: Path) -> Path:
    """Make the inventory: two honest hosts, and the others, each with an interpreter that says what it likes."""
    assert project_root() == project
    shutil.copytree(ROOT / "playbooks" / "tasks", project / "playbooks" / "tasks")
    shutil.copy(ROOT / "playbooks" / "tenants.yml", project / "playbooks" / "tenants.yml")
    plugins = project / "collections/ansible_collections/relocate/mtd/plugins"
    for part in ("filter", "plugin_utils", "module_utils"):
        shutil.copytree(COLLECTION / "plugins" / part, plugins / part)
    modules = plugins / "modules"
    modules.mkdir()
    for module in ("relocation_info", "relocation_session"):
        (modules / f"{module}.py").write_text("#!/usr/bin/python\n")
    honest = {"honest1": answered(info(web("web"), web("shared"))), "honest2": answered(info(web("db"), web("shared")))}
    return inventory(project, tmp_path, {**EVIL, **honest}, {"gate": answered(info())})


def liars(directory: Path, says: dict[str, str]) -> dict[str, Any]:
    """Return hosts whose interpreters answer every module with the same words."""
    hosts: dict[str, Any] = {}
    for name, text in says.items():
        words = directory / f"{name}.says"
        words.write_text(text.replace("MARK", str(directory / "evaluated")))
        liar = directory / f"{name}.python"
        liar.write_text(f"#!/bin/sh\ncat > /dev/null\ncat {words}\n")
        liar.chmod(0o755)
        hosts[name] = {"ansible_python_interpreter": str(liar)}
    return hosts


def inventory(project: Path, directory: Path, docker_hosts: dict[str, str], edges: dict[str, str]) -> Path:
    """Write an inventory of hosts that say what they like, and return its path."""
    common = {"ansible_connection": "local", "ansible_become": False, "ansible_pipelining": True}
    groups = {
        "docker_hosts": {"hosts": liars(directory, docker_hosts), "vars": common},
        "edge": {"hosts": liars(directory, edges) or {"gate": {}}, "vars": common},
        "image_repository": {"hosts": {"gate": {}}},
    }
    (project / "fleet.yml").write_text(yaml.safe_dump(groups))
    return project / "fleet.yml"


def test_a_fleet_of_liars(fleet: Path, tmp_path: Path) -> None:
    """Each is set aside by its name with one sentence; the honest hosts' tenants are found; nothing is evaluated."""
    seen = discovery.survey(str(fleet), 2_000_000_000.0)
    assert seen.answered == {"honest1", "honest2"}
    assert set(seen.silent) == set(EVIL)
    assert all(sentence.isprintable() and sentence for sentence in seen.silent.values()), seen.silent
    assert set(seen.tenants) == {"web", "db"} and seen.edge == "gate" and not seen.unfinished
    assert [each.host for each in seen.contested["shared"]] == ["honest1", "honest2"]
    assert not (tmp_path / "evaluated").exists()


def said(host: str, document: Any) -> dict[str, Any]:
    """Return Ansible's event of a host's answer."""
    return {
        "event": "runner_on_ok",
        "event_data": {"host": host, "task_action": INFO, "res": {"relocation_info": document}},
    }


def test_a_contested_container_stays_where_it_is_known() -> None:
    """A host that claims others' tenants pins none of them, and gets none of them; neither does anybody get a new one."""
    known, liar, new = (
        Tenant("web", "h1", 0.0, ENABLED),
        Tenant("web", "h2", 9.0, ENABLED),
        Tenant("new", "h1", 0.0, ENABLED),
    )
    roster = Roster()
    roster.learn(discovery.Survey(tenants={"web": known}), ())
    listen = discovery.Survey(tenants={}, contested={"web": [known, liar], "new": [new, new]})
    for _ in range(3):
        assert roster.learn(listen, ()) == ([], [])
    assert roster.tenants["web"].host == "h1" and "new" not in roster.tenants
    assert roster.contested == {"web": ["h1", "h2"], "new": ["h1", "h1"]}


@pytest.mark.parametrize("order", list(itertools.permutations(["h1", "h2", "h3"])))
def test_claims_are_in_one_order_whoever_answers_first(order: tuple[str, ...]) -> None:
    """Else the warning of a contested container would come again with every survey."""
    listen = Listener(0.0)
    for host in order:
        listen(said(host, info(web())))
    assert [each.host for each in listen.ended().contested["web"]] == ["h1", "h2", "h3"]


def test_events_that_are_none_are_no_host_s() -> None:
    """Whatever Ansible hands over, the survey is made."""
    listen = Listener(0.0)
    for event in ({}, {"event": "runner_on_ok"}, {"event": "runner_on_ok", "event_data": {"res": "text"}}):
        listen(event)
    listen(said("h1", info(web())))
    assert set(listen.ended().tenants) == {"web"}
    assert os.sep not in "".join(listen.survey.silent)


def test_recovery_among_liars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real playbook, action and transport: the honest relocation is settled, and each liar is named in one sentence."""
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    unfinished = [{"relocation": "r1", "part": "source", "state": "voted", "container": "web"}]
    settled = {"changed": True, "outcome": "rolled-back", "verdict": "roll-back"}
    honest = json.dumps({**settled, "relocation_info": info(web(), unfinished=unfinished)})
    edge = json.dumps({**settled, "relocation_info": info()})
    fleet = inventory(tmp_path, tmp_path, {**EVIL, "honest": honest}, {"gate": edge})
    caught = relocation.Catcher(relocation.RECOVER)
    with pytest.raises(Refusal) as refused:
        playbook.run(ROOT, "playbooks/recover.yml", {}, inventory=str(fleet), quiet=True, watch=caught)
    assert "settled" in caught.result, str(refused.value)
    done = {(each["relocation"], each["part"], each["host"]) for each in caught.result["settled"]}
    assert done == {("r1", "edge", "gate"), ("r1", "source", "honest")}
    left = caught.result["left"]
    assert all(any(sentence.startswith(f"{name} ") for sentence in left) for name in EVIL), left
    assert all(sentence.isprintable() for sentence in left) and not (tmp_path / "evaluated").exists()
