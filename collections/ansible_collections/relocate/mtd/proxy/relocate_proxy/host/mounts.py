# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Letting go of what is mounted below a directory."""

from __future__ import annotations

import subprocess

from ansible_collections.relocate.mtd.plugins.module_utils._criu import parse_mountinfo
from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

OWN_MOUNTS = "/proc/self/mountinfo"


def unmount_below(directory: str) -> None:
    """Let go of everything that is mounted below a directory: what the container has of it stays the container's.

    :raises OSError: something could not be unmounted; nothing below ``directory`` may be removed then.
    """
    mounts = parse_mountinfo(read_text(OWN_MOUNTS))
    points = [mount.point for mount in mounts if mount.point.startswith(directory + "/")]
    for point in reversed(points):
        done = subprocess.run(["umount", "--lazy", point], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{point} could not be unmounted: {done.stderr.strip()}")
