#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of the lab that runs on this machine, for any number of hosts.

Reads the document that ``relocate lab up`` leaves in the lab's state directory; standard library only. Without a lab the
inventory is empty but for a variable that says so: plays can refuse with its sentence.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROBLEM = "the lab is not up: start it with 'relocate lab up'"


def state_directory() -> str:
    """Return the lab's state directory, as roles/lab works it out from the same environment."""
    name = os.environ.get("RELOCATE_LAB_NAME", "")
    return os.environ.get("RELOCATE_LAB_STATE") or "/var/lib/relocate-lab" + (f"-{name}" if name else "")


def inventory(document: dict[str, Any]) -> dict[str, Any]:
    """Return Ansible's inventory of a running lab."""
    hosts = document["hosts"]
    ssh = {
        # The hosts live in a network namespace: ssh enters it by a pipe. Host keys are checked against the lab's own list.
        "ansible_ssh_common_args": f'-o ProxyCommand="ip netns exec {document["namespace"]} nc %h %p" '
        f"-o UserKnownHostsFile={document['known_hosts']} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes "
        "-o IdentitiesOnly=yes -o IdentityAgent=none",
        # ssh names a shared connection by its address alone, and another lab may use the same addresses
        "ansible_control_path_dir": str(Path(document["key"]).with_name("cp")),
        "ansible_ssh_private_key_file": document["key"],
        "ansible_user": "root",
        **restricted(f"{document['key']}_moves"),
        "relocate_lab_namespace": document["namespace"],
        "relocate_lab_client_namespace": document["client_namespace"],
        "relocate_lab_state": document["state"],
    }
    variables = {
        host["name"]: {
            "ansible_host": host["interfaces"][0]["address"].split("/")[0],
            "relocate_host_index": host["index"],
            "relocate_fabric_address": host["interfaces"][0]["address"].split("/")[0],
            "relocate_fabric_address6": host["interfaces"][0]["address6"].split("/")[0],
            "relocate_lab_suite": host["suite"],
        }
        for host in hosts
    }
    # a second edge, and what goes from one to the other: docs/operations.md, "Two edges"
    pair = {}
    if document.get("gateway"):
        pair = {
            "relocate_edge_gateway_address": document["gateway"],
            "relocate_edge_gateway_address6": document["gateway6"],
        }
    edge = [host["name"] for host in hosts if not host["docker"]]
    return {
        "_meta": {"hostvars": variables},
        "all": {"vars": {**ssh, **pair}, "children": ["docker_hosts", "edge", "image_repository"]},
        "docker_hosts": {"hosts": [host["name"] for host in hosts if host["docker"]]},
        "edge": {"hosts": edge},
        "image_repository": {"hosts": edge[:1]},
    }


def restricted(key: str) -> dict[str, Any]:
    """Return the variables of the login that moves containers, with its own key; root's key is for prepare.yml.

    None if there is no such key: the lab is an older one.
    """
    try:
        public = Path(f"{key}.pub").read_text().strip()
    except OSError:
        return {}
    login = {"relocate_user": "relocate", "relocate_user_key_file": key, "relocate_user_keys": [public]}
    return {**login, "relocate_user_instantiates": True}


def read() -> dict[str, Any]:
    """Return the running lab's inventory, or the empty one with the sentence that says why."""
    try:
        return inventory(json.loads(Path(state_directory(), "lab.json").read_text()))
    except FileNotFoundError:
        problem = PROBLEM
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"the lab's state cannot be read ({error}): run 'relocate lab up' as root"
    empty: dict[str, Any] = {group: {"hosts": []} for group in ("docker_hosts", "edge", "image_repository")}
    return {"_meta": {"hostvars": {}}, "all": {"vars": {"relocate_inventory_problem": problem}}, **empty}


if __name__ == "__main__":
    json.dump({} if "--host" in sys.argv else read(), sys.stdout, indent=2)
    sys.stdout.write("\n")
