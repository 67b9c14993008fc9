# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: odd_variables
short_description: What is wrong with the variables of a fleet
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Looks at the variables that this collection, its playbooks and their roles read, and at the names of hosts.
  - Playbooks ask before they change anything, because a variable is otherwise looked at only where it is used.
positional: hosts, asked
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  hosts:
    description: The hosts whose variables count.
    type: list
    elements: str
    required: true
  asked:
    description: Names of variables that say what this run is to do, such as C(container). They are looked at for C(localhost).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check the variables
  ansible.builtin.assert:
    that: not problems
    fail_msg: "{{ problems | first | default }}"
  vars:
    problems: "{{ hostvars | relocate.mtd.odd_variables(groups['docker_hosts'], ['container']) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each variable that is wrong; it names the variable and the host.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._forms import Form, Wrong, sentence
from ansible_collections.relocate.mtd.plugins.plugin_utils._addresses.publication import PublicationError, parse
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import variables

try:
    from ansible_collections.relocate.mtd.plugins.plugin_utils._placement import policy
except ImportError:  # a controller without numpy draws by no policy, and is told so where it would
    HAS_POLICY = False
else:
    HAS_POLICY = True


def _policy(value: Any) -> Any:
    checked = variables.INVENTORY["relocate_policy"](value)
    try:
        if HAS_POLICY:
            policy.Settings.from_mapping(checked)
    except ValueError as error:
        raise Wrong(f"is no policy ({sentence(str(error))})") from None
    return checked


def _publish(value: Any) -> Any:
    text = variables.REQUEST["publish"](value)
    try:
        parse(str(text or ""))
    except PublicationError as error:
        raise Wrong(f"is no list of places ({sentence(str(error))})") from None
    return text


REQUEST: dict[str, Form] = {**variables.REQUEST, "publish": _publish}
FORMS: dict[str, Form] = {**variables.INVENTORY, **variables.ROLES, "relocate_policy": _policy}


def odd_variables(hostvars: Mapping[str, Any], hosts: Iterable[str], asked: Iterable[str] = ()) -> list[str]:
    """Return the sentences."""
    found = []
    for host in dict.fromkeys(hosts):
        problem = variables.odd_name(host)
        if problem:
            found.append(problem)
        elif host in hostvars:
            found += variables.problems(host, hostvars[host], FORMS)
    request = {name: REQUEST[name] for name in asked}
    if request and "localhost" in hostvars:
        found += variables.problems("this run", hostvars["localhost"], request)
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"odd_variables": odd_variables}
