# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Into the container's cgroups, and out of them again: where the keeper's placeholder is, on either version of cgroups."""

from __future__ import annotations

import os
import sys

from ansible_collections.relocate.mtd.plugins.module_utils import _criu, _kernel

CGROUPS = "/sys/fs/cgroup"


def _hierarchies() -> list[str]:
    """Return the directories of the cgroup hierarchies that containers use: the one of version 2, or those of version 1."""
    if os.path.exists(f"{CGROUPS}/cgroup.controllers"):
        return [CGROUPS]
    found = [entry.path for entry in os.scandir(CGROUPS) if entry.is_dir() and not entry.is_symlink()]
    return [
        path
        for path in found
        if os.path.exists(f"{path}/cgroup.procs") and os.path.basename(path) not in ("systemd", "unified")
    ]


def _own_cgroup(hierarchy: str) -> str:
    """Return the path of our own cgroup in a hierarchy. :raises LookupError: we are not in it."""
    wanted = set() if hierarchy == CGROUPS else set(os.path.basename(hierarchy).split(","))
    for line in _kernel.lines(_kernel.read_text("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if set(controllers.split(",")) - {""} == wanted:
            return path
    raise LookupError(f"this process is in no cgroup of {hierarchy}")


def control_directory(pid: int, controller: str, version: int, container_id: str = "") -> str | None:
    """Return where a process's control group of a controller is mounted; None if it is not.

    :param controller: "" for the one hierarchy of version 2.
    :param container_id: of the container that the process is the init of: it may be in a cgroup below its container's.
    """
    cgroup, mountinfo = map(_kernel.read_text, (f"/proc/{pid}/cgroup", "/proc/self/mountinfo"))
    return _criu.control_directory(cgroup, mountinfo, controller, version, container_id)


def _enter(directory: str, pid: int) -> None:
    """Put a process (0: ourselves) into a cgroup."""
    fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY)
    try:
        os.write(fd, str(pid).encode())
    finally:
        os.close(fd)


def _fill_cpuset(directory: str) -> None:
    """A version 1 cpuset cgroup takes no task until its cpus and mems are set: inherit them, from the top down."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with open(os.path.join(directory, name), encoding="ascii") as file:
            if file.read().strip():
                continue
        parent = os.path.dirname(directory)
        _fill_cpuset(parent)
        with open(os.path.join(parent, name), encoding="ascii") as file:
            value = file.read()
        with open(os.path.join(directory, name), "w", encoding="ascii") as file:
            file.write(value)


def join_cgroups(path: str) -> None:
    """Put the calling process into the container's cgroups: the shim looks its metrics cgroup up by the pid we report.

    ``path`` is ``linux.cgroupsPath`` of the bundle. Under the systemd driver ("slice:prefix:name") systemd makes the scope
    when runc restores, and there is nothing to join before.
    """
    if ":" in path:
        return
    for hierarchy in _hierarchies():
        directory = hierarchy + path
        try:
            os.makedirs(directory, exist_ok=True)
            if os.path.exists(f"{directory}/cpuset.cpus") and hierarchy != CGROUPS:
                _fill_cpuset(directory)
            _enter(directory, 0)
        except OSError as error:  # a controller the host does not let us use is one the container does not use either
            print(f"cgroup {directory}: {error}", file=sys.stderr, flush=True)


def leave_cgroups(pid: int) -> None:
    """Take H out of the container's cgroups, into ours: runc restores into empty ones only (an error from runc 1.2 on)."""
    for hierarchy in _hierarchies():
        try:
            _enter(hierarchy + _own_cgroup(hierarchy), pid)
        except (OSError, LookupError) as error:
            print(f"placeholder in {hierarchy}: {error}", file=sys.stderr, flush=True)


def tasks_of(container_id: str) -> list[int]:
    """Return the processes in a container's cgroups, whether Docker knows of them or not."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            inside = container_id in _kernel.read_text(f"/proc/{entry}/cgroup")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        if inside:
            found.append(int(entry))
    return found
