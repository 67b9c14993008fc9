# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezing all tasks of a container at once, through the cgroup freezer of either version.

We freeze before CRIU does: it looks in steps of 100 ms. Finding the cgroup frozen, CRIU thaws it for its parasite code and,
with ``--leave-running``, freezes it again.
"""

from __future__ import annotations

import errno
import os
import time

from ansible_collections.relocate.mtd.plugins.module_utils import _spawning
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Freezer, freezer
from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

POLL_S = 0.0002  # the kernel is done in well under a millisecond; CRIU would look every 100
TIMEOUT_S = 1.0
FIRST_TRY_S = 0.1
RUN_SECONDS = 0.0005
SPAWN_SECONDS = 0.15  # for which a container is frozen and thawed to meet it while none of its programs starts another

# interface version → (file to write, frozen, thawed), (file to read, what it says when frozen)
_CONTROL = {1: ("freezer.state", "FROZEN", "THAWED"), 2: ("cgroup.freeze", "1", "0")}
_STATE = {1: ("freezer.state", "FROZEN"), 2: ("cgroup.events", "frozen 1")}


class FreezeError(RuntimeError):
    """A task would not stop in time; all have been thawed again."""


def freezer_of(pid: int, container_id: str = "") -> Freezer:
    """Return the freezer of a process.

    :param container_id: of the container that it is the init of. An init may move itself into a cgroup below its container's:
        to freeze that one would leave all other tasks running.
    :raises ValueError: it is in none that is mounted here.
    :raises OSError: there is no such process.
    """
    return freezer(read_text(f"/proc/{pid}/cgroup"), read_text("/proc/self/mountinfo"), container_id)


def is_frozen(at: Freezer) -> bool:
    """Return whether every task has stopped."""
    name, frozen = _STATE[at.version]
    with open(os.path.join(at.directory, name), encoding="ascii") as stream:
        return frozen in stream.read()


def freeze(at: Freezer, seconds: float = TIMEOUT_S) -> None:
    """Freeze, and return when every task has stopped.

    Version 1 can stay FREEZING for good, where a task went to sleep as its turn came (a parent in vfork(2) does). So it is told
    again at each look, and all tasks may run for a moment between two tries, of which each is twice as long as the one before.

    :raises FreezeError: one would not, within ``seconds``; all have been thawed again.
    """
    name, frozen, _thawed = _CONTROL[at.version]
    begin = time.monotonic()
    wait, next_try = FIRST_TRY_S, begin + FIRST_TRY_S
    while True:
        _write(os.path.join(at.directory, name), frozen)
        if is_frozen(at):
            return
        now = time.monotonic()
        if now > begin + seconds:
            thaw(at)
            raise FreezeError(f"a task did not stop within {seconds:g} s; it waits for a device that does not answer")
        if now > next_try:
            thaw(at)
            wait *= 2
            next_try = now + wait
        time.sleep(POLL_S)


def freeze_for_dump(at: Freezer) -> None:
    """Freeze while no program is being started (``_spawning``): a dump would wait for it in vain.

    :raises FreezeError: a task would not stop, or there always was one; all have been thawed again.
    """
    deadline, run = time.monotonic() + SPAWN_SECONDS, RUN_SECONDS
    while True:
        freeze(at)
        if not _spawning.spawned(members(at)):
            return
        thaw(at)
        if time.monotonic() > deadline:
            raise FreezeError(
                f"whenever the container was stopped, in {SPAWN_SECONDS * 1e3:g} ms, one of its programs was starting another "
                "(vfork, posix_spawn): try again when it starts fewer"
            )
        time.sleep(run)  # on a busy host the child waits for a processor
        run *= 2


def thaw(at: Freezer) -> None:
    """Let all tasks go on. A container that is gone already is not an error."""
    name, _frozen, thawed = _CONTROL[at.version]
    try:
        _write(os.path.join(at.directory, name), thawed)
    except FileNotFoundError:
        pass


def members(at: Freezer) -> list[int]:
    """Return the process ids of the container's tasks, of those in cgroups below its own, too; none when it is gone."""
    found = []
    for directory, _below, _files in os.walk(at.directory):
        try:
            with open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as procs:
                found += [int(line) for line in procs]
        except OSError as error:  # removed meanwhile; of a threaded cgroup, its processes are told above
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return found


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)
