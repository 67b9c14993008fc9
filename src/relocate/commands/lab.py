# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``relocate lab``: real Docker hosts on this machine, brought up, looked at, entered and taken down."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from relocate.errors import Refusal
from relocate.lab import status
from relocate.lab.lock import exclusively
from relocate.lab.paths import Lab, project_root
from relocate.move import playbook
from relocate.reading import shown

HOSTS = 3  # Docker hosts of a lab that nobody has given a number
MOST_HOSTS = 200  # what the default network has addresses for, with room above

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ansible's own output.")]

lab_app = typer.Typer(
    name="lab",
    help="Manage the lab: real Docker hosts on this machine, in network namespaces of their own.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add ``relocate lab`` to the command."""
    app.add_typer(lab_app)


def need_root(what: str) -> None:
    """Refuse without root: namespaces, mounts and control groups are root's."""
    if os.geteuid() != 0:
        raise Refusal(f"'relocate lab {what}' needs root, for network namespaces and control groups: run it with sudo")


def need_debian() -> None:
    """Refuse where the hosts' packages cannot be had."""
    if not shutil.which("apt-get"):
        raise Refusal(
            "the lab's hosts are made from Debian packages, but there is no apt-get here: use a Debian machine"
        )


def summary(found: status.LabStatus) -> str:
    """Return one line about a lab that is up."""
    hosts = [host for host in found.hosts if host.docker]
    suites = sorted({host.suite for host in hosts})
    edges = [host.name for host in found.hosts if not host.docker][1:]
    second = f", {edges[0]} (the other edge)" if edges else ""
    return f"host0 (edge, image repository){second} and {len(hosts)} Docker hosts ({', '.join(suites)})"


def say(sentence: str) -> None:
    """Print one sentence, coloured nowhere and wrapped by the terminal alone."""
    Console().print(sentence, markup=False, highlight=False, soft_wrap=True)


def change(root: Path, variables: dict[str, Any], *, verbose: bool, quiet: bool) -> None:
    """Run the lab's play; say what to do if it is interrupted half-way."""
    try:
        playbook.run(root, "playbooks/lab.yml", variables, verbose=verbose, quiet=quiet)
    except KeyboardInterrupt:
        raise Refusal(
            "interrupted: 'relocate lab up' continues from here, 'relocate lab down' removes what is there",
            status=130,
        ) from None


def emit(document: dict[str, Any]) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2))


@lab_app.command("up")
def up(
    hosts: Annotated[
        int | None,
        typer.Option(
            "--hosts",
            "-n",
            min=1,
            max=MOST_HOSTS,
            help="Number of Docker hosts. Default: as many as there are; 3 at first.",
        ),
    ] = None,
    edges: Annotated[
        int | None,
        typer.Option(
            "--edges",
            min=1,
            max=2,
            help="Number of edges: edge2 beside host0. Default: as many as there are; 1 at first.",
        ),
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bring the lab up, or repair it: host0, the Docker hosts and the client's network namespace."""
    need_root("up")
    need_debian()
    lab, root, start = Lab.from_environment(), project_root(), time.monotonic()
    with exclusively(lab.lock, "relocate lab up"):
        there = [host.docker for host in status.read(lab).hosts]
        wanted = {"lab_hosts": hosts or there.count(True) or HOSTS, "lab_edges": edges or there.count(False) or 1}
        change(root, {"lab_state": "present", **wanted}, verbose=verbose, quiet=json_)
        found = status.read(lab)
    if json_:
        emit(found.as_dict())
    else:
        say(f"The lab is up after {time.monotonic() - start:.1f} s: {summary(found)}.")


@lab_app.command("down")
def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the cached root file systems and images as well.")
    ] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Take the lab down: remove its processes, namespaces, mounts, control groups and state."""
    need_root("down")
    lab, root = Lab.from_environment(), project_root()
    with exclusively(lab.lock, "relocate lab down"):
        variables = {"lab_state": "purged" if purge else "absent"}
        change(root, variables, verbose=verbose, quiet=json_)
        found = status.read(lab)
    if json_:
        emit(found.as_dict())
    else:
        cache = "; its cache is removed" if purge else f"; root file systems and images stay in {lab.cache}"
        say(f"The lab is down{cache if purge or lab.cache.exists() else ''}.")


@lab_app.command("status")
def show_status(json_: Json = False) -> None:
    """Show the lab: every host, whether it is well, and its memory."""
    lab = Lab.from_environment()
    if lab.document.exists():
        need_root("status")
    found = status.read(lab)
    if json_:
        emit(found.as_dict())
        return
    console = Console()
    if found.hosts:
        table = Table("host", "address", "system", "state", "memory", box=None, pad_edge=False)
        for host in found.hosts:
            state = ", ".join(host.ailments) or "well"
            system = host.suite + (", Docker" if host.docker else ", edge")
            table.add_row(host.name, host.address, system, state, f"{host.memory / 1e6:.0f} MB")
        console.print(table)
    if found.problem:
        say(found.problem)


@lab_app.command("shell")
def shell(
    host: Annotated[str, typer.Argument(help="host0, host1, …, or client.")],
    command: Annotated[list[str] | None, typer.Argument(help="Run this instead of a shell (after --).")] = None,
) -> None:
    """Enter a host over SSH, or the client's network namespace."""
    need_root("shell")
    lab = Lab.from_environment()
    if not lab.document.exists():
        raise Refusal(status.read(lab).problem)
    document = json.loads(lab.document.read_text())
    if host == "client":
        argv = ["ip", "netns", "exec", document["client_namespace"], *(command or [os.environ.get("SHELL", "/bin/sh")])]
    else:
        addresses = {entry["name"]: entry["interfaces"][0]["address"].split("/")[0] for entry in document["hosts"]}
        if host not in addresses:
            raise Refusal(f"the lab has no host {shown(host)}: it has {', '.join(addresses)} and client")
        argv = ["ssh", "-F", "none", *ssh_options(document)]
        argv += ["-t"] if sys.stdin.isatty() else []
        argv += [f"root@{addresses[host]}", *([shlex.join(command)] if command else [])]
    os.execvp(argv[0], argv)


def ssh_options(document: dict[str, Any]) -> list[str]:
    """Return ssh's options for entering a host, the inventory's: through the namespace, with the lab's keys only."""
    settings = {
        "ProxyCommand": f"ip netns exec {document['namespace']} nc %h %p",
        "UserKnownHostsFile": document["known_hosts"],
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentityFile": document["key"],
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
