# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.container_restore): makes sure that nobody has the container, and has a host restore it.

The order is what keeps two copies apart. First every host is asked, and one that is silent counts as running it. Of one that is
said to be dead, other hosts are asked whether they hear it. Then the edge is led away from the dead hosts, and shuts them out.
Only then is anything restored.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import host_refusals
from ansible_collections.relocate.mtd.plugins.module_utils._room import room_refusals
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import deciding, options, plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Answers, Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Wanted
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots import running, witnesses
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.asked import (
    NO_MOVE,
    STORE_FORMS,
    STORE_OPTIONS,
    open_store,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.store import LATEST, Snapshot, Store, Unusable

#: In place of the host that a container is on, of one that is on none.
NOWHERE = "(nowhere)"
_PLACES = ("container", "destination", "docker_hosts", "edge")
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: deciding.OPTIONS[name] for name in _PLACES},
    **STORE_OPTIONS,
    "snapshot": {"type": "str", "default": LATEST},
    "dead": {"type": "list", "elements": "str", "default": []},
    "policy": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 900},
}
FORMS = {
    **{name: deciding.FORMS[name] for name in _PLACES},
    **STORE_FORMS,
    "snapshot": _forms.relocation_id,
    "dead": _forms.each(_forms.host_name),
    "policy": _forms.settings,
    "timeout": _forms.whole(1, 100_000),
}


class ActionModule(ActionBase):
    """Restores a container from a snapshot."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return where the container runs now."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = options.options(self, OPTIONS, FORMS)
        wanted = Wanted.of({**NO_MOVE, "source": None, **arguments}, variables.get("groups") or {})
        # whoever may make or restore a snapshot may read the container's memory: the movers' login may not
        with Remotes(self, variables, as_operator=True) as remotes:
            try:
                return self._restore(wanted, remotes, arguments)
            except witnesses.Alive as error:
                return {
                    "failed": True,
                    "changed": False,
                    "msg": str(error),
                    "container": wanted.container,
                    "alive": error.host,
                }
            except (Unreachable, Refused, ValueError, OSError) as error:
                return {"failed": True, "changed": False, "msg": str(error), "container": wanted.container}

    def _restore(self, wanted: Wanted, remotes: Remotes, arguments: dict[str, Any]) -> dict[str, Any]:
        deciding.check(wanted)
        dead = list(dict.fromkeys(arguments["dead"]))
        unknown = [host for host in dead if host not in wanted.docker_hosts]
        if unknown:
            raise Refused(f"there is no Docker host '{unknown[0]}' in the inventory, so it cannot be called dead")
        store = open_store(arguments)
        asking = Asking(remotes)
        answers = asking.fleet(wanted.docker_hosts)
        refuse_a_second(wanted.container, answers, dead)
        witnesses.hear(remotes, dead, wanted.edges, [host for host in answers.hosts if host not in dead])
        try:
            snapshot = store.find(wanted.container, arguments["snapshot"])
        except Unusable as error:  # that the hosts are dead is worth knowing all the same
            told = {"container": wanted.container, "dead": dead}
            return {"failed": True, "changed": False, "msg": str(error), **told}
        destination = _destination(wanted, asking, answers, snapshot, set(dead))
        told = {
            "container": wanted.container,
            "snapshot": snapshot.id,
            "at": snapshot.manifest["at"],
            "host": destination,
        }
        if self._task.check_mode:
            store.proved(snapshot)
            return {"changed": True, "outcome": "planned", "dead": dead, **told}
        result = self._carry_out(wanted, remotes, (store, snapshot), destination, dead, arguments)
        kept = ("id", "outcome", "address_before", "address_after", "timings_ns", "commands")
        return {"changed": True, "dead": dead, **told, **{name: result.get(name) for name in kept}}

    def _carry_out(
        self,
        wanted: Wanted,
        remotes: Remotes,
        found: tuple[Store, Snapshot],
        host: str,
        dead: list[str],
        arguments: dict[str, Any],
    ) -> dict[str, Any]:
        store, snapshot = found
        secret, identifier = store.proved(snapshot), plan.new_id()
        remote, asking = remotes.of(host), Asking(remotes)
        remote.put(str(snapshot.recording), running.place(identifier))
        try:
            if dead:  # the recording may have been long on its way
                refuse_a_second(wanted.container, asking.fleet(dead), dead)
                witnesses.hear(remotes, dead, wanted.edges, [])
            gone = [address for each in dead for address in (asking.address(each), asking.address6(each)) if address]
            fence = {"name": wanted.container, "dead": gone, "host_address": asking.address(host)}
            if asking.address6(host):
                fence["host_address6"] = asking.address6(host)
            for edge in wanted.edges:  # another one could take over with what it knew before
                answer = remotes.of(edge).module("relocate.mtd.service_fence", **fence)
                if answer.get("failed"):
                    raise Refused(f"the edge {edge} cannot be led to {host} ({said(answer)}): nothing was restored")
            specification = {"container": wanted.container, **asking.listening(host)}
            result = running.run_part(
                remote, "destination", identifier, specification, {"key": secret.hex()}, arguments["timeout"]
            )
        except (Refused, Unreachable):
            running.forget(remote, identifier)
            raise
        return {"id": identifier, **result}


def refuse_a_second(container: str, answers: Answers, dead: list[str]) -> None:
    """Make sure that nobody has the container. :raises Refused: somebody has, or may have."""
    for host, info in answers.hosts.items():
        for each in info["containers"]:
            if each["name"] == container and each["state"] == "running":
                raise Refused(f"{container} runs on {host}: a snapshot is restored only where there is no other copy")
            if each["name"] == container:
                raise Refused(
                    f"{container} is on {host} and does not run ({each['state']}): start it there, or remove it (docker rm) "
                    "to have the snapshot instead"
                )
        for each in info["unfinished"]:
            if each["container"] == container:
                raise Refused(
                    f"a move of {container} ({each['relocation']}) has no end on {host}: run recover.yml first"
                )
    alive = [host for host in dead if host in answers.hosts]
    if alive:
        raise Refused(
            f"{alive[0]} answers, so it is not dead: call only hosts dead that are switched off or cut off for good"
        )
    doubtful = [host for host in answers.silent if host not in dead]
    if doubtful:
        raise Refused(
            f"{answers.silent[doubtful[0]]}; it may run {container}, and silence proves nothing: if it is switched off, say so "
            f"with --host-is-dead {doubtful[0]}"
        )


def _destination(wanted: Wanted, asking: Asking, answers: Answers, snapshot: Snapshot, dead: set[str]) -> str:
    """Return the host that is to have it: the wanted one, or one that is drawn as for a move.

    :raises Refused: it cannot, or none can.
    """
    if wanted.destination in answers.silent:
        raise Refused(f"the destination {answers.silent[wanted.destination]}")
    was, description = str(snapshot.manifest["host"]), snapshot.manifest["description"]

    def preflight(host: str) -> list[str]:
        there = answers.hosts[host]["host"]
        reasons = host_refusals(host, there)
        reasons += room_refusals(host, there, "recordings", int(snapshot.manifest.get("recording", {}).get("bytes", 0)))
        sendable = {**description, "image_bytes": 0}  # nobody has the image to send it
        return reasons or asking.preflight(host, sendable, {"host": snapshot.manifest["source"]})

    # Where it was it may come back to, unless that host is dead. No host is different from none, and the draw is even then.
    origin = was if was in dead else NOWHERE
    moving = deciding.Resident(origin, description)
    chosen, _ = deciding.destination(wanted, moving, answers, preflight, show_draw=False)
    return chosen
