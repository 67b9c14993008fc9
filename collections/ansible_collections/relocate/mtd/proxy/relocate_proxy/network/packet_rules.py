# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the edge does to packets for one relocation: barrier, hold, shutting the old place out, the flip, the release."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as table

from ..host import paths
from .flows import EGRESS, Flow
from .held_queue import HeldQueue
from .nft import Nft, NftError

HEAD = f"{table.FAMILY} {table.TABLE}"


class PacketRules:
    """The edge's nftables table, as one relocation uses it.

    ``services`` are the plan's: ``protocol``, ``virtual_address``, ``virtual_port``, ``host_port``, ``container_port``.
    Every method is one transaction, and undoing what was never done is not an error.

    :param left: the flows whose packets a process of this relocation that is dead may have held: :meth:`reopen` and
        :meth:`release` also remove what it left. None: this is the first.
    :raises RuntimeError: the edge has no such table, or one of an older version.
    :raises OSError: EBUSY when other relocations have all the queues.
    """

    def __init__(
        self, owner: str, services: list[dict], source: str, destination: str, left: Iterable[Flow] | None = None
    ) -> None:
        self.owner = owner
        self.services = services
        self.source, self.destination = source, destination
        self.nft = Nft()
        self._left = None if left is None else list(left)
        self.queue = HeldQueue.first_free(self._free_queues())
        self._held: set[str] = set()
        self._copy: set[str] = set()  # where the copy is seen, at the destination
        self._unborn: set[str] = set()
        self._shut: set[str] = set()
        self._silent: set[str] = set()
        self._barrier = False

    def _free_queues(self) -> list[int]:
        """Return the queues to which no other relocation's packets go: a dead one's still do, until it is recovered."""
        try:
            document = {"nftables": self.nft.query(f"list table {HEAD}")}
        except NftError as error:
            reason = str(error).partition("\n")[0]
            raise RuntimeError(f"the edge's table cannot be read ({reason}): run prepare.yml again") from error
        lacking = table.lacking(document)
        if lacking and self._left is None:  # one that has begun is brought to its end all the same
            raise RuntimeError(
                f"the edge's table is of an older version (no {', '.join(lacking)}): run prepare.yml again"
            )
        ours = set() if self._left is None else {*self._keys(), *_virtual_keys(self._left)}
        others = set()
        for name in (table.HELD, table.BARRIER):
            for element, mark in table.elements(document, name):
                if table.key(*element["concat"]) not in ours:
                    others.add(mark)
        return [queue for queue in table.QUEUES if table.queue_mark(queue) not in others]

    @property
    def _mark(self) -> str:
        return hex(table.queue_mark(self.queue.number))

    def _keys(self) -> list[str]:
        return [table.key(s["protocol"], s["virtual_address"], s["virtual_port"]) for s in self.services]

    def _tcp_keys(self) -> list[str]:
        return [key for key, s in zip(self._keys(), self.services) if s["protocol"] == "tcp"]

    def raise_barrier(self) -> None:
        """Let new connections wait: none is half-open when the container freezes."""
        self.queue.hold()
        self._add("barrier", [f"{key} : {self._mark}" for key in self._tcp_keys()])
        self._barrier = True

    def hold(self, flows: Iterable[Flow]) -> None:
        """Hold what comes to the services, and what answers the container's own connections.

        What the source still says goes out: it runs until it is frozen. An answer of it that were dropped now would come
        again only after the initial timeout of a restored TCP socket, one second.
        """
        flows = list(flows)
        keys = [*self._keys(), *_virtual_keys(flows)]
        self.queue.hold()
        self._add("held", [f"{key} : {self._mark}" for key in keys])
        self._held.update(keys)
        self._copy.update(_places(self.services, self.destination, flows))

    def _add(self, name: str, elements: list[str]) -> None:
        if elements:
            self.nft.run("".join(f"add element {HEAD} {name} {{ {element} }}\n" for element in elements))

    def shut(self, flows: Iterable[Flow]) -> None:
        """The container is frozen, and what it said before has passed: drop whatever its old place says from now on.

        A kernel goes on retransmitting for a frozen process. Its timestamps are later than those of the dumped socket, so
        that a peer that has seen them discards what the restored one says (PAWS, RFC 7323) until it has caught up. And
        once the entries point elsewhere, such a packet would pass without its NAT and show an inner address outside.

        The same for the copy, until :meth:`let_copy_speak`: one second after a socket was restored its kernel sends again what
        no peer has acknowledged, though no program runs. Without an entry here that would get another port, the peer would
        answer it with a reset, and the copy's socket would die of it.
        """
        flows = list(flows)
        old, copy = _places(self.services, self.source, flows), _places(self.services, self.destination, flows)
        self._add("shut", [key for key in [*old, *copy] if key not in self._shut | self._silent])
        self._shut.update(old)
        self._silent.update(copy)

    def let_copy_speak(self) -> None:
        """The entries of its connections are placed: let pass what the copy's kernel says."""
        if self._silent:
            self.nft.run("".join(f"delete element {HEAD} shut {{ {key} }}\n" for key in sorted(self._silent)))
        self._silent.clear()

    def route(self, host: str, *, born: bool = True) -> None:
        """Point new connections to the services at ``host``.

        :param born: the container there runs, or will for sure. If not, what is held may not reach it before the release
            whatever happens to this process: its kernel would acknowledge what the original never sees, if that runs on. Nor
            may a peer hear that its connection has ended: the copy may be killed, by whomever, and the original lives.
        """
        if born:
            commands = [f"delete element {HEAD} {table.UNBORN} {{ {key} }}\n" for key in sorted(self._unborn)]
        else:
            commands = [f"add element {HEAD} {table.UNBORN} {{ {key} }}\n" for key in sorted(self._held | self._copy)]
        commands += _leading(self.owner, self.services, host)
        if commands:
            self.nft.run("".join(commands))
        self._unborn = set() if born else self._held | self._copy

    def release(self) -> int:
        """Let the held packets go, in order; then stop holding. Return how many waited."""
        count = self.queue.release()
        commands = [f"delete element {HEAD} held {{ {key} }}\n" for key in sorted(self._held)]
        commands += [f"delete element {HEAD} {table.UNBORN} {{ {key} }}\n" for key in sorted(self._unborn)]
        if self._barrier:
            commands += [f"delete element {HEAD} barrier {{ {key} }}\n" for key in self._tcp_keys()]
        if commands:
            self.nft.run("".join(commands))
        self.let_copy_speak()
        self._held.clear()
        self._copy.clear()
        self._unborn.clear()
        self._barrier = False
        if self._left is not None:
            keys = [*self._keys(), *_virtual_keys(self._left)]
            self._forget((table.HELD, table.BARRIER, table.UNBORN, table.SHUT), keys)
            self._forget((table.UNBORN, table.SHUT), _places(self.services, self.destination, self._left))
        return count

    def reopen(self) -> None:
        """Stop shutting the old place out: nothing is left there, or it is in service again."""
        if self._shut:
            self.nft.run("".join(f"delete element {HEAD} shut {{ {key} }}\n" for key in sorted(self._shut)))
        self._shut.clear()
        if self._left is not None:
            self._forget((table.SHUT,), _places(self.services, self.source, self._left))

    def _forget(self, names: Iterable[str], keys: Iterable[str]) -> None:
        """Remove elements that a dead process may have left, one by one: some may never have been there."""
        keys = set(keys)
        for name in names:
            for key in sorted(keys):
                try:
                    self.nft.run(f"delete element {HEAD} {name} {{ {key} }}\n")
                except NftError:
                    pass

    def persist(self) -> None:
        """Write the table where the edge's boot loader finds it: see ``_edge_table.boot_text``."""
        _persist(self.nft)

    def close(self) -> None:
        """Unbind the queue."""
        self.queue.close()


class Signpost(PacketRules):
    """The same table for a relocation that holds nothing: new connections are led elsewhere, and those that exist go on.

    It needs no queue, of which there are few: a drain may take minutes.
    """

    def __init__(self, owner: str, services: list[dict], source: str, destination: str) -> None:
        self.owner, self.services = owner, services
        self.source, self.destination = source, destination
        self.nft = Nft()
        self._unborn: set[str] = set()

    def release(self) -> int:
        """Nothing is held."""
        return 0

    def reopen(self) -> None:
        """Nothing is shut."""

    def close(self) -> None:
        """Nothing is bound."""


class Bystander:
    """The table of an edge that does not have the packets of a relocation, and must be ready to get them.

    Should they come in the middle, they would pass to the frozen original, or to a copy that may never run: either's kernel
    acknowledges what the other, if it is the one that runs on, never sees. So a guard drops them, and TCP sends them again. A
    :class:`PacketRules` with the same flows as ``left`` lifts it, too.
    """

    def __init__(self, owner: str, services: list[dict], source: str, destination: str) -> None:
        self.owner, self.services, self.source, self.destination = owner, services, source, destination

    def _keys(self, flows: Iterable[Flow]) -> list[str]:
        flows = list(flows)
        keys = [table.key(s["protocol"], s["virtual_address"], s["virtual_port"]) for s in self.services]
        for host in (self.source, self.destination):
            keys += _places(self.services, host, flows)
        return [*keys, *_virtual_keys(flows)]

    def guard(self, flows: Iterable[Flow]) -> None:
        """Drop what comes to the services and to ``flows``, and what either place says. Idempotent."""
        elements = [f"add element {HEAD} {table.SHUT} {{ {key} }}\n" for key in self._keys(flows)]
        if elements:
            Nft().run("".join(elements))

    def lift(self, flows: Iterable[Flow]) -> None:
        """Let everything pass again. Idempotent."""
        nft = Nft()
        for key in self._keys(flows):
            try:
                nft.run(f"delete element {HEAD} {table.SHUT} {{ {key} }}\n")
            except NftError:
                pass

    def route(self, host: str) -> None:
        """Point new connections to the services at ``host``, now and at the next boot."""
        commands = _leading(self.owner, self.services, host)
        if commands:
            nft = Nft()
            nft.run("".join(commands))
            _persist(nft)


def _leading(owner: str, services: list[dict], host: str) -> list[str]:
    """Return the commands that point the services at a host."""
    commands = []
    for service in services:
        place = (service["protocol"], service["virtual_address"], service["virtual_port"])
        element = table.Service(owner, *place, host, service["host_port"])
        commands += [table.delete_service(element), table.add_service(element)]
    return commands


def _persist(nft: Nft) -> None:
    directory, name = os.path.split(paths.EDGE_TABLE)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)  # another relocation's listing must not be older than what it replaces
        text = table.boot_text(nft.run(f"list table {HEAD}"))
        with tempfile.NamedTemporaryFile("w", dir=directory, prefix=f".{name}.", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(file.name, paths.EDGE_TABLE)
        os.fsync(place)
    finally:
        os.close(place)


def _places(services: list[dict], host: str, flows: Iterable[Flow]) -> list[str]:
    """Return where the container is seen to be on ``host``: its services, and its own connections.

    At the destination these have the same ports, but for one that was taken there.
    """
    keys = [table.key(s["protocol"], host, s["host_port"]) for s in services]
    return keys + [table.key(f.protocol, host, f.host.port) for f in flows if f.direction == EGRESS]


def _virtual_keys(flows: Iterable[Flow]) -> list[str]:
    """Return the keys of what answers the container's own connections."""
    return [
        table.key(flow.protocol, flow.virtual.address, flow.virtual.port)
        for flow in flows
        if flow.direction == EGRESS and flow.virtual
    ]
