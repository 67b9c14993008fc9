# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks that a move makes at the destination, and takes away again when it is rolled back.

Containers of a project that move together have the same networks, and a part of their own each. Whichever part comes first
makes a network; on a rollback the one that finds nothing on it any more removes it. So what each writes down is what it *may*
have made, before it does, and a network is ours only if it is younger than the move.
"""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from urllib.parse import quote

from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

from . import paths

LOCK = f"{paths.RUN}/networks.lock"


class NetworkProblem(RuntimeError):
    """A network cannot be made, and the message says why."""


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other part make or remove a network meanwhile."""
    with open(LOCK, "w", encoding="ascii") as lock:
        os.chmod(LOCK, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _inspected(docker: DockerClient, name: str) -> dict | None:
    try:
        found: dict = docker.request("GET", f"/networks/{quote(name, safe='')}")
    except DockerError as error:
        if error.status == 404:
            return None
        raise
    return found if found["Name"] == name else None  # Docker finds them by the beginning of an id, too


def _made_at(inspected: dict) -> float:
    """Return when a network was made, in seconds since the epoch."""
    text = inspected.get("Created") or "1970-01-01T00:00:00Z"
    seconds = float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    fraction = text[19:].lstrip(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))] if text[19:20] == "." else ""
    seconds += float(f"0.{digits or 0}")
    offset = text[-6:]
    if offset[0] in "+-":
        seconds -= (1 if offset[0] == "+" else -1) * (int(offset[1:3]) * 3600 + int(offset[4:6]) * 60)
    return seconds


def _on_it(docker: DockerClient, name: str) -> bool:
    """Return whether a container has a network, even one that does not run: it would not start any more without it."""
    return any(name in (short.get("NetworkSettings") or {}).get("Networks", {}) for short in docker.containers())


def to_make(docker: DockerClient, planned: list[dict], since: float) -> list[dict]:
    """Return those of the planned networks that this move makes, or another part of it has made.

    :param planned: ``what`` and ``settings`` of each, as ``_networks.plan`` returns them.
    :param since: when the move began, in seconds since the epoch.
    """
    found = []
    for each in planned:
        name = each["settings"]["Name"]
        present = _inspected(docker, name)
        old = present is not None and _made_at(present) < since
        if old and (each["what"] == _networks.MADE or _on_it(docker, name)):
            continue  # somebody has made it since the plan, or is on it now
        found.append(each)
    return found


def make(docker: DockerClient, wanted: list[dict], since: float) -> None:
    """Make networks. Idempotent. :raises NetworkProblem: Docker makes none, or another one than was asked for."""
    for each in wanted:
        settings = each["settings"]
        name = settings["Name"]
        present = _inspected(docker, name)
        try:
            if present is not None and _made_at(present) < since:
                docker.request("DELETE", f"/networks/{present['Id']}")
                present = None
            if present is None:
                docker.request("POST", "/networks/create", body=_networks.creation(settings))
        except DockerError as error:
            raise NetworkProblem(f"the Docker network '{name}' cannot be made on the destination: {error}") from error
        made = _inspected(docker, name)
        lost = _networks.differences(_networks.describe(made), settings) if made else ["Name"]
        if lost:
            raise NetworkProblem(
                f"Docker on the destination has made the network '{name}' otherwise than it is on the source "
                f"({', '.join(lost)}): make it there by hand"
            )


def unmake(docker: DockerClient, made: list[dict], since: float) -> None:
    """Take away the networks that were made for a copy which is discarded, unless a container is on them.

    One that was renewed stays, for there was one before: it is made if the move had come no further than to remove the old one.
    """
    for each in made:
        settings = each["settings"]
        present = _inspected(docker, settings["Name"])
        if each["what"] == _networks.RENEWED:
            if present is None:
                docker.request("POST", "/networks/create", body=_networks.creation(settings))
        elif present is not None and _made_at(present) >= since and not _on_it(docker, settings["Name"]):
            with contextlib.suppress(DockerError):  # somebody has just come to be on it
                docker.request("DELETE", f"/networks/{present['Id']}")
