# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of a container on a host: made for a copy, taken away with it, and put aside when the container has left.

Docker cannot rename a volume. One that stayed under its name would be taken for the current one, by the next ``docker run`` or
by somebody who looks for the data. So its files are moved out of Docker's sight, within the same file system, and the volume is
removed. They stay for :data:`KEPT_SECONDS`, for an operator who wants yesterday's data back, or until the same container leaves
the host again: one that moves every ten minutes must not fill the disk.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import shutil
import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

from . import paths

KEPT_SECONDS = 7 * 86400
OF = "@"  # between a container and the relocation by which it left


class VolumeProblem(RuntimeError):
    """A volume cannot be made, and the message says why."""


def _inspected(docker: DockerClient, name: str) -> dict | None:
    try:
        found: dict = docker.request("GET", f"/volumes/{name}")
    except DockerError as error:
        if error.status == 404:
            return None
        raise
    return found


def aside(docker: DockerClient) -> str:
    """Return the directory for the files of volumes whose containers have left."""
    return f"{docker.info()['DockerRootDir']}/relocate/volumes"


def need_none(docker: DockerClient, names: list[str]) -> None:
    """See that no volume has one of these names. :raises VolumeProblem: one has, whoever's it is."""
    for name in names:
        if _inspected(docker, name) is not None:
            raise VolumeProblem(
                f"a volume named {name} is here already: remove it (docker volume rm) or rename one of the two"
            )


def make(docker: DockerClient, name: str, labels: dict[str, str]) -> None:
    """Make an empty volume. :raises VolumeProblem: there is one of this name, whoever's it is."""
    need_none(docker, [name])
    docker.request("POST", "/volumes/create", body={"Name": name, "Driver": "local", "Labels": labels})


def unmake(docker: DockerClient, name: str, since: float) -> None:
    """Remove a volume that was made for a copy which is discarded; one that is gone, or older than the move, is left alone.

    :param since: when the move began, in seconds since the epoch.
    """
    found = _inspected(docker, name)
    if found is None or _made_at(found) < int(since):
        return
    try:
        docker.request("DELETE", f"/volumes/{name}")
    except DockerError as error:
        if error.status not in (404, 409):  # 409: a container has it; then it is not ours alone
            raise


def _made_at(inspected: dict) -> float:
    """Return when a volume was made, in seconds since the epoch; Docker tells it by the second, with or without an offset."""
    text = inspected.get("CreatedAt") or ""
    seconds = float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    offset = text[-6:]
    if offset[0] in "+-":
        seconds -= (1 if offset[0] == "+" else -1) * (int(offset[1:3]) * 3600 + int(offset[4:6]) * 60)
    return seconds


def places(docker: DockerClient, container_id: str) -> dict[str, str]:
    """Return where the volumes of a container are on this host, by their mount points in it."""
    found = docker.container(container_id) or {}
    return {
        mount["Destination"]: os.path.realpath(mount["Source"])
        for mount in found.get("Mounts") or []
        if mount.get("Type") == "volume"
    }


def empty(directory: str) -> None:
    """Remove what Docker has put into a new volume: the image's files at the place where it is mounted."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def put_aside(docker: DockerClient, names: list[str], container_id: str, container: str, relocation: str) -> None:
    """Move the files of volumes out of Docker's sight. Before their container is removed: anonymous ones go with it.

    A volume that another container has by now is left as it is; so is one that has a file system of its own, from which nothing
    can be moved out: it is in the way of the container's return, and is named then. Idempotent.

    :param container: the name of the container.
    """
    for name in names:
        found = _inspected(docker, name)
        if found is None or _others(docker, name, container_id):
            continue
        target = f"{paths.private_directory(f'{aside(docker)}/{container}{OF}{relocation}')}/{name}"
        if not os.path.lexists(target):
            try:
                os.rename(found["Mountpoint"], target)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EBUSY):
                    raise
                continue
        with contextlib.suppress(FileExistsError):
            os.mkdir(found["Mountpoint"], 0o700)  # Docker wants to see it when it removes the volume


def remove_left(docker: DockerClient, names: list[str], container_id: str) -> None:
    """Remove volumes whose files were put aside. Idempotent.

    What has files in it is not what was left: it could not be put aside, or somebody has made it anew since.
    """
    for name in names:
        found = _inspected(docker, name)
        if found is None or _others(docker, name, container_id):
            continue
        with contextlib.suppress(DockerError, FileNotFoundError):
            if not os.listdir(found["Mountpoint"]):
                docker.request("DELETE", f"/volumes/{name}")


def _others(docker: DockerClient, name: str, container_id: str) -> bool:
    """Return whether another container has a volume."""
    return any(
        mount.get("Name") == name
        for short in docker.containers()
        if short["Id"] != container_id
        for mount in short.get("Mounts") or []
    )


def prune(directory: str, now: float | None = None) -> None:
    """Remove files of volumes that were put aside too long ago, or that are not the last that their container has left here."""
    limit = (time.time() if now is None else now) - KEPT_SECONDS
    put = []
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        with contextlib.suppress(FileNotFoundError):
            put.append((os.stat(os.path.join(directory, name)).st_mtime, name))
    last = {name.rpartition(OF)[0]: name for _, name in sorted(put)}
    for when, name in put:
        if when < limit or name not in last.values():
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
