# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What relocation_info says about hosts, as the placement policy takes it."""

from __future__ import annotations

from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.survey import candidates, moving
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import Settings, choose_destination

WEB: dict[str, Any] = {
    "name": "web",
    "labels": {"relocate.mtd/tenant": "acme", "role": "web"},
    "ports": [{"protocol": "tcp", "host_port": 8080, "container_port": 80}],
    "memory_bytes": 1000,
    "layer_bytes": 10,
}


def info(**facts: Any) -> dict[str, Any]:
    host = {"cordoned": False, "memory_available_bytes": 10_000, "disk_available_bytes": 1_000, **facts.pop("host", {})}
    return {"host": host, "containers": [], "used_ports": [["tcp", 22]], **facts}


def test_everything_the_policy_needs_is_carried_over() -> None:
    assert moving("host1", WEB) == {
        "host": "host1",
        "container": {
            "name": "web",
            "tenant": "acme",
            "labels": WEB["labels"],
            "ports": ["tcp/8080"],
            "memory": 1000,
            "disk": 10,
        },
    }
    hosts = {
        "host1": info(containers=[WEB]),
        "host2": info(host={"cordoned": True}),
        "host3": info(host={"memory_available_bytes": 900}),
        "host4": info(used_ports=[["tcp", 8080]]),
        "host5": info(containers=[{"name": "vault", "labels": {"relocate.mtd/sensitive": "true"}}]),
        "host6": info(host={"disk_available_bytes": None}),
        "host7": info(),
    }
    among = candidates(hosts, ["host8"], {"host7": ["the CPU lacks avx2"]}, {"host6": {"zone": "a"}})
    choice = choose_destination(moving("host1", WEB), among, {}, Settings(policy="uniform"))
    assert choice.host == "host6"
    assert {host: reasons[0] for host, reasons in choice.excluded.items()} == {
        "host1": "the container runs there",
        "host2": "it is cordoned",
        "host3": "the container needs 1000 B of memory and it has 900 B available, 10% of which stay free",
        "host4": "the port tcp/8080 is taken there",
        "host5": "the sensitive container vault of another tenant is there",
        "host7": "the CPU lacks avx2",
        "host8": "it cannot be reached",
    }
