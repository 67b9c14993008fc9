# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real packets between two namespaces, held and let go in order."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from relocate_proxy.host import syscalls
from relocate_proxy.network import held_queue
from relocate_proxy.network.held_queue import MAX_PACKETS, HeldQueue
from relocate_proxy.network.netlink import NetfilterSocket

from tests.lab.waiting import until

from .addresses import FOUR, SIX, Plan
from .namespaces import Network

pytestmark = [pytest.mark.kernel, pytest.mark.needs("iptables", "ip6tables")]
PORT, QUEUE = 9999, 5200
SO_RCVBUFFORCE = 33  # what a test loses must be lost in the queue, not behind it


class Wire:
    """A sender, a wire, and a receiver whose packets pass a queue."""

    def __init__(self, sender: Network, receiver: Network, plan: Plan) -> None:
        self.receiver, self.plan = receiver, plan
        link = "wire6" if plan is SIX else "wire"
        sender.run("ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", str(receiver.pid))
        for place in (sender, receiver):
            place.run("ip", "link", "set", link, "up")
        sender.join(link, plan.old, plan.edge)
        receiver.join(link, plan.edge, plan.old)
        self.filter(f"-t raw -A PREROUTING -p udp --dport {PORT} -j NFQUEUE --queue-num {QUEUE} --queue-bypass")
        datagrams = (socket.AF_INET6 if plan is SIX else socket.AF_INET, socket.SOCK_DGRAM)
        self.out = syscalls.in_network(sender.path, lambda: socket.socket(*datagrams))
        self.out.connect((plan.edge, PORT))
        self.back = syscalls.in_network(receiver.path, lambda: socket.socket(*datagrams))
        self.back.bind((plan.edge, PORT))

    def filter(self, rule: str) -> None:
        """Add a rule of the family's iptables at the receiver."""
        self.receiver.run("ip6tables" if self.plan is SIX else "iptables", *rule.split())

    def queue(self) -> HeldQueue:
        """Return the reader of the receiver's queue."""
        return syscalls.in_network(self.receiver.path, lambda: HeldQueue(QUEUE))

    def send(self, *numbers: int) -> None:
        """Send one datagram for each number."""
        for number in numbers:
            self.out.send(b"%d" % number)

    def close(self) -> None:
        """Close its sockets."""
        self.out.close()
        self.back.close()

    def arrived(self, count: int, seconds: float = 60.0) -> list[int]:
        """Return up to ``count`` numbers that arrive in time."""
        self.back.settimeout(seconds)
        found: list[int] = []
        try:
            while len(found) < count:
                found.append(int(self.back.recv(100)))
        except TimeoutError:
            pass
        return found


def await_held(queue: HeldQueue, count: int) -> None:
    """Wait until so many packets have been held in all: the queue's reader is a thread, which gets its turn some time."""
    until(lambda: queue.total, f"{count} held packets", lambda total: total >= count)


def await_reading(queue: HeldQueue) -> None:
    """Wait until the queue's reader waits in a system call whose first argument is the number of its socket."""
    call = Path(f"/proc/self/task/{queue._reader.native_id}/syscall")
    until(call.read_text, "a reader that waits", lambda text: text.split()[1:2] == [hex(queue._socket.fileno())])


@pytest.fixture
def wire(network: Callable[[], Network], plan: Plan) -> Iterator[Wire]:
    """Return a wire over which packets of either family pass."""
    made = Wire(network(), network(), plan)
    made.send(0)
    assert made.arrived(1) == [0], "a queue nobody reads must let pass"
    yield made
    made.close()


def test_packets_wait_and_are_released_in_order(wire: Wire) -> None:
    """None before, all after, in the order they came; what comes then passes at once."""
    queue = wire.queue()
    wire.send(1)
    assert wire.arrived(1) == [1], "nothing is held yet"
    queue.hold()
    wire.send(*range(100, 300))
    assert wire.arrived(1, 0.15) == []
    await_held(queue, 200)
    assert queue.release() == 200
    assert wire.arrived(200) == list(range(100, 300))
    wire.send(2)
    assert wire.arrived(1) == [2]
    assert queue.release() == 0
    queue.close()


def test_packets_of_both_families_wait_in_one_queue(network: Callable[[], Network]) -> None:
    """A container's services may be of both, and its move has one queue."""
    ends = network(), network()
    wires = [Wire(*ends, plan) for plan in (FOUR, SIX)]
    queue = wires[0].queue()
    queue.hold()
    for number in range(100):
        wires[number % 2].send(number)
    await_held(queue, 100)
    assert [wire.arrived(1, 0.1) for wire in wires] == [[], []]
    assert queue.release() == 100
    for first, wire in enumerate(wires):
        assert wire.arrived(50) == list(range(first, 100, 2))
        wire.send(1000)
        assert wire.arrived(1) == [1000]
    queue.close()
    for wire in wires:
        wire.close()


def test_packets_that_come_during_the_release_do_not_overtake(wire: Wire) -> None:
    """The sender never pauses."""
    queue = wire.queue()
    for start in (0, 1000, 2000):
        queue.hold()
        wire.send(*range(start, start + 50))
        released = queue.release()
        wire.send(*range(start + 50, start + 100))
        assert released <= 50
        assert wire.arrived(100) == list(range(start, start + 100))
    queue.close()


def test_holding_twice_holds_once(wire: Wire) -> None:
    """The barrier has raised it already."""
    queue = wire.queue()
    queue.hold()
    wire.send(1)
    await_held(queue, 1)
    queue.hold()
    wire.send(2)
    await_held(queue, 2)
    assert queue.release() == 2 and wire.arrived(2) == [1, 2]
    queue.close()


def test_a_verdict_without_room_is_one_packet(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader goes on: with it every packet of the service would wait for good."""
    queue = wire.queue()
    refused = []

    def send(self: NetfilterSocket, message: bytes) -> None:
        if not refused:
            refused.append(message)
            raise OSError(errno.ENOBUFS, "no room")
        sent(self, message)

    sent = NetfilterSocket.send
    monkeypatch.setattr(NetfilterSocket, "send", send)
    wire.send(1, 2, 3)
    assert wire.arrived(2) == [2, 3] and refused
    queue.close()


def test_a_hook_that_goes_empties_the_queue(wire: Wire) -> None:
    """The kernel's doing (``nfqnl_nf_hook_drop``), whosever hook it was: docs/cutover.md warns of it."""
    queue = wire.queue()
    queue.hold()
    wire.send(1, 2)
    await_held(queue, 2)
    other = "ip6 other" if wire.plan is SIX else "ip other"
    wire.receiver.run("nft", f"add table {other}; add chain {other} some {{ type filter hook output priority 0; }}")
    wire.receiver.run("nft", f"delete table {other}")
    wire.send(3)
    await_held(queue, 3)
    queue.release()
    assert wire.arrived(3, 1.0) == [3]
    queue.close()


def test_a_queue_whose_reader_is_gone_lets_pass(wire: Wire) -> None:
    """The edge's proxy was killed: what it held TCP sends again, what comes passes, unless the chain ``early`` drops it."""
    queue = wire.queue()
    queue.hold()
    queue.close()

    def passes() -> list[int]:
        wire.send(7)
        return wire.arrived(1, 0.05)

    until(passes, "a packet that passes an unbound queue")


def test_a_closed_queue_is_free_at_once(wire: Wire) -> None:
    """Its reader does not wait for one more packet, which would be lost, and the number may be bound again."""
    queue = wire.queue()
    await_reading(queue)
    queue.close()
    queue.close()
    wire.send(1)
    assert wire.arrived(1, 5.0) == [1]
    again = wire.queue()
    again.close()


def test_a_closed_queue_takes_nothing_from_the_next(wire: Wire, network: Callable[[], Network]) -> None:
    """The next has its socket's number. A reader that still waited would look that up when a signal has it begin its call anew.

    The end of a child is such a signal, when the main thread blocks it, as it does while it starts another child.
    """
    other = Wire(network(), network(), wire.plan)
    queue = other.queue()
    number = queue._socket.fileno()
    await_reading(queue)
    queue.close()
    queue = wire.queue()
    assert queue._socket.fileno() == number, "another number: the test tests nothing"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        os.kill(os.getpid(), signal.SIGCHLD)
        for each in range(1, 30):
            wire.send(each)
            assert wire.arrived(1, 5.0) == [each]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    queue.close()
    other.close()


def test_only_what_is_released_loses_its_mark(wire: Wire) -> None:
    """By that the edge's chain ``early`` tells it from what merely got past the queue."""
    mark, any_mark = "0x52451450", "0x52450000/0xffff0000"
    wire.filter(f"-t raw -I PREROUTING -p udp -j MARK --set-mark {mark}")
    wire.filter(f"-t mangle -A PREROUTING -m mark --mark {any_mark} -j DROP")
    wire.send(1)
    queue = wire.queue()
    wire.send(2)
    assert wire.arrived(1, 0.2) == [], "one that nobody read, one that was passed on before anything was held"
    queue.hold()
    wire.send(3, 4)
    await_held(queue, 2)
    queue.release()
    wire.send(5)
    assert wire.arrived(3) == [3, 4, 5]
    queue.hold()
    wire.send(6)
    await_held(queue, 3)
    queue.release()
    assert wire.arrived(1) == [6]
    queue.close()


def test_more_than_the_queue_takes_is_dropped(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood in the freeze: what passed would be acknowledged by a kernel whose word does not count."""
    monkeypatch.setattr(held_queue, "MAX_PACKETS", 500)
    wire.back.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    queue = wire.queue()
    queue.hold()
    wire.send(*range(2000))
    assert wire.arrived(1, 0.2) == []
    await_held(queue, 500)
    assert queue.release() == 500
    assert wire.arrived(500) == list(range(500))
    queue.close()


def test_more_than_its_reader_can_read_is_dropped(wire: Wire) -> None:
    """The proxy gets no processor for a while, and its socket is full. It goes on afterwards."""
    queue = wire.queue()
    queue.hold()
    wire.back.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    with queue._lock:
        wire.send(*range(MAX_PACKETS - 1))
        assert wire.arrived(1, 0.2) == [], "it passed the queue"
    # the kernel's side of the queue: what its reader has not read yet
    unread = lambda: int(wire.receiver.run("cat", "/proc/net/netfilter/nfnetlink_queue").split()[2])  # noqa: E731
    until(unread, "a reader that has caught up", lambda number: number == queue.total)
    count = queue.release()
    assert 0 < count < MAX_PACKETS - 1, "its socket was not full: the test has tested nothing"
    assert wire.arrived(count) == list(range(count))
    wire.send(1)
    assert wire.arrived(1) == [1]
    queue.close()


def test_each_relocation_has_a_queue_of_its_own(network: Callable[[], Network]) -> None:
    """The first that is free; when all are taken the move is refused."""
    place = network().path
    first = syscalls.in_network(place, lambda: HeldQueue.first_free(range(5200, 5202)))
    second = syscalls.in_network(place, lambda: HeldQueue.first_free(range(5200, 5202)))
    assert (first.number, second.number) == (5200, 5201)
    with pytest.raises(OSError, match="all packet queues of the edge are in use by other relocations") as full:
        syscalls.in_network(place, lambda: HeldQueue.first_free(range(5200, 5202)))
    assert full.value.errno == errno.EBUSY
    first.close()
    second.close()
