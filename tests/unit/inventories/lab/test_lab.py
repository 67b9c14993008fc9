# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's inventory: with a lab, without one, and with a broken record of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

SCRIPT = ROOT / "inventories" / "lab" / "lab.py"

HOST = {"suite": "trixie", "root": "/roots/trixie"}


def leg(number: int) -> list[dict[str, str]]:
    """Return a host's interface on the hosts' network."""
    return [{"address": f"10.1.0.{number}/24", "address6": f"fd10:1::{number:x}/64"}]


DOCUMENT: dict[str, Any] = {
    "name": "x",
    "namespace": "relocate-lab-x",
    "client_namespace": "relocate-client-x",
    "state": "/state",
    "key": "/state/ssh/id_ed25519",
    "known_hosts": "/state/ssh/known_hosts",
    "hosts": [
        {"name": "host0", "index": 0, "docker": False, "interfaces": leg(10), **HOST},
        *({"name": f"host{n}", "index": n, "docker": True, "interfaces": leg(10 + n), **HOST} for n in range(1, 31)),
    ],
}


def run(state: Path, *arguments: str) -> dict[str, Any]:
    """Run the script as Ansible does, with a given state directory."""
    environment = {**os.environ, "RELOCATE_LAB_STATE": str(state)}
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_without_a_lab_the_inventory_is_empty_and_says_why(tmp_path: Path) -> None:
    document = run(tmp_path / "none", "--list")
    assert document["all"]["vars"] == {
        "relocate_inventory_problem": "the lab is not up: start it with 'relocate lab up'"
    }
    assert all(document[group]["hosts"] == [] for group in ("docker_hosts", "edge", "image_repository"))


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"hosts": [{}]}'])
def test_a_broken_record_is_a_sentence_and_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    problem = run(tmp_path, "--list")["all"]["vars"]["relocate_inventory_problem"]
    assert problem.startswith("the lab's state cannot be read (")
    assert problem.endswith("run 'relocate lab up' as root")


def test_every_host_has_its_address_index_and_group(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text(json.dumps(DOCUMENT))
    document = run(tmp_path, "--list")
    assert document["docker_hosts"]["hosts"] == [f"host{n}" for n in range(1, 31)]
    assert document["edge"]["hosts"] == document["image_repository"]["hosts"] == ["host0"]
    host7 = document["_meta"]["hostvars"]["host7"]
    assert (host7["ansible_host"], host7["relocate_host_index"]) == ("10.1.0.17", 7)
    assert (host7["relocate_fabric_address"], host7["relocate_fabric_address6"]) == ("10.1.0.17", "fd10:1::11")


def test_two_edges_are_one_repository_and_share_an_address(tmp_path: Path) -> None:
    edge2 = {"name": "edge2", "index": 0, "docker": False, "interfaces": leg(9), **HOST}
    document = {
        **DOCUMENT,
        "hosts": [DOCUMENT["hosts"][0], edge2],
        "gateway": "10.1.0.8/24",
        "gateway6": "fd10:1::8/64",
    }
    (tmp_path / "lab.json").write_text(json.dumps(document))
    found = run(tmp_path, "--list")
    assert found["edge"]["hosts"] == ["host0", "edge2"] and found["image_repository"]["hosts"] == ["host0"]
    assert found["all"]["vars"]["relocate_edge_gateway_address"] == "10.1.0.8/24"
    assert found["all"]["vars"]["relocate_edge_gateway_address6"] == "fd10:1::8/64"
    (tmp_path / "lab.json").write_text(json.dumps(DOCUMENT))
    assert not any(name.startswith("relocate_edge_gateway") for name in run(tmp_path, "--list")["all"]["vars"])


def test_ssh_goes_through_the_namespace_with_host_keys_checked(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text(json.dumps(DOCUMENT))
    ssh = run(tmp_path, "--list")["all"]["vars"]
    assert "ip netns exec relocate-lab-x nc %h %p" in ssh["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in ssh["ansible_ssh_common_args"]
    assert "UserKnownHostsFile=/state/ssh/known_hosts" in ssh["ansible_ssh_common_args"]
    # two labs have equal addresses: their shared connections must not meet
    assert ssh["ansible_control_path_dir"] == "/state/ssh/cp"


def test_ansible_parses_it_with_and_without_a_lab(tmp_path: Path) -> None:
    for document in (None, DOCUMENT):
        if document:
            (tmp_path / "lab.json").write_text(json.dumps(document))
        listing = subprocess.run(
            [Path(sys.executable).with_name("ansible-inventory"), "-i", SCRIPT.parent, "--list"],
            env={**os.environ, "RELOCATE_LAB_STATE": str(tmp_path), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(listing.stdout)["_meta"]["hostvars"]
        assert len(found) == (31 if document else 0)
        if document:
            assert found["host3"]["relocate_repository"]
