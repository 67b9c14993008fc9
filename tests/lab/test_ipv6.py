# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 from the client to the container: connections and datagrams, to it and from it, beside those of IPv4."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import python_image
from direct import EDGE, Direct, Heart
from fleet import REPOSITORY, VIRTUAL6, Fleet
from test_snapshots import INCREMENT
from waiting import until

pytestmark = pytest.mark.lab

HERE, THERE = "host1", "host3"  # of different Docker versions
NETWORK, SUBNET = "six", "fd20:6::/64"
CLIENT6, LISTENS = "fd10:88::2", 9906
PORT = 7660

#: Answers each line of each connection with the same line.
ECHO = """
import socket, sys, threading
def serve(connection):
    while data := connection.recv(4096):
        connection.sendall(data)
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6) as server:
    print("listens", flush=True)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""

#: Counts over one connection that it has opened itself; each number comes back before the next goes out.
CALLER = f"""
import socket, time
with socket.create_connection(("{CLIENT6}", {LISTENS}), 20) as connection:
    connection.settimeout(60)
    for number in range(1 << 30):
        connection.sendall(b"%d\\n" % number)
        assert connection.recv(64) == b"%d\\n" % number
        print(number, flush=True)
        time.sleep(0.01)
"""


@pytest.fixture
def network(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[str]:
    """A network of both families on some hosts; the user's command makes it where it is missing."""
    for host in getattr(request, "param", (HERE, THERE)):
        fleet.on(host, f"docker network create --ipv6 --subnet 172.29.6.0/24 --subnet {SUBNET} {NETWORK}")
    yield NETWORK
    fleet.remove_tenants()
    for host in (HERE, THERE):
        fleet.on(host, f"docker network rm {NETWORK}", check=False)


def publish(fleet: Fleet, name: str, protocols: tuple[str, ...] = ("tcp", "udp")) -> None:
    """Lead the virtual IPv6 address to the host where the container begins, as a user does."""
    address = fleet.variables(HERE)["relocate_fabric_address6"]
    for protocol in protocols:
        arguments = (
            f"name={name} virtual_address={VIRTUAL6} virtual_port={PORT} protocol={protocol} host_address={address}"
        )
        fleet.run("ansible", "-i", "inventories/lab", EDGE, "-b", "-m", "relocate.mtd.nat_service", "-a", arguments)


def counter(fleet: Fleet, name: str) -> None:
    """Run a counter that is reached by both families, each at its virtual address, over TCP and UDP."""
    fleet.tenants.append(name)
    ports = " ".join(f"-p {PORT}:{PORT}/{protocol}" for protocol in ("tcp", "udp"))
    fleet.on(HERE, f"docker run -d --name {name} --network {NETWORK} {ports} {REPOSITORY}/counter:1 -6 {PORT} 8")
    fleet.await_listener(HERE, name, PORT)
    publish(fleet, name)


def moved(result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the result of a move that was committed."""
    assert result is not None
    assert result["outcome"] == "committed", result["problems"]
    return result


@pytest.mark.parametrize("network", [(HERE,)], indirect=True)
def test_clients_of_ipv6_are_served_throughout(fleet: Fleet, network: str) -> None:
    """To and fro between the two versions of Docker, by the user's command: no number is missing and none comes twice."""
    counter(fleet, "both")
    stream, datagrams = (Heart(fleet, PORT, kind, address=VIRTUAL6) for kind in ("tcp", "udp"))
    try:
        for to in (THERE, HERE):
            result = fleet.move("both", to)
            assert result["flows"] == {"ingress": 2, "egress": 0, "kept": 2, "lost": 0}
            assert result["address6_before"].startswith("fd20:6:") and result["address6_after"].startswith("fd20:6:")
            stream.assert_beats()
            datagrams.assert_beats()
            Heart(fleet, PORT, address=VIRTUAL6).end()
    finally:
        stream.end()
        datagrams.end()


def test_a_connection_to_the_outside_goes_on(fleet: Fleet, network: str) -> None:
    """The container has opened it: two hosts and the edge translate its source address."""
    python_image.make(fleet)
    echo = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", ECHO, CLIENT6, str(LISTENS)]
    with subprocess.Popen(echo, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == "listens\n"
            python_image.run(fleet, HERE, "caller", CALLER, f"--network {NETWORK}")
            count = lambda host: int(fleet.on(host, "docker logs --tail 1 caller") or -1)  # noqa: E731
            until(lambda: count(HERE), "an answer from outside", lambda number: number > 5)
            direct = Direct.of(fleet, "caller", HERE, THERE)
            for here, there in ((HERE, THERE), (THERE, HERE)):
                result = moved(direct.move(here, there))
                assert result["flows"] == {"ingress": 0, "egress": 1, "kept": 1, "lost": 0}
                before = count(there)
                until(
                    lambda host=there: count(host),
                    "answers after the move",
                    lambda number, old=before: number > old + 20,
                )
        finally:
            server.kill()


def test_a_move_that_is_taken_back_loses_nothing(fleet: Fleet, network: str) -> None:
    """The destination's part dies when all is restored: the original goes on with the same connection."""
    counter(fleet, "back")
    stream = Heart(fleet, PORT, address=VIRTUAL6)
    try:
        direct = Direct.of(fleet, "back", HERE, THERE)
        direct.order(THERE, part="destination", state="prepared", moment="before", do="kill")
        result = direct.move(HERE, THERE)
        assert result is not None and result["outcome"] == "rolled-back"
        direct.wait_until_quiet()
        stream.assert_beats()
        moved(direct.move(HERE, THERE))
        stream.assert_beats()
    finally:
        stream.end()


def test_a_snapshot_is_served_by_ipv6_elsewhere(
    fleet: Fleet, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets another address there, and the edge leads clients of both families to its new host."""
    key = tmp_path / "relocate" / "snapshots.key"
    key.parent.mkdir()
    key.write_bytes(base64.b64encode(os.urandom(32)))
    key.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    fleet.tenants.append("kept")
    both = "--bind 0.0.0.0 :: --protected-mode no --save ''"
    fleet.on(HERE, f"docker run -d --name kept --network {NETWORK} -p {PORT}:6379 {REPOSITORY}/redis:1 {both}")
    fleet.await_listener(HERE, "kept", 6379)
    publish(fleet, "kept", ("tcp",))

    def increment() -> int:
        command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", INCREMENT, VIRTUAL6, str(PORT)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert [increment() for _ in range(3)] == [1, 2, 3]
    fleet.run("relocate", "snapshot", "kept", "--to", str(tmp_path / "store"))
    fleet.on(HERE, "docker rm -f kept")
    fleet.run("relocate", "restore", "kept", "--to", THERE, "--store", str(tmp_path / "store"))
    assert fleet.where("kept") == [THERE] and increment() == 4
