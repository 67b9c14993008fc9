# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The freeze, and one run of ``criu dump`` in it: both can be called off without harm to the container.

CRIU must not be killed: it works inside the container's tasks, and would leave its code in them. But it gives everything back
when it cannot write its image, so that is what it is told: its limit for the size of files (setrlimit(2), RLIMIT_FSIZE) is
taken down to nothing, and its next write fails. The signal that the kernel sends besides (SIGXFSZ) is ignored by every process
that Python starts with ``restore_signals=False``, for Python ignores it itself.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator

from ..host import paths

#: CRIU notices at its next write, and then takes its code out of the tasks again.
BREAK_OFF_SECONDS = 10.0
VOTE_SECONDS = 2.0  # one line of the journal


class Dump:
    """A dump that has begun.

    :param command: the whole command line. :param pass_fds: the descriptors that it names.
    :param deferred: path of the list of memory that it is not shown (``deferred``), if there will be one.
    :param watches: path of the list of what inotify watches (``files.watches``), if there is one.
    """

    def __init__(
        self, command: list[str], pass_fds: tuple[int, ...] = (), deferred: str = "", watches: str = ""
    ) -> None:
        told = {"LD_PRELOAD": paths.RESTORE_SHIM, "RELOCATE_DEFERRED": deferred, "RELOCATE_WATCHES": watches}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            restore_signals=False,
            pass_fds=pass_fds,
            env={**os.environ, **told},
        )

    def wait(self) -> tuple[int, str]:
        """Return its exit status and what it wrote to its standard error, when it has ended."""
        _, words = self._process.communicate()
        return self._process.returncode, words

    def break_off(self, seconds: float = BREAK_OFF_SECONDS) -> bool:
        """Make it fail, from another thread than the one in :meth:`wait`; return whether it has ended."""
        if self._process.poll() is not None:
            return True
        try:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, 0))
        except ProcessLookupError:
            return True
        return self.ended(seconds)

    def ended(self, seconds: float) -> bool:
        """Wait for its end; return whether it has come."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class CalledOff(RuntimeError):
    """The move was called off: by the edge, or because the edge is gone."""


class Freeze:
    """The part of a move in which the container stands still: it runs in a thread and can be called off from another.

    Two things must not happen any more once it is called off: a dump must not begin, and the vote must not be given.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dump: Dump | None = None
        self._thread: threading.Thread | None = None
        self.called_off = False

    def begin(self, carry: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Run ``carry`` in the background; its error goes to ``failed``, unless the move was called off meanwhile."""

        def run() -> None:
            try:
                carry()
            except Exception as error:
                if not self.called_off:
                    failed(error)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Take a step that must not be taken after the move was called off. :raises CalledOff: it was."""
        with self._lock:
            if self.called_off:
                raise CalledOff("the move was called off")
            yield

    def dump(self, begin: Callable[[], Dump]) -> tuple[int, str]:
        """Have CRIU begin; return its exit status and its words. :raises CalledOff: before it began."""
        with self.deciding():
            self._dump = begin()
        return self._dump.wait()

    def renounce(self, bound: Callable[[], bool]) -> bool:
        """Call it off if the vote is not given; return False if it is (``bound``), or is just being written."""
        if not self._lock.acquire(timeout=VOTE_SECONDS):
            return False
        try:
            self.called_off = not bound()
            return self.called_off
        finally:
            self._lock.release()

    def call_off(self) -> bool:
        """Call it off, voted or not: CRIU gives the tasks back. Return whether it has: otherwise it will freeze them again."""
        taken = self._lock.acquire(timeout=VOTE_SECONDS)
        self.called_off = True
        if taken:
            self._lock.release()
        return self._dump is None or self._dump.break_off()

    def ended(self) -> None:
        """Wait for the thread, which may be writing what is to be wiped."""
        if self._thread is not None:
            self._thread.join(VOTE_SECONDS)
