# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of a container on a host: made for a copy, taken away with it, and put aside when the container has left.

Docker cannot rename a volume. One that stayed under its name would be taken for the current one, by the next ``docker run`` or
by somebody who looks for the data. So its files are moved out of Docker's sight, within the same file system, and the volume is
removed. They stay for :data:`KEPT_SECONDS`, for an operator who wants yesterday's data back.
"""

from __future__ import annotations

import calendar
import contextlib
import os
import shutil
import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

from . import paths

KEPT_SECONDS = 7 * 86400


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


def make(docker: DockerClient, name: str, labels: dict[str, str]) -> None:
    """Make an empty volume. :raises VolumeProblem: there is one of this name, whoever's it is."""
    if _inspected(docker, name) is not None:
        raise VolumeProblem(
            f"a volume named {name} is here already: remove it (docker volume rm) or rename one of the two"
        )
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


def put_aside(docker: DockerClient, names: list[str], container_id: str, relocation: str) -> None:
    """Move the files of volumes out of Docker's sight. Before their container is removed: anonymous ones go with it.

    A volume that another container has by now is left as it is. Idempotent.
    """
    for name in names:
        found = _inspected(docker, name)
        if found is None or _others(docker, name, container_id):
            continue
        kept = paths.private_directory(aside(docker))
        target = f"{kept}/{name}@{relocation}"
        if not os.path.lexists(target):
            os.rename(found["Mountpoint"], target)
            os.utime(target)  # it is kept from now on
        with contextlib.suppress(FileExistsError):
            os.mkdir(found["Mountpoint"], 0o700)  # Docker wants to see it when it removes the volume


def remove_left(docker: DockerClient, names: list[str], container_id: str) -> None:
    """Remove volumes whose files were put aside; those that another container has stay. Idempotent."""
    for name in names:
        if not _others(docker, name, container_id):
            with contextlib.suppress(DockerError):
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
    """Remove files of volumes that were put aside too long ago."""
    limit = (time.time() if now is None else now) - KEPT_SECONDS
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
