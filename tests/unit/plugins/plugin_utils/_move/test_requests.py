# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a restricted login is asked for a module, and what its answers are taken for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import requests


class Action:
    """An action whose connection answers what it is told."""

    def __init__(self, **answer: Any) -> None:
        """Answer so."""
        self._task = SimpleNamespace(check_mode=True, diff=False)
        self.answer = {"rc": 0, "stdout": "", "stderr": "", **answer}
        self.asked: dict[str, Any] = {}

    def _low_level_execute_command(self, command: str, **how: Any) -> dict[str, Any]:
        self.asked = {"command": command, **how}
        return self.answer

    def _parse_returned_data(self, answer: dict[str, Any], profile: str) -> dict[str, Any]:
        assert profile == "legacy"
        parsed: dict[str, Any] = json.loads(answer["stdout"])
        return parsed


def ask(action: Any, **arguments: Any) -> dict[str, Any]:
    """Ask a host for a module."""
    return requests.ask(action, "host1", "relocate.mtd.relocation_session", arguments)


def test_arguments_go_on_standard_input_and_without_become() -> None:
    """The part's key is among them: no command line, and so no process list, has it."""
    action = Action(stdout='{"changed": true, "port": 4}')
    assert ask(action, specification="SECRET", part="edge", verdict=None) == {"changed": True, "port": 4}
    assert action.asked["command"] == "sudo -n /usr/local/sbin/relocate-request relocation_session"
    assert (action.asked["sudoable"], action.asked["executable"]) == (False, False)
    arguments = {"specification": "SECRET", "part": "edge"}
    assert json.loads(action.asked["in_data"]) == {"arguments": arguments, "check_mode": True, "diff": False}


def test_a_host_that_does_not_take_it_is_named() -> None:
    """With sudo's last word, and the way out."""
    answer = ask(Action(rc=1, stderr="sudo: a password is required\n"))
    assert answer["failed"]
    assert answer["msg"].startswith("host1 does not take the request")
    assert answer["msg"].endswith("(sudo: a password is required): run prepare.yml")


def test_a_host_that_is_not_there_is_unreachable() -> None:
    """So that plays that ignore it go on."""
    with pytest.raises(AnsibleConnectionFailure, match="Permission denied"):
        ask(Action(rc=255, stderr="relocate@host1: Permission denied (publickey)."))


def test_the_login_is_another_user_with_another_key() -> None:
    """What the inventory says of the operator does not reach it."""
    variables = {"ansible_user": "root", "ansible_ssh_user": "root", "ansible_password": "x", "ansible_become": True}
    requests.login(variables, "relocate", "/keys/moves")
    assert variables["ansible_user"] == variables["ansible_ssh_user"] == "relocate"
    assert variables["ansible_ssh_private_key_file"] == "/keys/moves"
    assert "ansible_password" not in variables
    assert variables["ansible_become"] is False
