# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that no repository offers: the hosts send them to each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import NO_LIMIT, REPOSITORY, Fleet

pytestmark = pytest.mark.lab

IMAGE = "local/homely:7"
BYTES = 8 << 20
BUILD = f"""
set -e
docker run -d --name base {REPOSITORY}/idle:1
docker exec base /bin/busybox dd if=/dev/urandom of=/filling bs=1M count={BYTES >> 20} 2>/dev/null
docker commit --change 'ENTRYPOINT ["/bin/false"]' base {IMAGE}
docker rm -f base
docker run -d --name homely --entrypoint '' {IMAGE} /bin/busybox sh -c 'while :; do /bin/busybox sleep 1; done'
"""
RECEIVED = "docker images -q relocate/received"
NAMES = "docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | grep -v ^relocate/received: | sort"


@pytest.fixture
def homely(fleet: Fleet) -> Iterator[Fleet]:
    """Return the lab with a container of an image that was made on host1, and is nowhere else."""
    fleet.tenants += ["homely", "base"]
    fleet.on("host1", BUILD)
    yield fleet
    fleet.remove_tenants()
    for host in fleet.docker_hosts:
        fleet.on(host, f"docker rmi {IMAGE} $({RECEIVED}); true", check=False)


def identity(fleet: Fleet, host: str) -> tuple[Any, ...]:
    """Return what identifies the container's image, and what of it the container has for itself."""
    container = json.loads(fleet.on(host, "docker inspect homely"))[0]
    image = json.loads(fleet.on(host, f"docker image inspect {container['Image']}"))[0]
    return (
        container["Image"],
        image["RootFS"]["Layers"],
        container["Config"]["Image"],
        container["Config"]["Entrypoint"],
        fleet.on(host, "docker exec homely /bin/busybox sha256sum /filling"),
    )


def test_an_image_that_one_host_alone_has(homely: Fleet) -> None:
    """It is sent before the freeze, to either version of Docker, and is the same by its digest.

    The names of the images that are there are what they were: what is sent gets one of ours. It stays, and is not sent again.
    """
    was = identity(homely, "host1")
    assert was[3] is None, "the image has an entrypoint, and the container none"
    options = ("--to", "host3", "--check", "--downtime-limit", NO_LIMIT, "--json")
    planned = json.loads(homely.run("relocate", "move", "homely", *options).stdout)
    assert planned["image_sent"]["bytes"] >= BYTES and planned["image_sent"]["ms"] > 0
    for host in ("host3", "host2"):
        names = homely.on(host, NAMES)
        result = homely.move("homely", host)
        assert result["image_bytes"] >= BYTES
        assert identity(homely, host) == was
        assert homely.on(host, NAMES) == names
        assert homely.on(host, f"docker images -q --no-trunc relocate/received:{was[0][7:19]}") == was[0]
    again = homely.move("homely", "host3")
    assert "image_bytes" not in again and "image_sent" not in again
    assert identity(homely, "host3") == was
