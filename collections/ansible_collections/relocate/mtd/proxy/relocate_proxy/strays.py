# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU processes that have outlived the proxy that started them."""

from __future__ import annotations

import contextlib
import os
import resource
import time

SECONDS = 10.0  # CRIU notices at its next write, and then takes its code out of the tasks again


def end_strays(session: str, seconds: float = SECONDS) -> None:
    """Make CRIU end that works for a session whose process was killed.

    It goes on without its parent, inside the container's tasks; and when it ends it freezes again what it found frozen. How
    it is made to end without harm: see ``dump``.

    :raises TimeoutError: it does not end; the container must not be thawed yet.
    """
    deadline = time.monotonic() + seconds
    while strays := _criu_of(session):
        if time.monotonic() > deadline:
            raise TimeoutError(f"CRIU (process {strays[0]}) does not let go of the container's tasks")
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
        time.sleep(0.005)


def _criu_of(session: str) -> list[int]:
    """Return the processes named criu whose command line names a session's directory."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as line:
                words = line.read().split(b"\0")
        except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]) == b"criu" and any(word.startswith(session.encode() + b"/") for word in words):
            found.append(int(entry))
    return found
