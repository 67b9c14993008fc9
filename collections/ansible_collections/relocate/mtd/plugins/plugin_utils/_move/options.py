# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a task whose action runs on the controller, looked at before any host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Form, odd, sentence


def options(action: ActionBase, spec: dict[str, Any], forms: Mapping[str, Form]) -> dict[str, Any]:
    """Return a task's options, with their defaults.

    :param forms: by option. Those with choices, and those that are true or false, need none.
    :raises AnsibleActionFail: one has not its type or its form; one sentence.
    """
    try:
        _, found = action.validate_argument_spec(argument_spec=spec)
    except Exception as error:  # Ansible's own for what is of another type, and others for a mapping "0"
        raise AnsibleActionFail(f"the options cannot be read: {sentence(str(error))}") from None
    for name, option in spec.items():
        if found.get(name) is None and (option.get("required") or option.get("default") is not None):
            raise AnsibleActionFail(f"the option {name} is nothing: give it a value")
    for problem in odd(spec, forms, found):
        raise AnsibleActionFail(problem)
    arguments: dict[str, Any] = found
    return arguments
