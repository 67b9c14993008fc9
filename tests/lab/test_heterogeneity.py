# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles of the lab's real hosts: quick, small, and different where the hosts are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet, Selection, Weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.profiles import from_directory
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import choose_destination
from fleet import Fleet as LabFleet

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: What tenants bring along is no difference between hosts.
SELECTION = Selection(exclude={"s": "['images']"})


def ansible(program: str, *arguments: str, **environment: str) -> str:
    """Run an Ansible program on the lab and return what it printed."""
    done = subprocess.run(
        [str(BIN / program), "-i", "inventories/lab", *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def profiles(prepared: LabFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory that the playbook has filled."""
    directory = tmp_path_factory.mktemp("profiles")
    ansible("ansible-playbook", "playbooks/profile.yml", RELOCATE_PROFILES=str(directory))
    yield directory


@pytest.fixture(scope="module")
def suites(prepared: LabFleet) -> dict[str, str]:
    """Return the Debian release of each Docker host, as the lab made them."""
    listed = json.loads(ansible("ansible-inventory", "--list"))
    return {host: listed["_meta"]["hostvars"][host]["relocate_lab_suite"] for host in listed["docker_hosts"]["hosts"]}


def pairs(suites: dict[str, str], alike: bool) -> list[tuple[str, str]]:
    """Return pairs of hosts with the same release, or with different ones; the lab has both."""
    found = [(a, b) for a in suites for b in suites if a < b and (suites[a] == suites[b]) is alike]
    assert found, "the lab needs two hosts of one release and one of another"
    return found


def test_a_profile_is_whole_and_less_than_a_megabyte(suites: dict[str, str]) -> None:
    for host in suites:
        printed = ansible("ansible", host, "-m", "relocate.mtd.host_profile")
        result: dict[str, Any] = json.loads(printed[printed.index("{") :])
        assert result["changed"] is False
        assert result["timings_ns"]["total"] > 0
        assert result["size"] < 1_000_000
        assert not result.get("warnings")
        profile = result["ansible_facts"]["relocate_profile"]
        assert profile["c"]["distribution"] == "debian"
        assert profile["c"]["docker"]
        assert profile["c"]["criu"]
        assert "dockerd" in profile["s"]["services"]
        assert "tcp/22" in profile["n"]["listening"]
        assert profile["n"]["nic_drivers"] == ["veth"]
        assert len(profile["s"]["packages"]) > 100


def test_hosts_of_one_release_are_identical_and_others_are_not(profiles: Path, suites: dict[str, str]) -> None:
    fleet = Fleet(from_directory(profiles), SELECTION)
    names = dict(zip(fleet.hosts, fleet.class_of.tolist(), strict=True))
    for first, second in pairs(suites, alike=True):
        assert fleet.row(first, Weights.equal())[fleet.index(second)] == 0.0
        assert names[first] == names[second]
    for first, second in pairs(suites, alike=False):
        parts = {term: part[fleet.index(second)] for term, part in fleet.terms_row(first).items()}
        assert parts["c"] > 0.1, "another Docker, runc and distribution"
        assert parts["s"] > 0.1, "other versions of the packages"
        assert parts["n"] == 0.0, "they share a network and a machine"
        assert names[first] != names[second]


def test_the_inventory_shows_the_classes(profiles: Path, suites: dict[str, str]) -> None:
    arguments = ("-i", "inventories/heterogeneity.yml", "--graph")
    graph = ansible("ansible-inventory", *arguments, RELOCATE_PROFILES=str(profiles))
    groups: dict[str, set[str]] = {}
    group = ""
    for line in graph.splitlines():
        name = line.strip(" |-")
        if name.startswith("@"):
            group = name[1:].rstrip(":")
        else:
            groups.setdefault(group, set()).add(name)
    classes = [hosts for name, hosts in groups.items() if name.startswith("relocate_class_")]
    expected = [{host for host in suites if suites[host] == suite} for suite in set(suites.values())]
    assert sorted(map(sorted, classes)) == sorted(map(sorted, expected))


def test_the_other_release_is_the_likelier_destination(profiles: Path, suites: dict[str, str]) -> None:
    found = from_directory(profiles)
    near, far = pairs(suites, alike=True)[0]
    other = next(host for host in suites if suites[host] != suites[near])
    among = [{"name": near}, {"name": far}, {"name": other}]
    settings = {"min_entropy_bits": 0.5, "exclude": {"s": "['images']"}}
    choice = choose_destination({"host": near}, among, found, settings)
    assert choice.distribution[other] == pytest.approx(2**-0.5, abs=1e-6)
    assert choice.delta[far] == 0.0
    gone = choose_destination({"host": near}, [*among[:2], {"name": other, "reachable": False}], found, settings)
    assert gone.host == far
