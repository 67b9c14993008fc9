# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A memory image is a secret: it is overwritten before it is removed."""

from __future__ import annotations

import contextlib
import os
import shutil

from .mounts import unmount_below


def wipe(directory: str) -> None:
    """Overwrite and remove everything below a session's directory (tmpfs: overwriting reaches the only copy).

    What is mounted there is let go first: it may be a running container's.
    """
    unmount_below(directory)
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if os.path.isfile(path) and not os.path.islink(path):
                    overwrite(path)
    shutil.rmtree(directory, ignore_errors=True)


def overwrite(path: str) -> None:
    """Write zeros over a file's contents."""
    with open(path, "r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for begin in range(0, size, 1 << 20):
            file.write(b"\0" * min(1 << 20, size - begin))
