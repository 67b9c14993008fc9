# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a lease: one thread that renews it, or waits for it, whatever else the service is doing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from relocate.schedule.lease import Lease

LOG = logging.getLogger("relocate.schedule")
STANDBY_SECONDS = 0.5  # between two looks at another's lease


class Heartbeat:
    """The thread. ``changed`` is called from it whenever the lease was won or lost."""

    def __init__(self, lease: Lease, beat: float, changed: Callable[[], None]) -> None:
        self._lease = lease
        self._beat = beat
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
        self._had: bool | None = None
        self._silent = False
        self.started_at = time.time()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a renewal under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._lease.ttl)

    def lose(self) -> None:
        """The store says that another holds the lease."""
        self._lease.lapse()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._once()
            self._stop.wait(self._beat if self._lease.held else STANDBY_SECONDS)

    def _once(self) -> None:
        try:
            have = self._lease.attempt()
            self._silent = False
        except SQLAlchemyError as error:
            have = self._lease.held
            if not self._silent:
                LOG.error("the lease cannot be renewed: %s", " ".join(str(error.args[0]).split()))
            self._silent = True
        if have != self._had:
            if not have and not self._silent:
                LOG.info("another scheduler has the lease; this one stands by")
            self._had = have
            self._changed()
