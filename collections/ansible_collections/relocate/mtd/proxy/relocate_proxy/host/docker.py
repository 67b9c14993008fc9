# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both sides of a relocation ask of Docker."""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

NO_RESTART = {"Name": "no", "MaximumRetryCount": 0}


def remove_container(docker: DockerClient, container: str) -> None:
    """Remove a container, by its id or name; one that is gone, or that Docker is removing itself (``--rm``), is fine."""
    try:
        docker.remove(container)
    except DockerError as error:
        if error.status not in (404, 409):  # 409: Docker is removing it already
            raise


def restarts(policy: dict) -> bool:
    """Return whether a restart policy ever starts a container again."""
    return policy.get("Name") not in ("", "no", None)


def set_restart_policy(docker: DockerClient, container_id: str, policy: dict) -> None:
    """``docker update --restart``."""
    docker.request("POST", f"/containers/{container_id}/update", body={"RestartPolicy": policy})
