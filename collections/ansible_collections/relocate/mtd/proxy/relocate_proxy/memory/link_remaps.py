# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files whose name was removed while they have another one: CRIU restores them by a link that it names itself.

CRIU makes that link in the container's files at the dump, and removes it at once from an original that may have to run on. So
the link is made again at the destination, to the name that the file still has. CRIU removes it there when it has opened it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from ..files.tree_cargo import TreeSender
from ..protocol.protobuf import decode
from .criu_image import messages
from .criu_sockets import file_names

PROC = "/proc"
ORIGINAL, LINK, KIND = 1, 2, 3  # fields of remap_file_path_entry
LINKED = 0
DELETED = " (deleted)"


class Remap(NamedTuple):
    """An open file in the image: the name that it was opened by and has no more, and that of CRIU's link."""

    removed: str
    link: str


def remaps(images: str) -> list[Remap]:
    """Return those of an image; in most there are none, which is seen at once."""
    try:
        with open(os.path.join(images, "remap-fpath.img"), "rb") as file:
            entries = [decode(message) for _, message in messages(file.read())]
    except FileNotFoundError:
        return []
    pairs = [(int(entry[ORIGINAL]), int(entry[LINK])) for entry in entries if entry.get(KIND, LINKED) == LINKED]
    if not pairs:
        return []
    names = file_names(images)
    return [Remap(names[original], names[link]) for original, link in pairs]


def _identity(removed: str, pids: Iterable[int]) -> tuple[int, int]:
    """Return device and inode of the open file that had a name.

    :raises LookupError: there is none, or there are several: one cannot tell which is which.
    """
    found = set()
    for pid in pids:
        for kind in ("fd", "map_files"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, NotADirectoryError):
                for name in os.listdir(f"{PROC}/{pid}/{kind}"):
                    path = f"{PROC}/{pid}/{kind}/{name}"
                    with contextlib.suppress(FileNotFoundError):
                        if os.readlink(path) == removed + DELETED and (status := os.stat(path)).st_nlink:
                            found.add((status.st_dev, status.st_ino))
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} open files had the name {removed}, which was removed: close them, and try again"
        )
    return found.pop()


def send(images: str, pids: Iterable[int], root: str, trees: Iterable[TreeSender]) -> None:
    """Have CRIU's links made at the destination. The container is frozen, and all its files have been sent.

    :param root: its root, as this host sees it. :param trees: what has sent its files.
    :raises LookupError: a file has no name that was sent.
    """
    found = remaps(images)
    tasks = list(pids) if found else []
    for removed, link in found:
        device, inode = _identity(removed, tasks)
        # the tree that the link lies in: the innermost
        tree = max((each for each in trees if f"{link}/".startswith(f"{each.name}/")), key=lambda each: len(each.name))
        for path, stamp in tree.before.stamps.items():
            if not stat.S_ISREG(stamp.kind) or stamp.inode != inode:
                continue
            with contextlib.suppress(OSError):
                status = os.lstat(f"{root}{tree.name}/{path}")
                if (status.st_dev, status.st_ino) == (device, inode) and os.path.basename(path) != os.path.basename(
                    link
                ):
                    tree.send_link(link[len(tree.name) :].lstrip("/"), path)
                    break
        else:
            raise LookupError(f"no name was found of the open file that was {removed}: close it, and try again")
