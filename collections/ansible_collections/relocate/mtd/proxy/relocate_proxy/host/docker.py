# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both sides of a relocation ask of Docker."""

from __future__ import annotations

import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

NO_RESTART = {"Name": "no", "MaximumRetryCount": 0}
AGAIN_SECONDS = 15.0  # dockerd starts a containerd that was killed again: after a second, later after ten


def remove_container(docker: DockerClient, container: str) -> None:
    """Remove a container, by its id or name; one that is gone, or that Docker is removing itself (``--rm``), is fine."""
    await_docker(docker)
    try:
        docker.remove(container)
    except DockerError as error:
        if error.status not in (404, 409):  # 409: Docker is removing it already
            raise


def await_docker(docker: DockerClient) -> None:
    """Return when Docker and its containerd answer, or do not for long: they are started again when they were killed.

    While containerd does not, Docker hears of no container's end: one whose tasks are dead it would remove, and keep its
    network. Docker 28 then listens on the published ports for good, and no container can have them.
    """
    deadline = time.monotonic() + AGAIN_SECONDS
    while not _answers(docker) and time.monotonic() < deadline:
        time.sleep(0.1)


def _answers(docker: DockerClient) -> bool:
    try:
        return "containerd" in docker.parts()
    except DockerError:
        return False


def restarts(policy: dict) -> bool:
    """Return whether a restart policy ever starts a container again."""
    return policy.get("Name") not in ("", "no", None)


def set_restart_policy(docker: DockerClient, container_id: str, policy: dict) -> None:
    """``docker update --restart``."""
    docker.request("POST", f"/containers/{container_id}/update", body={"RestartPolicy": policy})
