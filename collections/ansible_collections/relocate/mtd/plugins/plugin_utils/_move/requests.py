# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that a login without root has run on a host: one request to the program that the role restricted_login installs.

A host with the variable C(relocate_user) has such a login. The module is the one on the host: nothing is sent but its
arguments, and nothing runs there by C(become), for whoever may become root by it may do anything.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.vars.clean import remove_internal_keys
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown

PROGRAM = "/usr/local/sbin/relocate-request"
PASSWORDS = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")


def login(variables: dict[str, Any], user: str, key: str | None) -> None:
    """Change a host's variables so that its connection is the restricted login's. :param key: the file of its private key."""
    for name in ("ansible_user", "ansible_ssh_user"):
        variables[name] = user
    for name in ("ansible_private_key_file", "ansible_ssh_private_key_file") if key else ():
        variables[name] = key
    for name in PASSWORDS:  # another user's
        variables.pop(name, None)
    variables["ansible_become"] = False


def ask(action: ActionBase, host: str, module_name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a module's result, failed or not.

    :param action: one whose connection leads to the host as the restricted login.
    :raises AnsibleConnectionFailure: the host does not answer, or does not let the login in.
    """
    task = action._task
    given = {name: value for name, value in arguments.items() if value is not None}
    request = json.dumps({"arguments": given, "check_mode": bool(task.check_mode), "diff": bool(task.diff)})
    command = f"sudo -n {PROGRAM} {module_name.rpartition('.')[2]}"
    # no shell around it (False, which is not None): the login takes the bare words, and no others
    answer = action._low_level_execute_command(command, sudoable=False, in_data=request.encode(), executable=False)
    if answer["rc"] == 255 and not answer["stdout"].strip():  # ssh's own
        raise AnsibleConnectionFailure(shown(answer["stderr"].strip() or "ssh ended with status 255"))
    if "{" not in answer["stdout"]:
        words = answer["stderr"].strip().splitlines()
        why = shown(words[-1]) if words else f"exit status {answer['rc']}"
        sentence = f"{host} does not take the request {module_name} of this login ({why}): run prepare.yml"
        return {"failed": True, "changed": False, "msg": sentence}
    result: dict[str, Any] = action._parse_returned_data(answer, "legacy")
    remove_internal_keys(result)
    return result


class RequestAction(ActionBase):
    """Runs the module of the task's name: as a request where the host has a restricted login, else as Ansible does."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remote

        super().run(tmp, task_vars)
        variables = task_vars or {}
        if not boolean(variables.get("relocate_as_operator", False), strict=False):
            remote = Remote(self, str(self._task.delegate_to or variables["inventory_hostname"]), variables)
            if remote.user:
                if self._task.async_val:
                    raise AnsibleError(f"{self._task.action} cannot run in the background for the login {remote.user}")
                try:
                    return remote.request(self._task.action, dict(self._task.args))
                finally:
                    remote.close()
        plain = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.normal",
            task=self._task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = plain.run(task_vars=task_vars)
        return result
