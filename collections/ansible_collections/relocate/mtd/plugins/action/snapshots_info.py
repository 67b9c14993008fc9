# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.snapshots_info): lists what is in a store of snapshots."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import options
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.asked import (
    STORE_FORMS,
    STORE_OPTIONS,
    open_store,
)

OPTIONS: dict[str, dict[str, Any]] = {
    **STORE_OPTIONS,
    "container": {"type": "str"},
    "verify": {"type": "bool", "default": False},
}
FORMS = {**STORE_FORMS, "container": _forms.container_name, "verify": _forms.flag}


class ActionModule(ActionBase):
    """Lists snapshots."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the snapshots."""
        super().run(tmp, task_vars)
        arguments = options.options(self, OPTIONS, FORMS)
        try:
            store = open_store(arguments)
            found = []
            for each in store.snapshots(arguments["container"]):
                document = each.document()
                if arguments["verify"] and not each.problem:
                    try:
                        store.proved(each)
                    except ValueError as error:
                        document["problem"] = str(error)
                found.append(document)
            return {"changed": False, "store": str(store.directory), "snapshots": found}
        except (ValueError, OSError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}
