# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU processes that have outlived the proxy that started them."""

from __future__ import annotations

import contextlib
import os
import resource
import time

from ..host import criu_processes

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
    """Return the processes named criu that have something of a session's directory open, or stand in it."""
    found = []
    for pid in criu_processes.pids():
        try:
            links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]
        except OSError:  # it has ended meanwhile
            continue
        if any(_target(link).startswith(session + "/") for link in links):
            found.append(pid)
    return found


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
