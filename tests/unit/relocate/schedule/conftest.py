# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project in miniature, with an action under the real one's name that behaves as a test wants. Real Ansible runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PLAYBOOK = """\
- name: Before
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Check that a container is named
      ansible.builtin.assert:
        that: container | default('') | length > 0
        fail_msg: "no container is named"
        quiet: true

    - name: Say that it is about to begin
      ansible.builtin.file:
        path: "{{ before }}"
        state: touch
        mode: "0600"
      when: before is defined

    - name: Take a while
      ansible.builtin.wait_for:
        path: "{{ before }}.go"
        timeout: 60
      when: before is defined

    - name: Relocate
      relocate.mtd.container_relocate:
        container: "{{ container }}"
        behave: "{{ behave | default('commit') }}"
        meeting: "{{ meeting | default('') }}"
"""
RECOVER = """\
- name: Recover
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Settle
      relocate.mtd.relocations_recover:
        behave: "{{ 'fail' if fail_recovery is defined else 'settle' }}"
"""
MOVE = """\
import os, signal, time
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        container, behave, meeting = (self._task.args[k] for k in ("container", "behave", "meeting"))
        result = {"id": "theirs", "container": container, "changed": True, "downtime_ms": 81.5}
        if meeting:
            open(meeting, "w").close()
            until = time.monotonic() + 60
            while not os.path.exists(meeting + ".go") and time.monotonic() < until:
                time.sleep(0.02)
        if behave == "die":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if behave == "roll back":
            return {**result, "failed": True, "outcome": "rolled-back", "msg": "criu said no"}
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as stream:
            command = stream.read().replace(b"\\0", b" ").decode()
        checking = os.environ.get("ANSIBLE_HOST_KEY_CHECKING")
        ledger = os.environ.get("RELOCATE_LEDGER", "")
        past = open(ledger).read() if os.path.exists(ledger) else None
        return {**result, "outcome": "committed", "command": command, "checking": checking, "past": past}
"""
SETTLE = """\
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        found = {"settled": [{"id": "r1"}], "in_progress": [], "left": []}
        if self._task.args["behave"] == "fail":
            return {**found, "failed": True, "msg": "the edge is down"}
        return found
"""


@pytest.fixture(autouse=True)
def _without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read what Ansible says as it says it."""
    monkeypatch.setenv("ANSIBLE_NOCOLOR", "1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the project, and have the launchers find it and this interpreter's Ansible."""
    root = tmp_path / "project"
    plugins = root / "collections" / "ansible_collections" / "relocate" / "mtd" / "plugins"
    for directory in (root / "playbooks", root / "roles", plugins / "action"):
        directory.mkdir(parents=True)
    (root / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = collections\ninterpreter_python = {sys.executable}\n"
    )
    (root / "playbooks" / "lab.yml").write_text("[]\n")
    (root / "playbooks" / "relocate.yml").write_text(PLAYBOOK)
    (root / "playbooks" / "recover.yml").write_text(RECOVER)
    (root / "hosts.yml").write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
    (plugins / "action" / "container_relocate.py").write_text(MOVE)
    (plugins / "action" / "relocations_recover.py").write_text(SETTLE)
    monkeypatch.setenv("RELOCATE_PROJECT", str(root))
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "past.jsonl"))
    monkeypatch.setenv("RELOCATE_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return root
