# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes of a container travel, and which keep it where it is. Standard library only, Python 3.9.

A volume of Docker's own driver without options is a directory of the host, and is carried like the container's other files.
Anything else is somewhere else: what another driver or a mount option means for the destination, nobody here can know.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import _criu

#: What Docker takes for a volume's name; anything else in a bind is a path of the host.
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
#: Words behind the second colon of ``-v NAME:PATH:…`` that mean the same on every host.
BIND_WORDS = ("", "ro", "rw", "nocopy", "z", "Z")
#: Mounts of these types show a directory of the host, and whatever is mounted in it there.
CARRIED = ("volume", "bind")
#: How long the size of a volume is counted; it is shown in the plan, and more of it is not worth a wait.
COUNT_SECONDS = 0.5


def mounted(inspected: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Return the mounts of a container that are volumes, as ``docker inspect`` has them."""
    return [mount for mount in inspected.get("Mounts") or [] if mount.get("Type") == "volume"]


def clean(path: str) -> str:
    """Return a path as Docker understands it: ``/data`` for ``//data/``."""
    return os.path.normpath("/" + path.lstrip("/"))


def asked(host: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """Return mount point and name of every volume that a ``HostConfig`` asks for by its name."""
    found = []
    for bind in host.get("Binds") or []:
        name, colon, rest = bind.partition(":")
        if colon and not name.startswith("/"):
            found.append((clean(rest.partition(":")[0]), name))
    for each in host.get("Mounts") or []:
        if each.get("Type") == "volume" and each.get("Source"):
            found.append((clean(each["Target"]), each["Source"]))
    return found


def anonymous(inspected: Mapping[str, Any], point: str) -> bool:
    """Return whether Docker chose the name of the volume at ``point``: nobody asked for one there."""
    return point not in dict(asked(inspected["HostConfig"]))


def refusals(
    inspected: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]], users: Mapping[str, List[str]]
) -> List[str]:
    """Return why a container's volumes keep it here.

    :param volumes: ``docker volume inspect`` by name. :param users: the containers of this host that have a volume, by name.
    """
    container = inspected["Name"].lstrip("/")
    found = []
    for mount in mounted(inspected):
        name = mount.get("Name") or mount["Destination"]
        volume = volumes.get(name) or {}
        driver, options = volume.get("Driver") or mount.get("Driver") or "local", volume.get("Options") or {}
        if driver != "local":
            found.append(
                f"the volume {name} of the container {container} is kept by the driver '{driver}': only Docker's own "
                "(local) volumes are carried"
            )
        elif options:
            words = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
            found.append(
                f"the volume {name} of the container {container} is a mount of something else ({words}): only volumes "
                "without driver options are carried"
            )
        if [each.get("Name") for each in mounted(inspected)].count(name) > 1:
            found.append(f"the volume {name} is mounted twice in the container {container}: mount it once")
        others = sorted(user for user in users.get(name) or [] if user != container)
        if others:
            found.append(
                f"the volume {name} of the container {container} is used by {', '.join(others)} too, which would stay "
                "behind: give each its own"
            )
    found = list(dict.fromkeys(found))
    for each in inspected["HostConfig"].get("Mounts") or []:
        if (each.get("VolumeOptions") or {}).get("Subpath"):
            found.append(
                f"the container {container} has only a part of the volume {each.get('Source')} (volume-subpath): mount it whole"
            )
    return found


def mount_refusals(inspected: Mapping[str, Any], mountinfo: str, declared: List[str]) -> List[str]:
    """Return why what is mounted in a container is not what Docker knows of its volumes and bind mounts.

    What the host has mounted inside one of them the destination would not have. One whose place leads through a symbolic link
    of the container is somewhere else for CRIU than for the runtime.

    :param mountinfo: of its init; nothing if it has ended. :param declared: where the runtime has mounted something.
    """
    container = inspected["Name"].lstrip("/")
    tops = [clean(mount["Destination"]) for mount in inspected.get("Mounts") or [] if mount.get("Type") in CARRIED]
    points = {mount.point for mount in _criu.parse_mountinfo(mountinfo)}
    found = [
        f"the mount at {top} in the container {container} leads through a symbolic link there: mount it at the real path"
        for top in tops
        if points and top not in points
    ]
    inside = points - {*tops, *map(clean, declared)}
    return found + [
        f"something is mounted on this host inside the container {container} at {point}: unmount it"
        for point in sorted(inside)
        if any(point.startswith(top.rstrip("/") + "/") for top in tops)
    ]


def users(inspections: List[Dict[str, Any]]) -> Dict[str, List[str]]:
    """Return the names of the containers that have a volume, by its name.

    :param inspections: ``docker ps`` of all containers of a host.
    """
    found: Dict[str, List[str]] = {}
    for short in inspections:
        for mount in mounted(short):
            name = (short.get("Names") or ["?"])[0].lstrip("/")
            found.setdefault(mount.get("Name") or "", []).append(name)
    return found


def size(directory: str) -> int:
    """Return the bytes that a volume's files take on the disk; at least so many, if counting them takes long."""
    total, deadline = 0, time.monotonic() + COUNT_SECONDS
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:  # gone meanwhile
                continue
        if time.monotonic() > deadline:
            break
    return total


def foreign(body: Mapping[str, Any]) -> List[str]:
    """Return what a ``create`` of another host asks for that is no volume of Docker's own and no bind mount."""
    host = body.get("HostConfig") or {}
    found = [name for name in ("Binds", "Mounts") if not isinstance(host.get(name) or [], list)]
    if found:
        return found
    for bind in host.get("Binds") or []:
        words = bind.split(":") if isinstance(bind, str) else []
        if words and words[0].startswith("/"):  # no volume: see _binds
            continue
        if not (
            len(words) in (2, 3)
            and NAME.fullmatch(words[0])
            and words[1].startswith("/")
            and set((words[2:] or [""])[0].split(",")) <= set(BIND_WORDS)
        ):
            found.append("Binds")
    for each in host.get("Mounts") or []:
        is_bind = isinstance(each, dict) and each.get("Type") == "bind"  # see _binds
        if not (is_bind or _is_in_memory(each) or _is_plain_volume(each)):
            found.append("Mounts")
    if not found:
        points = [point for point, _ in asked(host)]
        found += ["two volumes at one place"] if len(points) != len(set(points)) else []
    return sorted(set(found))


def _is_in_memory(mount: Any) -> bool:
    """Return whether an entry of ``Mounts`` asks for a file system in memory: it has nothing of a host."""
    return isinstance(mount, dict) and mount.get("Type") == "tmpfs" and not mount.get("Source")


def _is_plain_volume(mount: Any) -> bool:
    """Return whether an entry of ``Mounts`` asks for a volume of Docker's own driver, whole, without options."""
    if not isinstance(mount, dict) or mount.get("Type") != "volume" or mount.get("BindOptions"):
        return False
    options = mount.get("VolumeOptions") or {}
    driver = options.get("DriverConfig") or {} if isinstance(options, dict) else None
    return (
        isinstance(driver, dict)
        and str(mount.get("Target")).startswith("/")
        and bool(NAME.fullmatch(str(mount.get("Source") or "anonymous")))
        and not options.get("Subpath")
        and driver.get("Name") in (None, "", "local")
        and not driver.get("Options")
    )
