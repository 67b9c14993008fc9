# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves that are refused: one sentence with the reason, exit status 1 or 2, and nothing changed anywhere."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import BIN, NO_LIMIT, REPOSITORY, ROOT, VIRTUAL, Fleet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def ground(prepared: Fleet) -> Iterator[Fleet]:
    """Return the lab with one tenant, ``walker``, on host1."""
    prepared.tenant("walker", "counter", "host1", "7100 8", 7100)
    yield prepared
    prepared.remove_tenants()


def refused(fleet: Fleet, *arguments: str, **environment: str) -> str:
    """Run ``relocate move`` with arguments that must be refused; return its one sentence."""
    before = fleet.picture()
    done = fleet.run("relocate", "move", *arguments, check=False, **environment)
    assert done.returncode in (1, 2), f"it was not refused: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    assert fleet.picture() == before, "a refused move changed something"
    said = [line for line in done.stderr.splitlines() if line.startswith("relocate: ")]
    assert len(said) == 1, f"one sentence was expected: {done.stderr}"
    return said[0]


@contextmanager
def on_host(fleet: Fleet, host: str, begin: str, end: str) -> Iterator[None]:
    """Have something so on a host for a while."""
    fleet.on(host, begin)
    try:
        yield
    finally:
        fleet.on(host, end)


@contextmanager
def container(fleet: Fleet, host: str, name: str, options: str, command: str = "") -> Iterator[None]:
    """Have a container of the idle image on a host for a while."""
    run = f"docker run -d --name {name} {options} {REPOSITORY}/idle:1 {command}"
    with on_host(fleet, host, run, f"docker rm -f {name}"):
        yield


def test_a_container_nobody_has(ground: Fleet) -> None:
    assert "no host of the fleet has a container named 'nobody' (there are: walker" in refused(ground, "nobody")


def test_a_destination_nobody_knows(ground: Fleet) -> None:
    assert "there is no Docker host 'host99'" in refused(ground, "walker", "--to", "host99")


def test_the_destination_is_the_source(ground: Fleet) -> None:
    assert "is already on host1" in refused(ground, "walker", "--to", "host1")


def test_an_unreachable_destination(ground: Fleet, tmp_path: Path) -> None:
    """The lab's inventory, and one more host that nobody has ever plugged in."""
    for name in ("lab.py", "group_vars"):
        (tmp_path / name).symlink_to(ROOT / "inventories" / "lab" / name)
    (tmp_path / "ghost.yml").write_text("docker_hosts: {hosts: {ghost: {ansible_host: 10.77.0.250}}}\n")
    said = refused(ground, "walker", "--to", "ghost", "--inventory", str(tmp_path))
    assert "ghost is unreachable" in said


def test_a_destination_without_criu(ground: Fleet) -> None:
    with on_host(ground, "host3", "mv /usr/sbin/criu /usr/sbin/criu.away", "mv /usr/sbin/criu.away /usr/sbin/criu"):
        assert "host3 has no CRIU: install it" in refused(ground, "walker", "--to", "host3")


def test_a_check_has_all_reasons_of_all_hosts(ground: Fleet) -> None:
    """Where a move ends with the first. And what is said about a host that can take it comes true."""
    before = ground.picture()
    cordon, lift = "touch /var/lib/relocate/cordoned", "rm /var/lib/relocate/cordoned"
    with (
        on_host(ground, "host3", "mv /usr/sbin/criu /usr/sbin/criu.away", "mv /usr/sbin/criu.away /usr/sbin/criu"),
        on_host(ground, "host3", cordon, lift),
        container(ground, "host2", "squatter", "-p 7100:80"),
        container(ground, "host2", "walker", ""),
    ):
        ground.on("host2", "docker kill walker")
        verdict = json.loads(ground.run("relocate", "check", "walker", "--json", check=False).stdout)
        assert ground.run("relocate", "check", "walker", "--to", "host3", check=False).returncode == 1
    by_host = {each["host"]: each["refusals"] for each in verdict["destinations"]}
    assert verdict["source"] == "host1" and not verdict["movable"] and not verdict["refusals"]
    assert len(by_host["host3"]) == 2 and "no CRIU" in by_host["host3"][0] and "cordoned" in by_host["host3"][1]
    for reason in ("port 7100/tcp is already taken on host2", "host2 already has a container named walker (exited)"):
        assert [each for each in by_host["host2"] if reason in each], by_host
    assert len(by_host["host2"]) == 2
    verdict = json.loads(ground.run("relocate", "check", "walker", "--json").stdout)
    assert verdict["movable"] and [each["refusals"] for each in verdict["destinations"]] == [[], []]
    assert ground.picture() == before, "a check changed something"


def test_a_criu_too_old_for_the_kernel(ground: Fleet) -> None:
    """The version is what a program says of itself; the one that says this is put in front of the real one."""
    old = "printf '#!/bin/sh\\necho Version: 3.17.1\\n' > /usr/local/sbin/criu; chmod 755 /usr/local/sbin/criu"
    kernel = tuple(int(part) for part in re.findall(r"\d+", ground.on("host3", "uname -r"))[:2])
    with on_host(ground, "host3", old, "rm /usr/local/sbin/criu"):
        if kernel < (6, 13):
            pytest.skip(f"NOT RUN: CRIU 3.17.1 serves on this kernel ({kernel[0]}.{kernel[1]})")
        assert "CRIU 3.17.1 is too old for kernel" in refused(ground, "walker", "--to", "host3")


def test_another_image_of_that_name(ground: Fleet) -> None:
    name = "local/app:1"
    begin = f"docker pull -q {REPOSITORY}/idle:1; docker tag {REPOSITORY}/idle:1 {name}; docker run -d --name stranger {name}"
    other = f"docker pull -q {REPOSITORY}/counter:1; docker tag {REPOSITORY}/counter:1 {name}"
    with (
        on_host(ground, "host1", begin, f"docker rm -f stranger; docker rmi {name}"),
        on_host(ground, "host2", other, f"docker rmi {name}"),
    ):
        said = refused(ground, "stranger", "--to", "host2")
    assert f"the image {name} on host2 is not the one that stranger was made from" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--privileged", "is privileged"),
        ("--network host", "uses the host's network"),
        ("--network none", "has no network of its own"),
    ],
)
def test_containers_that_cannot_be_carried(ground: Fleet, options: str, reason: str) -> None:
    with container(ground, "host1", "bound", options):
        assert reason in refused(ground, "bound")


def test_a_container_that_cannot_be_carried_for_many_reasons(ground: Fleet) -> None:
    """Each is said at once."""
    options = "-t --pid host -v /tmp:/there --device /dev/null:/dev/other"
    with container(ground, "host1", "bound", options):
        before = ground.picture()
        done = ground.run("relocate", "check", "bound", "--json", check=False)
        assert done.returncode == 1 and ground.picture() == before
    said = "; ".join(json.loads(done.stdout)["refusals"])
    for reason in (
        "has a terminal",
        "shares its processes",
        "the bind mount of /tmp at /there of the container bound is not carried",
        "uses devices of this host",
    ):
        assert reason in said, reason


def test_a_container_that_does_not_run(ground: Fleet) -> None:
    with container(ground, "host1", "stopped", ""):
        ground.on("host1", "docker kill stopped")
        assert "is not running (exited): start it first" in refused(ground, "stopped")


def test_a_container_with_a_command_inside(ground: Fleet) -> None:
    with container(ground, "host1", "visited", ""):
        ground.on("host1", "docker exec -d visited /bin/sleep 300")
        assert "started with docker exec is running in the container visited" in refused(ground, "visited")


def test_a_cordoned_destination(ground: Fleet) -> None:
    with on_host(ground, "host2", "touch /var/lib/relocate/cordoned", "rm /var/lib/relocate/cordoned"):
        assert "host2 is cordoned" in refused(ground, "walker", "--to", "host2")


def test_two_moves_of_one_container_at_once(ground: Fleet) -> None:
    """One goes; the other is told that it is under way, or, if it came a moment later, that the container has gone."""
    command = [str(BIN / "relocate"), "move", "walker", "--downtime-limit", NO_LIMIT, "--json"]
    first, second = (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    )
    try:
        results = [json.loads(process.communicate()[0]) for process in (first, second)]
        assert sorted(result["outcome"] for result in results) == ["committed", "refused"]
        (said,) = (result["msg"] for result in results if result["outcome"] == "refused")
        assert "is being relocated already" in said or "is not running here any more" in said
        assert len(ground.where("walker")) == 1
    finally:
        if ground.where("walker") != ["host1"]:
            ground.move("walker", "host1")


def test_without_a_lab(ground: Fleet) -> None:
    said = refused(ground, "walker", RELOCATE_LAB_NAME="not-there")
    assert "the lab is not up: start it with 'relocate lab up'" in said


def test_an_inventory_that_is_not_there(ground: Fleet) -> None:
    assert "there is no inventory /nowhere" in refused(ground, "walker", "--inventory", "/nowhere")


def test_a_virtual_address_that_belongs_to_another_service(ground: Fleet) -> None:
    before = ground.picture()
    done = ground.playbook(
        "instantiate.yml",
        check=False,
        container="thief",
        image=f"{REPOSITORY}/counter:1",
        publish=f"{VIRTUAL}:7100:7000/tcp",
        host="host2",
    )
    assert done.returncode == 2
    assert "already belongs to service 'walker'" in done.stdout
    assert ground.picture() == before


def test_check_mode_shows_the_plan_and_touches_nothing(ground: Fleet) -> None:
    before = ground.picture()
    done = ground.run(
        "ansible-playbook",
        "-i",
        "inventories/lab",
        "playbooks/relocate.yml",
        "-e",
        f"container=walker relocate_downtime_limit_ms={NO_LIMIT}",
        "--check",
        "--diff",
    )
    assert "+from         host1" in done.stdout
    assert f"+service      {VIRTUAL}:7100/tcp" in done.stdout
    assert ground.picture() == before
