# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenant containers: their specification for the Engine API, and what one that exists lacks of it. Pure functions."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils._docker import Publication, address, publications

ENABLED_LABEL = "relocate.mtd/enabled"
TENANT_LABEL = "relocate.mtd/tenant"
SENSITIVE_LABEL = "relocate.mtd/sensitive"
POST_COPY_LABEL = "relocate.mtd/post-copy"


class WantedTenant(NamedTuple):
    """What a tenant container is to be."""

    name: str
    image: str
    command: tuple[str, ...]  # empty: the image's own
    environment: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    published: tuple[Publication, ...]
    restart_policy: str


def words(command: Any) -> tuple[str, ...]:
    """Return a command given as a list or as one string, which is split as a shell would.

    :raises ValueError: an unclosed quotation.
    """
    if command is None:
        return ()
    if isinstance(command, str):
        return tuple(shlex.split(command))
    return tuple(str(word) for word in command)


def specification(tenant: WantedTenant) -> dict[str, Any]:
    """Return the body of ``POST /containers/create``."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in tenant.published:
        place = {"HostIp": port.host_address, "HostPort": str(port.host_port)}
        bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(place)
    body: dict[str, Any] = {
        "Image": tenant.image,
        "Env": [f"{name}={value}" for name, value in tenant.environment],
        "Labels": dict(tenant.labels),
        "ExposedPorts": {port: {} for port in bindings},
        "HostConfig": {"PortBindings": bindings, "RestartPolicy": {"Name": tenant.restart_policy}},
    }
    if tenant.command:
        body["Cmd"] = list(tenant.command)
    return body


def differences(tenant: WantedTenant, inspected: dict[str, Any]) -> list[str]:
    """Return what of ``docker inspect``'s answer is not as the tenant is to be, as "command is … instead of …"."""
    config, host = inspected["Config"], inspected["HostConfig"]
    bindings = {
        Publication(place.get("HostIp") or "0.0.0.0", int(place["HostPort"]), int(number), protocol)
        for port, places in (host.get("PortBindings") or {}).items()
        for number, protocol in [port.split("/")]
        for place in places or []
        if place.get("HostPort")
    }
    have_environment = set(config.get("Env") or [])
    have_labels = config.get("Labels") or {}
    found = []
    if config["Image"] != tenant.image:
        found.append(f"image is {config['Image']} instead of {tenant.image}")
    if tenant.command and tuple(config.get("Cmd") or ()) != tenant.command:
        found.append(f"command is {shlex.join(config.get('Cmd') or [])!r} instead of {shlex.join(tenant.command)!r}")
    if bindings != set(tenant.published):
        found.append(f"published ports are {_ports(bindings)} instead of {_ports(set(tenant.published))}")
    for name, value in tenant.environment:
        if f"{name}={value}" not in have_environment:
            found.append(f"variable {name} is not {value!r}")
    for name, value in tenant.labels:
        if have_labels.get(name) != value:
            found.append(f"label {name} is not {value!r}")
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    if policy != tenant.restart_policy:
        found.append(f"restart policy is {policy} instead of {tenant.restart_policy}")
    return found


def _ports(published: set[Publication]) -> str:
    return ", ".join(f"{port.host_port}->{port.container_port}/{port.protocol}" for port in sorted(published)) or "none"


def summary(inspected: dict[str, Any]) -> dict[str, Any]:
    """Return what a result shows of ``docker inspect``'s answer."""
    return {
        "id": inspected["Id"],
        "name": inspected["Name"].lstrip("/"),
        "image": inspected["Config"]["Image"],
        "image_id": inspected["Image"],
        "state": inspected["State"]["Status"],
        "address": address(inspected),
        "labels": inspected["Config"].get("Labels") or {},
    }


def short_summary(short: dict[str, Any]) -> dict[str, Any]:
    """Return the same of one entry of ``docker ps``, and the ports its host offers for it."""
    networks = (short.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "id": short["Id"],
        "name": short["Names"][0].lstrip("/"),
        "image": short["Image"],
        "image_id": short["ImageID"],
        "state": short["State"],
        "address": next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), None),
        "labels": short.get("Labels") or {},
        "published": [port._asdict() for port in publications(short)],
    }
