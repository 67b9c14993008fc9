# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bind mounts: a directory that all hosts have mounted, and files that all of them have alike. Anything else stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import python_image
from fleet import Fleet
from waiting import until

pytestmark = pytest.mark.lab

#: Puts a directory of this machine into a host, as a network file system would be there: the same one in each.
MOUNT = """
import ctypes, os, sys
source, pid, point = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def done(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "it cannot be mounted")
    return result
tree = done(libc.syscall(428, -100, source.encode(), 1))  # open_tree(AT_FDCWD, ..., OPEN_TREE_CLONE)
done(libc.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0x20000))
os.makedirs(point, exist_ok=True)
done(libc.syscall(429, tree, b"", -100, point.encode(), 4))  # move_mount(..., MOVE_MOUNT_F_EMPTY_PATH)
"""
#: Appends to a shared file that it has open, and reads a host's file that it has open.
PROGRAM = """
import os, time
log, zone, number = open("/shared/log", "a"), open("/etc/timezone"), 0
while True:
    number += 1
    log.write(f"{number}\\n")
    log.flush()
    os.fsync(log.fileno())
    zone.seek(0)
    print(number, zone.read().strip(), flush=True)
    time.sleep(0.02)
"""
OPTIONS = "-v /srv/shared:/shared --mount type=bind,src=/etc/timezone,dst=/etc/timezone,readonly"


def first_process(fleet: Fleet, host: str) -> str:
    """Return the pid of a host's init on this machine."""
    known = fleet.variables(host)
    command = ["nsenter", f"--net=/run/netns/{known['relocate_lab_namespace']}", "lxc-info", "-P"]
    command += [f"{known['relocate_lab_state']}/hosts", "-n", host, "-p", "-H"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def shared(fleet: Fleet, tmp_path: Path) -> Iterator[Path]:
    """Return a directory that host1 and host2 have at /srv/shared, and host3 has not."""
    for host in fleet.docker_hosts:
        fleet.on(host, "echo Etc/UTC > /etc/timezone")
    for host in ("host1", "host2"):
        command = [sys.executable, "-c", MOUNT, str(tmp_path), first_process(fleet, host), "/srv/shared"]
        subprocess.run(command, check=True)
    fleet.on("host3", "mkdir -p /srv/shared; echo CET > /etc/timezone")
    python_image.make(fleet)
    yield tmp_path
    fleet.remove_tenants()
    for host in fleet.docker_hosts:
        fleet.on(host, "umount -l /srv/shared 2>/dev/null; rm -f /etc/timezone; rmdir /srv/shared", check=False)


def more_lines(shared: Path) -> None:
    """Wait until the program goes on."""
    log = shared / "log"
    written = lambda: len(log.read_text().split()) if log.exists() else 0  # noqa: E731
    before = written()
    until(written, "more lines", lambda lines: lines > before + 5)


def test_what_both_hosts_show_travels(fleet: Fleet, shared: Path) -> None:
    python_image.run(fleet, "host1", "writer", PROGRAM, OPTIONS)
    more_lines(shared)
    refused = fleet.move("writer", "host3", check=False)
    assert refused["outcome"] == "refused"
    assert "/srv/shared on host3 is another directory: mount the same file system on both hosts" in refused["msg"]
    assert "/etc/timezone on host3 is not what the container was shown" in refused["msg"]
    for host in ("host2", "host1", "host2"):
        fleet.move("writer", host)
        more_lines(shared)
        lines = (shared / "log").read_text().split()
        assert lines == [str(number + 1) for number in range(len(lines))], "no line is lost, doubled or torn"
        assert fleet.on(host, "docker logs -n 1 writer").split()[1] == "Etc/UTC"
        assert [each.name for each in shared.iterdir()] == ["log"], "no probe is left"
        modes = "{{range .Mounts}}{{.Destination}} {{.RW}} {{end}}"
        found = fleet.on(host, f"docker inspect -f '{modes}' writer").split()
        assert dict(zip(found[::2], found[1::2], strict=True)) == {"/shared": "true", "/etc/timezone": "false"}


def test_what_no_policy_names_stays(fleet: Fleet, shared: Path) -> None:
    """All of it is said at once, before anything is touched; and a move that is taken back leaves no probe."""
    odd = "-v /var/run/docker.sock:/sock -v /var/tmp:/host -v /etc/timezone:/tz -v /srv/shared:/shared:rslave"
    python_image.run(fleet, "host1", "writer", "import time\nwhile True: time.sleep(1)", odd)
    refused = fleet.move("writer", "host2", check=False)
    assert refused["outcome"] == "refused"
    for words in (
        "the bind mount of /var/run/docker.sock at /sock gives the container writer a socket",
        "the bind mount of /var/tmp at /host of the container writer is not carried: use a volume, or name it",
        "the bind mount of /etc/timezone at /tz of the container writer is not carried: mount it read-only",
        "the bind mount of /srv/shared at /shared of the container writer has the option rslave",
    ):
        assert words in refused["msg"], refused["msg"]
    fleet.on("host1", "docker rm -f writer")
    python_image.run(fleet, "host1", "writer", PROGRAM, OPTIONS)
    more_lines(shared)
    fault = '{"part": "destination", "state": "gated", "moment": "before", "do": "fail"}'
    fleet.on("host2", "mkdir -p /run/relocate; umask 077; cat > /run/relocate/faults.json", data=fault)
    result = fleet.move("writer", "host2", check=False)
    assert result["outcome"] == "rolled-back", result
    assert [each.name for each in shared.iterdir()] == ["log"], "no probe is left"
