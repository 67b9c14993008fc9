# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has been written gets to the disk beside what goes on: a disk that is busy takes longer than a restore."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

MOST_OPEN = 64  # files that wait for the disk; then whoever brings one more waits, too


class Disk:
    """Has the disk take files, one after the other, in a thread of its own."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Callable[[int], None], int]] = queue.Queue(MOST_OPEN)
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def take(self, fd: int, how: Callable[[int], None] = os.fsync) -> None:
        """Have it take what was written to a file, which may be closed afterwards. See :meth:`wait`."""
        self._waiting.put((how, os.dup(fd)))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Return when all of it is on the disk. :raises OSError: something is not."""
        self._waiting.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            how, fd = self._waiting.get()
            try:
                how(fd)
            except OSError as error:
                self._error = self._error or error
            finally:
                os.close(fd)
                self._waiting.task_done()
