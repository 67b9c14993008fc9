# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's limits of processes, memory and processor time: lifted while CRIU works in its control groups, and set again.

At the dump CRIU's code runs in the container's tasks, at the restore CRIU itself is in the container's control groups. With
one process and ``--pids-limit 2`` it may not make the process; with little memory it, or what it restores, is killed; with a
twentieth of a processor all of it takes twenty times as long, while clients wait.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import NamedTuple

from .cgroups import control_directory

#: By controller: a file of version 1 and of version 2, and what is no limit in it. In the order in which they are lifted: the
#: kernel keeps the limit of memory and swap above that of memory alone.
FILES = {
    1: (
        ("pids", "pids.max", "max"),
        ("memory", "memory.memsw.limit_in_bytes", "-1"),
        ("memory", "memory.limit_in_bytes", "-1"),
        ("cpu", "cpu.cfs_quota_us", "-1"),
    ),
    2: (
        ("", "pids.max", "max"),
        ("", "memory.swap.max", "max"),
        ("", "memory.max", "max"),
        ("", "memory.high", "max"),
        ("", "cpu.max", "max"),
    ),
}
NO_BYTES = 1 << 62  # version 1 shows no limit as the largest multiple of a page


class Limit(NamedTuple):
    """One limit of a container. As a journal has it: a list of texts."""

    path: str
    value: str
    none: str  # what lifts it


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


def _is_none(value: str) -> bool:
    first = value.split()[0] if value else "max"
    return first in ("max", "-1") or (first.isdigit() and int(first) >= NO_BYTES)


def find(pid: int, container_id: str = "") -> list[Limit]:
    """Return the limits of the control groups that a process is in; most containers have none.

    :param container_id: of the container that it is the init of: see ``_criu.freezer``.
    """
    found = []
    for version, files in FILES.items():
        for controller, name, none in files:
            directory = control_directory(pid, controller, version, container_id)
            if directory is None:
                continue
            with contextlib.suppress(OSError):  # the controller is not used here
                value = _read(f"{directory}/{name}")
                if not _is_none(value):
                    found.append(Limit(f"{directory}/{name}", value, none))
    return found


def lift(limits: Iterable[Limit]) -> None:
    """Lift limits. One that cannot be lifted stays: CRIU may do with it."""
    for limit in limits:
        with contextlib.suppress(OSError):
            _write(limit.path, limit.none)


def set_again(limits: Iterable[Limit]) -> list[Limit]:
    """Set limits again; return those that cannot be set yet, because more memory is used than they allow.

    A container that is gone has none.
    """
    left = []
    for limit in reversed(list(limits)):
        try:
            if _fits(limit):
                _write(limit.path, limit.value)
            else:
                left.append(limit)
        except FileNotFoundError:
            continue
        except OSError:  # version 1: EBUSY
            left.append(limit)
    return left[::-1]


def _fits(limit: Limit) -> bool:
    """Return whether a limit can be set without the kernel killing for it, which version 2 does at once."""
    directory, name = os.path.split(limit.path)
    if name != "memory.max":
        return True
    used = int(_read(f"{directory}/memory.current"))
    fields = dict(line.split() for line in _read(f"{directory}/memory.stat").splitlines())
    return used - int(fields.get("inactive_file", 0)) - int(fields.get("active_file", 0)) <= int(limit.value)
