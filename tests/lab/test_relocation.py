# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves between real Docker hosts, and what must survive them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from direct import FAULTS
from fleet import BIN, NO_LIMIT, REPOSITORY, ROOT, VIRTUAL, Fleet
from outside import SIGN
from waiting import until
from watching import watching

from relocate.demo.watching import Client

pytestmark = pytest.mark.lab


def test_a_connection_survives_hops_and_the_address_changes_every_time(fleet: Fleet) -> None:
    """host1 and host2 have Docker 26, host3 has 28: every kind of hop between these, then some that are drawn."""
    fleet.tenant("walker", "counter", "host1", "7100 8", 7100)
    with watching(fleet, "counter", 7100):
        for destination in ("host2", "host3", "host1", None, None):
            before = fleet.where("walker")
            result = fleet.move("walker", destination)
            after = fleet.where("walker")
            assert before == [result["source"]["host"]]
            assert after == [result["destination"]["host"]]
            assert destination in (None, *after)
            assert result["address_before"] != result["address_after"]
            assert result["flows"] == {"ingress": 1, "egress": 0, "kept": 1, "lost": 0}
            listing = "docker ps -a --format '{{.Names}}' | grep -x walker"
            assert fleet.on(before[0], listing, check=False) == "", "the source keeps no trace of it"
            inside = "nsenter -t $(docker inspect -f '{{.State.Pid}}' walker) -n ip -4 -br addr show eth0"
            assert result["address_after"] in fleet.on(after[0], inside), "the address is really the container's"
    host = fleet.where("walker")[0]
    (service,) = [each for each in fleet.services() if each["name"] == "walker"]
    assert service["host_address"] == fleet.variables(host)["ansible_host"]


def test_redis_keeps_its_data_and_its_connection(fleet: Fleet) -> None:
    fleet.tenant("store", "redis", "host2", port=6400, inside=6379)
    with watching(fleet, "redis", 6400) as client:
        for destination in ("host3", "host1"):
            fleet.move("store", destination)
    again = lambda: Client("redis", VIRTUAL, 6400, fleet.client_namespace).start().stop()["last"]  # noqa: E731
    found = until(again, "an answer over a new connection", lambda last: last is not None)
    assert found > client.summary["last"], "a new connection finds the key that the old one counted"


def test_files_and_log_follow(fleet: Fleet) -> None:
    """What a container wrote, changed, deleted and linked is there afterwards, and so is everything it ever logged."""
    script = (
        "mkdir -p /data/deep; echo kept > /data/deep/file; chmod 640 /data/deep/file; ln -s deep/file /data/soft; "
        "ln /data/deep/file /data/hard; mkfifo /data/pipe; echo first line of the log; "
        "i=0; while :; do i=$((i+1)); echo $i >> /data/log; echo line $i; sleep 0.05; done"
    )
    fleet.tenant("writer", "idle", "host1", f"/bin/busybox sh -c '{script}'")
    fleet.await_on("host1", "docker exec writer /bin/busybox test -s /data/log", "the writer's first line")
    fleet.on(
        "host1",
        "docker exec writer /bin/busybox sh -c 'echo by hand > /data/by-hand; rm -f /data/by-hand; mkdir /data/by-hand'",
    )
    inside = "docker exec writer /bin/busybox"
    written = lambda host: len(fleet.on(host, f"{inside} cat /data/log").splitlines())  # noqa: E731
    before = until(lambda: written("host1"), "more lines", lambda number: number > 10)
    for destination in ("host3", "host2"):
        fleet.move("writer", destination)
        before = until(lambda: written(destination), "more lines", lambda number: number > before + 5)  # noqa: B023
    assert fleet.on("host2", f"{inside} cat /data/deep/file /data/soft /data/hard") == "kept\nkept\nkept"
    assert fleet.on("host2", f"{inside} stat -c '%a %h %F' /data/deep/file") == "640 2 regular file"
    assert fleet.on("host2", f"{inside} stat -c %F /data/pipe /data/by-hand") == "fifo\ndirectory"
    numbers = [int(line) for line in fleet.on("host2", f"{inside} cat /data/log").splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "the file has every line once"
    log = fleet.on("host2", "docker logs writer").splitlines()
    assert log[0] == "first line of the log"
    said = [int(line.split()[1]) for line in log[1:]]
    assert said == list(range(1, len(said) + 1)), "the log has every line once"


def pattern(size: int) -> bytes:
    """Return bytes in which nothing can be left out or repeated unnoticed."""
    block = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(1024))
    return (block * (size // len(block) + 1))[:size]


# Sends until it is told that it is enough, then says how much that was.
SERVER = """
import hashlib, select, socket, sys, time
rate = int(sys.argv[2])
block = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(1024))
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    peer, _ = server.accept()
    with peer:
        sent = 0
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            at = sent % len(block)
            part = (block[at:] + block)[:rate // 50]
            peer.sendall(part)
            sent += len(part)
print(sent, flush=True)
"""


def test_a_download_of_the_container_survives(fleet: Fleet) -> None:
    """The container is the client here: its packets leave by the egress address, and its peer must notice nothing."""
    rate, port = 320 << 10, 8800
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", SERVER, str(port), str(rate)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    try:
        peer = "10.88.0.2"
        fleet.tenant(
            "reader", "idle", "host2", f"/bin/busybox sh -c 'nc {peer} {port} > /download; echo complete; sleep 1000'"
        )
        flows = [fleet.move("reader", destination)["flows"] for destination in ("host1", "host3")]
        assert flows == [{"ingress": 0, "egress": 1, "kept": 1, "lost": 0}] * 2
        told, _ = server.communicate("enough\n", timeout=120)
        size = int(told)
        assert size > 3 * rate, "it went on before, between and after the moves"
        until(lambda: fleet.on("host3", "docker logs reader"), "the download's end", lambda log: log == "complete")
        digest = fleet.on("host3", "docker exec reader /bin/busybox sha256sum /download").split()[0]
        assert digest == hashlib.sha256(pattern(size)).hexdigest()
    finally:
        server.kill()


#: Takes the room away when the destination has staged all, and the image has not come yet.
SHRINK = (
    f"for i in $(seq 2400); do [ -e {SIGN} ] && break; sleep 0.05; done; "
    f"mount -o remount,size=1m /run/relocate/sessions; rm -f {SIGN}"
)


def test_a_move_that_fails_is_taken_back(fleet: Fleet) -> None:
    """No room for the image at the destination: refused, or, if it goes later, noticed after the freeze and taken back."""
    fleet.tenant("walker", "counter", "host1", "7100 8", 7100)
    fleet.on("host2", "mkdir -p /run/relocate/sessions; mount -t tmpfs -o size=1m,mode=700 full /run/relocate/sessions")
    try:
        with watching(fleet, "counter", 7100):
            refused = fleet.move("walker", "host2", "--mode", "stop-and-copy", check=False)
            assert refused["outcome"] == "refused" and "host2 has 1 MiB free" in refused["msg"]
            order = {"part": "destination", "state": "gated", "moment": "after", "do": "pause", "seconds": 60}
            fleet.on("host2", f"umask 077; cat >{FAULTS}", data=json.dumps(order))
            fleet.on(
                "host2", f"mount -o remount,size=1g /run/relocate/sessions; setsid sh -c '{SHRINK}' >/dev/null 2>&1 &"
            )
            result = fleet.move("walker", "host2", "--mode", "stop-and-copy", check=False)
            assert result["outcome"] == "rolled-back"
            assert result["rolled_back"] is True
            assert "runs on at host1" in result["msg"]
            assert "No space left" in result["msg"]
            assert fleet.where("walker") == ["host1"]
    finally:
        fleet.await_on("host2", "umount /run/relocate/sessions", "the end of all that is in the small disk")
    assert fleet.on("host2", "docker ps -aq --filter name=walker") == "", "nothing is left at the destination"
    assert fleet.move("walker", "host2")["outcome"] == "committed", "and it can be tried again"


def test_the_hosts_finish_without_their_controller(fleet: Fleet) -> None:
    fleet.tenant("walker", "counter", "host1", "7100 8", 7100)
    with watching(fleet, "counter", 7100):
        controller = subprocess.Popen(
            [str(BIN / "relocate"), "move", "walker", "--to", "host2", "--downtime-limit", NO_LIMIT, "--json"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        parts = lambda: fleet.on("host0", "ls /run/relocate/parts 2>/dev/null", check=False)  # noqa: E731
        until(parts, "the edge's part")
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        until(parts, "the edge's end", lambda found: not found)
        assert fleet.where("walker") == ["host2"]
    assert "Nothing was left half-done" in fleet.run("relocate", "recover").stdout


def test_nothing_is_left_behind(fleet: Fleet) -> None:
    """After hops in both directions the hosts hold what they held before, and nothing more."""

    def held(host: str) -> str:
        # Docker removes the names of network namespaces that it no longer uses once a minute: those in use are mounts
        return fleet.on(
            host,
            "find /run/relocate -mindepth 2 ! -path '*/empty*' | sort; grep -c ' /run/docker/netns/[0-9a-f]' /proc/mounts; "
            "ip -br link | grep -c veth; pgrep -fc '[r]elocate_proxy'; conntrack -L -p tcp --dport 7100 2>/dev/null | wc -l",
            check=False,
        )

    # what an earlier test has left is not this one's: connections that wait for their end, parts that are about to end
    others = [host for host in fleet.docker_hosts if host != "host1"]
    for host in others:
        fleet.on(host, "conntrack -D -p tcp --dport 7100", check=False)
        fleet.await_on(host, "! pgrep -f '[r]elocate_proxy'", "the end of earlier parts")
    before = {host: held(host) for host in others}
    fleet.tenant("walker", "counter", "host1", "7100 8", 7100)
    with watching(fleet, "counter", 7100):
        for destination in ("host2", "host3", "host1"):
            fleet.move("walker", destination)
        # Docker cleans in its own time
        until(
            lambda: {host: held(host) for host in before},
            "what was there",
            lambda now: now == before,
            words=lambda: f"{before}",
        )
        table = fleet.on("host0", "nft -s list table ip relocate")
    for name in ("held", "barrier", "shut", "unborn"):
        body = table.split(f" {name} {{")[1].split("}")[0]
        assert "elements" not in body, f"the edge still has something in {name}"
    of_the_edge = "ls /run/relocate/sessions /run/relocate/parts /run/relocate/results | grep -v :"
    until(lambda: fleet.on("host0", of_the_edge, check=False), "the edge's end", lambda left: not left)


#: Gives a container other limits while its move is being staged.
UPDATE = (
    f"for i in $(seq 2400); do [ -e {SIGN} ] && break; sleep 0.05; done; "
    f"docker update --memory 80m --memory-swap 80m plain; rm -f {SIGN}"
)


def test_it_is_an_ordinary_container_afterwards(fleet: Fleet) -> None:
    """Docker manages what it did not start: every everyday command works, also amid a move; and a restart starts anew."""
    fleet.tenants.append("plain")
    fleet.on("host1", f"docker run -d --name plain --restart unless-stopped {REPOSITORY}/idle:1")
    fleet.move("plain", "host3")
    state = "docker inspect -f '{{.State.Status}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}}' plain"
    status, pid, policy = fleet.on("host3", state).split()
    assert (status, policy) == ("running", "unless-stopped")
    assert fleet.on("host3", "docker exec plain /bin/busybox echo inside") == "inside"
    assert "sleep" in fleet.on("host3", "docker top plain")
    assert fleet.on("host3", "docker stats --no-stream --format '{{.Name}}' plain") == "plain"
    fleet.on(
        "host3", "docker pause plain && docker unpause plain && docker update --memory 64m --memory-swap 64m plain"
    )
    fleet.on("host3", "docker restart -t 1 plain")
    again = fleet.on("host3", state).split()
    assert again[0] == "running"
    assert again[1] != pid
    order = {"part": "source", "state": "staged", "moment": "after", "do": "pause", "seconds": 60}
    fleet.on("host3", f"umask 077; cat >{FAULTS}", data=json.dumps(order))
    fleet.on("host3", f"setsid sh -c '{UPDATE}' >/dev/null 2>&1 &")
    changed = fleet.move("plain", "host2", check=False)
    assert changed["outcome"] == "rolled-back"
    assert (
        "was changed while it was being moved (HostConfig.Memory, HostConfig.MemorySwap): try again" in changed["msg"]
    )
    assert fleet.on("host3", state).split() == [*again[:2], "unless-stopped"], "it runs on, with its own restart policy"
    assert fleet.move("plain", "host2")["outcome"] == "committed", "and it can be moved again"
    fleet.on("host2", "docker stop -t 1 plain && docker start plain && docker kill plain")
