# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that is made anew elsewhere: whether the new one is well, and how many connections the old one has left.

Nothing is carried, so nothing is frozen, and both run for a while (``docs/recreate.md``).
"""

from __future__ import annotations

import socket
import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, address

from ..files.container import Container
from ..protocol.words import shown

HEALTHY_SECONDS = 120.0
LOOK_SECONDS = 0.2
CONNECT_SECONDS = 1.0
#: A container that has neither a health check nor a published TCP port has to run for as long.
SETTLED_SECONDS = 1.0


class Unhealthy(RuntimeError):
    """The new container has ended, or does not become healthy."""


def visits(docker: DockerClient, container_id: str) -> int:
    """Return how many connections others have to a container's published ports; none if it does not run any more."""
    try:
        return Container(docker, container_id).visits()
    except (LookupError, OSError, ValueError):  # it has ended, maybe in this moment
        return 0


def insist_that_it_runs(docker: DockerClient, container_id: str) -> dict:
    """Return ``docker inspect`` of a container that runs. :raises Unhealthy: it does not."""
    found = docker.container(container_id)
    if found is None:
        raise Unhealthy("the new container has ended and removed itself (--rm)")
    state = found["State"]
    if not state["Running"] or state.get("Paused"):
        raise Unhealthy(f"the new container does not run ({state.get('Status')}, exit code {state.get('ExitCode')})")
    return found


def await_health(docker: DockerClient, container_id: str, seconds: float = HEALTHY_SECONDS) -> None:
    """Return when a container is healthy: its health check says so, or each published TCP port accepts a connection.

    :raises Unhealthy: it ends, says that it is unhealthy, or is not healthy in time.
    """
    begun = time.monotonic()
    while True:
        missing = _missing(insist_that_it_runs(docker, container_id), time.monotonic() - begun)
        if not missing:
            return
        if time.monotonic() - begun > seconds:
            raise Unhealthy(f"the new container was not healthy within {seconds:g} s: {missing}")
        time.sleep(LOOK_SECONDS)


def _missing(inspected: dict, age: float) -> str:
    """Return what a container still lacks to be healthy, or nothing. :raises Unhealthy: it says that it is not."""
    health = inspected["State"].get("Health") or {}
    status = health.get("Status") or "none"
    if status == "unhealthy":
        last = (health.get("Log") or [{}])[-1]
        said = str(last.get("Output", "")).strip()
        raise Unhealthy(f"the new container's health check fails: {shown(said) if said else 'it says nothing'}")
    if status != "none":
        return "" if status == "healthy" else "its health check has not succeeded yet"
    ports = [
        int(port.partition("/")[0])
        for port, bound in (inspected["NetworkSettings"].get("Ports") or {}).items()
        if bound and port.endswith("/tcp")
    ]
    closed = [port for port in sorted(ports) if not _accepts(address(inspected), port)]
    if closed:
        return f"nothing accepts connections at its port {closed[0]}"
    return "" if ports or age >= SETTLED_SECONDS else "it has just been started"


def _accepts(host: str | None, port: int) -> bool:
    """Return whether a connection to a container is accepted. Not by way of the host, whose docker-proxy accepts any."""
    try:
        with socket.create_connection((host or "", port), CONNECT_SECONDS):
            return True
    except OSError:
        return False
