# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection whose end is at two hosts: an original that has stopped, and a copy that may never run.

A client, the edge and two hosts, each a network namespace. The copy's socket is made as CRIU makes it, with ``TCP_REPAIR``: its
kernel acknowledges whatever reaches it, though no program runs.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as definition
from relocate_proxy.host import syscalls
from relocate_proxy.network.conntrack import Conntrack, Endpoint
from relocate_proxy.network.flows import EGRESS, INGRESS, Flow, datagram_flows, on_edge, place_on_edge
from relocate_proxy.network.packet_rules import PacketRules
from relocate_proxy.parts import endings
from relocate_proxy.protocol.addresses import Addresses

from tests.lab.waiting import until

from .addresses import FOUR, SIX, Plan
from .namespaces import Network

pytestmark = [pytest.mark.kernel, pytest.mark.needs("ip", "nft", "iptables", "ip6tables", "unshare")]
#: Hosts have an address of each family: what comes from the other end tells which one counts.
OLD, NEW = Addresses(FOUR.old, SIX.old), Addresses(FOUR.new, SIX.new)
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW = 19, 20, 21, 29
ON, OFF, OFF_QUIETLY = 1, 0, -1
RECEIVED, SENT = 1, 2
FIN, RST, PSH, ACK = 1, 4, 8, 16


def feed(network: Network, text: str, *command: str) -> None:
    """Run a command in a network with something on its standard input."""
    subprocess.run(["nsenter", f"--net={network.path}", *command], input=text, text=True, check=True)


def service(plan: Plan, protocol: str, virtual: int, host: int) -> dict[str, Any]:
    """Return a service as a plan has it."""
    ports = {"virtual_port": virtual, "host_port": host, "container_port": host}
    return {"protocol": protocol, "virtual_address": plan.virtual, **ports}


class Scene:
    """A client's connection to a service at the old host, and what a relocation of it has done to the edge.

    All of them have addresses of both families, and the edge has both tables. The connection is of one.
    """

    def __init__(self, make: Callable[[], Network], plan: Plan) -> None:
        self.plan = plan
        self.services = [service(plan, "tcp", 7000, 7000), *(service(each, "udp", 53, 5353) for each in (FOUR, SIX))]
        self.client, self.edge, self.old, self.new = make(), make(), make(), make()
        self._wire(self.client, "out", [(each.gate, each.client) for each in (FOUR, SIX)])
        self._wire(self.old, "to-old", [(each.edge, each.old) for each in (FOUR, SIX)])
        self._wire(self.new, "to-new", [(each.edge, each.new) for each in (FOUR, SIX)])
        self.edge.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for option in ("timestamps", "sack", "window_scaling"):  # so that there is little to repair
            self.client.run("sysctl", "-qw", f"net.ipv4.tcp_{option}=0")
        probe = ["nsenter", f"--net={self.edge.path}", "nft", "--check", "-f", "-"]
        queues = subprocess.run(probe, input=definition.queue_probe_text(), text=True, capture_output=True, check=False)
        text = ""
        for each, kind in ((FOUR, definition.IP4), (SIX, definition.IP6)):
            self.edge.run("ip", "address", "add", each.virtual, "dev", "out")
            published = [
                definition.Service("counter", s["protocol"], each.virtual, s["virtual_port"], each.old, s["host_port"])
                for s in self.services
                if s["virtual_address"] == each.virtual
            ]
            # As in the examples: what a host says for itself looks as if its services said it.
            gateway = definition.Gateway("out", each.network(each.old), each.virtual)
            text += definition.table_text(kind, gateway, queues.returncode == 0, published)
        feed(self.edge, text, "nft", "-f", "-")
        if queues.returncode:
            for program in ("iptables", "ip6tables"):
                feed(self.edge, definition.raw_text(with_jump=True), f"{program}-restore", "--noflush")
        listener = self.listen(self.old, (plan.old, 7000))
        self.near = self.connect(self.client, (plan.virtual, 7000))
        self.original, peer = listener.accept()
        listener.close()
        local = Endpoint(plan.old, 7000)
        self.flow = Flow(INGRESS, "tcp", local, Endpoint(*peer[:2]), local, Endpoint(plan.virtual, 7000))
        self.flows = [self.flow]  # all that is moved
        self.table = syscalls.in_network(self.edge.path, Conntrack)
        self.gateway = self.proxy()
        self.talk(self.original, b"before")

    def _wire(self, end: Network, name: str, addresses: list[tuple[str, str]]) -> None:
        self.edge.run("ip", "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", str(end.pid))
        for place, device in ((self.edge, name), (end, "wire")):
            place.run("ip", "link", "set", device, "up")
        for edge, address in addresses:
            self.edge.join(name, edge, address)
            end.join("wire", address, edge)
            end.run("ip", "-6" if ":" in edge else "-4", "route", "add", "default", "via", edge)

    def listen(self, where: Network, place: tuple[str, int]) -> socket.socket:
        """Return a listening socket in a network."""
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        return syscalls.in_network(where.path, lambda: socket.create_server(place, family=family))

    def connect(self, where: Network, place: tuple[str, int]) -> socket.socket:
        """Return a connection from a network."""
        return syscalls.in_network(where.path, lambda: socket.create_connection(place, 60))

    def proxy(self, left: list[Flow] | None = None) -> PacketRules:
        """Return the edge's tables in the hands of a proxy."""
        return syscalls.in_network(self.edge.path, lambda: PacketRules("counter", self.services, OLD, NEW, left))

    def talk(self, far: socket.socket, words: bytes) -> None:
        """Send something from the client; it must arrive at ``far`` at once."""
        self.near.sendall(words)
        far.settimeout(60)
        assert far.recv(100) == words

    def answer(self, far: socket.socket, near: socket.socket | None = None) -> None:
        """Send something to the client; it must arrive."""
        near = near or self.near
        far.sendall(b"answer")
        near.settimeout(60)
        assert near.recv(100) == b"answer"

    def restore(self, original: socket.socket | None = None) -> socket.socket:
        """Return the copy's socket, as CRIU would leave it: connected, where the original was."""
        original = original or self.original
        numbers = {}
        original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)
        for queue in (RECEIVED, SENT):
            original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            numbers[queue] = original.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 4)
        window = original.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, 20)
        original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF_QUIETLY)
        copy = syscalls.in_network(self.new.path, lambda: socket.socket(original.family, socket.SOCK_STREAM))
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for queue, number in numbers.items():
            copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            copy.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, number)
        copy.bind((self.plan.new, original.getsockname()[1]))
        copy.connect(original.getpeername())
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
        return copy

    def hold(self) -> None:
        """Do what the edge does until the original is frozen."""
        self.gateway.raise_barrier()
        self.gateway.hold(self.flows)
        self.gateway.shut(self.flows)

    def hold_and_route(self) -> socket.socket:
        """Do what the edge does from the hold until its routes lead to the copy; return the copy's socket."""
        self.hold()
        copy = self.restore()
        self.route(copy)
        return copy

    def moved(self) -> list[Flow]:
        """Return what is moved as it is at the new host, where every port is the same."""
        places = [(each, NEW.like(each.host.address)) for each in self.flows]
        return [
            replace(each, local=Endpoint(new, each.local.port), host=Endpoint(new, each.host.port))
            for each, new in places
        ]

    def route(self, *copies: socket.socket) -> None:
        """Lead everything to the copy, and let its sockets speak."""
        self.gateway.route(NEW, born=False)
        for each in self.moved():
            place_on_edge(self.table, each)
        self.gateway.let_copy_speak()
        for copy in copies:
            copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF)

    def restart_edge(self) -> None:
        """Leave of the edge what a boot leaves: its tables, as they were written down, and no connection."""
        self.gateway.close()
        tables = (each.table.split() for each in (FOUR, SIX))
        listed = "".join(self.edge.run("nft", "-s", "list", "table", *table) for table in tables)
        feed(self.edge, definition.boot_text(listed), "nft", "-f", "-")
        for entry in list(self.table.entries()):
            self.table.delete(entry.protocol, entry.source, entry.destination)

    def unacknowledged(self, near: socket.socket | None = None) -> int:
        """Return how many of the client's bytes no kernel has acknowledged."""
        return struct.unpack("i", fcntl.ioctl(near or self.near, termios.TIOCOUTQ, b"\0" * 4))[0]


def readable(end: socket.socket) -> bool:
    """Return whether something has come."""
    return bool(select.select([end], [], [], 0)[0])


def sent_again(end: socket.socket) -> int:
    """Return how many segments were sent again (``tcpi_total_retrans`` of ``struct tcp_info``)."""
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]


def end_unheard(scene: Scene, copy: socket.socket, ends: str) -> None:
    """Have the copy's kernel say that the connection has ended; the client must not hear it."""
    if ends == "by a reset":
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    copy.close()
    scene.near.settimeout(0.5)
    with pytest.raises(TimeoutError):
        scene.near.recv(100)


@pytest.fixture
def scene(network: Callable[[], Network], plan: Plan) -> Iterator[Scene]:
    """Return a connection under way, of either family."""
    made = Scene(network, plan)
    yield made
    made.near.close()
    made.original.close()
    made.table.close()


def test_what_is_held_reaches_the_copy_with_the_release(scene: Scene) -> None:
    """And nothing before that."""
    copy = scene.hold_and_route()
    scene.near.sendall(b"held")
    until(lambda: scene.gateway.queue.total, "a queue that holds it")
    assert scene.unacknowledged() == 4 and not readable(copy)
    assert scene.gateway.release()
    copy.settimeout(60)
    assert copy.recv(100) == b"held"
    scene.talk(copy, b"after")
    scene.gateway.close()
    copy.close()


def test_a_client_of_a_killed_edge_is_not_acknowledged_by_a_copy_that_is_thrown_away(scene: Scene) -> None:
    """Its queue is gone and lets packets pass. The move is rolled back: the original gets every byte."""
    copy = scene.hold_and_route()
    scene.gateway.close()  # the proxy is killed: the kernel unbinds its queue
    scene.near.sendall(b"sent inside the hold")
    time.sleep(0.7)  # and sent again after 200 and 400 ms
    assert scene.unacknowledged() == 20, "the copy's kernel has acknowledged what the original will never see"
    assert not readable(copy)
    late = syscalls.in_network(scene.client.path, lambda: socket.socket(scene.near.family, socket.SOCK_STREAM))
    late.settimeout(0.3)
    with pytest.raises(TimeoutError):  # neither refused by the new host's kernel nor accepted
        late.connect((scene.plan.virtual, 7000))
    late.close()
    copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)  # thrown away without a word
    copy.close()
    resumed = scene.proxy([scene.flow])
    endings.turn_to_source(resumed, scene.table, OLD, [scene.flow]).insist()
    scene.original.settimeout(60)
    assert scene.original.recv(100) == b"sent inside the hold"
    scene.answer(scene.original)
    resumed.close()


def test_a_killed_edge_that_has_committed_gives_the_copy_every_byte(scene: Scene) -> None:
    """Its next process repeats the verdict; until the copy has accepted it, nothing reaches it."""
    copy = scene.hold_and_route()
    scene.gateway.close()
    scene.near.sendall(b"sent inside the hold")
    resumed = scene.proxy([scene.flow])
    endings.turn_to_destination(resumed, scene.table, NEW, scene.moved())
    time.sleep(0.3)
    assert scene.unacknowledged() == 20 and not readable(copy)
    resumed.release()
    resumed.reopen()
    copy.settimeout(60)
    assert copy.recv(100) == b"sent inside the hold"
    resumed.close()
    copy.close()


def test_a_copy_that_is_not_gone_yet_does_not_take_what_the_edge_has_forgotten(scene: Scene) -> None:
    """An edge that was started anew knows no connection. Its move is recovered, and the copy speaks before it is removed.

    That would make an entry, with the place that the client knows: the client would get words of a copy that never ran, talk
    to it, and be reset with it.
    """
    copy = scene.hold_and_route()
    scene.restart_edge()
    recovered = scene.proxy([scene.flow])
    endings.turn_to_source(recovered, scene.table, OLD, [scene.flow]).insist()
    copy.sendall(b"never to be heard")
    time.sleep(0.3)
    scene.talk(scene.original, b"after")
    scene.answer(scene.original)
    recovered.close()
    copy.close()


def test_a_frozen_original_does_not_take_its_connection_back(scene: Scene) -> None:
    """Its copy runs, and the edge is started anew before the original is removed, whose kernel says again what it said last."""
    copy = scene.hold_and_route()
    scene.gateway.release()
    scene.talk(copy, b"after")
    scene.restart_edge()
    scene.original.sendall(b"said again")
    time.sleep(0.3)
    scene.talk(copy, b"to the copy")
    scene.answer(copy)
    copy.close()


@pytest.mark.parametrize("ends", ["in order", "by a reset"])
def test_a_copy_that_is_killed_before_it_may_run_does_not_end_the_clients_connection(scene: Scene, ends: str) -> None:
    """Whoever kills it: its kernel says that the connection has ended, and the original lives on and has it still."""
    copy = scene.hold_and_route()
    end_unheard(scene, copy, ends)
    endings.turn_to_source(scene.gateway, scene.table, OLD, [scene.flow]).insist()
    scene.talk(scene.original, b"after")
    scene.answer(scene.original)
    scene.gateway.close()


@pytest.mark.parametrize("ends", ["in order", "by a reset"])
def test_a_copy_that_is_killed_while_it_is_resumed_has_said_nothing(scene: Scene, ends: str) -> None:
    """What was held is with its kernel already: neither that, nor its end, is heard, and the original gets every byte."""
    copy = scene.hold_and_route()
    scene.near.sendall(b"held")
    scene.gateway.release(born=False)
    copy.settimeout(60)
    assert copy.recv(100, socket.MSG_PEEK) == b"held"
    time.sleep(0.3)  # acknowledgements may be late by 40 ms and more
    assert scene.unacknowledged() == 4
    end_unheard(scene, copy, ends)
    endings.turn_to_source(scene.gateway, scene.table, OLD, [scene.flow]).insist()
    scene.original.settimeout(60)
    assert scene.original.recv(100) == b"held"
    scene.answer(scene.original)
    scene.gateway.close()


def test_a_copy_that_answers_before_the_edge_knows_that_it_runs_is_heard_at_once(scene: Scene) -> None:
    """Whoever waits, waits for this: an answer that were dropped would come again after 200 ms at the earliest."""
    copy = scene.hold_and_route()
    scene.near.sendall(b"held")
    scene.gateway.release(born=False)
    copy.settimeout(60)
    assert copy.recv(100) == b"held"
    copy.sendall(b"answer")
    until(lambda: sent_again(copy) or readable(scene.near), "an answer")
    assert scene.near.recv(100) == b"answer" and not sent_again(copy)
    until(scene.unacknowledged, "an answer that acknowledges", lambda left: left == 0)
    scene.gateway.let_copy_live()
    copy.close()
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b""
    scene.gateway.close()


def test_a_copy_that_runs_may_end_the_connection(scene: Scene) -> None:
    """From the release on, what it says is its own."""
    copy = scene.hold_and_route()
    scene.gateway.release()
    copy.close()
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b""
    scene.gateway.close()


def test_a_copy_whose_kernel_speaks_before_its_entries_are_placed_keeps_its_connection(scene: Scene) -> None:
    """A second after the restore it says again what the client has not acknowledged, though no program runs.

    With no entry at the edge that would reach the client from another place, and its reset would end the copy's socket.
    """
    scene.hold()
    copy = scene.restore()
    copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF_QUIETLY)
    copy.sendall(b"answer")
    time.sleep(0.3)
    scene.route(copy)
    scene.gateway.release()
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
    scene.talk(copy, b"after")
    scene.gateway.close()
    copy.close()


def test_a_connection_that_the_container_has_opened_is_led_to_its_copy(scene: Scene) -> None:
    """The edge gave it its own address on the way out; the remote goes on seeing that, and loses nothing."""
    listener = scene.listen(scene.client, (scene.plan.client, 8000))
    original = scene.connect(scene.old, (scene.plan.client, 8000))
    near, seen = listener.accept()
    listener.close()
    assert seen[0] == scene.plan.virtual
    local = Endpoint(scene.plan.old, original.getsockname()[1])
    own = Flow(EGRESS, "tcp", local, Endpoint(scene.plan.client, 8000), local)
    (own,) = on_edge([own], scene.table)
    assert own.virtual == Endpoint(*seen[:2])
    scene.flows.append(own)
    scene.hold()
    copies = scene.restore(), scene.restore(original)
    scene.route(*copies)
    near.sendall(b"held")
    original.sendall(b"from the old place")
    time.sleep(0.3)
    assert scene.unacknowledged(near) == 4 and not readable(near) and not readable(copies[1])
    assert scene.gateway.release()
    copies[1].settimeout(60)
    assert copies[1].recv(100) == b"held"
    scene.answer(copies[1], near)
    scene.talk(copies[0], b"after")
    scene.gateway.close()
    for each in (*copies, near, original):
        each.close()


class Datagrams:
    """A client's datagrams to a service over UDP, and the sockets that would get them at either host."""

    def __init__(self, scene: Scene, plan: Plan) -> None:
        self.family = socket.AF_INET6 if plan is SIX else socket.AF_INET
        self.near = self._socket(scene.client)
        self.near.connect((plan.virtual, 53))
        self.old, self.new = self._socket(scene.old, plan.old), self._socket(scene.new, plan.new)

    def _socket(self, where: Network, address: str = "") -> socket.socket:
        made = syscalls.in_network(where.path, lambda: socket.socket(self.family, socket.SOCK_DGRAM))
        made.settimeout(60)
        if address:
            made.bind((address, 5353))
        return made

    def asked(self, far: socket.socket, words: bytes) -> None:
        """Receive a question and answer it; the answer must come from where the client asked."""
        got, sender = far.recvfrom(100)
        assert got == words
        far.sendto(words.upper(), sender)
        assert self.near.recv(100) == words.upper()

    def close(self) -> None:
        """Close the sockets."""
        for each in (self.near, self.old, self.new):
            each.close()


@pytest.mark.parametrize("other", [FOUR, SIX], ids=["UDP over IPv4", "UDP over IPv6"])
def test_datagrams_that_are_held_reach_the_copy_in_order(scene: Scene, other: Plan) -> None:
    """Beside a connection of either family: the move is one, its queue is one, and the tables are two."""
    datagrams = Datagrams(scene, other)
    datagrams.near.send(b"before")
    datagrams.asked(datagrams.old, b"before")
    (flow,) = datagram_flows(scene.table, OLD, scene.services, OLD)
    assert flow.virtual == Endpoint(other.virtual, 53) and flow.host == Endpoint(other.old, 5353)
    scene.flows.append(flow)
    copy = scene.hold_and_route()
    words = [b"held %d" % number for number in range(20)]
    for each in words:
        datagrams.near.send(each)
    scene.near.sendall(b"held")
    datagrams.old.sendto(b"from the old place", (flow.remote.address, flow.remote.port))
    until(lambda: scene.gateway.queue.total, "a queue that holds all that", lambda total: total >= 21)
    assert not any(map(readable, (datagrams.old, datagrams.new, datagrams.near, copy)))
    assert scene.gateway.release() >= 21
    for each in words:
        datagrams.asked(datagrams.new, each)
    copy.settimeout(60)
    assert copy.recv(100) == b"held"
    datagrams.near.send(b"after")
    datagrams.asked(datagrams.new, b"after")
    scene.talk(copy, b"after")
    assert not readable(datagrams.old)
    scene.gateway.close()
    datagrams.close()
    copy.close()


def segment(source: tuple[str, int], target: tuple[str, int], flags: int, options: int, data: bytes) -> bytes:
    """Return a TCP segment with a header of that many bytes of options, which say nothing, and a proper checksum."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    head = struct.pack("!HHIIBBHHH", source[1], target[1], 1, 1, (20 + options) // 4 << 4, flags, 1000, 0, 0)
    body = head + b"\1" * options + data
    summed = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0]) + body + bytes(len(body) % 2)
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed)) + len(body) + socket.IPPROTO_TCP
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return body[:16] + struct.pack("!H", ~total & 0xFFFF) + body[18:]


def test_of_a_copy_that_may_not_run_only_what_its_program_says_passes(scene: Scene) -> None:
    """Its kernel acknowledges and ends: with as many options as a header can have. A program's bytes are more than headers."""
    copy = scene.hold_and_route()
    raw = lambda: socket.socket(scene.near.family, socket.SOCK_RAW, socket.IPPROTO_TCP)  # noqa: E731
    out, heard = syscalls.in_network(scene.new.path, raw), syscalls.in_network(scene.client.path, raw)
    heard.settimeout(60)
    client = (scene.flow.remote.address, scene.flow.remote.port)
    dropped = [(ACK, 0), (ACK, 12), (ACK, 40), (FIN | ACK, 0), (RST, 0), (RST | ACK, 40), (FIN | PSH | ACK, 40)]
    passing = [(ACK, 0, b"x" * 41), (ACK, 40, b"y" * 41), (PSH | ACK, 0, b"z"), (PSH | ACK, 40, b"the last")]
    sent = [segment((scene.plan.new, 7000), client, *each, b"") for each in dropped]
    sent += [segment((scene.plan.new, 7000), client, *each) for each in passing]
    for each in sent:
        out.sendto(each, (client[0], 0))
    found: list[tuple[int, int, bytes]] = []
    with pytest.raises(TimeoutError):  # when the last has been heard nothing else comes
        while True:
            packet = heard.recv(2000)
            body = packet if scene.plan is SIX else packet[(packet[0] & 15) * 4 :]
            size = (body[12] >> 4) * 4
            assert struct.unpack_from("!HH", body) == (7000, client[1]), "it left without its NAT"
            found.append((body[13], size - 20, body[size:]))
            heard.settimeout(0.3 if len(found) >= len(passing) else 60)
    assert sorted(found) == sorted(passing)
    scene.gateway.close()
    for end in (out, heard, copy):
        end.close()
