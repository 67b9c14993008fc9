# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that no repository offers: the hosts send them to each other."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import NO_LIMIT, REPOSITORY, Fleet

pytestmark = pytest.mark.lab

IDLE = f"{REPOSITORY}/idle:1"
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

PRIVATE = "10.77.0.10:5001"
PASSWORD = "only-for-those-who-know"
#: Another repository on the edge, which asks for a password. Its program wants it as bcrypt.
REGISTRY = r"""
set -e
mkdir -p /var/tmp/private-registry; cd /var/tmp/private-registry
perl -e 'print "reader:", crypt("PASSWORD", "\$2y\$05\$abcdefghijklmnopqrstuv"), "\n"' >htpasswd
cat >config.yml <<'EOF'
version: 0.1
storage: {filesystem: {rootdirectory: /var/tmp/private-registry/storage}}
http: {addr: "PRIVATE"}
auth: {htpasswd: {realm: private, path: /var/tmp/private-registry/htpasswd}}
EOF
nohup docker-registry serve config.yml >log 2>&1 </dev/null &
echo $! >pid
for i in $(seq 1200); do (exec 3<>/dev/tcp/10.77.0.10/5001) 2>/dev/null && exit; sleep 0.1; done; cat log; exit 1
""".replace("PASSWORD", PASSWORD).replace("PRIVATE", PRIVATE)
#: Docker takes this setting anew when it is told to. The lab's repositories speak plain http.
ALLOW = f"""
set -e
cp -p /etc/docker/daemon.json /var/tmp/daemon.json
python3 -c 'import json; path = "/etc/docker/daemon.json"; found = json.load(open(path))
found["insecure-registries"].append("{PRIVATE}"); json.dump(found, open(path, "w"))'
kill -HUP $(cat /run/docker.pid)
for i in $(seq 1200); do docker info 2>/dev/null | grep -q {PRIVATE} && exit; sleep 0.1; done; exit 1
"""
FORBID = f"docker logout {PRIVATE}; mv /var/tmp/daemon.json /etc/docker/daemon.json; kill -HUP $(cat /run/docker.pid)"
LOGIN = f"docker login -u reader --password-stdin {PRIVATE}"


@pytest.fixture
def private(fleet: Fleet) -> Iterator[str]:
    """Return the name of an image in a repository that asks for a password. The hosts may ask it; host1 knows the password."""
    image = f"{PRIVATE}/private:1"
    try:
        fleet.on("host0", "bash -s", data=REGISTRY)
        for host in ("host1", "host2"):
            fleet.on(host, ALLOW)
        fleet.on("host1", LOGIN, data=PASSWORD)
        # one of its own: else it would be known by a digest that the other repository has
        fleet.on(
            "host1",
            f"docker create --name base {IDLE}; docker commit base {image}; docker rm base; docker push -q {image}",
        )
        yield image
    finally:
        fleet.remove_tenants()
        for host in ("host1", "host2"):
            fleet.on(host, f"docker rmi {image}; {FORBID}", check=False)
        fleet.on("host0", "kill $(cat /var/tmp/private-registry/pid); rm -rf /var/tmp/private-registry", check=False)


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


def test_a_repository_that_asks_for_a_password(fleet: Fleet, private: str) -> None:
    """A host to which root has logged in there pulls; to another one the image is sent. The password is in no record."""
    fleet.tenants += ["reader", "base"]
    fleet.on("host1", f"docker run -d --name reader {private}")
    options = ("--to", "host2", "--check", "--downtime-limit", NO_LIMIT, "--json")
    assert json.loads(fleet.run("relocate", "move", "reader", *options).stdout)["image_sent"]["bytes"] > 0
    fleet.on("host2", LOGIN, data=PASSWORD)
    result = fleet.move("reader", "host2")
    assert "image_bytes" not in result and "image_sent" not in result
    pulled = fleet.on("host2", f"docker image inspect -f '{{{{.Id}}}}' {private}")
    assert pulled == fleet.on("host1", f"docker image inspect -f '{{{{.Id}}}}' {private}")
    coded = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    assert PASSWORD not in json.dumps(result) and coded not in json.dumps(result)
    for host in ("host1", "host2"):
        found = fleet.on(host, f"grep -rlE '{PASSWORD}|{coded}' /var/lib/relocate /run/relocate /var/log", check=False)
        assert found == ""


#: An image of host1's own under a name of the repository, and a container of it. Nobody has pushed it.
OWN = f"""
set -e
docker create --name base {IDLE}
docker commit --change 'LABEL own=NAME' base NAME
docker rm base
"""
#: Gives the name to another image in the repository. The host that does it forgets the name.
GIVE_AWAY = f"""
set -e
docker pull -q {REPOSITORY}/counter:1
docker tag {REPOSITORY}/counter:1 NAME
docker push -q NAME
docker rmi NAME
"""


@pytest.fixture
def named(fleet: Fleet) -> Iterator[Fleet]:
    """Return the lab, and forget afterwards what it was given under the names of these tests."""
    fleet.tenants += ["named", "base"]
    yield fleet
    fleet.remove_tenants()
    for host in fleet.docker_hosts:
        fleet.on(host, f"docker rmi {REPOSITORY}/moved:1 {REPOSITORY}/moved:2 $({RECEIVED}); true", check=False)


def test_a_tag_that_is_given_to_another_after_the_plan(named: Fleet) -> None:
    """The plan was to pull. The repository is asked again, and the source sends the image that the container was made from."""
    name = f"{REPOSITORY}/moved:1"
    named.on("host1", OWN.replace("NAME", name) + f"docker push -q {name}; docker run -d --name named {name}")
    options = ("--to", "host2", "--check", "--downtime-limit", NO_LIMIT, "--json")
    planned = json.loads(named.run("relocate", "move", "named", *options).stdout)
    assert "image_sent" not in planned
    image, names = named.on("host1", "docker inspect -f '{{.Image}}' named"), named.on("host2", NAMES)
    named.on("host3", GIVE_AWAY.replace("NAME", name))
    assert named.move("named", "host2")["image_bytes"] > 0
    assert named.on("host2", "docker inspect -f '{{.Image}}' named") == image
    assert named.on("host2", NAMES) == names


def test_a_pull_that_brings_another_image(named: Fleet) -> None:
    """A container that is made anew has its image pulled under its name, whatever that is there. Nothing is made of another."""
    name = f"{REPOSITORY}/moved:2"
    named.on("host1", OWN.replace("NAME", name) + f"docker run -d --name named {name}")
    container, names = named.on("host1", "docker inspect -f '{{.Id}}' named"), named.on("host2", NAMES)
    named.on("host3", GIVE_AWAY.replace("NAME", name))
    result = named.move("named", "host2", "--strategy", "recreate", check=False)
    assert result["outcome"] == "rolled-back", result
    assert f"the repository has another image under the name {name} than the container was made from" in result["msg"]
    assert named.on("host1", "docker inspect -f '{{.Id}} {{.State.Running}}' named") == f"{container} true"
    assert named.on("host2", "docker ps -aq --filter name=named") == ""
    assert named.on("host2", NAMES) == names, "the other is gone again, for the next try"
