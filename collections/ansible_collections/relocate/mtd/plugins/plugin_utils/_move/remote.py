# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules on several hosts from one action plugin.

Ansible gives an action one connection, to the task's host; a relocation concerns three. This is what C(delegate_to) does,
without a task for each call: the connection plugin of the other host, with that host's variables, and the ordinary module
execution of C(ActionBase) through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import requests
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import Odd, shown

T = TypeVar("T")


class Unreachable(AnsibleError):
    """The host does not answer."""


class Misbehaves(Unreachable):
    """The host answers, but what it says cannot be used. It is set aside like one that does not answer."""


def checked(host: str, check: Callable[[Any], T], answer: Any) -> T:
    """Return a host's answer as ``check`` returns it. :raises Misbehaves: the answer is none; names the host."""
    try:
        return check(answer)
    except Odd as odd:
        raise Misbehaves(f"{host} is left out, because its answer is not valid ({odd}): check that host") from None


def said(answer: dict[str, Any]) -> str:
    """Return the reason that a failed module gave, as text that can be shown."""
    return shown(answer.get("msg") or "it gave no reason")


class Remote:
    """One host of the inventory, as the place where modules run.

    :param action: the action plugin at work; its task's C(become) and environment apply here too.
    :param host: name in the inventory.
    :param as_operator: by the operator's login, even where the host has a restricted one.
    :raises AnsibleError: the inventory has no such host.
    """

    def __init__(self, action: ActionBase, host: str, task_vars: dict[str, Any], as_operator: bool = False) -> None:
        hostvars = task_vars["hostvars"]
        if host not in hostvars:
            raise AnsibleError(f"the inventory has no host '{host}'")
        self.host = host
        self.variables: dict[str, Any] = dict(hostvars.raw_get(host))
        self.variables["hostvars"] = hostvars
        self._action = action
        self._module_action: ActionBase | None = None
        #: The restricted login that modules are asked of here; empty: they run as the inventory's user, by become.
        self.user = "" if as_operator else str(self.get("relocate_user") or "")
        if self.user:
            requests.login(self.variables, self.user, self.get("relocate_user_key_file"))

    def get(self, name: str, default: Any = None) -> Any:
        """Return one of the host's variables, templated."""
        if name not in self.variables:
            return default
        return self._templar().template(self.variables[name])

    def fact(self, name: str) -> Any:
        """Return a fact gathered earlier in the run, or None."""
        return (self.variables.get("ansible_facts") or {}).get(name)

    def _templar(self) -> Any:
        return self._action._templar.copy_with_new_env(available_variables=self.variables)

    def _connect(self) -> ActionBase:
        """Return an action whose connection leads to this host."""
        if self._module_action is not None:
            return self._module_action
        task = self._action._task.copy()
        play_context = self._action._play_context.copy()
        play_context.remote_addr = self.get("ansible_host", self.host)
        loader = self._action._shared_loader_obj
        name = self.get("ansible_connection", "ssh")
        connection = loader.connection_loader.get(name, play_context, task_uuid=task._uuid)
        if connection is None:
            raise AnsibleError(f"{self.host}: there is no connection plugin '{name}'")
        templar = self._templar()
        keys = task.dump_attrs()
        keys["timeout"] = play_context.timeout
        keys.pop("retries", None)
        self._become(connection, task, keys)
        connection.set_options(
            task_keys=keys, var_options=connection._resolve_option_variables(self.variables, templar)
        )
        shell = connection._shell
        shell.set_options(task_keys=keys, var_options=self._options("shell", shell._load_name))
        self._module_action = loader.action_loader.get(
            "ansible.legacy.normal",
            task=task,
            connection=connection,
            play_context=play_context,
            loader=self._action._loader,
            templar=templar,
            shared_loader_obj=loader,
        )
        return self._module_action

    def _options(self, kind: str, plugin: str) -> dict[str, Any]:
        from ansible import constants

        names = constants.config.get_plugin_vars(kind, plugin)
        return {name: self.get(name) for name in names if name in self.variables}

    def _become(self, connection: Any, task: Any, keys: dict[str, Any]) -> None:
        wanted = self.get("ansible_become")
        if self.user or not (task.become if wanted is None else boolean(wanted)):
            return
        method = self.get("ansible_become_method") or task.become_method or "sudo"
        plugin = become_loader.get(method)
        plugin.set_options(task_keys=keys, var_options=self._options("become", plugin._load_name))
        connection.set_become_plugin(plugin)

    def module(self, module_name: str, /, **arguments: Any) -> dict[str, Any]:
        """Run a module here and return its result, failed or not.

        :raises Unreachable: the host does not answer.
        """
        action = self._connect()  # what goes wrong here is the inventory's fault
        try:
            if self.user:
                result = self.request(module_name, arguments)
            else:
                result = action._execute_module(
                    module_name=module_name, module_args=arguments, task_vars=self.variables
                )
        except AnsibleConnectionFailure as error:
            raise Unreachable(f"{self.host} is unreachable: {shown(_first_line(error))}") from error
        except (
            Exception
        ) as error:  # Ansible's reader has one for a thousand brackets, one for half a character, and others
            why = shown(_first_line(error))
            raise Misbehaves(
                f"{self.host} is left out, because its answer cannot be read ({why}): check that host"
            ) from error
        if result.get("unreachable"):
            raise Unreachable(f"{self.host} is unreachable: {said(result)}")
        return result

    def request(self, module_name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Have the host's restricted login run a module, and return its result, failed or not.

        :raises AnsibleConnectionFailure: the host does not answer.
        """
        return requests.ask(self._connect(), self.host, module_name, arguments)

    def fetch(self, path: str, local: str) -> None:
        """Bring a file of the host here; whoever logs in there must be able to read it.

        :raises Unreachable: it does not come.
        """
        self._carry("fetch_file", path, local)

    def put(self, local: str, path: str) -> None:
        """Bring a file of the controller to the host. :raises Unreachable: it does not arrive."""
        self._carry("put_file", local, path)

    def _carry(self, how: str, source: str, target: str) -> None:
        connection = self._connect()._connection
        try:
            getattr(connection, how)(source, target)
        except (AnsibleError, OSError) as error:
            raise Unreachable(f"{self.host}: {source} could not be carried: {shown(_first_line(error))}") from error

    def close(self) -> None:
        """Let the connection go."""
        if self._module_action is not None:
            self._module_action._connection.close()
            self._module_action = None


class Remotes:
    """The hosts that one action works on: one connection each, all of them let go at the end of the C(with) block.

    :param as_operator: see :class:`Remote`.
    """

    def __init__(self, action: ActionBase, task_vars: dict[str, Any], as_operator: bool = False) -> None:
        self._action, self._vars, self._as_operator = action, task_vars, as_operator
        self._open: dict[str, Remote] = {}

    def of(self, host: str) -> Remote:
        """Return a host of the inventory. :raises AnsibleError: the inventory has no such host."""
        if host not in self._open:
            self._open[host] = Remote(self._action, host, self._vars, self._as_operator)
        return self._open[host]

    def __enter__(self) -> Remotes:
        return self

    def __exit__(self, *_: object) -> None:
        for remote in self._open.values():
            remote.close()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
