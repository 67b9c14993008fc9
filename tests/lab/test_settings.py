# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container was started with is what it has after a move, on either version of Docker, or the move is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import run_options
from fleet import REPOSITORY, Fleet
from test_modules import JSON_RESULT
from waiting import until

pytestmark = pytest.mark.lab

LOOP = "'while :; do /bin/busybox sleep 1; done'"  # a restored nanosleep(2) is interrupted
IMAGE = f"{REPOSITORY}/idle:1"
#: What the kernel says of a container: its init's rights, limits and surroundings, its control groups, its sysctls, its mounts.
LOOK = r"""
pid=$(docker inspect -f '{{.State.Pid}}' NAME)
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask)' /proc/$pid/status
cat /proc/$pid/limits /proc/$pid/oom_score_adj
readlink /proc/$pid/cwd
tr '\0' '\n' </proc/$pid/cmdline
tr '\0' '\n' </proc/$pid/environ
awk '{ split($0, half, " - "); $1 = $2 = $3 = $4 = ""; print $5, $6, half[2] }' /proc/$pid/mountinfo |
    grep -E '^(/|/m|/data|/anonymous|/scratch|/dev/shm|/etc/hosts) ' | sed 's/lowerdir.*//; s/ - .*\/dev\/[^ ]*//' | sort
nsenter -t $pid -u uname -n
for path in kernel/domainname kernel/msgmax net/core/somaxconn net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range; do
    nsenter -t $pid -u -i -n cat /proc/sys/$path
done
while IFS=: read -r _ kind path; do
    for file in /sys/fs/cgroup/$kind$path/*; do
        case ${file##*/} in
            *usage*|*failcnt*|*stat|*pressure*|*events*|*current|*peak|*numa*) ;;
            memory.*|cpu.*|cpuset.cpus|cpuset.mems|pids.max|io.weight|io.max) echo ${file##*/} $(cat $file 2>/dev/null) ;;
        esac
    done
done </proc/$pid/cgroup
docker exec NAME /bin/busybox grep -E '^(search|options)|example|a.test' /etc/resolv.conf /etc/hosts
docker exec NAME /bin/busybox cat /etc/hostname /dev/shm/note
"""


def inspect(fleet: Fleet, host: str, name: str) -> dict[str, Any]:
    """Return ``docker inspect``."""
    found: dict[str, Any] = json.loads(fleet.on(host, f"docker inspect {name}"))[0]
    return found


def kernels_view(fleet: Fleet, host: str, name: str) -> list[str]:
    """Return what the kernel says of a container. The addresses are its places'."""
    return fleet.on(host, LOOK.replace("NAME", name)).splitlines()


@pytest.fixture
def ground(fleet: Fleet) -> Iterator[Fleet]:
    """Return the fleet, where all hosts have the files that the options name."""
    for host in fleet.docker_hosts:
        fleet.on(host, "echo X=y >/run/options.env; rm -f /run/whole.cid")
    yield fleet
    fleet.remove_tenants()
    for host in fleet.docker_hosts:
        fleet.on(
            host,
            f"docker network rm {run_options.NETWORK}; docker volume rm options-volume; rm -f /run/whole.cid",
            check=False,
        )


def test_every_option_has_a_decision(fleet: Fleet) -> None:
    """Docker gets new ones, and takes old ones away: a version that the page does not know fails this."""
    offered = {host: run_options.options_of(fleet.on(host, "docker run --help")) for host in fleet.docker_hosts}
    for host, options in offered.items():
        assert options - run_options.decisions().keys() == set(), (
            f"{host} has options of which docs/options.md says nothing"
        )
    known = set.union(*offered.values())
    assert run_options.decisions().keys() - known == set(), "docs/options.md has options that no version of Docker has"


@pytest.mark.parametrize(
    ("name", "options", "command", "way"),
    [
        ("whole", run_options.WHOLE, f"{IMAGE} sh -c {LOOP}", ("host1", "host3", "host2")),
        ("second", run_options.SECOND, f"{IMAGE} /bin/busybox sh -c {LOOP}", ("host3", "host1")),
    ],
)
def test_what_docker_run_was_told(ground: Fleet, name: str, options: str, command: str, way: tuple[str, ...]) -> None:
    """Both documents of ``docker inspect`` are the same but for what the page lists, and so is what the kernel says.

    Docker chooses a port for a neighbour: the next it would choose on another host is another one. The network is on the first
    host alone; its moves make it on the others.
    """
    ground.tenants += [name, "neighbour"]
    here, *others = way
    network = f"--ipv6 --subnet {run_options.SUBNET} --subnet {run_options.SUBNET6} {run_options.NETWORK}"
    ground.on(here, f"docker network create {network}")
    ground.on(here, f"docker run -d --name neighbour -p 7300 {IMAGE}")
    ground.on(here, f"docker run -d --name {name} {' '.join(options.split())} {command}")
    ground.on(here, f"docker exec {name} /bin/busybox sh -c 'echo kept >/dev/shm/note'")
    before, seen = inspect(ground, here, name), kernels_view(ground, here, name)
    asked = [
        f"NetworkSettings.Networks.{network}.{key}"
        for network, settings in before["NetworkSettings"]["Networks"].items()
        for key in ("IPAddress", "GlobalIPv6Address", "MacAddress")
        if settings.get("IPAMConfig")
    ] + [f"Mounts.{mount['Destination']}.Name" for mount in before["Mounts"] if (mount.get("Name") or "?") in options]
    for host in others:
        ground.move(name, host)
        assert run_options.differences(before, inspect(ground, host, name), kept=asked) == []
        assert kernels_view(ground, host, name) == seen
    if "--rm" in options:
        ground.on(others[-1], f"docker stop -t 0 {name}")
        # Docker removes it in its own time, after the command has ended
        listing = f"docker ps -aq --filter name=^{name}$"
        until(lambda: ground.on(others[-1], listing), f"Docker's removal of {name}", lambda listed: not listed)


def test_a_network_option_that_an_older_docker_does_not_heed(fleet: Fleet) -> None:
    """It would show it, and the sysctl would not be set."""
    option = "com.docker.network.endpoint.sysctls"
    fleet.tenants.append("martian")
    fleet.on(
        "host3",
        f"docker run -d --name martian --network name=bridge,driver-opt={option}=net.ipv4.conf.IFNAME.log_martians=1 {IMAGE}",
    )
    found = inspect(fleet, "host3", "martian")["NetworkSettings"]["Networks"]["bridge"]["DriverOpts"]
    assert list(found) == [option]
    done = fleet.run("relocate", "check", "martian", "--to", "host1", "--json", check=False)
    (destination,) = json.loads(done.stdout)["destinations"]
    (said,) = destination["refusals"]
    assert done.returncode == 1 and "on host1 does not heed the network option " + option in said, said


def test_what_is_refused(fleet: Fleet) -> None:
    """Each is one sentence of the plan and of ``relocate check``, which ask the host this very question."""
    partner = "partner"
    wanted = {("host1", f"refused{number}"): refusal for number, refusal in enumerate(run_options.REFUSALS.items())} | {
        ("host3", f"refused{number}"): refusal for number, refusal in enumerate(run_options.REFUSALS_28.items())
    }
    fleet.tenants += [partner, *{name for _, name in wanted}]
    fleet.on("host1", f"docker run -d --name {partner} --ipc shareable {IMAGE}")
    for host in ("host1", "host3"):
        runs = [
            f"docker run -d --name {name} {option} {IMAGE}" for (at, name), (option, _) in wanted.items() if at == host
        ]
        fleet.on(host, "set -e\n" + "\n".join(runs))
    command = ["ansible", "-i", "inventories/lab", "host1,host3", "-m", "relocate.mtd.relocation_info"]
    printed = fleet.run(*command, **JSON_RESULT).stdout
    answers = json.loads(printed[printed.index("{") :])["plays"][0]["tasks"][0]["hosts"]
    said = {
        (host, each["name"]): each["refusals"]
        for host, answer in answers.items()
        for each in answer["relocation_info"]["containers"]
    }
    for place, (option, reason) in wanted.items():
        assert sum(reason in sentence for sentence in said[place]) == 1, f"{option}: {said[place]}"
    guests = [name for (_, name), (option, _) in wanted.items() if "container:" in option]
    of_guests = [f"the container {guest} is in a namespace of {partner} " for guest in guests]
    assert all(sum(each.startswith(guest) for each in said["host1", partner]) == 1 for guest in of_guests)
