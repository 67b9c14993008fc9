# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.project_relocate): plans the moves of all containers of a project as one, and starts their parts."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import DEFAULT_LIMIT_MS
from ansible_collections.relocate.mtd.plugins.module_utils._modes import LIVE
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import (
    deciding,
    options,
    project_plan,
    starting,
    together,
    wording,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.project_plan import Inseparable
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable

OPTIONS: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    **{name: deciding.OPTIONS[name] for name in ("destination", "source", "docker_hosts", "edge", "prefer", "ledger")},
    "mode": {"type": "str", "choices": ["auto", *together.MODES], "default": "auto"},
    "downtime_limit_ms": {"type": "float", "default": DEFAULT_LIMIT_MS},
    "policy": {"type": "dict", "default": {}},
    "reason": {"type": "str", "default": "manual"},
    "timeout": {"type": "int", "default": 300},
}
FORMS = {
    "project": _forms.container_name,
    **{name: deciding.FORMS[name] for name in ("destination", "source", "docker_hosts", "edge", "ledger")},
    "downtime_limit_ms": deciding.FORMS["downtime_limit_ms"],
    "policy": _forms.settings,
    "reason": _forms.remark,
    "timeout": _forms.whole(1, 100_000),
}


class ActionModule(ActionBase):
    """Moves a project."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the move, with one of each container."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        name = arguments["project"]
        wanted = Wanted.of({**arguments, "container": name, "strategy": LIVE}, variables.get("groups") or {})
        with Remotes(self, variables) as remotes:
            try:
                document = project_plan.make(name, wanted, Asking(remotes), show_draw=self._task.check_mode)
                if self._task.check_mode:
                    return wording.project_planned(document)
                return wording.project_ended(document, starting.run_project(remotes, document, arguments["timeout"]))
            except Inseparable as error:
                return wording.project_refused(wanted, name, str(error), error.containers)
            except Unreachable as error:
                return wording.project_refused(wanted, name, error.message, [])
            except Refused as error:
                return wording.project_refused(wanted, name, str(error), [])
