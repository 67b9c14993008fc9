# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container was started with is what it has after a move, on either version of Docker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet import REPOSITORY, Fleet

pytestmark = pytest.mark.lab

SYSCTLS = ("net/core/somaxconn", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "kernel/msgmax")
WAIT = "/bin/busybox sh -c 'while :; do /bin/busybox sleep 1; done'"  # a restored nanosleep(2) is interrupted
#: Settings that a copy may have otherwise: it is restored by our runtime, and the ports that Docker chose are asked for now.
DIFFERENT = {"Runtime", "PortBindings", "PublishAllPorts"}


def inspect(fleet: Fleet, host: str, name: str) -> dict[str, Any]:
    """Return ``docker inspect``."""
    found: dict[str, Any] = json.loads(fleet.on(host, f"docker inspect {name}"))[0]
    return found


def sysctls(fleet: Fleet, host: str, name: str) -> list[str]:
    """Return the settings that the container sees."""
    paths = " ".join(f"/proc/sys/{each}" for each in SYSCTLS)
    return fleet.on(host, f"docker exec {name} /bin/busybox cat {paths}").splitlines()


def test_what_docker_run_was_told(fleet: Fleet) -> None:
    """Settings of the kernel, ``--rm``, limits, and a port that Docker chose: the edge knows it."""
    fleet.tenants += ["settled", "neighbour"]
    fleet.on("host1", f"docker run -d --name neighbour -p 7300 {REPOSITORY}/idle:1 {WAIT}")
    fleet.on(
        "host1",
        "docker run -d --rm --name settled --sysctl net.core.somaxconn=777 --sysctl kernel.msgmax=9000 -p 7301 -m 64m "
        "--pids-limit 50 --ulimit nofile=200:300 --cap-drop NET_RAW --tmpfs /scratch:size=1m --add-host a.test:192.0.2.1 "
        f"--stop-timeout 3 -e A=b -w /bin --label c=d {REPOSITORY}/idle:1 {WAIT}",
    )
    before, seen = inspect(fleet, "host1", "settled"), sysctls(fleet, "host1", "settled")
    assert seen[0] == "777" and seen[3] == "9000"
    for host in ("host3", "host2"):
        fleet.move("settled", host)
        after = inspect(fleet, host, "settled")
        assert sysctls(fleet, host, "settled") == seen
        asked, has = before["HostConfig"], after["HostConfig"]
        assert {key: has.get(key) for key in asked if key not in DIFFERENT} == {
            key: value for key, value in asked.items() if key not in DIFFERENT
        }
        assert (
            after["Config"]["Env"] == before["Config"]["Env"]
            and after["Config"]["Labels"] == before["Config"]["Labels"]
        )
        assert after["NetworkSettings"]["Ports"]["7301/tcp"] == before["NetworkSettings"]["Ports"]["7301/tcp"]
    fleet.on("host2", "docker stop settled")
    assert "settled" not in fleet.on("host2", "docker ps -a --format '{{.Names}}'").split(), "--rm is kept"
