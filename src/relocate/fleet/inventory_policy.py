# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's ``relocate_policy``: how relocations draw their destinations, so that ``relocate fleet`` shows the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import PolicyError, Settings

from relocate.errors import Refusal


def of(inventory: str, root: Path) -> Settings | None:
    """Return the policy that the Docker hosts of an inventory share; None where it sets none, or cannot be read.

    :param root: the project's directory. :raises Refusal: the policy is wrong.
    """
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", inventory, "--list"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # a lab that is down
        return None
    options = _shared(json.loads(done.stdout))
    try:
        return Settings.from_mapping(options) if options else None
    except PolicyError as error:
        raise Refusal(f"relocate_policy of the inventory {inventory}: {error}") from error


def _shared(listing: dict[str, Any]) -> dict[str, Any]:
    variables = listing.get("_meta", {}).get("hostvars", {})
    for host in listing.get("docker_hosts", {}).get("hosts", []):
        options = variables.get(host, {}).get("relocate_policy")
        if isinstance(options, dict):
            return options
    return {}


def weights(settings: Settings) -> str:
    """Return a policy's weights as ``--weights`` takes them."""
    if isinstance(settings.weights, str):
        return settings.weights
    return ",".join(f"{name.removeprefix('w_')}={value:g}" for name, value in settings.weights.items())
