# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots and restores for the scheduler, carried out by the project's playbooks on this machine.

Only here: the store of snapshots and its key are the controller's, and so is the operator's login that they need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import relocation
from relocate.schedule.launchers.base import LaunchError

T = TypeVar("T")


class StillAlive(LaunchError):
    """A host that was to be taken for dead is heard by another one. :ivar host: which."""

    def __init__(self, host: str, message: str) -> None:
        super().__init__(message)
        self.host = host


class NothingKept(LaunchError):
    """The host is dead, by all accounts, and there is no usable snapshot of the container."""


class Keeper(Protocol):
    """Makes and restores snapshots. One call at a time; each blocks until it has ended.

    All raise LaunchError, with one sentence, where nothing was made or restored.
    """

    def snapshot(self, container: str, keep: int | None, days: float | None) -> dict[str, Any]:
        """Make a snapshot of a container; return what the action C(container_snapshot) does."""

    def kept(self) -> dict[str, str]:
        """Return by container when its newest usable snapshot was made."""

    def restore(self, container: str, dead: Sequence[str], policy: dict[str, Any]) -> dict[str, Any]:
        """Restore the newest snapshot of a container; return what the action C(container_restore) does.

        Raises StillAlive if a host of ``dead`` is not, and NothingKept if they are and there is nothing to restore.
        """


class RunnerKeeper:
    """Runs ``playbooks/snapshot.yml``, ``snapshots.yml`` and ``restore.yml`` here."""

    def __init__(self, inventory: str | None) -> None:
        self._inventory = relocation.inventory_path(inventory, project_root())

    def snapshot(self, container: str, keep: int | None, days: float | None) -> dict[str, Any]:
        """See :class:`Keeper`."""
        return _carried_out(
            lambda: relocation.snapshot(container, keep=keep, days=days, inventory=self._inventory, quiet=True)
        )

    def kept(self) -> dict[str, str]:
        """See :class:`Keeper`."""
        listed = _carried_out(lambda: relocation.snapshots(inventory=self._inventory, quiet=True))
        found: dict[str, str] = {}
        for each in listed.get("snapshots") or []:
            if not each.get("problem"):
                found.setdefault(str(each["container"]), str(each["at"]))  # the newest comes first
        return found

    def restore(self, container: str, dead: Sequence[str], policy: dict[str, Any]) -> dict[str, Any]:
        """See :class:`Keeper`."""
        return _carried_out(
            lambda: relocation.restore(
                container,
                snapshot="latest",
                dead=list(dead),
                policy=policy or None,
                inventory=self._inventory,
                quiet=True,
            )
        )


def _carried_out(act: Callable[[], T]) -> T:
    try:
        return act()
    except relocation.StillAlive as alive:
        raise StillAlive(alive.host, str(alive)) from None
    except relocation.NothingKept as nothing:
        raise NothingKept(str(nothing)) from None
    except Refusal as refusal:
        raise LaunchError(str(refusal)) from None
