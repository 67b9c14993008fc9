"""Sockets of every kind, moved between real hosts: UDP, IPv6, connected and not, and connections that are being made."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import REPOSITORY, VIRTUAL, Fleet
from direct import Direct, Heart

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
    fleet.tenants.append(name)
    places = ",".join(f"{VIRTUAL}:{port}:{port}/{protocol}" for protocol in ("tcp", "udp"))
    variables = {"container": name, "image": f"{REPOSITORY}/counter:1", "host": HERE, "tenant": "test"}
    fleet.playbook("instantiate.yml", **variables, command=command, publish=places)
    return Direct.of(fleet, name, HERE, THERE)


@pytest.mark.parametrize("family", ["", "-6 "], ids=["ipv4", "both-families-on-one-socket"])
def test_tcp_and_udp_clients_of_one_server(fleet: Fleet, family: str) -> None:
    """Datagrams are held as connections are: each is answered, once, with the next number of its client."""
    direct = server(fleet, "both", 7200, f"{family}7200 8")
    stream, datagrams = Heart(fleet, 7200), Heart(fleet, 7200, "udp")
    try:
        assert there_and_back(direct, stream, datagrams) == [{"ingress": 2, "egress": 0, "kept": 2, "lost": 0}] * 2
    finally:
        stream.end()
        datagrams.end()


LISTENER = """
import json, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
    listener.bind(("", int(sys.argv[1])))
    listener.settimeout(30)
    print("listening", flush=True)
    senders, numbers = set(), []
    while not numbers or numbers[-1] < int(sys.argv[2]):
        data, sender = listener.recvfrom(1024)
        senders.add(sender)
        numbers += [int(word) for word in data.split()]
print(json.dumps({"senders": sorted(senders), "numbers": numbers}))
"""


def test_what_a_connected_udp_socket_sends_comes_from_where_it_came_before(fleet: Fleet) -> None:
    """A metrics or log client: its peer sees one address and port all the time, and every datagram once."""
    last = 1200  # 24 s: two moves fit in, also on a busy machine
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", LISTENER, "9900", str(last)]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"
    try:
        script = f"i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done | nc -u {CLIENT} 9900"
        fleet.tenant("teller", "idle", HERE, f"/bin/busybox sh -c '{script}'")
        flows = there_and_back(Direct.of(fleet, "teller", HERE, THERE))
        assert flows == [{"ingress": 0, "egress": 1, "kept": 1, "lost": 0}] * 2
        seen = json.loads(listener.communicate(timeout=120)[0])
        assert len(seen["senders"]) == 1
        assert seen["senders"][0][0] == VIRTUAL
        assert seen["numbers"] == list(range(1, len(seen["numbers"]) + 1))
    finally:
        listener.kill()


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
        assert "9901" in fleet.on(HERE, waiting)
        direct = Direct.of(fleet, "asker", HERE, THERE)
        result = direct.move(HERE, THERE)
        assert result is not None
        assert result["outcome"] == "committed", result["problems"]
        direct.wait_until_quiet()
        assert direct.running() == [THERE]
    answered = ["ip", "netns", "exec", fleet.client_namespace, "nc", "-l", "9901"]
    peer = subprocess.Popen(answered, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:  # somebody answers now: either the same connect succeeds, or the program was told that it failed
        deadline = time.monotonic() + 90
        while peer.poll() is None and not fleet.on(THERE, "docker logs asker"):
            assert time.monotonic() < deadline, "the program waits for a connection that nobody makes"
            time.sleep(0.5)
    finally:
        peer.kill()
