# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of the lab's hosts: which processes are inside, ending them, and removing the groups.

A host's processes are found by its control group alone, so that a host can be ended whatever became of its
LXC monitor, its network namespace or its state directory.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Iterator

CGROUP_ROOT = "/sys/fs/cgroup"


def trees(group: str, root: str = CGROUP_ROOT) -> list[str]:
    """Return the directories of a group (``relocate-lab/host1``) in every hierarchy: v1's controllers, hybrid, or v2."""
    found = []
    for base in [root, *sorted(os.path.join(root, name) for name in os.listdir(root))]:
        path = os.path.join(base, group)
        if os.path.isdir(path) and not os.path.islink(base):
            found.append(path)
    return found


def below(tree: str) -> Iterator[str]:
    """Yield a tree's directories, the deepest first."""
    for path, _directories, _files in os.walk(tree, topdown=False):
        yield path


def processes(group: str, root: str = CGROUP_ROOT) -> set[int]:
    """Return the ids of the processes in a group and below it, in any hierarchy."""
    pids: set[int] = set()
    for tree in trees(group, root):
        for path in below(tree):
            try:
                with open(os.path.join(path, "cgroup.procs")) as handle:
                    pids.update(int(line) for line in handle if int(line) > 0)
            except OSError as error:
                # ENODEV: the group went while it was read; ENOTSUP: a threaded v2 group, whose members its parent lists
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENOTSUP):
                    raise
    return pids


def thaw(group: str, root: str = CGROUP_ROOT) -> None:
    """Let frozen processes go on (a host killed amid a dump has some): a frozen v1 process does not die."""
    for tree in trees(group, root):
        for path in below(tree):
            for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                try:
                    with open(os.path.join(path, name), "w") as handle:
                        handle.write(value)
                except OSError:
                    continue  # not the freezer's hierarchy, or the group is gone


def end(group: str, timeout: float = 10.0, root: str = CGROUP_ROOT) -> set[int]:
    """Kill every process of a group; return the ids of those still there after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        pids = processes(group, root)
        if not pids or time.monotonic() > deadline:
            return pids
        thaw(group, root)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def remove(group: str, timeout: float = 5.0, root: str = CGROUP_ROOT) -> list[str]:
    """Remove an empty group and all below it; return the directories that would not go."""
    deadline = time.monotonic() + timeout
    while True:
        left = []
        for tree in trees(group, root):
            for path in below(tree):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    continue
                except OSError:
                    left.append(path)  # EBUSY while the last process is still being reaped
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
