# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI bundles: finding a Docker container's, and making one into which its memory can be restored by runc alone."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import Any

# Docker's own containerd, and one that the system runs for several clients
_PLACES = (
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
    "/run/containerd/io.containerd.runtime.v2.task/moby",
)

# runc hands CRIU the file this annotation names, in place of /etc/criu/runc.conf
CRIU_CONFIG_ANNOTATION = "org.criu.config"


def directory_of(identifier: str) -> str:
    """Return the OCI bundle of a running Docker container.

    :raises FileNotFoundError: neither containerd has a bundle of this id.
    """
    for place in _PLACES:
        directory = os.path.join(place, identifier)
        if os.path.exists(os.path.join(directory, "config.json")):
            return directory
    raise FileNotFoundError(f"no OCI bundle of container {identifier[:12]} under {' or '.join(_PLACES)}")


def config_of(identifier: str) -> dict[str, Any]:
    """Return the ``config.json`` of a running Docker container.

    :raises FileNotFoundError: see :func:`directory_of`.
    """
    with open(os.path.join(directory_of(identifier), "config.json"), encoding="utf-8") as stream:
        config: dict[str, Any] = json.load(stream)
    return config


def detached(
    config: Mapping[str, Any],
    identifier: str,
    rootfs: str,
    network_namespace: str,
    criu_config: str,
) -> dict[str, Any]:
    """Return a ``config.json`` that runc can restore a container's memory into, without Docker.

    Docker's hooks are dropped (they are dockerd's), the control groups are runc's own, and the network namespace is one
    that exists: the image does not hold one.

    :param config: the container's own, as it was when it was dumped.
    :param identifier: the name of the new container for runc.
    :param rootfs: its root file system; the files the process has mapped must be in it.
    :param network_namespace: a path such as ``/run/netns/NAME``.
    :param criu_config: a file with more CRIU options (:func:`criu_options`).
    """
    made = copy.deepcopy(dict(config))
    made.pop("hooks", None)
    made["root"] = {**made.get("root", {}), "path": rootfs}
    made["linux"]["cgroupsPath"] = f"/relocate/{identifier}"
    for namespace in made["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = network_namespace
    made["annotations"] = {**(made.get("annotations") or {}), CRIU_CONFIG_ANNOTATION: criu_config}
    return made


def criu_options(masked_directories: list[str], empty: str) -> str:
    """Return a CRIU configuration file that puts an empty directory where the runtime hides directories."""
    return "".join(f"external mnt[{path}]:{empty}\n" for path in masked_directories)
