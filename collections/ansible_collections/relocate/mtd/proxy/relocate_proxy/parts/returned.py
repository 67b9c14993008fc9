# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has come back with a host that was dead, while its container was restored elsewhere from a snapshot.

It must go, for there may be one copy only. What its volumes hold is newer than the snapshot, and nobody else has it: it is put
aside, as that of a container which has moved away.
"""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.module_utils import _volumes
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

from ..host import volumes
from ..host.docker import NO_RESTART, remove_container, set_restart_policy


def remove(order: dict) -> dict:
    """Remove ``order["container"]`` from this host; return whether that has ``changed`` something. Idempotent.

    :raises DockerError: Docker cannot.
    """
    docker = DockerClient()
    found = docker.container(order["container"])
    if found is None:
        return {"changed": False}
    container_id, names = found["Id"], [mount["Name"] for mount in _volumes.mounted(found)]
    if not found["HostConfig"].get("AutoRemove"):  # Docker takes no policy for such a container, and it has none
        set_restart_policy(docker, container_id, NO_RESTART)
    try:
        docker.request("POST", f"/containers/{container_id}/kill")
    except DockerError as error:
        if error.status not in (404, 409):  # 409: it does not run
            raise
    volumes.put_aside(docker, names, container_id, found["Name"].lstrip("/"), order["relocation"])
    remove_container(docker, container_id)
    volumes.remove_left(docker, names, container_id)
    return {"changed": True}
