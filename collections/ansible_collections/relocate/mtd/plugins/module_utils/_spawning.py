# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes between vfork(2) and the program that they are made for: no checkpoint can be made of them, nor of their parents.

vfork, by which posix_spawn, Python's subprocess, Go, Java and the shell start programs, makes a child that shares its parent's
memory, and the parent sleeps until the child has begun its own program. That takes a tenth of a millisecond. A container that
is frozen in it stays so: the child does not go on, the parent answers no debugger, and CRIU waits for it until its time is over
(criu issue 423: four dumps of a hundred). Standard library only, Python 3.9.
"""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Dict, Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel

PROC = "/proc"
LASTING_SECONDS = 0.3  # a child that has not begun by then waits for something
_SYS_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine(), 0)
_KCMP_VM = 1
_libc = ctypes.CDLL(None, use_errno=True)


def spawned(pids: Iterable[int]) -> Dict[int, int]:
    """Return the children among ``pids`` that share their parent's memory, each with its parent.

    A kernel without kcmp(2) has none that we could tell.
    """
    wanted = set(pids)
    if len(wanted) < 2 or not _SYS_KCMP:
        return {}
    parents = {pid: _parent(pid) for pid in wanted}
    return {pid: parent for pid, parent in parents.items() if parent in wanted and _share_memory(pid, parent)}


def lasting(pids: Iterable[int]) -> Dict[int, int]:
    """Return those of :func:`spawned` that are the same for a while; there is no wait where there are none."""
    wanted = list(pids)
    first = spawned(wanted)
    if not first:
        return {}
    time.sleep(LASTING_SECONDS)
    return dict(first.items() & spawned(wanted).items())


def _parent(pid: int) -> int:
    try:
        return int(_kernel.read_text(f"{PROC}/{pid}/stat").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _share_memory(one: int, other: int) -> bool:
    same: bool = (
        _libc.syscall(ctypes.c_long(_SYS_KCMP), one, other, _KCMP_VM, ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
    )
    return same
