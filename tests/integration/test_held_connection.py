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

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as definition
from relocate_proxy.host import syscalls
from relocate_proxy.network.conntrack import Conntrack, Endpoint
from relocate_proxy.network.flows import INGRESS, Flow, place_on_edge
from relocate_proxy.network.packet_rules import PacketRules
from relocate_proxy.parts import endings

from tests.lab.waiting import until

from .namespaces import Network

pytestmark = [pytest.mark.kernel, pytest.mark.needs("ip", "nft", "iptables", "unshare")]
OLD, NEW, VIRTUAL, CLIENT = "10.77.0.11", "10.77.0.12", "10.88.0.100", "10.88.0.2"
SERVICES = [
    {"protocol": "tcp", "virtual_address": VIRTUAL, "virtual_port": 7000, "host_port": 7000, "container_port": 7000}
]
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW = 19, 20, 21, 29
ON, OFF, OFF_QUIETLY = 1, 0, -1
RECEIVED, SENT = 1, 2


def feed(network: Network, text: str, *command: str) -> None:
    """Run a command in a network with something on its standard input."""
    subprocess.run(["nsenter", f"--net={network.path}", *command], input=text, text=True, check=True)


class Scene:
    """A client's connection to a service at the old host, and what a relocation of it has done to the edge."""

    def __init__(self, make: Callable[[], Network]) -> None:
        self.client, self.edge = make(), make()
        self.hosts = {OLD: make(), NEW: make()}
        self._wire(self.client, "out", "10.88.0.1", CLIENT)
        for address, host in self.hosts.items():
            self._wire(host, f"to{address[-2:]}", "10.77.0.1", address)
        self.edge.run("ip", "address", "add", f"{VIRTUAL}/32", "dev", "out")
        self.edge.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for option in ("timestamps", "sack", "window_scaling"):  # so that there is little to repair
            self.client.run("sysctl", "-qw", f"net.ipv4.tcp_{option}=0")
        probe = ["nsenter", f"--net={self.edge.path}", "nft", "--check", "-f", "-"]
        queues = subprocess.run(probe, input=definition.queue_probe_text(), text=True, capture_output=True, check=False)
        service = definition.Service("counter", "tcp", VIRTUAL, 7000, OLD, 7000)
        # As in the examples: what a host says for itself looks as if its services said it.
        gateway = definition.Gateway("out", "10.77.0.0/24", VIRTUAL)
        table = definition.table_text(gateway, queues.returncode == 0, [service])
        feed(self.edge, table, "nft", "-f", "-")
        if queues.returncode:
            feed(self.edge, definition.raw_text(with_jump=True), "iptables-restore", "--noflush")
        listener = self.listen(OLD)
        self.near = syscalls.in_network(self.client.path, lambda: socket.create_connection((VIRTUAL, 7000), 60))
        self.original, self.peer = listener.accept()
        listener.close()
        local = Endpoint(OLD, 7000)
        self.flow = Flow(INGRESS, "tcp", local, Endpoint(*self.peer), local, Endpoint(VIRTUAL, 7000))
        self.table = syscalls.in_network(self.edge.path, Conntrack)
        self.gateway = self.proxy()
        self.talk(self.original, b"before")

    def _wire(self, end: Network, name: str, edge: str, address: str) -> None:
        self.edge.run("ip", "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", str(end.pid))
        for place, device, here, there in ((self.edge, name, edge, address), (end, "wire", address, edge)):
            place.run("ip", "address", "add", here, "peer", there, "dev", device)
            place.run("ip", "link", "set", device, "up")
        end.run("ip", "route", "add", "default", "via", edge)

    def listen(self, host: str) -> socket.socket:
        """Return a listening socket at a host."""
        return syscalls.in_network(self.hosts[host].path, lambda: socket.create_server((host, 7000)))

    def proxy(self, left: list[Flow] | None = None) -> PacketRules:
        """Return the edge's table in the hands of a proxy."""
        return syscalls.in_network(self.edge.path, lambda: PacketRules("counter", SERVICES, OLD, NEW, left))

    def talk(self, far: socket.socket, words: bytes) -> None:
        """Send something from the client; it must arrive at ``far`` at once."""
        self.near.sendall(words)
        far.settimeout(60)
        assert far.recv(100) == words

    def restore(self) -> socket.socket:
        """Return the copy's socket, as CRIU would leave it: connected, where the original was."""
        numbers = {}
        self.original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)
        for queue in (RECEIVED, SENT):
            self.original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            numbers[queue] = self.original.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 4)
        window = self.original.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, 20)
        self.original.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF_QUIETLY)
        copy = syscalls.in_network(self.hosts[NEW].path, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for queue, number in numbers.items():
            copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
            copy.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, number)
        copy.bind((NEW, 7000))
        copy.connect(self.peer)
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
        return copy

    def hold(self) -> None:
        """Do what the edge does until the original is frozen."""
        self.gateway.raise_barrier()
        self.gateway.hold([self.flow])
        self.gateway.shut([self.flow])

    def hold_and_route(self) -> socket.socket:
        """Do what the edge does from the hold until its routes lead to the copy; return the copy's socket."""
        self.hold()
        copy = self.restore()
        self.route(copy)
        return copy

    def route(self, copy: socket.socket) -> None:
        """Lead everything to the copy, and let its socket speak."""
        self.gateway.route(NEW, born=False)
        moved = Flow(INGRESS, "tcp", Endpoint(NEW, 7000), self.flow.remote, Endpoint(NEW, 7000), self.flow.virtual)
        place_on_edge(self.table, moved)
        self.gateway.let_copy_speak()
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF)

    def restart_edge(self) -> None:
        """Leave of the edge what a boot leaves: its table, as it was written down, and no connection."""
        self.gateway.close()
        listed = self.edge.run("nft", "-s", "list", "table", "ip", "relocate")
        feed(self.edge, definition.boot_text(listed), "nft", "-f", "-")
        for entry in list(self.table.entries()):
            self.table.delete(entry.protocol, entry.source, entry.destination)

    def unacknowledged(self) -> int:
        """Return how many of the client's bytes no kernel has acknowledged."""
        return struct.unpack("i", fcntl.ioctl(self.near, termios.TIOCOUTQ, b"\0" * 4))[0]


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
def scene(network: Callable[[], Network]) -> Iterator[Scene]:
    """Return a connection under way."""
    made = Scene(network)
    yield made
    made.near.close()
    made.original.close()
    made.table.close()


def test_what_is_held_reaches_the_copy_with_the_release(scene: Scene) -> None:
    """And nothing before that."""
    copy = scene.hold_and_route()
    scene.near.sendall(b"held")
    time.sleep(0.1)
    assert scene.unacknowledged() == 4
    scene.gateway.release()
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
    late = syscalls.in_network(scene.client.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    late.settimeout(0.3)
    with pytest.raises(TimeoutError):  # neither refused by the new host's kernel nor accepted
        late.connect((VIRTUAL, 7000))
    late.close()
    copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, ON)  # thrown away without a word
    copy.close()
    resumed = scene.proxy([scene.flow])
    endings.turn_to_source(resumed, scene.table, OLD, [scene.flow]).insist()
    scene.original.settimeout(60)
    assert scene.original.recv(100) == b"sent inside the hold"
    scene.original.sendall(b"answer")
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
    resumed.close()


def test_a_killed_edge_that_has_committed_gives_the_copy_every_byte(scene: Scene) -> None:
    """Its next process repeats the verdict; until the copy has accepted it, nothing reaches it."""
    copy = scene.hold_and_route()
    scene.gateway.close()
    scene.near.sendall(b"sent inside the hold")
    resumed = scene.proxy([scene.flow])
    moved = Flow(INGRESS, "tcp", Endpoint(NEW, 7000), scene.flow.remote, Endpoint(NEW, 7000), scene.flow.virtual)
    endings.turn_to_destination(resumed, scene.table, NEW, [moved])
    time.sleep(0.3)
    assert scene.unacknowledged() == 20
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
    scene.original.sendall(b"answer")
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
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
    copy.sendall(b"answer")
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
    copy.close()


@pytest.mark.parametrize("ends", ["in order", "by a reset"])
def test_a_copy_that_is_killed_before_it_may_run_does_not_end_the_clients_connection(scene: Scene, ends: str) -> None:
    """Whoever kills it: its kernel says that the connection has ended, and the original lives on and has it still."""
    copy = scene.hold_and_route()
    end_unheard(scene, copy, ends)
    endings.turn_to_source(scene.gateway, scene.table, OLD, [scene.flow]).insist()
    scene.talk(scene.original, b"after")
    scene.original.sendall(b"answer")
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
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
    scene.original.sendall(b"answer")
    scene.near.settimeout(60)
    assert scene.near.recv(100) == b"answer"
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
