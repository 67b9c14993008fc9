# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules and the playbooks prepare and instantiate on the lab's real hosts."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Fleet

pytestmark = pytest.mark.lab

REPOSITORY = "10.77.0.10:5000"
#: Docker 26 and Docker 28
BOTH = ("host1", "host3")
JSON_RESULT = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"}


def module(fleet: Fleet, host: str, which: str, /, *options: str, **parameters: Any) -> dict[str, Any]:
    """Run one module on one host, over SSH, and return its result."""
    command = ["ansible", "-i", "inventories/lab", host, "-m", f"relocate.mtd.{which}", "-a", json.dumps(parameters)]
    command += ["-e", "relocate_as_operator=true"]  # the movers' login withdraws no service
    done = fleet.run(*command, *options, check=False, **JSON_RESULT)
    document = json.loads(done.stdout[done.stdout.index("{") :])
    result: dict[str, Any] = document["plays"][0]["tasks"][0]["hosts"][host]
    return result


def recap(printed: str) -> dict[str, dict[str, int]]:
    """Return the numbers of a playbook's last lines, by host."""
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", printed, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def test_a_prepared_fleet_needs_nothing(fleet: Fleet) -> None:
    """Neither for real nor in prediction."""
    # other tests take services away by nft alone, of which the file for the edge's boot knows nothing
    fleet.playbook("prepare.yml")
    for options in ((), ("--check", "--diff")):
        done = fleet.run("ansible-playbook", "-i", "inventories/lab", "playbooks/prepare.yml", *options)
        counts = recap(done.stdout)
        assert set(counts) >= {"host0", *fleet.docker_hosts}
        assert {host: count["changed"] for host, count in counts.items()} == dict.fromkeys(counts, 0), options


@pytest.mark.parametrize("host", BOTH)
def test_a_container_is_dumped_and_its_copy_lives(fleet: Fleet, host: str) -> None:
    """The container runs on, and the same memory listens in a namespace of its own under runc."""
    fleet.tenant("snapshot", "counter", host, command="7000 8", inside=7000)  # it has its memory when it listens
    place, name = "/var/tmp/relocate-test", "relocate-test"
    pid = fleet.on(host, "docker inspect -f '{{.State.Pid}}' snapshot")
    try:
        predicted = module(fleet, host, "criu_dump", "--check", container="snapshot", images=place)
        assert predicted["changed"] and fleet.on(host, f"test -e {place} || echo none") == "none"
        dumped = module(fleet, host, "criu_dump", container="snapshot", images=place)
        assert dumped["bytes"] > 8 << 20 and dumped["images"]["files"][0] == "pages-1.img"
        assert 0 < dumped["timings_ns"]["freeze"] <= dumped["timings_ns"]["frozen"]
        assert fleet.on(host, f"stat -c %a {place}") == "700"
        assert fleet.on(host, "docker inspect -f '{{.State.Pid}} {{.State.Status}}' snapshot") == f"{pid} running"
        again = module(fleet, host, "criu_dump", container="snapshot", images=place)
        assert again["msg"] == f"{place} exists and is not an empty directory; name another one for the images"
        fleet.on(host, f"ip netns add {name} && ip -n {name} link set lo up")
        copy = module(fleet, host, "criu_restore", images=place, id=name, network_namespace=f"/run/netns/{name}")
        assert copy.get("pid"), copy
        answer = f"printf 'x\\nx\\n' | ip netns exec {name} nc -N -w 60 127.0.0.1 7000"
        assert fleet.on(host, answer).split() == ["1", "2"]
        taken = module(fleet, host, "criu_restore", images=place, id=name, network_namespace=f"/run/netns/{name}")
        assert taken["msg"] == f"runc already has a container {name!r}; choose another id, or delete that one"
    finally:
        fleet.on(host, f"runc delete -f {name}; ip netns delete {name}; rm -rf {place}", check=False)


def test_a_container_that_is_put_away_is_over(fleet: Fleet) -> None:
    """With leave_running=false Docker sees it end, and can start it anew."""
    fleet.tenant("away", "counter", "host2", command="7000 8", inside=7000)
    try:
        images = "/var/tmp/relocate-test-away"
        assert module(fleet, "host2", "criu_dump", container="away", images=images, leave_running=False)["changed"]
        assert fleet.on("host2", "docker wait away") == "137"
        refused = module(fleet, "host2", "criu_dump", container="away", images=images + "2")
        assert refused["msg"] == "container 'away' does not run (it is exited); start it first"
        assert fleet.on("host2", "docker start away") == "away"
    finally:
        fleet.on("host2", "rm -rf /var/tmp/relocate-test-away")


def test_a_process_tree_goes_on_under_its_pid(fleet: Fleet) -> None:
    """Put away and brought back."""
    pid = fleet.on("host1", "setsid nohup sleep 1000 >/dev/null 2>&1 </dev/null & echo $!")
    images = "/var/tmp/relocate-test-process"
    sleeps = f'[ "$(cat /proc/{pid}/comm)" = sleep ]'
    fleet.await_on("host1", sleeps, "a shell that has become sleep")
    try:
        assert module(fleet, "host1", "criu_dump", pid=int(pid), images=images, leave_running=False)["pid"] == int(pid)
        fleet.await_on("host1", f"! test -d /proc/{pid}", "the end of a process that init waits for")
        assert module(fleet, "host1", "criu_restore", images=images)["pid"] == int(pid)
        assert fleet.on("host1", f"cat /proc/{pid}/comm") == "sleep"
    finally:
        fleet.on("host1", f"kill {pid}; rm -rf {images}", check=False)


def test_docker0_stays_while_a_container_runs(fleet: Fleet) -> None:
    """Refused by name; dockerd, its file and the container are as they were."""
    fleet.tenant("resident", "idle", "host1")
    seen = "cat /etc/docker/daemon.json; pidof dockerd; docker inspect -f '{{.State.Pid}}' resident"
    before = fleet.on("host1", seen)
    refused = module(fleet, "host1", "docker0_address", address="172.20.99.1/24")
    assert (
        refused["failed"] and "172.20.99.1/24 while containers run" in refused["msg"] and "resident" in refused["msg"]
    )
    same = module(fleet, "host1", "docker0_address", address="172.20.1.1/24")
    assert same["changed"] is False and same["before"] == {"bip": "172.20.1.1/24", "address": "172.20.1.1/24"}
    assert fleet.on("host1", seen) == before


def test_settings_are_reloaded_under_a_running_container(fleet: Fleet) -> None:
    """dockerd takes a label over and gives it up again; its process and the container's stay."""
    fleet.tenant("resident", "idle", "host3")
    seen = "pidof dockerd; docker inspect -f '{{.State.Pid}}' resident; cat /etc/docker/daemon.json"
    before = fleet.on("host3", seen)
    label = {"labels": ["relocate.test=1"]}
    assert module(fleet, "host3", "docker_daemon", settings=label)["consequence"] == "reload"
    assert "relocate.test=1" in fleet.on("host3", "docker info --format json")
    refused = module(fleet, "host3", "docker_daemon", settings={"icc": False})
    assert "icc cannot be changed while containers run" in refused["msg"]
    assert module(fleet, "host3", "docker_daemon", settings=label, state="absent")["changed"]
    after = fleet.on("host3", seen)
    assert after.splitlines()[:2] == before.splitlines()[:2]
    assert json.loads(after.split("\n", 2)[2]) == json.loads(before.split("\n", 2)[2])


def test_a_service_leads_to_its_host_and_disturbs_nobody(fleet: Fleet) -> None:
    """Somebody else's table is the same byte by byte while a service comes, is reached, and goes."""
    foreign = "table ip others_own { map services { type inet_service : ipv4_addr; elements = { 80 : 192.0.2.1 } }; }"
    fleet.on("host0", f"nft '{foreign}'")
    try:
        before = fleet.on("host0", "nft -s list table ip others_own")
        fleet.tenant("reached", "counter", "host2", "7000 8", port=7070, inside=7000)
        assert [service["host_address"] for service in fleet.services() if service["name"] == "reached"] == [
            "10.77.0.12"
        ]
        service = {"name": "reached", "virtual_address": "10.88.0.101", "virtual_port": 7071}
        made = module(fleet, "host0", "nat_service", **service, host_address="10.77.0.12", host_port=7070)
        assert made["changed"]
        listed = module(fleet, "host0", "nat_service_info", name="reached")["services"]
        assert [entry["virtual_port"] for entry in listed] == [7070, 7071]
        assert module(fleet, "host0", "nat_service", **service, state="absent")["changed"]
        assert fleet.on("host0", "nft -s list table ip others_own") == before
    finally:
        fleet.on("host0", "nft delete table ip others_own")


def test_an_announcement_corrects_a_neighbour(fleet: Fleet) -> None:
    """The client believes in a wrong link-layer address until the edge says the right one."""
    own = fleet.on("host0", "cat /sys/class/net/eth1/address")
    client = ["ip", "-n", fleet.client_namespace, "-j"]
    route = subprocess.run([*client, "route", "get", "10.88.0.100"], capture_output=True, text=True, check=True)
    device = json.loads(route.stdout)[0]["dev"]
    wrong = ["neigh", "replace", "10.88.0.100", "lladdr", "02:00:00:00:00:01", "nud", "stale", "dev", device]
    subprocess.run([*client, *wrong], check=True)
    parameters = {"address": "10.88.0.100", "interface": "eth1"}
    assert module(fleet, "host0", "neighbour_announce", "--check", **parameters)["sent"] == 0
    believed = subprocess.run([*client, "neigh", "show", "10.88.0.100"], capture_output=True, text=True, check=True)
    assert json.loads(believed.stdout)[0]["lladdr"] == "02:00:00:00:00:01"
    assert module(fleet, "host0", "neighbour_announce", **parameters)["sent"] == 3
    believed = subprocess.run([*client, "neigh", "show", "10.88.0.100"], capture_output=True, text=True, check=True)
    assert json.loads(believed.stdout)[0]["lladdr"] == own


REFUSALS = [
    ({"container": "fresh", "publish": "10.88.0.100:7100:7101:7000"}, "already belongs to service 'first'"),
    ({"container": "fresh", "publish": "10.88.0.101:7100:7000", "host": "host1"}, "already taken by container 'first'"),
    (
        {"container": "fresh", "publish": "10.88.0.101:22:7000", "host": "host1"},
        "already taken by one of its own programs",
    ),
    ({"container": "first", "host": "host2"}, "the name first is already in use on host1"),
    ({"container": "first", "command": "7000 9"}, "command is '7000 8' instead of '7000 9'"),
    ({"container": "fresh", "image": f"{REPOSITORY}/nosuch:1"}, "nor to be had from its repository"),
    ({"container": "fresh", "host": "nosuch"}, "nosuch is not a Docker host of this inventory"),
    ({"container": "fresh", "publish": "7000"}, "does not say where a service is reached"),
    ({"container": "-x"}, "'-x' is no container's name"),
]


def test_what_cannot_be_instantiated_changes_nothing(fleet: Fleet) -> None:
    """Each refusal says why in one sentence; containers and rules are as they were. The same again is no change."""
    first = {"image": f"{REPOSITORY}/counter:1", "command": "7000 8"}
    made = {**first, "container": "first", "publish": "10.88.0.100:7100:7000", "host": "host1"}
    fleet.tenants += ["first", "fresh"]
    fleet.playbook("instantiate.yml", **made)
    before = fleet.picture()
    for wrong, complaint in REFUSALS:
        done = fleet.playbook("instantiate.yml", check=False, **{**first, **wrong})
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0 and complaint in said, (wrong, done.stdout)
        assert "Traceback" not in said
        assert fleet.picture() == before, wrong
    again = recap(fleet.playbook("instantiate.yml", **made).stdout)
    assert all(count["changed"] == 0 for count in again.values())
    assert fleet.picture() == before


def test_a_tenant_that_dies_at_once_leaves_nothing(fleet: Fleet) -> None:
    """Its last words are reported, and the container is gone."""
    fleet.tenants.append("stillborn")
    variables = {"container": "stillborn", "image": f"{REPOSITORY}/counter:1", "command": "nonsense", "host": "host3"}
    done = fleet.playbook("instantiate.yml", check=False, **variables)
    assert done.returncode != 0
    assert "ended at once with status 2; its last words: counter: PORT must be" in " ".join(done.stdout.split())
    assert fleet.on("host3", "docker ps -a --filter name=stillborn -q") == ""
