# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.snapshots_info): lists what is in a store of snapshots."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.asked import STORE_OPTIONS, open_store
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers


class ActionModule(ActionBase):
    """Lists snapshots."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the snapshots."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={**STORE_OPTIONS, "container": {"type": "str"}, "verify": {"type": "bool", "default": False}}
        )
        try:
            if arguments["container"] is not None:
                strangers.container_name(arguments["container"])
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
