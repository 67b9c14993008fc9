# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the edge does to packets for one relocation: barrier, hold, shutting the old place out, the flip, the release."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as table

from ..host import paths
from ..protocol.addresses import Addresses
from .flows import EGRESS, Flow
from .held_queue import HeldQueue
from .nft import Nft, NftError

LEAD_ATTEMPTS = 3


class PacketRules:
    """The edge's nftables tables, as one relocation uses them.

    ``source`` and ``destination`` are the hosts' addresses. ``services`` are the plan's: ``protocol``, ``virtual_address``,
    ``virtual_port``, ``host_port``, ``container_port``.
    Every method is one transaction, and undoing what was never done, or what somebody else has undone, is not an error.

    :param left: the flows whose packets a process of this relocation that is dead may have held: :meth:`reopen` and
        :meth:`release` also remove what it left. None: this is the first. Where there is a first, there may be no table any
        more: then the one is loaded that the edge would load at boot, and if there is none, nothing is left to be done.
    :raises RuntimeError: the edge has no such table, or one of an older version.
    :raises OSError: EBUSY when other relocations have all the queues.

    :ivar astray: a sentence for each service that :meth:`route` found to be this container's no more, and has left alone.
    """

    def __init__(
        self,
        owner: str,
        services: list[dict],
        source: Addresses,
        destination: Addresses,
        left: Iterable[Flow] | None = None,
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
        self.astray: list[str] = []

    def _free_queues(self) -> list[int]:
        """Return the queues to which no other relocation's packets go: a dead one's still do, until it is recovered."""
        try:
            document = self._document()
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

    def _document(self) -> dict:
        """Return the table; if there is none and this is not the first, with nothing in it.

        :raises NftError: it cannot be read.
        """
        found = tables(self.nft)
        if found:
            return {"nftables": found}
        if self._left is None:
            raise NftError("there is none")
        with contextlib.suppress(FileNotFoundError), open(paths.EDGE_TABLE, encoding="utf-8") as file:
            self.nft.run(file.read())
        return {"nftables": tables(self.nft)}

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
        self._add({table.BARRIER: [f"{key} : {self._mark}" for key in self._tcp_keys()]})
        self._barrier = True

    def hold(self, flows: Iterable[Flow]) -> None:
        """Hold what comes to the services, and what answers the container's own connections.

        What the source still says goes out: it runs until it is frozen. An answer of it that were dropped now would come
        again only after the initial timeout of a restored TCP socket, one second.

        The copy says nothing until :meth:`let_copy_speak`: one second after a socket was restored its kernel sends again what
        no peer has acknowledged, though no program runs. Without an entry here that would get another port, the peer would
        answer it with a reset, and the copy's socket would die of it. This is so from now on, and not from the freeze: a source
        that is cut off from the edge then still reaches the destination.
        """
        flows = list(flows)
        keys = [*self._keys(), *_virtual_keys(flows)]
        self.queue.hold()
        copy = _places(self.services, self.destination, flows)
        self._add({table.HELD: [f"{key} : {self._mark}" for key in keys], table.SHUT: copy})
        self._held.update(keys)
        self._copy.update(copy)
        self._silent.update(copy)

    def _add(self, elements: dict[str, list[str]]) -> None:
        """Add elements, by their set, in one transaction."""
        commands = [table.add(name, each) for name, added in elements.items() for each in added]
        if commands:
            self.nft.run("".join(commands))

    def shut(self, flows: Iterable[Flow]) -> None:
        """The container is frozen, and what it said before has passed: drop whatever its old place says from now on.

        A kernel goes on retransmitting for a frozen process. Its timestamps are later than those of the dumped socket, so
        that a peer that has seen them discards what the restored one says (PAWS, RFC 7323) until it has caught up. And
        once the entries point elsewhere, such a packet would pass without its NAT and show an inner address outside.
        """
        old = _places(self.services, self.source, flows)
        self._add({table.SHUT: [key for key in old if key not in self._shut]})
        self._shut.update(old)

    def let_copy_speak(self) -> None:
        """The entries of its connections are placed: let pass what the copy's kernel says."""
        self._delete((table.SHUT, key) for key in sorted(self._silent))
        self._silent.clear()

    def route(self, host: Addresses, *, born: bool = True) -> None:
        """Point new connections to the services at ``host``.

        :param born: the container there runs, or will for sure. If not, what is held may not reach it before the release
            whatever happens to this process: its kernel would acknowledge what the original never sees, if that runs on. Nor
            may a peer hear that its connection has ended: the copy may be killed, by whomever, and the original lives.
        """
        keys = self._unborn if born else self._held | self._copy
        if not (self._left is None and self._route_at_once(host, born, keys)):
            if not born:
                self._add({table.UNBORN: sorted(keys)})
            self.astray = _lead_own(self.nft, self.owner, self.services, (self.source, self.destination), host)
            if born:
                self._delete((table.UNBORN, key) for key in keys)
        self._unborn = set() if born else keys

    def _route_at_once(self, host: Addresses, born: bool, keys: Iterable[str]) -> bool:
        """Do that in one transaction, without a look: clients wait. Return whether that went well.

        It does if all is as it was planned. Else somebody has removed a service meanwhile, or the table's elements.
        """
        change = table.delete if born else table.add
        commands = [change(table.UNBORN, key) for key in sorted(keys)]
        commands += _leading(self.owner, self.services, host)
        try:
            if commands:
                self.nft.run("".join(commands))
        except NftError:
            return False
        self.astray = []
        return True

    def _delete(self, elements: Iterable[tuple[str, str]]) -> None:
        """Remove elements, by their set and key: in one transaction, or, if some are gone already, one by one.

        :raises NftError: one is there all the same.
        """
        elements = list(elements)
        commands = [table.delete(name, key) for name, key in elements]
        if not commands:
            return
        try:
            self.nft.run("".join(commands))
            return
        except NftError as error:
            problem = error
        for command in commands:
            with contextlib.suppress(NftError):
                self.nft.run(command)
        document = {"nftables": tables(self.nft)}
        there = {(name, _key_of(each)) for name in table.VOLATILE for each in table.elements(document, name)}
        if there & {*elements}:
            raise problem

    def release(self, *, born: bool = True) -> int:
        """Let the held packets go, in order; then stop holding. Return how many waited.

        :param born: the container that they go to runs. If not, no peer hears that its connection has ended, and nothing is
            acknowledged to it, until :meth:`let_copy_live`: CRIU may die while it resumes the copy, and the original lives.
        """
        count = self.queue.release()
        places = self._unborn & self._copy
        lifted = self._unborn if born else self._unborn - places
        elements = [(table.HELD, key) for key in sorted(self._held)]
        elements += [(table.UNBORN, key) for key in sorted(lifted)]
        elements += [(table.BARRIER, key) for key in self._tcp_keys() if self._barrier]
        self._delete(elements)
        self.let_copy_speak()
        self._held.clear()
        self._copy = set() if born else places
        self._unborn = set() if born else places
        self._barrier = False
        if self._left is not None:
            keys = [*self._keys(), *_virtual_keys(self._left)]
            self._forget((table.HELD, table.BARRIER, table.UNBORN, table.SHUT), keys)
            self._forget((table.SHUT,), _places(self.services, self.destination, self._left))
            if born:
                self.let_copy_live()
        return count

    def let_copy_live(self) -> None:
        """The copy runs: what its connections come to is its own."""
        self._delete((table.UNBORN, key) for key in sorted(self._unborn))
        self._copy.clear()
        self._unborn.clear()
        if self._left is not None:
            self._forget((table.UNBORN,), _places(self.services, self.destination, self._left))

    def reopen(self) -> None:
        """Stop shutting the old place out: nothing is left there, or it is in service again."""
        self._delete((table.SHUT, key) for key in sorted(self._shut))
        self._shut.clear()
        if self._left is not None:
            self._forget((table.SHUT,), _places(self.services, self.source, self._left))

    def _forget(self, names: Iterable[str], keys: Iterable[str]) -> None:
        """Remove elements that a dead process may have left, one by one: some may never have been there."""
        keys = set(keys)
        for name in names:
            for key in sorted(keys):
                try:
                    self.nft.run(table.delete(name, key))
                except NftError:
                    pass

    def persist(self) -> None:
        """Write the table where the edge's boot loader finds it: see ``_edge_table.boot_text``.

        Where there is no table, and none to be loaded at boot, there is nothing to write.
        """
        if self._left is None or _there(self.nft):
            _persist(self.nft)

    def close(self) -> None:
        """Unbind the queue."""
        self.queue.close()


class Signpost(PacketRules):
    """The same table for a relocation that holds nothing: new connections are led elsewhere, and those that exist go on.

    It needs no queue, of which there are few: a drain may take minutes.
    """

    def __init__(self, owner: str, services: list[dict], source: Addresses, destination: Addresses) -> None:
        self.owner, self.services = owner, services
        self.source, self.destination = source, destination
        self.nft = Nft()
        self._left = []  # there is no hurry, and services may have been removed since
        self._held, self._copy, self._unborn = set(), set(), set()
        self.astray = []

    def release(self, *, born: bool = True) -> int:
        """Nothing is held."""
        return 0

    def let_copy_live(self) -> None:
        """It does."""

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

    def __init__(self, owner: str, services: list[dict], source: Addresses, destination: Addresses) -> None:
        self.owner, self.services, self.source, self.destination = owner, services, source, destination

    def _keys(self, flows: Iterable[Flow]) -> list[str]:
        flows = list(flows)
        keys = [table.key(s["protocol"], s["virtual_address"], s["virtual_port"]) for s in self.services]
        for host in (self.source, self.destination):
            keys += _places(self.services, host, flows)
        return [*keys, *_virtual_keys(flows)]

    def guard(self, flows: Iterable[Flow]) -> None:
        """Drop what comes to the services and to ``flows``, and what either place says. Idempotent."""
        elements = [table.add(table.SHUT, key) for key in self._keys(flows)]
        if elements:
            Nft().run("".join(elements))

    def lift(self, flows: Iterable[Flow]) -> None:
        """Let everything pass again, now and at the next boot. Idempotent."""
        nft = Nft()
        for key in self._keys(flows):
            try:
                nft.run(table.delete(table.SHUT, key))
            except NftError:
                pass
        if _there(nft):
            _persist(nft)

    def route(self, host: Addresses) -> None:
        """Point new connections to the services at ``host``."""
        if self.services:
            _lead_own(Nft(), self.owner, self.services, (self.source, self.destination), host)


def _leading(owner: str, services: list[dict], host: Addresses) -> list[str]:
    """Return the commands that point the services at a host."""
    commands = []
    for service in services:
        element = _led(owner, service, host)
        commands += [table.delete_service(element), table.add_service(element)]
    return commands


def _led(owner: str, service: dict, host: Addresses) -> table.Service:
    """Return a service as it leads to a host."""
    return table.Service(owner, *_virtual(service), host.like(service["virtual_address"]), service["host_port"])


def _lead_own(nft: Nft, owner: str, services: list[dict], places: Iterable[Addresses], host: Addresses) -> list[str]:
    """Point those of the services at a host that are the container's still, and led to one of the relocation's places.

    One that has been removed is not published again, and one that another container has, or that was led elsewhere, is not led
    away: somebody meant that. Return a sentence for each of them.

    :raises NftError: they cannot be led.
    """
    known = {address for each in (*places, host) for address in each}
    for left in reversed(range(LEAD_ATTEMPTS)):
        document = {"nftables": tables(nft)}
        there = {service.key: service for service in table.services(document)}
        own, astray = [], []
        for service in services:
            wanted = _led(owner, service, host)
            found = there.get(wanted.key)
            if found is None:
                astray.append(
                    f"{wanted.virtual} of {owner} is not published at the edge any more, and was not published again: "
                    "do so if it is to be reached (nat_service)"
                )
            elif found.name != owner:
                astray.append(f"{wanted.virtual} belongs to {found.name or 'somebody else'} now, and was left as it is")
            elif found.host_address not in known:
                astray.append(
                    f"{wanted.virtual} of {owner} leads to {found.host_address}, which had no part in this move, and was left "
                    "as it is: see where the container runs"
                )
            else:
                own.append(service)
        commands = _leading(owner, own, host)
        try:
            if commands:
                nft.run("".join(commands))
            return astray
        except NftError:  # it was changed since we looked
            if not left:
                raise
    raise AssertionError("the last attempt returns or raises")


def _there(nft: Nft) -> list[table.Family]:
    """Return the families of the tables that the edge has."""
    named = (each.get("table", {}) for each in nft.query("list tables"))
    found = {each.get("family") for each in named if each.get("name") == table.TABLE}
    return [kind for kind in table.FAMILIES if kind.name in found]


def tables(nft: Nft) -> list[dict]:
    """Return all that is in the edge's tables, as nft lists it. :raises NftError: they cannot be read."""
    return [each for kind in _there(nft) for each in nft.query(f"list table {kind.head}")]


def _key_of(element: list | dict) -> str:
    """Return the key of an element, as nft lists it: of a map together with its value."""
    found = element[0] if isinstance(element, list) else element
    return table.key(*found["concat"])


def _virtual(service: dict) -> tuple[str, str, int]:
    return service["protocol"], service["virtual_address"], service["virtual_port"]


def _persist(nft: Nft) -> None:
    directory, name = os.path.split(paths.EDGE_TABLE)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)  # another relocation's listing must not be older than what it replaces
        listings = [nft.run(f"list table {kind.head}") for kind in _there(nft)]
        if not listings:
            raise NftError("the edge has no table that could be kept for its next boot")
        text = table.boot_text("".join(listings))
        with tempfile.NamedTemporaryFile("w", dir=directory, prefix=f".{name}.", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(file.name, paths.EDGE_TABLE)
        os.fsync(place)
    finally:
        os.close(place)


def _places(services: list[dict], host: Addresses, flows: Iterable[Flow]) -> list[str]:
    """Return where the container is seen to be on ``host``: its services, and its own connections.

    At the destination these have the same ports, but for one that was taken there. Nothing is seen where the host has no
    address.
    """
    seen = [(s["protocol"], s["virtual_address"], s["host_port"]) for s in services]
    seen += [(flow.protocol, flow.remote.address, flow.host.port) for flow in flows if flow.direction == EGRESS]
    return [table.key(protocol, host.like(other), port) for protocol, other, port in seen if host.has_like(other)]


def _virtual_keys(flows: Iterable[Flow]) -> list[str]:
    """Return the keys of what answers the container's own connections."""
    return [
        table.key(flow.protocol, flow.virtual.address, flow.virtual.port)
        for flow in flows
        if flow.direction == EGRESS and flow.virtual
    ]
