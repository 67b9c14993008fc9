# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's fleet, as a user at a terminal has it: for the tests that need real Docker hosts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waiting import until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
REPOSITORY = "10.77.0.10:5000"
VIRTUAL, VIRTUAL6 = "10.88.0.100", "fd10:88::100"
#: Has the edge load its table, as it is now, at its next boot, as ``nat_service`` does.
KEEP_TABLE = (
    "PYTHONPATH=/usr/local/lib/relocate python3 -c 'from relocate_proxy.network.packet_rules import Bystander; "
    'Bystander("", [], "", "").lift([])\''
)
#: Takes away what a test that was killed has left broken on a host: an order to fail, cut and spoiled links, small disks,
#: another criu. A later move would be slow, or fail, for no reason that anybody could see.
MENDED = """
rm -f /run/relocate/faults.json /run/relocate/paused /run/relocate/paused.never /run/relocate/before
for table in $(nft list tables inet | grep -oE '(partition|spoiled_[a-z0-9]+)$'); do nft delete table inet $table; done
for at in $(sed -n 's/^small \\([^ ]*\\) tmpfs .*/\\1/p' /proc/mounts); do umount -l $at; done
at=$(command -v criu) && while mountpoint -q $at; do umount $at; done
rm -rf /run/small-kept /run/real /run/criu-instead
"""
NO_LIMIT = "600000"  # milliseconds: how fast the machine of a test is, is no matter of the test
#: Removes containers by their names, with their volumes, what a host has put aside of those, and a fault that never came: all
#: of it would be there for the next test, for all tests of a worker have the same hosts.
REMOVE = """
volumes=$(docker container inspect -f '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}' "$@" 2>/dev/null)
docker rm -fv "$@" >/dev/null 2>&1
names=$(printf '%s\n' "$@")
# one that Docker is removing already, in its own time, is still there when that command has been told so
for i in $(seq 600); do
    left=$(docker ps -a --format '{{.Names}}' | grep -xF -e "$names") || break
    docker rm -fv $left >/dev/null 2>&1
    sleep 0.1
done
[ -z "$volumes" ] || docker volume rm -f $volumes >/dev/null 2>&1
for name; do rm -rf /var/lib/docker/relocate/volumes/"$name"@*; done
rm -f /run/relocate/faults.json
"""


@dataclass
class Fleet:
    """The lab, as a user at a terminal has it."""

    inventory: dict[str, Any] = field(default_factory=dict)
    tenants: list[str] = field(default_factory=list)

    @property
    def docker_hosts(self) -> list[str]:
        return list(self.inventory["docker_hosts"]["hosts"])

    @property
    def edges(self) -> list[str]:
        return list(self.inventory["edge"]["hosts"])

    @property
    def client_namespace(self) -> str:
        return str(self.variables("host0")["relocate_lab_client_namespace"])

    def variables(self, host: str) -> dict[str, Any]:
        """Return a host's variables."""
        found: dict[str, Any] = self.inventory["_meta"]["hostvars"][host]
        return found

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the project's programs in the project's directory."""
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def mend(self) -> None:
        """Take away from all hosts what a test that was killed has left broken."""
        lab = self.variables("host0")["relocate_lab_namespace"]
        for host in (*self.edges, *self.docker_hosts):
            limit = Path(f"/sys/fs/cgroup/memory/{lab}/{host}/memory.limit_in_bytes")
            if limit.exists():
                limit.write_text("-1")
            self.on(host, MENDED, check=False)

    def playbook(self, book: str, /, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook on the lab."""
        extra = json.dumps(variables)
        return self.run("ansible-playbook", "-i", "inventories/lab", f"playbooks/{book}", "-e", extra, check=check)

    def ssh(self, host: str, script: str) -> list[str]:
        """Return the command that runs a shell script on a host, over the same SSH that Ansible uses."""
        known = self.variables(host)
        command = ["ssh", "-q", "-i", known["ansible_ssh_private_key_file"], "-o", "BatchMode=yes"]
        command += ["-o", f"ProxyCommand=ip netns exec {known['relocate_lab_namespace']} nc %h %p"]
        command += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        command += ["-o", f"ControlPath={known['ansible_control_path_dir']}/tests-%h"]
        command += ["-o", f"UserKnownHostsFile={Path(known['ansible_ssh_private_key_file']).with_name('known_hosts')}"]
        return [*command, f"root@{known['ansible_host']}", script]

    def on(self, host: str, script: str, check: bool = True, data: str | None = None) -> str:
        """Run a shell script on a host, with ``data`` to read; return what it printed."""
        done = subprocess.run(
            self.ssh(host, script),
            input=data,
            stdin=None if data is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{host}: {script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def await_on(self, host: str, test: str, what: str) -> None:
        """Wait until a shell's test says yes on a host. :param what: what is waited for."""
        script = f"if {test}; then echo; echo yes; else echo; echo no; fi 2>&1"
        until(lambda: self.on(host, script, check=False), f"{what} on {host}", lambda said: said.endswith("yes"))

    def tenant(
        self,
        name: str,
        image: str,
        host: str,
        command: str = "",
        port: int | None = None,
        inside: int | None = None,
        tenant: str = "test",
        protocols: tuple[str, ...] = ("tcp",),
    ) -> None:
        """Run a tenant, published at ``port`` (another one ``inside`` the container); removed after the test.

        It listens when this returns, if a port is named at all.
        What ``instantiate.yml`` leaves is made by Docker's and nft's own commands, in a tenth of the time.
        """
        self.tenants.append(name)
        run = ["docker", "run", "-d", "--name", name]
        run += ["--label", "relocate.mtd/enabled=true", "--label", f"relocate.mtd/tenant={tenant}"]
        published = protocols if port else ()
        for protocol in published:
            run += ["-p", f"0.0.0.0:{port}:{inside or port}/{protocol}"]
        self.on(host, shlex.join([*run, f"{REPOSITORY}/{image}:1", *shlex.split(command)]))
        place = f"{self.variables(host)['ansible_host']} . {port}"
        elements = ", ".join(f'{each} . {VIRTUAL} . {port} comment "{name}" : {place}' for each in published)
        for edge in self.edges if published else ():
            self.on(edge, f"nft {shlex.quote(f'add element ip relocate services {{ {elements} }}')} && {KEEP_TABLE}")
        if (inside or port) and "tcp" in protocols:  # Docker's own listener takes a connection before the program does
            self.await_listener(host, name, inside or port)

    def await_listener(self, host: str, name: str, port: int | None) -> None:
        """Wait until a container listens on a port inside."""
        inspect = "docker inspect -f '{{.State.Pid}}'"
        listens = f"nsenter -t $({inspect} {name}) -n ss -ltnH 'sport = :{port}' | grep -q ."
        self.await_on(host, listens, f"{name}'s listener")

    def instantiate(self, name: str, image: str, host: str, command: str, port: int) -> None:
        """Run a tenant as a user does."""
        self.tenants.append(name)
        variables = {"container": name, "image": f"{REPOSITORY}/{image}:1", "host": host, "command": command}
        self.playbook("instantiate.yml", publish=f"{VIRTUAL}:{port}:{port}/tcp", **variables)

    def remove_tenants(self) -> None:
        """Remove what the test made, wherever it is now or has been, with its services."""
        if not self.tenants:
            return
        for host in self.docker_hosts:
            self.on(host, shlex.join(["sh", "-c", REMOVE, "remove", *self.tenants]))
        for edge in self.edges:
            self.on(edge, "rm -f /run/relocate/faults.json")
            for service in self.services(edge):
                if service["name"] in self.tenants:
                    key = f"{service['protocol']} . {service['virtual_address']} . {service['virtual_port']}"
                    family = "ip6" if ":" in service["virtual_address"] else "ip"
                    self.on(edge, f"nft 'delete element {family} relocate services {{ {key} }}'")
        self.tenants.clear()

    def services(self, edge: str = "host0") -> list[dict[str, Any]]:
        """Return an edge's services, from nft itself."""
        listed = [
            entry
            for family in ("ip", "ip6")
            for entry in json.loads(self.on(edge, f"nft -j list map {family} relocate services"))["nftables"]
        ]
        found = []
        for entry in listed:
            for key, value in entry.get("map", {}).get("elem", []):
                element = key["elem"]
                protocol, address, port = element["val"]["concat"]
                found.append(
                    {
                        "name": element["comment"],
                        "protocol": protocol,
                        "virtual_address": address,
                        "virtual_port": port,
                        "host_address": value["concat"][0],
                    }
                )
        return found

    def where(self, name: str) -> list[str]:
        """Return the hosts on which a container of this name runs, by ``docker ps``."""
        listing = f"docker ps --filter name=^{name}$ --format '{{{{.Names}}}}'"
        return [host for host in self.docker_hosts if self.on(host, listing)]

    def move(self, name: str, to: str | None = None, *more: str, check: bool = True) -> dict[str, Any]:
        """Move a container with the command, however long that takes here; return the result document.

        :param more: options of the command.
        """
        options = [*(["--to", to] if to else []), *more]
        done = self.run("relocate", "move", name, *options, "--downtime-limit", NO_LIMIT, "--json", check=False)
        assert done.stdout, f"relocate move printed nothing: {done.stderr}"
        result: dict[str, Any] = json.loads(done.stdout)
        assert not check or result["outcome"] == "committed", result.get("msg")
        return result

    def picture(self) -> str:
        """Return everything that a refused move must leave as it is: containers, and the edge's table."""
        shown = [
            self.on(host, "docker ps -a --no-trunc --format '{{.ID}} {{.Names}} {{.State}}' | sort")
            for host in self.docker_hosts
        ]
        tables = [self.on("host0", f"nft -s list table {family} relocate") for family in ("ip", "ip6")]
        return "\n".join([*shown, *tables])


def prepared_fleet(*shape: str, as_it_is: bool = False) -> Fleet:
    """Bring the lab up, prepare it, and return it.

    :param shape: options of ``relocate lab up``. :param as_it_is: it is up and prepared already.
    """
    fleet = Fleet()
    if not as_it_is:
        fleet.run("relocate", "lab", "up", *shape)
    fleet.inventory = json.loads(fleet.run("ansible-inventory", "-i", "inventories/lab", "--list").stdout)
    if as_it_is:
        return fleet
    fleet.mend()
    fleet.playbook("prepare.yml")
    fleet.playbook("lab_images.yml")
    return fleet
