# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.container_snapshot): has the container's host record it, and puts the recording into the store."""

from __future__ import annotations

import datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._binds import SHARED
from ansible_collections.relocate.mtd.plugins.module_utils._modes import LIVE
from ansible_collections.relocate.mtd.plugins.module_utils._room import PLACES, room_refusals
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, options, plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident, Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots import running, sealing
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.asked import (
    NO_MOVE,
    RETENTION_FORMS,
    RETENTION_OPTIONS,
    STORE_FORMS,
    STORE_OPTIONS,
    check_retention,
    open_store,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.store import RECORDING, Store

MEMORY_FACTOR, MEMORY_RESERVE = 1.1, 64 << 20  # the image lies in memory until it is recorded
#: Of the source's facts, what a destination is compared with.
KEPT_FACTS = (
    "architecture",
    "cpu_flags",
    "cgroup_version",
    "security_module",
    "kernel",
    "criu_version",
    "docker_version",
)
_PLACES = ("container", "source", "docker_hosts", "edge")
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: deciding.OPTIONS[name] for name in _PLACES},
    **STORE_OPTIONS,
    **RETENTION_OPTIONS,
    "frozen_seconds": {"type": "float", "default": 120.0},
    "timeout": {"type": "int", "default": 600},
}
FORMS = {
    **{name: deciding.FORMS[name] for name in _PLACES},
    **STORE_FORMS,
    **RETENTION_FORMS,
    "frozen_seconds": _forms.number(0.1, 100_000),
    "timeout": _forms.whole(1, 100_000),
}


class ActionModule(ActionBase):
    """Makes a snapshot."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the snapshot."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        wanted = Wanted.of({**NO_MOVE, **arguments}, variables.get("groups") or {})
        # whoever may make or restore a snapshot may read the container's memory: the movers' login may not
        with Remotes(self, variables, as_operator=True) as remotes:
            try:
                deciding.check(wanted)
                check_retention(arguments)
                return self._snapshot(wanted, remotes, open_store(arguments), arguments)
            except (Unreachable, Refused, ValueError, OSError) as error:
                return {"failed": True, "changed": False, "msg": str(error), "container": wanted.container}

    def _snapshot(self, wanted: Wanted, remotes: Remotes, store: Store, arguments: dict[str, Any]) -> dict[str, Any]:
        asking = Asking(remotes)
        answers = asking.fleet(wanted.docker_hosts)
        resident = deciding.found(wanted, answers)
        host = answers.hosts[resident.host]["host"]
        refusals = [*deciding.stays(resident, answers, LIVE), *_several(resident), *_shared(resident)]
        refusals += _room(resident, host, store)
        if refusals:
            raise Refused("; ".join(refusals))
        now = datetime.datetime.now(datetime.timezone.utc)
        identifier, secret = plan.new_id(now), sealing.new_secret()
        told = {
            "snapshot": identifier,
            "container": wanted.container,
            "host": resident.host,
            "store": str(store.directory),
        }
        if self._task.check_mode:
            return {"changed": True, "outcome": "planned", **told}
        place = store.begin(wanted.container, identifier)
        remote = remotes.of(resident.host)
        try:
            result = running.run_part(
                remote,
                "source",
                identifier,
                {"container": wanted.container, **Asking(remotes).listening(resident.host)},
                {"key": secret.hex(), "seconds": arguments["frozen_seconds"]},
                arguments["timeout"],
            )
            try:
                remote.fetch(running.place(identifier), str(place / RECORDING))
            finally:
                running.forget(remote, identifier)
            manifest = _manifest(resident, host, identifier, now, result)
            snapshot = store.finish(place, manifest, secret)
        finally:
            store.abandon(place)
        removed = store.retain(wanted.container, arguments["keep"], arguments["days"])
        kept = ("timings_ns", "bytes", "commands")
        shown = {**snapshot.document(), **{name: result.get(name) for name in kept}}
        return {"changed": True, "outcome": "recorded", **told, **shown, "removed": removed}


def _several(resident: Resident) -> list[str]:
    """Return why a container on several networks has no snapshot: what is restored from one gets a new address, on one."""
    networks = sorted(resident.container.get("networks") or ())
    if len(networks) < 2:
        return []
    return [
        f"{resident.container['name']} is on {len(networks)} networks ({', '.join(networks)}), whose addresses a snapshot does "
        "not keep: move it while its host lives"
    ]


def _shared(resident: Resident) -> list[str]:
    """Return why a container that writes or reads outside of itself has no snapshot: what is there goes on meanwhile."""
    return [
        f"{resident.container['name']} is shown the shared directory {each['source']} at {each['point']}, which goes on while "
        "a snapshot stays as it is, so that the two would not fit when it is restored: keep such data in a volume"
        for each in resident.container.get("binds") or []
        if each["rule"] == SHARED
    ]


def _room(resident: Resident, host: dict[str, Any], store: Store) -> list[str]:
    """Return why a host cannot hold the image of a container and its recording, or why the store cannot."""
    container = resident.container
    found = running.memory_problem(resident.host, host, container, "snapshot")
    files = container.get("layer_bytes", 0) + sum(each["bytes"] for each in container.get("volumes") or [])
    recorded = int(container["memory_bytes"] + files)
    found += room_refusals(resident.host, host, "images", int(container["memory_bytes"]))
    found += room_refusals(resident.host, host, "recordings", recorded)
    here = {"room": {"recordings": store.room()}}
    return found + [
        refusal.replace(PLACES["recordings"], f"for snapshots ({store.directory})")
        for refusal in room_refusals("the controller", here, "recordings", recorded)
    ]


def _manifest(
    resident: Resident, host: dict[str, Any], identifier: str, now: datetime.datetime, result: dict[str, Any]
) -> dict[str, Any]:
    """Return what is told of a snapshot; nothing of it is secret, and all of it will be proved."""
    container = resident.container
    return {
        "id": identifier,
        "container": container["name"],
        "at": now.isoformat(timespec="milliseconds"),
        "host": resident.host,
        "image": container["image"],
        "tenant": container["labels"].get("relocate.mtd/tenant"),
        "memory_bytes": container["memory_bytes"],
        "frozen_ms": round((result.get("timings_ns") or {}).get("frozen_total", 0) / 1e6, 1),
        "description": {**container, "refusals": []},
        "source": {name: host.get(name) for name in KEPT_FACTS},
    }
