# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of several kinds, moved between real hosts: UDP, IPv6, and connections that are being made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from direct import EDGE, Direct, Heart
from fleet import VIRTUAL, Fleet
from waiting import until

pytestmark = pytest.mark.lab

HERE, THERE = "host1", "host3"
CLIENT = "10.88.0.2"


def there_and_back(direct: Direct, *hearts: Heart) -> list[dict[str, int]]:
    """Move a container to the other host and back while its clients ask; return the results' flows."""
    flows = []
    for source, destination in (direct.hosts, direct.hosts[::-1]):
        result = direct.move(source, destination)
        assert result is not None
        assert result["outcome"] == "committed", result["problems"]
        flows.append(result["flows"])
        for heart in hearts:
            heart.assert_beats()
    return flows


def server(fleet: Fleet, name: str, port: int, command: str) -> Direct:
    """Return a counter that is published on one port for both protocols."""
    fleet.tenant(name, "counter", HERE, command, port, protocols=("tcp", "udp"))
    return Direct.of(fleet, name, HERE, THERE)


@pytest.mark.parametrize("family", ["", "-6 "], ids=["ipv4", "both-families-on-one-socket"])
def test_tcp_and_udp_clients_of_one_server(fleet: Fleet, family: str) -> None:
    """Datagrams are held as connections are: each is answered, once, with the next number of its client."""
    port = 7201 if family else 7200  # the edge remembers the other one's datagrams
    direct = server(fleet, "both", port, f"{family}{port} 8")
    stream, datagrams = Heart(fleet, port), Heart(fleet, port, "udp")
    try:
        assert there_and_back(direct, stream, datagrams) == [{"ingress": 2, "egress": 0, "kept": 2, "lost": 0}] * 2
    finally:
        stream.end()
        datagrams.end()


def test_the_copys_sockets_say_nothing_before_the_edge_knows_their_place(fleet: Fleet) -> None:
    """An edge that lags behind the restore: what the copy said too early would be answered with a reset."""
    direct = server(fleet, "hasty", 7203, "7203 8")
    heart = Heart(fleet, 7203)
    try:
        direct.order(EDGE, part="edge", state="routing", moment="after", do="hang", seconds=0.5)
        assert there_and_back(direct, heart) == [{"ingress": 1, "egress": 0, "kept": 1, "lost": 0}] * 2
        assert not direct.ordered(EDGE), "the edge has lagged"
    finally:
        heart.end()


@contextmanager
def nobody_answers(fleet: Fleet, port: int) -> Iterator[None]:
    """Drop what comes to a port of the client's, silently, in its own network namespace."""
    enter = ["ip", "netns", "exec", fleet.client_namespace, "nft"]
    rules = (
        "add table inet silence\nadd chain inet silence input { type filter hook input priority 0; }\n"
        f"add rule inet silence input tcp dport {port} drop\n"
    )
    subprocess.run([*enter, "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*enter, "delete", "table", "inet", "silence"], check=True)


def test_a_connection_that_is_being_made(fleet: Fleet) -> None:
    """The container waits for an answer to its SYN, for minutes: that must not keep it where it is."""
    with nobody_answers(fleet, 9901):
        script = f"nc {CLIENT} 9901; echo ended with $?; sleep 1000"
        fleet.tenant("asker", "idle", HERE, f"/bin/busybox sh -c '{script}'")
        waiting = "nsenter -t $(docker inspect -f '{{.State.Pid}}' asker) -n ss -tnH state syn-sent"
        until(lambda: fleet.on(HERE, waiting), "a SYN to port 9901", lambda sockets: ":9901" in sockets)
        direct = Direct.of(fleet, "asker", HERE, THERE)
        result = direct.move(HERE, THERE)
        assert result is not None
        assert result["outcome"] == "committed", result["problems"]
        direct.wait_until_quiet()
        assert direct.settled() == [THERE]
    answered = ["ip", "netns", "exec", fleet.client_namespace, "nc", "-l", "9901"]
    peer = subprocess.Popen(answered, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:  # somebody answers now: either the same connect succeeds, or the program was told that it failed
        answered_or_told = lambda: peer.poll() is not None or fleet.on(THERE, "docker logs asker")  # noqa: E731
        until(answered_or_told, "a program that waits for a connection")
    finally:
        peer.kill()


#: Asks a counter for a number whenever it is told to, over one connection, and says nothing in between.
SILENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
connection.settimeout(60)
for line in sys.stdin:
    connection.sendall(b"x\\n")
    print(connection.recv(64).decode().strip(), flush=True)
"""


def test_a_client_that_the_program_has_not_accepted_yet_is_served(fleet: Fleet) -> None:
    """Its connection and its question are in the kernel alone, and no image has them: the move is taken back, for now."""
    direct = server(fleet, "busy", 7205, "7205 8")
    fleet.on(HERE, "docker kill -s STOP busy")
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", SILENT, VIRTUAL, "7205"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        try:
            print(file=client.stdin, flush=True)
            waiting = "nsenter -t $(docker inspect -f '{{.State.Pid}}' busy) -n ss -tnH state established"
            until(lambda: fleet.on(HERE, waiting), "a question to port 7205", lambda sockets: ":7205" in sockets)
            result = direct.move(HERE, THERE)
            assert result is not None and result["outcome"] == "rolled-back"
            assert "try again" in " ".join(result["problems"])
            direct.wait_until_quiet()
            fleet.on(HERE, "docker kill -s CONT busy")
            assert client.stdout.readline() == "1\n"
            result = direct.move(HERE, THERE)
            assert result is not None and result["outcome"] == "committed", result["problems"]
            print(file=client.stdin, flush=True)
            assert client.stdout.readline() == "2\n"
        finally:
            client.kill()


def test_a_silent_connection_that_no_table_knows_any_more_goes_on(fleet: Fleet) -> None:
    """Its entries are gone from its host and from the edge; then, on the way back, from its host alone."""
    direct = server(fleet, "silent", 7204, "7204 8")
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", SILENT, VIRTUAL, "7204"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        try:
            for number, (here, there, forgetting) in enumerate(
                ((HERE, THERE, (HERE, EDGE)), (THERE, HERE, (THERE,))), 1
            ):
                print(file=client.stdin, flush=True)
                assert client.stdout.readline() == f"{number}\n"
                for host in forgetting:
                    fleet.on(host, "conntrack -D -p tcp --dport 7204")
                result = direct.move(here, there)
                assert result is not None
                assert result["outcome"] == "committed", result["problems"]
                assert result["flows"] == {"ingress": 1, "egress": 0, "kept": 1, "lost": 0}
                direct.wait_until_quiet()
                for host in (there, EDGE):
                    assert f"src={CLIENT}" in fleet.on(host, "conntrack -L -p tcp --dport 7204")
            print(file=client.stdin, flush=True)
            assert client.stdout.readline() == "3\n"
        finally:
            client.kill()
