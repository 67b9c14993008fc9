# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container's file systems in memory: ``/dev``, ``/dev/shm``, whatever it was given with ``--tmpfs``.

CRIU would carry each with tar and gzip, in the freeze and again at the restore, which costs 5 to 9 ms apiece on either side
even where they are empty. So they are external to it: the destination mounts new ones before anything is frozen, their files
are carried like those of the writable layer (``transfer``), and the restore binds them into the copy.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess

from ansible_collections.relocate.mtd.plugins.module_utils._criu import Mount

from ..protocol.words import shown
from .trees import Tree

#: What a tmpfs was mounted with and cannot be read from its root directory.
LIMITS = re.compile(r"(size|nr_blocks|nr_inodes|huge)=[0-9a-z_]+")


def describe(mounts: list[Mount], root: str) -> list[dict[str, str]]:
    """Return what makes the same file systems elsewhere: ``point``, ``source`` and ``options`` of each.

    ``root`` is the container's root as this host sees it (``/proc/PID/root``): owner and mode may have changed since the mount.
    """
    described = []
    for mount in mounts:
        tree = Tree.inside(root, mount.point)
        status = tree.status()
        tree.close()
        options = [option for option in mount.super_options if LIMITS.fullmatch(option)]
        options += [f"mode={stat.S_IMODE(status.st_mode):o}", f"uid={status.st_uid}", f"gid={status.st_gid}"]
        described.append({"point": mount.point, "source": mount.source, "options": ",".join(options)})
    return described


def mount_all(described: list[dict[str, str]], directory: str) -> dict[str, str]:
    """Mount an empty file system for each below ``directory``; return their places by mount point in the container.

    :raises ValueError: the source asks for an option that a tmpfs of a container does not have.
    """
    places = {}
    for number, each in enumerate(described):
        for option in each["options"].split(","):
            if not (LIMITS.fullmatch(option) or re.fullmatch(r"(mode|uid|gid)=[0-9]+", option)):
                raise ValueError(f"the source asked for a tmpfs with the option {shown(option)}")
        place = os.path.join(directory, str(number))
        os.makedirs(place, mode=0o700, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", each["options"], "--", each["source"], place]
        subprocess.run(command, check=True, capture_output=True)
        places[each["point"]] = place
    return places
