# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's own volumes go with their container: every line that a program has on the disk, on either version of Docker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import REPOSITORY, Fleet
from waiting import until

pytestmark = pytest.mark.lab

ASIDE = "/var/lib/docker/relocate/volumes"
#: Appends a line, has it on the disk, notes that in the container's memory, and goes on; keeps a mode and an owner on the top.
WRITER = (
    "/bin/busybox chmod 700 /data; /bin/busybox chown 99:99 /data; i=0; "
    "while :; do i=$((i+1)); echo $i >> /data/log; /bin/busybox fsync /data/log; echo $i > /dev/shm/acknowledged; "
    "echo $i > /scratch/$((i%50)); /bin/busybox rm -f /data/tmp.*; echo $i > /data/tmp.$i; done"
)


@pytest.fixture
def keeper(fleet: Fleet) -> Iterator[Fleet]:
    """Return the lab with a container on host1 that has a named volume and one without a name."""
    fleet.tenants += ["keeper", "user"]
    run = f"docker run -d --name keeper -v ledger:/data -v /scratch {REPOSITORY}/idle:1 /bin/busybox sh -c '{WRITER}'"
    fleet.on("host1", f"docker volume create --label tier=db ledger && {run}")
    yield fleet
    fleet.remove_tenants()
    for host in fleet.docker_hosts:
        fleet.on(host, "docker volume rm ledger", check=False)  # of no container: the one that is in the way


def inside(fleet: Fleet, host: str, command: str) -> str:
    """Return what a command says in the container."""
    return fleet.on(host, f"docker exec keeper /bin/busybox sh -c '{command}'")


def more_lines(fleet: Fleet, host: str, number: int) -> None:
    """Wait until the container has written some lines more."""
    written = lambda: len(inside(fleet, host, "cat /data/log 2>/dev/null; true").split())  # noqa: E731
    first = written()
    until(written, f"{number} lines more", lambda lines: lines >= first + number)


def volumes(fleet: Fleet, host: str) -> set[str]:
    """Return the names of a host's volumes."""
    return set(fleet.on(host, "docker volume ls -q").split())


def volume(fleet: Fleet, host: str) -> dict[str, Any]:
    """Return ``docker volume inspect``."""
    found: dict[str, Any] = json.loads(fleet.on(host, "docker volume inspect ledger"))[0]
    return found


def test_what_is_on_a_volume_goes_with_its_container(keeper: Fleet) -> None:
    labels = volume(keeper, "host1")["Labels"]
    mounts = "docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' keeper"
    names = set(keeper.on("host1", mounts).split())
    assert len(names) == 2
    for source, host in (("host1", "host3"), ("host3", "host2"), ("host2", "host1")):
        more_lines(keeper, source, 60)
        result = keeper.move("keeper", host)
        assert result["bytes"]["volumes"] > 0
        acknowledged = int(inside(keeper, host, "cat /dev/shm/acknowledged"))
        lines = inside(keeper, host, "cat /data/log").split()
        assert lines == [str(number) for number in range(1, len(lines) + 1)], "no line is lost, doubled or torn"
        assert len(lines) >= acknowledged
        assert inside(keeper, host, "/bin/busybox stat -c %a:%u /data") == "700:99"
        assert len(inside(keeper, host, "ls /scratch").split()) == min(50, len(lines))
        assert len(inside(keeper, host, "ls /data").split()) <= 3, "what was removed meanwhile is not there again"
        assert volume(keeper, host)["Labels"] == labels
        assert not names & volumes(keeper, source), "nothing stays that could be taken for the current data"
        kept = [name for name in keeper.on(source, f"ls {ASIDE}").split() if name.startswith("keeper@")]
        assert len(kept) == 1, "what a host had last is not thrown away at once"
        assert "ledger" in keeper.on(source, f"ls {ASIDE}/{kept[0]}").split()


def test_a_move_that_is_taken_back_leaves_no_volume(keeper: Fleet) -> None:
    order = {"part": "destination", "state": "restoring", "moment": "after", "do": "fail"}
    keeper.on("host2", "mkdir -p /run/relocate; umask 077; cat > /run/relocate/faults.json", data=json.dumps(order))
    before = volumes(keeper, "host2")
    result = keeper.move("keeper", "host2", check=False)
    assert result["outcome"] == "rolled-back"
    assert volumes(keeper, "host2") == before
    more_lines(keeper, "host1", 1)  # it goes on where it was


def test_what_cannot_go_is_refused(keeper: Fleet) -> None:
    """Before anything is touched: a name that is taken there, a volume that another container has as well."""
    keeper.on("host2", "docker volume create ledger")
    refused = keeper.move("keeper", "host2", check=False)
    assert refused["outcome"] == "refused" and "host2 already has a volume named ledger" in refused["msg"]
    assert volume(keeper, "host2")["Name"] == "ledger"
    keeper.on("host1", f"docker run -d --name user -v ledger:/theirs {REPOSITORY}/idle:1 /bin/busybox sleep 1000")
    refused = keeper.move("keeper", "host3", check=False)
    assert refused["outcome"] == "refused" and "is used by user too" in refused["msg"]
