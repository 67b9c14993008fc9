# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an execution node is sent: the project's playbooks with all they use, and the inventory as it stands at this moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.profiles import (
    default_directory as profiles_directory,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import default_path as ledger_path

from relocate.errors import Refusal
from relocate.move.playbook import write_variables

#: Parts of the project that playbooks use. The callback stays here: the ledger is written where the scheduler is.
PARTS = ("ansible.cfg", "playbooks", "roles", "collections")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "tests", "changelogs", "molecule")
LEDGER_TAIL = 256 << 10  # bytes: some hundred relocations, from which the next pause is predicted


def render_inventory(root: Path, inventory: str) -> str:
    """Return the inventory as YAML with all its variables, as Ansible reads it here.

    Dynamic inventories and the facts behind them are on this machine, not on the node. Raises Refusal with Ansible's own words.
    """
    command = [
        str(Path(sys.executable).with_name("ansible-inventory")),
        "-i",
        inventory,
        "--list",
        "--yaml",
        "--export",
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines()
        raise Refusal(f"the inventory {inventory} cannot be read: {said[-1] if said else 'no reason given'}")
    return ended.stdout


def pack(directory: Path, root: Path, inventory: str, variables: dict[str, Any], verbosity: int) -> None:
    """Fill ``directory``, which is empty, as ansible-runner's private data directory for a run elsewhere."""
    project = directory / "project"
    project.mkdir()
    for part in PARTS:
        source = root / part
        if source.is_dir():
            shutil.copytree(source, project / part, ignore=LEFT_BEHIND)
        else:
            shutil.copy2(source, project / part)
    past = _pack_past(project)
    hosts = directory / "inventory"
    hosts.mkdir(mode=0o700)
    _write(hosts / "hosts.yml", render_inventory(root, inventory))
    write_variables(directory, variables)
    # ansible-runner switches host-key checking off unless told; ansible.cfg is found in the working directory, project/
    _write(directory / "env" / "envvars", json.dumps({"ANSIBLE_HOST_KEY_CHECKING": "True", **past}))
    # the default of 5 makes every run end up to 5 s late
    _write(directory / "env" / "settings", json.dumps({"pexpect_timeout": 0.25}))
    if verbosity:
        _write(directory / "env" / "cmdline", "-" + "v" * verbosity)


def _pack_past(project: Path) -> dict[str, str]:
    """Add what destinations are drawn and pauses predicted from; return the variables that lead to it.

    The paths are relative: Ansible's working directory is the project, wherever the node puts that.
    """
    variables = {}
    if (profiles := profiles_directory()).is_dir():
        shutil.copytree(profiles, project / "profiles")
        variables["RELOCATE_PROFILES"] = "profiles"
    try:
        with ledger_path().open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LEDGER_TAIL))
            lines = stream.read().splitlines(keepends=True)
    except OSError:
        return variables
    # the first line is half a one, unless the file was read from its beginning
    _write(project / "ledger.jsonl", b"".join(lines[size > LEDGER_TAIL :]).decode(errors="replace"))
    return {**variables, "RELOCATE_LEDGER": "ledger.jsonl"}


def _write(path: Path, text: str) -> None:
    """Write a file that only we can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
