#!/usr/bin/python
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts: LXC system containers over a shared, read-only root file system."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_hosts
short_description: Bring the lab's hosts to exactly the wanted ones, all well
description:
  - Starts the hosts that are not running, all at once, and waits until each answers. A host that is well is left alone.
  - A host that does not become well is rebuilt from its root file system once, losing what was on its disks.
  - Hosts of this lab that are not listed are ended and removed, with their processes, control groups and disks.
attributes:
  check_mode: {support: full, description: Can run in check mode and say what would change.}
  diff_mode: {support: none, description: Shows no difference.}
options:
  namespace:
    description: The network namespace with the bridges, and the name of the lab's control group.
    type: str
    required: true
  path:
    description: Directory with one directory a host. The hosts' disks are in it.
    type: path
    required: true
  ssh:
    description: Directory for the key that may log in as root, C(id_ed25519), and for C(known_hosts); made if missing.
    type: path
  timeout:
    description: Seconds until every host must be well.
    type: int
    default: 60
  hosts:
    description: The wanted hosts; none removes all.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The host's name., type: str, required: true}
      root: {description: Its root file system. Must not be changed while a host stands on it., type: path, required: true}
      docker: {description: Whether dockerd runs on it from the start., type: bool, default: true}
      interfaces:
        description: Its network interfaces, eth0 first.
        type: list
        elements: dict
        required: true
        suboptions:
          bridge: {description: The bridge it is on., type: str, required: true}
          address: {description: Its address with the prefix length., type: str, required: true}
          address6: {description: Its IPv6 address with the prefix length., type: str, required: true}
          gateway: {description: The host's default route., type: str}
          gateway6: {description: The host's default route of IPv6., type: str}
author: [the relocate project]
"""

EXAMPLES = r"""
- name: Start one host
  lab_hosts:
    namespace: relocate-lab
    path: /var/lib/relocate-lab/hosts
    ssh: /var/lib/relocate-lab/ssh
    hosts:
      - name: host1
        root: /var/cache/relocate-lab/roots/trixie
        interfaces: [{bridge: fabric, address: 10.77.0.11/24, address6: "fd10:77::b/64"}]
"""

RETURN = r"""
started:
  description: Names of the hosts that were started.
  returned: success
  type: list
  elements: str
rebuilt:
  description: Names of the hosts whose disks were emptied.
  returned: success
  type: list
  elements: str
removed:
  description: Names of the hosts that were removed.
  returned: success
  type: list
  elements: str
commands:
  description: The commands that were run to change something, in order.
  returned: always
  type: list
  elements: list
"""

import hashlib
import os
import re
import shutil
import signal
import time
from typing import Any

from ansible.module_utils import lab_cgroups, lab_health, lab_lxc
from ansible.module_utils.basic import AnsibleModule


class Hosts:
    """Brings hosts to life, keeps them well, and removes them."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.namespace: str = module.params["namespace"]
        self.path: str = module.params["path"]
        self.commands: list[list[str]] = []
        self.started: list[str] = []
        self.rebuilt: list[str] = []
        self.removed: list[str] = []

    def directory(self, name: str) -> str:
        """Return the directory of a host."""
        return os.path.join(self.path, name)

    def group(self, name: str) -> str:
        """Return the control group of a host, relative to a hierarchy's root."""
        return f"{self.namespace}/{name}"

    def run(self, argv: list[str], what: str) -> None:
        """Run a command that changes something; fail with its own words."""
        self.commands.append(argv)
        code, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
        if code:
            self.fail(f"{what}: {(err or out).strip()}", rc=code)

    def fail(self, message: str, **more: Any) -> None:
        """Fail, saying what has been done so far."""
        self.module.fail_json(msg=message, commands=self.commands, started=self.started, rebuilt=self.rebuilt, **more)

    def pid(self, name: str) -> int:
        """Return the id of a host's first process, as its LXC monitor tells it; 0 if it does not run."""
        if not os.path.exists(f"/run/netns/{self.namespace}"):
            return 0
        code, out, _err = self.module.run_command(
            ["nsenter", f"--net=/run/netns/{self.namespace}", "lxc-info", "-P", self.path, "-n", name, "-p", "-H"]
        )
        return int(out) if code == 0 and out.strip().isdigit() else 0

    def existing(self) -> list[str]:
        """Return the hosts this lab has anything of: a directory or a control group."""
        names = set(os.listdir(self.path)) if os.path.isdir(self.path) else set()
        for tree in lab_cgroups.trees(self.namespace):
            names.update(name for name in os.listdir(tree) if os.path.isdir(os.path.join(tree, name)))
        return sorted(names)

    def as_wanted(self, host: dict[str, Any]) -> bool:
        """Tell whether a host's disks were made from the wanted root file system with the wanted configuration."""
        directory = self.directory(host["name"])
        if not all(os.path.isdir(os.path.join(directory, disk)) for disk in ("upper/etc", "docker")):
            return False
        try:
            return read(os.path.join(directory, "config")) == lab_lxc.config(host, directory, self.group(host["name"]))
        except FileNotFoundError:
            return False

    def end(self, name: str) -> None:
        """End a host's processes and remove its control groups; its disks stay."""
        self.end_connections(name)
        left = lab_cgroups.end(self.group(name))
        if left:
            self.fail(f"processes of {name} do not end: {sorted(left)}")
        busy = lab_cgroups.remove(self.group(name))
        if busy:
            self.fail(f"control groups of {name} cannot be removed: {busy}")
        self.end_links(name)

    def end_links(self, name: str) -> None:
        """Remove a host's links: the kernel does so, too, but in its own time, and the host is to have them again at once."""
        config = os.path.join(self.directory(name), "config")
        if os.path.exists(config):
            for link in re.findall(r"^lxc\.net\.[0-9]+\.veth\.pair = (\S+)", read(config), re.MULTILINE):
                self.module.run_command(["ip", "-n", self.namespace, "link", "delete", link])

    @property
    def login_key(self) -> str:
        """Return the path of the key that may log in as root."""
        return os.path.join(self.module.params["ssh"], "id_ed25519")

    def ensure_key(self, path: str, comment: str) -> None:
        """Make a key pair unless there is one; half of one is none."""
        if os.path.exists(path + ".pub"):
            return
        if os.path.exists(path):
            os.unlink(path)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], f"no key {path}")

    def write_known_hosts(self, hosts: list[dict[str, Any]]) -> None:
        """Write the file against which host keys are checked, if it says anything else."""
        lines = []
        for host in hosts:
            key = read(os.path.join(self.directory(host["name"]), "ssh_host_ed25519_key.pub")).split()
            lines.append(f"{host['interfaces'][0]['address'].split('/')[0]} {key[0]} {key[1]}\n")
        path = os.path.join(self.module.params["ssh"], "known_hosts")
        if not os.path.exists(path) or read(path) != "".join(lines):
            write(path, "".join(lines))

    def end_connections(self, name: str) -> None:
        """End the pipes of SSH connections to a host that goes: ssh would use its shared, dead connection for the next play."""
        wanted = [host["interfaces"] for host in self.module.params["hosts"] if host["name"] == name]
        addresses = {interfaces[0]["address"].partition("/")[0] for interfaces in wanted}
        config = os.path.join(self.directory(name), "config")
        if os.path.exists(config):
            addresses.update(re.findall(r"^lxc\.net\.0\.ipv4\.address = ([0-9.]+)", read(config), re.MULTILINE))
        _code, out, _err = self.module.run_command(["ip", "netns", "pids", self.namespace])
        for pid in out.split():
            try:
                words = read(f"/proc/{pid}/cmdline").split("\0")
                if os.path.basename(words[0]).startswith("nc") and addresses.intersection(words):
                    os.kill(int(pid), signal.SIGTERM)
            except (FileNotFoundError, ProcessLookupError):
                continue

    def build(self, host: dict[str, Any]) -> None:
        """Make a host's disks and identity anew. The SSH host key stays what it was: known_hosts goes on being true."""
        name, directory = host["name"], self.directory(host["name"])
        for disk in ("upper", "work", "docker", "config"):
            path = os.path.join(directory, disk)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)
        for disk in ("upper/etc/ssh", "upper/etc/rc2.d", "docker"):
            os.makedirs(os.path.join(directory, disk), 0o755, exist_ok=True)
        key = os.path.join(directory, "ssh_host_ed25519_key")
        self.ensure_key(key, name)
        upper = os.path.join(directory, "upper")
        for suffix in ("", ".pub"):
            shutil.copy2(key + suffix, os.path.join(upper, "etc/ssh/ssh_host_ed25519_key" + suffix))
        os.makedirs(os.path.join(upper, "root/.ssh"), 0o700)
        os.chmod(os.path.join(upper, "root"), 0o700)
        write(os.path.join(upper, "root/.ssh/authorized_keys"), read(self.login_key + ".pub"), 0o600)
        write(os.path.join(upper, "etc/hostname"), name + "\n")
        write(os.path.join(upper, "etc/hosts"), f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
        identity = hashlib.md5(f"{self.namespace}/{name}/{time.time_ns()}".encode()).hexdigest()
        write(os.path.join(upper, "etc/machine-id"), identity + "\n")
        if host["docker"]:
            os.symlink("../init.d/docker", os.path.join(upper, "etc/rc2.d/S01docker"))
        # last: a host whose configuration is there is a whole one
        write(os.path.join(directory, "config"), lab_lxc.config(host, directory, self.group(name)))

    def start(self, host: dict[str, Any]) -> None:
        """Start a host (0.1 s); it is not well yet when this returns."""
        name, directory = host["name"], self.directory(host["name"])
        scratch = os.path.join(directory, "mnt")
        os.makedirs(scratch, exist_ok=True)
        log = os.path.join(directory, "lxc.log")
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--propagation", "slave"]
        enter += ["sh", "-c", lab_lxc.ENTER, "sh", scratch]
        lxc = [
            "lxc-start",
            "-P",
            self.path,
            "-n",
            name,
            "-f",
            os.path.join(directory, "config"),
            "-l",
            "WARN",
            "-o",
            log,
        ]
        self.run(enter + lxc, f"{name} does not start (see {log})")
        self.started.append(name)

    def wait(self, hosts: list[dict[str, Any]], timeout: float) -> dict[str, list[str]]:
        """Wait until hosts are well; return what is wrong with those that are not, by name."""
        deadline = time.monotonic() + timeout
        while True:
            wrong = {host["name"]: lab_health.ailments(self.pid(host["name"]), host["docker"]) for host in hosts}
            wrong = {name: ailments for name, ailments in wrong.items() if ailments}
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(0.1)

    def present(self, hosts: list[dict[str, Any]]) -> None:
        """Start, heal or rebuild what needs it."""
        if not hosts:
            return
        ill = [h for h in hosts if not self.as_wanted(h) or lab_health.ailments(self.pid(h["name"]), h["docker"])]
        if self.module.check_mode:
            self.started = [host["name"] for host in ill]
            return
        self.ensure_key(self.login_key, self.namespace)
        self.ensure_key(self.login_key + "_moves", f"{self.namespace} moves")  # the role restricted_login lets it in
        for host in ill:
            self.end(host["name"])
            if not self.as_wanted(host):
                self.build(host)
            self.start(host)
        wrong = self.wait(ill, self.module.params["timeout"] / 2)
        for host in [host for host in ill if host["name"] in wrong]:
            self.end(host["name"])
            self.build(host)
            self.start(host)
            self.rebuilt.append(host["name"])
        wrong = self.wait([host for host in ill if host["name"] in wrong], self.module.params["timeout"] / 2)
        if wrong:
            self.fail(
                "hosts are not well: "
                + "; ".join(f"{name}: {', '.join(ailments)}" for name, ailments in sorted(wrong.items()))
                + f" (logs: {self.path}/NAME/upper/var/log and {self.path}/NAME/lxc.log)"
            )
        self.write_known_hosts(hosts)

    def absent(self, keep: set[str]) -> None:
        """Remove every host but those to keep; without any, the lab's own control group as well."""
        self.removed = [name for name in self.existing() if name not in keep]
        if self.module.check_mode:
            return
        for name in self.removed:
            self.end(name)
            if os.path.isdir(self.directory(name)):
                shutil.rmtree(self.directory(name))
        if not keep:
            busy = lab_cgroups.remove(self.namespace)
            if busy:
                self.fail(f"control groups cannot be removed: {busy}")


def read(path: str) -> str:
    """Return a small file's contents."""
    with open(path) as handle:
        return handle.read()


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a small file with the given mode."""
    with open(path, "w") as handle:
        handle.write(text)
    os.chmod(path, mode)


def main() -> None:
    """Bring the lab's hosts to the wanted ones."""
    interface = {
        **{name: {"required": True} for name in ("bridge", "address", "address6")},
        **{name: {} for name in ("gateway", "gateway6")},
    }
    options = {
        "name": {"required": True},
        "root": {"type": "path", "required": True},
        "docker": {"type": "bool", "default": True},
        "interfaces": {"type": "list", "elements": "dict", "required": True, "options": interface},
    }
    module = AnsibleModule(
        argument_spec={
            "namespace": {"required": True},
            "path": {"type": "path", "required": True},
            "ssh": {"type": "path"},
            "timeout": {"type": "int", "default": 60},
            "hosts": {"type": "list", "elements": "dict", "required": True, "options": options},
        },
        supports_check_mode=True,
    )
    wanted: list[dict[str, Any]] = module.params["hosts"]
    if wanted and not module.params["ssh"]:
        module.fail_json(msg="ssh is required with hosts: nobody could log in to them")
    hosts = Hosts(module)
    hosts.absent(keep={host["name"] for host in wanted})
    hosts.present(wanted)
    module.exit_json(
        changed=bool(hosts.started or hosts.removed),
        started=hosts.started,
        rebuilt=hosts.rebuilt,
        removed=hosts.removed,
        commands=hosts.commands,
    )


if __name__ == "__main__":
    main()
