# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both sides of a relocation ask of Docker."""

from __future__ import annotations

import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

NO_RESTART = {"Name": "no", "MaximumRetryCount": 0}
STOP_SECONDS = 10  # Docker's own, for a container that says nothing else
STOP_MARGIN_SECONDS = 60.0
CONTAINERD_SECONDS = 15.0  # dockerd starts a containerd that was killed again: after a second, later after ten


def remove_container(docker: DockerClient, container: str) -> None:
    """Remove a container, by its id or name; one that is gone, or that Docker is removing itself (``--rm``), is fine."""
    _await_containerd(docker)
    try:
        docker.remove(container)
    except DockerError as error:
        if error.status not in (404, 409):  # 409: Docker is removing it already
            raise


def _await_containerd(docker: DockerClient) -> None:
    """Return when Docker's containerd answers it, or does not for long.

    While it does not, Docker hears of no container's end: one whose tasks are dead it would remove, and keep its network.
    Docker 28 then listens on the published ports for good, and no container can have them.
    """
    deadline = time.monotonic() + CONTAINERD_SECONDS
    while "containerd" not in docker.parts() and time.monotonic() < deadline:
        time.sleep(0.1)


def stop_container(docker: DockerClient, container_id: str, policy: dict) -> None:
    """``docker stop``, with the container's own signal and patience; one that is gone, or has ended, is fine.

    :param policy: its restart policy, which would have a daemon that is started in this moment run it again.
    """
    found = docker.container(container_id)
    if found is None:
        return
    if restarts(policy):
        set_restart_policy(docker, container_id, NO_RESTART)
    try:
        docker.request("POST", f"/containers/{container_id}/stop", timeout=stop_seconds(found) + STOP_MARGIN_SECONDS)
    except DockerError as error:
        if error.status != 404:  # it has removed itself (--rm)
            raise


def stop_seconds(inspected: dict) -> int:
    """Return how long a container may take to end when it is stopped; then it is killed."""
    patience = inspected["Config"].get("StopTimeout")
    return STOP_SECONDS if patience is None or patience < 0 else int(patience)


def restarts(policy: dict) -> bool:
    """Return whether a restart policy ever starts a container again."""
    return policy.get("Name") not in ("", "no", None)


def set_restart_policy(docker: DockerClient, container_id: str, policy: dict) -> None:
    """``docker update --restart``."""
    docker.request("POST", f"/containers/{container_id}/update", body={"RestartPolicy": policy})
