#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: criu_dump
short_description: Writes the memory of a container or process tree to an image directory
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Freezes a running Docker container, has CRIU write its processes, memory, sockets and open files to a directory,
    and lets
    it go on, or ends it. A process tree outside Docker can be dumped as well.
  - Goes to CRIU directly. Neither Docker's experimental mode nor its checkpoint command is used, and Docker does not
    notice
    a dump that leaves the container running.
  - Of the container's files only those that were deleted and are still open go into the image, nor are its network
    interfaces
    in it. M(relocate.mtd.container_relocate) carries these too; this module is for snapshots, forensics and tests.
options:
  container:
    description: The name or id of a running Docker container.
    type: str
  pid:
    description: The root of a process tree outside Docker.
    type: int
  images:
    description:
      - The directory to write to. It is made, for root alone, or must be empty.
      - It holds whatever the process had in memory, secrets among it.
    type: path
    required: true
  leave_running:
    description:
      - Whether the processes go on after the dump.
      - With V(false) they are killed. Docker then shows the container as exited.
    type: bool
    default: true
  tcp_established:
    description: Whether established TCP connections go into the image. If V(false), the dump fails when there is one.
    type: bool
    default: true
  skip_in_flight:
    description: Whether half-open incoming connections are left out, in place of failing because of them.
    type: bool
    default: false
  network_lock:
    description:
      - How CRIU keeps packets away from the connections while it reads them.
      - V(skip) saves time and is right if somebody else keeps them away or nothing is restored from the image.
    type: str
    choices: [iptables, nftables, skip]
    default: nftables
  ghost_limit:
    description: The largest file, in bytes, that goes into the image although it was deleted.
    type: int
    default: 67108864
  shell_job:
    description: Whether the process tree O(pid) belongs to a terminal session outside of it.
    type: bool
    default: false
  log_level:
    description: How much CRIU writes to its log, from 1 (errors) to 4 (everything).
    type: int
    default: 1
attributes:
  idempotent:
    support: none
    details: Every run is a dump of its own and needs an empty directory.
seealso:
  - module: relocate.mtd.criu_restore
extends_documentation_fragment:
  - relocate.mtd.attributes.action
"""

EXAMPLES = r"""
- name: A snapshot of a container that goes on
  relocate.mtd.criu_dump:
    container: counter
    images: /var/lib/snapshots/counter-1

- name: A process tree, put away
  relocate.mtd.criu_dump:
    pid: 4711
    images: /var/lib/snapshots/batch
    leave_running: false
"""

RETURN = r"""
images:
  description: The directory, with what is in it, in order of size.
  returned: success
  type: dict
  contains:
    directory:
      description: Its path.
      type: str
    files:
      description: Names of the image files; empty in check mode.
      type: list
      elements: str
bytes:
  description: The size of all image files together.
  returned: success
  type: int
pid:
  description: The root of the process tree that was dumped.
  returned: success
  type: int
commands:
  description: The commands that were run, or in check mode would have been.
  returned: always
  type: list
  elements: str
timings_ns:
  description:
    - Nanoseconds until everything had stopped (C(freeze)), that CRIU ran (C(dump)), and from freeze to thaw (C(frozen)).
  returned: always
  type: dict
"""

import json
import os
import shlex
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _bundle, _criu, _forms, _freezer, _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule


class Dump:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Take the parameters; touch nothing."""
        self.module = module
        self.params = module.params
        self.commands = Commands(module)
        self.images: str = module.params["images"]
        self.work = os.path.join(self.images, "work")

    def options(self) -> dict[str, Any]:
        """Return the arguments of every dump."""
        names = ("leave_running", "tcp_established", "skip_in_flight", "network_lock", "ghost_limit", "log_level")
        return {name: self.params[name] for name in names}

    def check_directory(self) -> None:
        """Check that nothing would be overwritten."""
        if os.path.lexists(self.images) and (not os.path.isdir(self.images) or os.listdir(self.images)):
            self.commands.fail(f"{self.images} exists and is not an empty directory; name another one for the images")

    def make_directory(self) -> None:
        """Make the directory for root alone."""
        os.makedirs(self.images, mode=0o700, exist_ok=True)
        os.chmod(self.images, 0o700)
        os.mkdir(self.work, mode=0o700)

    def container(self) -> int:
        """Dump a Docker container; return the pid of its init."""
        name = self.params["container"]
        try:
            inspected = DockerClient().container(name)
        except DockerError as error:
            self.commands.fail(f"container {name!r} cannot be dumped: {error}")
        if inspected is None:
            self.commands.fail(f"this host has no container {name!r}; look with docker ps -a")
        if not inspected["State"]["Running"]:
            self.commands.fail(
                f"container {name!r} does not run (it is {inspected['State']['Status']}); start it first"
            )
        pid: int = inspected["State"]["Pid"]
        try:
            config = _bundle.config_of(inspected["Id"])
            mountinfo = _kernel.read_text(f"/proc/{pid}/mountinfo")
            at = _freezer.freezer_of(pid, inspected["Id"])
        except (OSError, ValueError) as error:
            self.commands.fail(f"container {name!r} cannot be dumped: {error}")
        masked = _criu.bundle_masked(config)
        externals = _criu.mount_externals(
            mountinfo,
            masked,
            _criu.bundle_binds(config),
            _criu.bundle_private_cgroups(config),
        )
        argv = _criu.dump_command(
            pid,
            self.images,
            self.work,
            root=config["root"]["path"],
            externals=externals,
            freeze_cgroup=at.directory,
            net_inode=os.stat(f"/proc/{pid}/ns/net").st_ino,
            **self.options(),
        )
        if self.module.check_mode:
            self.commands.ran.append(shlex.join(argv))
            return pid
        self.make_directory()
        links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
        description = {"container": inspected["Name"].lstrip("/"), "id": inspected["Id"], "config": config}
        description["masked_directories"] = _criu.masked_directories(externals, masked)
        self.commands.write_file(os.path.join(self.images, "descriptors.json"), _criu.descriptors(links), 0o600)
        self.commands.write_file(os.path.join(self.images, "container.json"), json.dumps(description), 0o600)
        self.frozen(at, argv, name)
        return pid

    def frozen(self, at: _criu.Freezer, argv: list[str], name: str) -> None:
        """Run CRIU while the container is frozen, and put the container back as it was."""
        was_frozen = _freezer.is_frozen(at)  # by docker pause
        started = time.monotonic_ns()
        try:
            if not was_frozen:
                _freezer.freeze_for_dump(at)
        except _freezer.FreezeError as error:
            self.commands.fail(f"container {name!r} was not dumped: {error}")
        self.commands.timings_ns["freeze"] = time.monotonic_ns() - started
        rc, out, err = self.commands.run(argv, check=False, label="dump")
        # killed tasks can die only when they are thawed; on a failure the container goes on
        if not (was_frozen and (self.params["leave_running"] or rc)):
            _freezer.thaw(at)
        self.commands.timings_ns["frozen"] = time.monotonic_ns() - started
        if rc:
            self.failed(f"container {name!r}", rc, out, err)

    def process(self) -> int:
        """Dump a process tree outside Docker; return its root."""
        pid: int = self.params["pid"]
        if not os.path.isdir(f"/proc/{pid}"):
            self.commands.fail(f"this host has no process {pid}")
        argv = _criu.dump_command(pid, self.images, self.work, shell_job=self.params["shell_job"], **self.options())
        if self.module.check_mode:
            self.commands.ran.append(shlex.join(argv))
            return pid
        self.make_directory()
        rc, out, err = self.commands.run(argv, check=False, label="dump")
        if rc:
            self.failed(f"process {pid}", rc, out, err)
        return pid

    def failed(self, what: str, rc: int, out: str, err: str) -> None:
        """End the module with the last word of CRIU's log."""
        log = read_text(os.path.join(self.work, "dump.log")) or err or out
        errors = [line for line in log.splitlines() if "Error" in line] or log.splitlines() or [f"exit status {rc}"]
        self.commands.fail(
            f"CRIU could not dump {what}, which goes on: {errors[0].strip()}; all of it is in {self.work}/dump.log",
            rc=rc,
            stdout=out,
            stderr=err,
        )


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "container": _forms.container_name,
            "pid": _forms.whole(1, 1 << 22),
            "images": _forms.path,
            "ghost_limit": _forms.size,
            "log_level": _forms.whole(0, 4),
        },
        argument_spec={
            "container": {"type": "str"},
            "pid": {"type": "int"},
            "images": {"type": "path", "required": True},
            "leave_running": {"type": "bool", "default": True},
            "tcp_established": {"type": "bool", "default": True},
            "skip_in_flight": {"type": "bool", "default": False},
            "network_lock": {"type": "str", "choices": ["iptables", "nftables", "skip"], "default": "nftables"},
            "ghost_limit": {"type": "int", "default": _criu.GHOST_LIMIT},
            "shell_job": {"type": "bool", "default": False},
            "log_level": {"type": "int", "default": 1},
        },
        required_one_of=[("container", "pid")],
        mutually_exclusive=[("container", "pid")],
        supports_check_mode=True,
    )
    dump = Dump(module)
    dump.commands.binary("criu")
    dump.check_directory()
    pid = dump.container() if module.params["container"] else dump.process()
    sizes: dict[str, int] = {}
    if not module.check_mode:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(dump.images) if entry.is_file()}
    module.exit_json(
        changed=True,
        images={"directory": dump.images, "files": sorted(sizes, key=lambda name: (-sizes[name], name))},
        bytes=sum(sizes.values()),
        pid=pid,
        commands=dump.commands.ran,
        timings_ns=dump.commands.timings_ns,
    )


if __name__ == "__main__":
    main()
