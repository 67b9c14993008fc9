# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what relocate.mtd.relocation_info says about hosts to what the placement policy asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_TENANT = "relocate.mtd/tenant"


def _ports(container: Mapping[str, Any]) -> list[str]:
    return sorted({f"{port['protocol']}/{port['host_port']}" for port in container.get("ports") or []})


def _company(container: Mapping[str, Any]) -> dict[str, Any]:
    labels = container.get("labels") or {}
    return {
        "name": container["name"],
        "tenant": labels.get(_TENANT),
        "labels": labels,
        "ports": _ports(container),
    }


def moving(host: str, container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``source`` of ``policy.choose_destination`` for a container that runs on ``host``.

    :param container: one of ``relocation_info.containers``; memory and disk in bytes.
    """
    needs = {"memory": container.get("memory_bytes"), "disk": container.get("layer_bytes")}
    return {"host": host, "container": {**_company(container), **needs}}


def candidates(
    hosts: Mapping[str, Mapping[str, Any]],
    silent: Iterable[str] = (),
    refusals: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return the ``candidates`` of ``policy.choose_destination``.

    :param hosts: host → ``relocation_info``. :param silent: hosts that did not answer.
    :param refusals: host → what its preflight said. A host whose preflight refused is not drawn again.
    :param labels: host → its labels (an inventory variable), for host affinity.
    """
    found = [
        {
            "name": name,
            "reachable": True,
            "refusals": list((refusals or {}).get(name, [])),
            "cordoned": bool(info["host"].get("cordoned")),
            "memory_available": info["host"].get("memory_available_bytes"),
            "disk_available": info["host"].get("disk_available_bytes"),
            "listening": [f"{protocol}/{port}" for protocol, port in info.get("used_ports") or []],
            "labels": dict((labels or {}).get(name, {})),
            "containers": [_company(container) for container in info.get("containers") or []],
        }
        for name, info in hosts.items()
    ]
    return found + [{"name": name, "reachable": False} for name in silent]
