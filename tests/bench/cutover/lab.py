# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab the bench runs on: brought up and prepared by the project's own playbooks, entered by shells that stay open."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relocate.commands import lab as lab_command
from relocate.errors import Refusal
from relocate.lab import status
from relocate.lab.paths import Lab, project_root
from relocate.move import playbook
from relocate.move.relocation import DEFAULT_INVENTORY

from .shell import CommandFailed, Shell

REPOSITORY = "10.77.0.10:5000"
VIRTUAL = "10.88.0.100"
EDGE = "host0"
TABLE = "ip relocate"


class BenchLab:
    """A running lab. Hosts are given by name; ``host1`` and ``host2`` are the two that everything is measured between."""

    hosts = ("host1", "host2")

    def __init__(self) -> None:
        """Bring the lab up and prepare it. Raises Refusal when that fails."""
        self.root: Path = project_root()
        self.lab = Lab.from_environment()
        self.inventory = str(self.root / DEFAULT_INVENTORY)
        self.was_up = status.read(self.lab).up
        self._shells: list[Shell] = []
        try:
            lab_command.up(hosts=None, json_=False, verbose=False)
            self.play("prepare.yml")
            self.play("lab_images.yml")
            self.document = json.loads(self.lab.document.read_text())
            self.addresses = {
                host["name"]: host["interfaces"][0]["address"].split("/")[0] for host in self.document["hosts"]
            }
            self.edge = self.shell(EDGE)
            self.on = {host: self.shell(host) for host in self.hosts}
        except BaseException:
            self.close()
            raise

    def play(self, book: str, **variables: object) -> None:
        """Run one of the project's playbooks. Raises Refusal when it fails."""
        playbook.run(self.root, f"playbooks/{book}", dict(variables), inventory=self.inventory)

    def shell(self, host: str) -> Shell:
        """Open one more shell on a host."""
        argv = [
            "ssh",
            "-F",
            "none",
            *lab_command.ssh_options(self.document),
            f"root@{self.addresses[host]}",
            "LC_ALL=C exec sh",
        ]
        opened = Shell(host, argv)
        self._shells.append(opened)
        return opened

    def first_process(self, host: str) -> int:
        """Return the id, on this machine, of a host's first process: its files are below ``/proc/ID/root``."""
        return status.first_process(self.lab.namespace, self.lab.state / "hosts", host)

    def close(self) -> None:
        """Close the shells, and take the lab down unless it was up before."""
        for shell in self._shells:
            shell.close()
        if not self.was_up:
            lab_command.down(purge=False, json_=False, verbose=False)

    # -- what a person would do by hand at the edge while a container is carried over ---------------------------------

    def publish(self, name: str, port: int, host: str) -> None:
        """Send the virtual address's ``port`` to ``host``, and forget the connections that went elsewhere."""
        key = f"tcp . {VIRTUAL} . {port}"
        self.edge(
            f"nft 'delete element {TABLE} services {{ {key} }}' 2>/dev/null\n"
            f"nft 'add element {TABLE} services {{ {key} comment \"{name}\" : {self.addresses[host]} . {port} }}' && "
            f"{{ conntrack -D -p tcp --orig-dst {VIRTUAL} --dport {port} >/dev/null 2>&1; true; }}"
        )

    def withdraw(self, port: int) -> None:
        """Take a service away again, if it is there."""
        self.edge(f"nft 'delete element {TABLE} services {{ tcp . {VIRTUAL} . {port} }}'", check=False)

    def shut(self, port: int) -> None:
        """Drop what clients send to ``port``, and what its server sends to them from either host.

        The new one answers what the image holds as soon as it runs; while the edge still knows the old connection, that
        answer would leave from another port, and the client's reset would end the connection.
        """
        self.edge(f"nft 'add element {TABLE} shut {{ {self._places(port)} }}'")

    def reopen(self, port: int, check: bool = True) -> None:
        """Let packets through again."""
        self.edge(f"nft 'delete element {TABLE} shut {{ {self._places(port)} }}'", check)

    def _places(self, port: int) -> str:
        addresses = [VIRTUAL, *(self.addresses[host] for host in self.hosts)]
        return ", ".join(f"tcp . {address} . {port}" for address in addresses)


@contextmanager
def running(name: str, ledger: Path) -> Iterator[BenchLab]:
    """The lab of that name, ready; taken down at the end unless it was up. Relocations are noted in ``ledger``.

    Raises Refusal without root.
    """
    if os.geteuid() != 0:
        raise Refusal("the bench needs root, for the lab's namespaces and control groups: run it with sudo")
    os.environ["RELOCATE_LAB_NAME"] = name
    os.environ["RELOCATE_LEDGER"] = str(ledger)
    lab = BenchLab()
    try:
        yield lab
    finally:
        lab.close()


# arguments: port, directory, file that says how tar ended. tar reads the connection itself.
RECEIVER = """
import os, socket, subprocess, sys
with socket.create_server(("", int(sys.argv[1]))) as server:
    connection, _ = server.accept()
done = subprocess.run(["tar", "-x", "-C", sys.argv[2]], stdin=connection, stderr=subprocess.PIPE, text=True)
with open(sys.argv[3] + ".new", "w") as file:
    file.write(f"{done.returncode} {done.stderr}")
os.rename(sys.argv[3] + ".new", sys.argv[3])
"""


_ports = itertools.count(9300)


class Carrier:
    """Copies a directory from one host to another over their own network: tar into one TCP connection and out of it.

    Nothing that a person would use (scp, rsync, a registry) is quicker, so no pipeline looks slow for how it copies.
    """

    def __init__(self, lab: BenchLab, source: str, destination: str, directory: str, to: str) -> None:
        """Have the destination listen, each time on a port of its own: one whose hop failed may still wait."""
        port = next(_ports)
        self._from, self._to = lab.on[source], lab.on[destination]
        self._address, self._directory, self._port = lab.addresses[destination], directory, port
        self._done = f"/run/bench-carrier-{port}"
        self._to(
            f"rm -f {self._done}; mkdir -p {to}\npython3 -c '{RECEIVER}' {port} {to} {self._done} >/dev/null 2>&1 &"
        )
        deadline = time.monotonic() + 10
        while f":{port} " not in self._to("ss -ltnH"):
            if time.monotonic() > deadline:
                raise CommandFailed(f"nobody listens on port {port} of {destination}")

    def run(self) -> None:
        """Copy. Returns when the last byte is written at the destination."""
        self._from(f"bash -c 'tar -c -C {self._directory} . >/dev/tcp/{self._address}/{self._port}'")
        said = self._to(f"while [ ! -e {self._done} ]; do sleep 0.001; done; cat {self._done}")
        if said.split()[0] != "0":
            raise CommandFailed(f"unpacking at {self._to.name} ended with {said}")
