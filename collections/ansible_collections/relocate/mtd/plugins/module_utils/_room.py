# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much room a host has where it keeps files, and whether that is enough."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.relocate.mtd.plugins.module_utils import _paths

#: What must be free, in bytes, beside what is put there; and how many more files can be made. An image has some for each task.
RESERVES = {"docker": 0, "images": 1 << 20, "journals": 1 << 20, "recordings": 64 << 20}
INODE_RESERVE = 1024
PLACES = {
    "docker": "for Docker",
    "images": f"for memory images ({_paths.SESSIONS})",
    "journals": f"for journals ({_paths.JOURNALS})",
    "recordings": f"for snapshots on their way ({_paths.RECORDINGS})",
}


def room(place: str) -> Dict[str, Optional[int]]:
    """Return how many C(bytes) and C(inodes) are free at a place.

    None stands for what is not limited (a ramfs; the inodes of btrfs), and for a place that is not there yet.
    """
    try:
        found = os.statvfs(place)
    except FileNotFoundError:
        return {"bytes": None, "inodes": None}
    return {
        "bytes": found.f_bavail * found.f_frsize if found.f_blocks else None,
        "inodes": found.f_favail if found.f_files else None,
    }


def room_refusals(name: str, host: Mapping[str, Any], place: str, needed: int = 0) -> List[str]:
    """Return why there is no room at one of :data:`PLACES` of a host.

    :param needed: how many bytes will be put there.
    """
    room = (host.get("room") or {}).get(place) or {}
    free, inodes, wanted = room.get("bytes"), room.get("inodes"), needed + RESERVES[place]
    found = []
    if free is not None and free < wanted:
        found.append(f"{name} has {free >> 20} MiB free {PLACES[place]}, and {wanted >> 20} MiB are needed: free some")
    if inodes is not None and inodes < INODE_RESERVE:
        found.append(
            f"{name} has {inodes} inodes free {PLACES[place]}, and {INODE_RESERVE} are needed: remove files there"
        )
    return found
