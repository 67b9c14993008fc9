# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounting what is never written to a disk, and letting go of what is mounted below a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess

from ansible_collections.relocate.mtd.plugins.module_utils._criu import Mount, parse_mountinfo
from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

from . import criu_processes

OWN_MOUNTS, SWAPS = "/proc/self/mountinfo", "/proc/swaps"
#: tmpfs that is not swapped out: Linux 6.4 and newer. What ramfs has is never swapped; it has no limit of its own, but a move
#: whose image does not fit into the free memory is refused.
UNSWAPPED = (["-t", "tmpfs", "-o", "noswap,mode=700,nosuid,nodev,noexec"], ["-t", "ramfs", "-o", "mode=700"])

#: Where runc mounts the root of a container that it restores, below its own directory of the container; and where CRIU,
#: whatever it restores, has a directory of its own (mount-v2.c). Either takes it down itself, if it is not killed.
RUNC_ROOT, CRIU_ROOTS = "criu-root", "/tmp/.criu.mntns."


def unmount_left(container_id: str) -> None:
    """Let go of what a runc or a CRIU that was killed has left mounted of a restore: it keeps the container's layers busy.

    A directory of CRIU does not say whose it is, and goes when no CRIU lives on this host. One that cannot be unmounted is
    named in the part's log.
    """
    for mount in reversed(_mounts()):
        if not (
            mount.point.endswith(f"/{container_id}/{RUNC_ROOT}")
            or (mount.point.startswith(CRIU_ROOTS) and not any(criu_processes.pids()))
        ):
            continue
        done = subprocess.run(["umount", "--lazy", mount.point], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{mount.point} could not be unmounted: {done.stderr.strip()}", flush=True)
        with contextlib.suppress(OSError):
            os.rmdir(mount.point)


def unmount_below(directory: str) -> None:
    """Let go of everything that is mounted below a directory: what the container has of it stays the container's.

    :raises OSError: something could not be unmounted; nothing below ``directory`` may be removed then.
    """
    points = [mount.point for mount in _mounts() if mount.point.startswith(directory + "/")]
    for point in reversed(points):
        done = subprocess.run(["umount", "--lazy", point], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{point} could not be unmounted: {done.stderr.strip()}")


def keep_in_memory(directory: str) -> None:
    """Have at ``directory`` a file system, private to root, whose files are on no disk and never swapped out. Idempotent.

    One that somebody has mounted there stays, if that is true of it, or if this host has no swap.

    :raises OSError: it can not be had.
    """
    lock = os.open(os.path.dirname(directory), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second one would hide what another part has in the first
        on_top = next((each for each in reversed(_mounts()) if each.point == directory), None)
        if on_top is None:
            if not os.listdir(
                directory
            ):  # else a version before this one has begun a relocation: it must not be hidden
                _mount_unswapped(directory)
            return
    finally:
        os.close(lock)
    unswapped = on_top.fstype == "ramfs" or "noswap" in on_top.super_options
    if not (unswapped or (on_top.fstype == "tmpfs" and not _swaps())):
        raise OSError(
            f"what is mounted at {directory} ({on_top.fstype}) may be written to a disk or swapped out, and memory images go "
            "there: unmount it, and what serves is mounted instead"
        )


def _mount_unswapped(directory: str) -> None:
    reason = ""
    for options in UNSWAPPED:
        done = subprocess.run(["mount", *options, "relocate", directory], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        reason = done.stderr.strip()
    raise OSError(f"nothing that is kept in memory can be mounted at {directory}: {reason}")


def _mounts() -> list[Mount]:
    return list(parse_mountinfo(read_text(OWN_MOUNTS)))


def _swaps() -> bool:
    """Return whether this host swaps at all."""
    try:
        with open(SWAPS, encoding="utf-8") as file:
            return len(file.readlines()) > 1
    except FileNotFoundError:  # a kernel without swap
        return False
