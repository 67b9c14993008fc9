# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts and addresses, and the names of what the cache holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from relocate.lab.status import role_code

lab = role_code("lab", "filter_plugins")

ROOTS = {"trixie": "/roots/trixie", "forky": "/roots/forky"}
FABRIC = {"bridge": "fabric", "subnet": "10.77.0.0/24", "subnet6": "fd10:77::/64", "first": 10}
OUTSIDE = {"bridge": "outside", "subnet": "10.88.0.0/24", "subnet6": "fd10:88::/64"}


def fleet(hosts: int, fabric: dict[str, Any] = FABRIC, edges: int = 1) -> list[dict[str, Any]]:
    """Return a fleet of the ordinary suites."""
    suites = ["trixie", "trixie", "forky"]
    made: list[dict[str, Any]] = lab.lab_fleet(hosts, suites, "trixie", ROOTS, fabric, OUTSIDE, edges)
    return made


def test_three_hosts_are_two_of_one_suite_and_one_of_another() -> None:
    assert [(host["name"], host["suite"], host["docker"]) for host in fleet(3)] == [
        ("host0", "trixie", False),
        ("host1", "trixie", True),
        ("host2", "trixie", True),
        ("host3", "forky", True),
    ]


def test_host0_has_both_legs_and_the_others_go_out_through_it() -> None:
    edge, host1 = fleet(1)
    assert edge["interfaces"] == [
        {"bridge": "fabric", "address": "10.77.0.10/24", "address6": "fd10:77::a/64"},
        {"bridge": "outside", "address": "10.88.0.1/24", "address6": "fd10:88::1/64"},
    ]
    assert host1["interfaces"] == [
        {
            "bridge": "fabric",
            "address": "10.77.0.11/24",
            "address6": "fd10:77::b/64",
            "gateway": "10.77.0.10",
            "gateway6": "fd10:77::a",
        }
    ]


def test_two_edges_have_addresses_of_their_own_and_the_hosts_go_out_by_another() -> None:
    host0, edge2, host1 = fleet(1, edges=2)
    assert [(each["name"], each["docker"]) for each in (host0, edge2)] == [("host0", False), ("edge2", False)]
    assert host0["interfaces"] == fleet(1)[0]["interfaces"]
    assert [interface["address"] for interface in edge2["interfaces"]] == ["10.77.0.9/24", "10.88.0.3/24"]
    assert host1["interfaces"][0]["gateway"] == lab.lab_gateway(FABRIC, 2, prefix=False) == "10.77.0.8"
    assert lab.lab_gateway(FABRIC, 1) == "10.77.0.10/24"
    assert [interface["address6"] for interface in edge2["interfaces"]] == ["fd10:77::9/64", "fd10:88::3/64"]
    assert host1["interfaces"][0]["gateway6"] == "fd10:77::8"


def test_a_third_edge_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="a lab has 1 edge or 2, not 3"):
        fleet(1, edges=3)


def test_thirty_hosts_have_thirty_addresses_and_interface_names_that_fit() -> None:
    hosts = fleet(30)
    for family in ("address", "address6"):
        addresses = [interface[family] for host in hosts for interface in host["interfaces"]]
        assert len(set(addresses)) == 32
    # Linux takes at most 15 characters
    assert all(len(f"{i['bridge']}-{host['name']}") <= 15 for host in hosts for i in host["interfaces"])
    assert [host["suite"] for host in hosts[28:]] == ["trixie", "trixie", "forky"]


def test_a_network_too_small_for_the_fleet_is_refused_by_name() -> None:
    with pytest.raises(AnsibleFilterError, match=r"10\.77\.0\.0/28 has no host address number 15: give a larger one"):
        fleet(5, {**FABRIC, "subnet": "10.77.0.0/28"})
    with pytest.raises(AnsibleFilterError, match="fd10:77::/124 has no host address number 15: give a larger one"):
        fleet(5, {**FABRIC, "subnet6": "fd10:77::/124"})


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="nonsense is not an IP network"):
        lab.lab_address("nonsense", 1)
    with pytest.raises(AnsibleFilterError, match=r"fd10:77::1/64 is not an IP network: .* has host bits set"):
        lab.lab_address("fd10:77::1/64", 1)


def test_a_recipe_changes_with_any_ingredient_and_with_nothing_else() -> None:
    one = lab.lab_recipes({"a": {"packages": ["x"], "suite": "s"}, "b": {}}, ["shared"])
    assert one == lab.lab_recipes({"b": {}, "a": {"suite": "s", "packages": ["x"]}}, ["shared"])
    assert one["a"] != lab.lab_recipes({"a": {"packages": ["y"], "suite": "s"}}, ["shared"])["a"]
    assert one["a"] != lab.lab_recipes({"a": {"packages": ["x"], "suite": "s"}}, ["other"])["a"]


def test_only_root_file_systems_that_no_lab_names_are_unused(tmp_path: Path) -> None:
    for directory in ("users", "roots/old", "roots/mine", "roots/yours", "roots/next.building"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "roots" / ".lock").touch()
    for user in ("mine", "yours"):
        document = {"state": "/x", "roots": [str(tmp_path / "roots" / user)]}
        (tmp_path / "users" / f"{user}.json").write_text(json.dumps(document))
    assert lab.lab_unused_roots(str(tmp_path)) == [str(tmp_path / "roots" / "old")]
