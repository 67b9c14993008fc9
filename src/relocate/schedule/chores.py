# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes seconds and must not hold up the clocks: recovering, and asking the hosts. One thread, one at a time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from relocate.errors import Refusal
from relocate.schedule.discovery import Survey
from relocate.schedule.launchers.base import Launcher, LaunchError

LOG = logging.getLogger("relocate.schedule")


@dataclass(frozen=True)
class Order:
    """``recover`` first, then ask the hosts, and the edge for the results of ``doubts``."""

    term: int
    recover: bool
    doubts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Report:
    """What came of an order. ``survey`` is None where the hosts could not be asked; ``said`` is what recovery found."""

    order: Order
    survey: Survey | None
    said: dict[str, list[Any]] = field(default_factory=dict)


class Chores:
    """The thread. ``survey`` asks the hosts; ``report`` is called from the thread with what came of each order."""

    def __init__(
        self, survey: Callable[[Collection[str]], Survey], launcher: Launcher, report: Callable[[Report], None]
    ) -> None:
        self._survey = survey
        self.launcher = launcher
        self._report = report
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="chores", daemon=True)
        self.busy = False

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def order(self, order: Order) -> None:
        """Give an order; whoever gives it waits for the report before the next."""
        self.busy = True
        self._orders.put(order)

    def stop(self) -> None:
        """Have the thread end when it has nothing to do."""
        self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            report = self._carry_out(order)
            self.busy = False
            self._report(report)

    def _carry_out(self, order: Order) -> Report:
        said: dict[str, list[Any]] = {}
        try:
            if order.recover:
                said = self._recover()
            return Report(order, self._survey(order.doubts), said)
        except Refusal as refusal:
            LOG.error("the hosts could not be asked for their tenants: %s", refusal)
        except Exception:
            LOG.exception("the hosts could not be asked for their tenants")  # the thread must live on
        return Report(order, None, said)

    def _recover(self) -> dict[str, list[Any]]:
        """Settle what can be settled. What cannot is left and refused by the relocations themselves; the clocks go on."""
        try:
            said = self.launcher.recover()
        except LaunchError as error:
            LOG.error("not everything could be recovered: %s", error)
            return {}
        for each in said.get("settled") or []:
            if isinstance(each, dict) and each.get("part") == "returned":
                LOG.warning(
                    "recovery cleared away what came back of %s on %s",
                    each.get("container"),
                    each.get("host"),
                    extra={"found": each},
                )
            elif isinstance(each, dict):
                LOG.warning(
                    "recovery settled relocation %s on %s",
                    each.get("relocation"),
                    each.get("host"),
                    extra={"found": each},
                )
        return said
