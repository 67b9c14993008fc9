# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab is like at this moment: asked of the machine, not of a record."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from relocate.lab.paths import Lab, project_root


@dataclass(frozen=True)
class HostStatus:
    """One host. ``memory`` is the proportional set size of all its processes, in bytes."""

    name: str
    address: str
    suite: str
    docker: bool
    pid: int
    ailments: list[str]
    memory: int


@dataclass(frozen=True)
class LabStatus:
    """The lab. ``problem`` says in a sentence what is wrong and what to do; it is empty when all is well."""

    up: bool
    name: str
    namespace: str
    client_namespace: str
    state: str
    problem: str
    hosts: list[HostStatus] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        return asdict(self)


def role_code(name: str, folder: str = "module_utils") -> ModuleType:
    """Return a Python file of roles/lab as a module: the role and this command ask the same questions."""
    path = project_root() / "roles" / "lab" / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"relocate.lab.role_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_process(namespace: str, hosts: Path, name: str) -> int:
    """Return the id of a host's first process, 0 if it does not run."""
    if not Path("/run/netns", namespace).exists():
        return 0
    # LXC's control sockets are abstract: they are in the lab's network namespace
    argv = ["nsenter", f"--net=/run/netns/{namespace}", "lxc-info", "-P", str(hosts), "-n", name, "-p", "-H"]
    out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    return int(out) if out.isdigit() else 0


def proportional_size(pids: set[int]) -> int:
    """Return the proportional set size of processes in bytes: pages that several share count in parts."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def read(lab: Lab) -> LabStatus:
    """Return the lab's status. Needs root to see anything of a lab that is up."""
    if not lab.document.exists():
        left = [str(path) for path in (lab.state, Path("/run/netns", lab.namespace)) if path.exists()]
        if left:
            problem = f"the lab came up only in part ({', '.join(left)}): heal it with 'relocate lab up'"
        else:
            problem = "the lab is not up: start it with 'relocate lab up'"
        return _answer(lab, False, problem, [])
    health, cgroups = role_code("lab_health"), role_code("lab_cgroups")
    hosts = []
    document = json.loads(lab.document.read_text())
    for host in document["hosts"]:
        pid = first_process(lab.namespace, lab.state / "hosts", host["name"])
        hosts.append(
            HostStatus(
                name=host["name"],
                address=host["interfaces"][0]["address"].split("/")[0],
                suite=host["suite"],
                docker=host["docker"],
                pid=pid,
                ailments=health.ailments(pid, host["docker"]),
                memory=proportional_size(cgroups.processes(f"{lab.namespace}/{host['name']}/payload")),
            )
        )
    wrong = [f"{host.name}: {', '.join(host.ailments)}" for host in hosts if host.ailments]
    wrong += [f"{part} is missing" for part in missing_network(lab, document)]
    problem = f"the lab is ill ({'; '.join(wrong)}): heal it with 'relocate lab up'" if wrong else ""
    return _answer(lab, True, problem, hosts)


def missing_network(lab: Lab, document: dict[str, Any]) -> list[str]:
    """Return what a lab's network lacks: a namespace, or a bridge in it."""
    absent = [name for name in (lab.namespace, lab.client_namespace) if not Path("/run/netns", name).exists()]
    missing = [f"the network namespace {name}" for name in absent]
    if lab.namespace not in absent:
        argv = ["ip", "-n", lab.namespace, "-j", "link", "show", "type", "bridge"]
        out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        there = {link.get("ifname") for link in json.loads(out or "[]")}
        bridges = {interface["bridge"] for host in document["hosts"] for interface in host["interfaces"]}
        missing += [f"the bridge {name}" for name in sorted(bridges - there)]
    return missing


def _answer(lab: Lab, up: bool, problem: str, hosts: list[HostStatus]) -> LabStatus:
    return LabStatus(up, lab.name, lab.namespace, lab.client_namespace, str(lab.state), problem, hosts)
