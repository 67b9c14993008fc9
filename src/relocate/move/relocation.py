# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One relocation through ansible-runner: the playbook, what is shown meanwhile, and the result document."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import events, playbook
from relocate.reading import file_name

PROJECT = "relocate.mtd.project_relocate"
RELOCATE, RECOVER = "relocate.mtd.container_relocate", "relocate.mtd.relocations_recover"
CHECK = "relocate.mtd.relocation_check"
SNAPSHOT, RESTORE = "relocate.mtd.container_snapshot", "relocate.mtd.container_restore"
SNAPSHOTS = "relocate.mtd.snapshots_info"
DEFAULT_INVENTORY = "inventories/lab"
#: Hosts instead of an inventory's file: names or addresses, with a comma at least.
HOSTS = re.compile(r"[\w.:\[\]-]*(,[\w.:\[\]-]*)+", re.ASCII)


def inventory_path(given: str | None, root: Path) -> str:
    """Return the inventory that is meant: the option, ``RELOCATE_INVENTORY``, or the lab's.

    Raises Refusal with status 2 for one that is not there.
    """
    chosen = checked_inventory(given or os.environ.get("RELOCATE_INVENTORY") or str(root / DEFAULT_INVENTORY))
    return chosen if "," in chosen else str(Path(chosen).resolve())


def checked_inventory(chosen: str) -> str:
    """Return an inventory that is there. Raises Refusal with status 2 for one that is not."""
    try:
        there = HOSTS.fullmatch(chosen) is not None if "," in chosen else Path(chosen).exists()
    except (OSError, ValueError):  # a name too long for any file, or with a NUL
        there = False
    if not there:
        raise Refusal(
            f"there is no inventory {file_name(Path(chosen))}: name one with --inventory or RELOCATE_INVENTORY",
            status=2,
        )
    return chosen


@dataclass
class Catcher:
    """Catches the result of one action from ansible-runner's events, and notes whether it has begun."""

    action: str
    begun: bool = False
    result: dict[str, Any] = field(default_factory=dict)

    def __call__(self, event: dict[str, Any]) -> None:
        data, kind = events.data(event), event.get("event")
        if kind == "playbook_on_task_start" and data.get("task_action") == self.action:
            self.begun = True
        if kind in ("runner_on_ok", "runner_on_failed") and data.get("task_action") == self.action:
            self.result = dict(events.result(event))


def relocate(
    container: str,
    *,
    destination: str | None = None,
    source: str | None = None,
    mode: str = "auto",
    prefer: str | None = None,
    strategy: str | None = None,
    downtime_limit_ms: float | None = None,
    drain_limit_s: float | None = None,
    reason: str = "manual",
    inventory: str | None = None,
    check: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/relocate.yml`` and return the result document of the relocation, whatever its outcome.

    Raises Refusal when the playbook failed before a result existed (an unreachable edge, no inventory), KeyboardInterrupt when
    it was interrupted: a cutover that has begun is finished or rolled back by the hosts themselves.
    """
    variables = _wishes(
        {"container": container}, destination, source, mode, prefer, strategy, downtime_limit_ms, drain_limit_s
    )
    return _moved("playbooks/relocate.yml", RELOCATE, {**variables, "reason": reason}, inventory, check, verbose, quiet)


def relocate_project(
    project: str,
    *,
    destination: str | None = None,
    source: str | None = None,
    mode: str = "auto",
    prefer: str | None = None,
    downtime_limit_ms: float | None = None,
    reason: str = "manual",
    inventory: str | None = None,
    check: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/move_project.yml`` and return what C(project_relocate) does, whatever its outcome.

    Raises Refusal and KeyboardInterrupt as :func:`relocate` does.
    """
    variables = _wishes({"project": project}, destination, source, mode, prefer, None, downtime_limit_ms)
    return _moved(
        "playbooks/move_project.yml", PROJECT, {**variables, "reason": reason}, inventory, check, verbose, quiet
    )


def _moved(
    book: str,
    action: str,
    variables: dict[str, Any],
    inventory: str | None,
    check: bool,
    verbose: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Run a playbook that moves something, and return the result of its action."""
    root = project_root()
    caught = Catcher(action)
    try:
        playbook.run(
            root,
            book,
            variables,
            inventory=inventory_path(inventory, root),
            arguments="--check --diff" if check else "",
            verbose=verbose,
            quiet=quiet,
            watch=caught,
        )
    except Refusal:
        if "outcome" not in caught.result:
            raise
    if "outcome" not in caught.result:
        raise Refusal("the playbook ended without relocating anything: run it with --verbose to see why")
    return caught.result


def _wishes(
    subject: dict[str, Any],
    destination: str | None,
    source: str | None,
    mode: str,
    prefer: str | None,
    strategy: str | None,
    downtime_limit_ms: float | None,
    drain_limit_s: float | None = None,
) -> dict[str, Any]:
    """Return the variables of the playbooks that ask for a move; what is not wished for is the inventory's to say.

    :param subject: the name of a C(container), or of a C(project), and whatever else is asked of it.
    """
    wishes = {
        **subject,
        "destination": destination,
        "source": source,
        "mode": mode,
        "relocate_prefer": prefer,
        "relocate_strategy": strategy,
        "relocate_drain_limit_s": drain_limit_s,
        "relocate_downtime_limit_ms": downtime_limit_ms,
    }
    return {name: value for name, value in wishes.items() if value is not None}


def check(
    container: str,
    *,
    destination: str | None = None,
    source: str | None = None,
    mode: str = "auto",
    prefer: str | None = None,
    strategy: str | None = None,
    downtime_limit_ms: float | None = None,
    dump: bool = False,
    inventory: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/check.yml`` and return the verdicts, as C(relocation_check) does.

    With ``dump``, the container is dumped on trial.
    Raises Refusal when there is nothing to give a verdict on: no such container, no fleet.
    """
    asked = {"container": container, **({"dump": True} if dump else {})}
    variables = _wishes(asked, destination, source, mode, prefer, strategy, downtime_limit_ms)
    options = {"inventory": inventory, "verbose": verbose, "quiet": quiet}
    return _act("playbooks/check.yml", CHECK, "destinations", variables, **options)


def check_project(
    project: str,
    *,
    destination: str | None = None,
    source: str | None = None,
    mode: str = "auto",
    prefer: str | None = None,
    downtime_limit_ms: float | None = None,
    inventory: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/check.yml`` for a Compose project and return the verdicts, as C(relocation_check) does.

    Raises Refusal when there is nothing to give a verdict on: no such project, no fleet.
    """
    variables = _wishes({"project": project}, destination, source, mode, prefer, None, downtime_limit_ms)
    options = {"inventory": inventory, "verbose": verbose, "quiet": quiet}
    return _act("playbooks/check.yml", CHECK, "destinations", variables, **options)


def recover(
    *,
    inventory: str | None = None,
    gone: Sequence[str] = (),
    check: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, list[Any]]:
    """Run ``playbooks/recover.yml`` and return what was ``settled``, is ``in_progress``, and was ``left`` as it is.

    :param gone: hosts that will never come back: nobody waits for the memory that they had.

    Raises Refusal when the playbook failed, also when something could not be settled.
    """
    root = project_root()
    caught = Catcher(RECOVER)
    playbook.run(
        root,
        "playbooks/recover.yml",
        {"gone": list(gone)} if gone else {},
        inventory=inventory_path(inventory, root),
        arguments="--check" if check else "",
        verbose=verbose,
        quiet=quiet,
        watch=caught,
    )
    return {name: caught.result.get(name, []) for name in ("settled", "in_progress", "left")}


class StillAlive(Refusal):
    """A host was said to be dead, and another one hears it. :ivar host: which."""

    def __init__(self, host: str, message: str) -> None:
        super().__init__(message)
        self.host = host


class NothingKept(Refusal):
    """Nobody hears the hosts that were said to be dead, and there is no usable snapshot of the container."""


def _act(book: str, action: str, expected: str, variables: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run a playbook and return the result of one action of it.

    Raises Refusal with the action's own sentence if it failed.
    """
    root = project_root()
    caught = Catcher(action)
    wanted = {name: value for name, value in variables.items() if value is not None}
    inventory, check = options.pop("inventory"), options.pop("check", False)
    arguments = "--check" if check else ""
    try:
        playbook.run(
            root,
            book,
            wanted,
            inventory=inventory_path(inventory, root),
            arguments=arguments,
            watch=caught,
            **options,
        )
    except Refusal:
        if "msg" not in caught.result:
            raise
        if caught.result.get("alive"):
            raise StillAlive(str(caught.result["alive"]), str(caught.result["msg"])) from None
        if caught.result.get("dead"):
            raise NothingKept(str(caught.result["msg"])) from None
        raise Refusal(str(caught.result["msg"])) from None
    if expected not in caught.result:
        raise Refusal(f"{book} ended without a result: run it with --verbose to see why")
    return caught.result


def snapshot(
    container: str,
    *,
    source: str | None = None,
    store: str | None = None,
    keep: int | None = None,
    days: float | None = None,
    inventory: str | None = None,
    check: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/snapshot.yml`` and return what C(container_snapshot) does. Raises Refusal when there is no snapshot."""
    variables = {
        "container": container,
        "source": source,
        "relocate_snapshot_store": store,
        "relocate_snapshot_keep": keep,
        "relocate_snapshot_days": days,
    }
    options = {"inventory": inventory, "check": check, "verbose": verbose, "quiet": quiet}
    return _act("playbooks/snapshot.yml", SNAPSHOT, "snapshot", variables, **options)


def restore(
    container: str,
    *,
    snapshot: str,
    destination: str | None = None,
    dead: list[str] | None = None,
    policy: dict[str, Any] | None = None,
    store: str | None = None,
    inventory: str | None = None,
    check: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/restore.yml`` and return what C(container_restore) does. Raises Refusal when nothing was restored."""
    variables = {
        "container": container,
        "snapshot": snapshot,
        "destination": destination,
        "dead": dead or None,
        "relocate_policy": policy,
        "relocate_snapshot_store": store,
    }
    options = {"inventory": inventory, "check": check, "verbose": verbose, "quiet": quiet}
    return _act("playbooks/restore.yml", RESTORE, "snapshot", variables, **options)


def snapshots(
    container: str | None = None,
    *,
    verify: bool = False,
    store: str | None = None,
    inventory: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``playbooks/snapshots.yml`` and return what C(snapshots_info) does. Raises Refusal when the store cannot be read."""
    variables = {"container": container, "verify": verify, "relocate_snapshot_store": store}
    options = {"inventory": inventory, "verbose": verbose, "quiet": quiet}
    return _act("playbooks/snapshots.yml", SNAPSHOTS, "snapshots", variables, **options)
