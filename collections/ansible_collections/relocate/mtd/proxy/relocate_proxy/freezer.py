# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping and starting all tasks of a container at once, through the cgroup freezer of either version.

We freeze before CRIU does: it polls in 100 ms steps, we poll every 0.2 ms. Finding the cgroup frozen, CRIU thaws it for its
parasite code and, with ``--leave-running``, freezes it again: the source stays frozen until the verdict.
"""

from __future__ import annotations

import os
import time

from ansible_collections.relocate.mtd.plugins.module_utils._criu import Freezer, freezer

POLL_SECONDS = 0.0002


def freezer_of(pid: int) -> Freezer:
    """Return the freezer of a container's init. :raises ValueError: it has none that is mounted here."""
    with (
        open(f"/proc/{pid}/cgroup", encoding="utf-8") as cgroups,
        open("/proc/self/mountinfo", encoding="utf-8") as mounts,
    ):
        return freezer(cgroups.read(), mounts.read())


class FreezeTimeout(RuntimeError):
    """A task would not stop: it sits in an uninterruptible system call."""


def _write(directory: str, name: str, value: bytes) -> None:
    fd = os.open(os.path.join(directory, name), os.O_WRONLY)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


def _is_frozen(at: Freezer) -> bool:
    if at.version == 1:
        with open(os.path.join(at.directory, "freezer.state"), "rb") as state:
            return state.read().strip() == b"FROZEN"
    with open(os.path.join(at.directory, "cgroup.events"), "rb") as events:
        return b"frozen 1" in events.read()


def freeze(at: Freezer, seconds: float = 2.0) -> None:
    """Freeze and return when every task has stopped.

    :raises FreezeTimeout: after ``seconds``; the cgroup has been thawed again.
    """
    deadline = time.monotonic() + seconds
    if at.version == 1:
        _write(at.directory, "freezer.state", b"FROZEN")
    else:
        _write(at.directory, "cgroup.freeze", b"1")
    while not _is_frozen(at):
        if time.monotonic() > deadline:
            thaw(at)
            raise FreezeTimeout(f"the container did not freeze within {seconds:g} s: a task is stuck in the kernel")
        time.sleep(POLL_SECONDS)


def thaw(at: Freezer) -> None:
    """Let the tasks run. Idempotent; a container that is gone already is not an error."""
    try:
        if at.version == 1:
            _write(at.directory, "freezer.state", b"THAWED")
        else:
            _write(at.directory, "cgroup.freeze", b"0")
    except FileNotFoundError:
        pass


def members(at: Freezer) -> list[int]:
    """Return the pids of the container's tasks; none when it is gone."""
    try:
        with open(os.path.join(at.directory, "cgroup.procs"), encoding="ascii") as procs:
            return [int(line) for line in procs]
    except FileNotFoundError:
        return []
