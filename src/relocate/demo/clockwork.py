# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's scheduler: the real one, on a fast clock, for about a minute."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from relocate.schedule import config, logs, views
from relocate.schedule.audit import Audit
from relocate.schedule.records import Firing
from relocate.schedule.service import Service
from relocate.schedule.store import Store
from relocate.state import state_directory

#: Stays of seven seconds on average, twenty at most: as nobody would configure it who does not want to watch.
CLOCK = {"kind": "truncated-poisson", "rate": 0.1, "ceiling": 20.0}
#: A demonstration of an honest clock says otherwise once in a hundred runs.
LEVEL = 0.01


class Clockwork:
    """One run. ``shown`` is called, from a thread of its own, with every move that has ended."""

    def __init__(
        self, inventory: str, variables: dict[str, Any], shown: Callable[[Firing, dict[str, Any]], None]
    ) -> None:
        """Raises Refusal for what makes scheduling impossible."""
        directory = state_directory() / "demo"
        shutil.rmtree(directory, ignore_errors=True)  # the last demonstration's
        directory.mkdir(mode=0o700, parents=True)
        self.file: Path = directory / "schedule.yml"
        settings = {
            "fleet": "demo",
            "inventory": inventory,
            "store": {"url": f"sqlite:///{directory / 'schedule.sqlite'}"},
            "clock": CLOCK,
            "limits": {"in_flight": 2, "in_flight_per_host": 2},
            "variables": variables,
        }
        self.file.write_text("# Written by relocate demo.\n" + yaml.safe_dump(settings, sort_keys=False))
        self._configuration = config.load(self.file)
        self._landed: queue.SimpleQueue[tuple[Firing, dict[str, Any]] | None] = queue.SimpleQueue()
        logs.setup("text", "error")
        self._service = Service(self._configuration, file=self.file, observe=lambda *landed: self._landed.put(landed))
        self._shown = shown
        self._ends_by_itself = False

    def end(self) -> None:
        """Draw no more; :meth:`run` returns when what is in flight has ended."""
        self._ends_by_itself = True
        self._service.stop()

    def run(self, seconds: float) -> None:
        """Schedule for so long. Raises KeyboardInterrupt when a signal ended it, Refusal when it cannot be done."""
        viewer = threading.Thread(target=self._view, daemon=True)
        viewer.start()
        waiter = threading.Thread(target=self._wait, args=(seconds,), daemon=True)
        waiter.start()
        try:
            self._service.run()
        finally:
            self._landed.put(None)
            viewer.join()
        if not self._ends_by_itself:
            raise KeyboardInterrupt

    def _wait(self, seconds: float) -> None:
        """Count from the moment at which the clocks were started: finding the tenants is no part of it."""
        while self._service.engine is None:
            time.sleep(0.1)
        time.sleep(seconds)
        self.end()

    def _view(self) -> None:
        while (landed := self._landed.get()) is not None:
            self._shown(*landed)

    def audit(self) -> Audit | None:
        """Return whether the clocks were honest; None when none has run out."""
        store = Store.open(self._configuration.store.address, self._configuration.fleet)
        found = views.audits(store.history(), level=LEVEL)
        store.close()
        return found[0] if found else None
