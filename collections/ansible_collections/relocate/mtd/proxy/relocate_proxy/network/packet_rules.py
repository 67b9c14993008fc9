# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the edge does to packets for one relocation: barrier, hold, shutting the old place out, the flip, the release."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as table

from ..host import paths
from .flows import EGRESS, Flow
from .held_queue import HeldQueue
from .nft import Nft, NftError

HEAD = f"{table.FAMILY} {table.TABLE}"


class Gateway:
    """The edge's nftables table, as one relocation uses it.

    ``services`` are the plan's: ``protocol``, ``virtual_address``, ``virtual_port``, ``host_port``, ``container_port``.
    Every method is one transaction, and undoing what was never done is not an error.
    """

    def __init__(self, owner: str, services: list[dict], source: str, destination: str) -> None:
        self.owner = owner
        self.services = services
        self.source, self.destination = source, destination
        self.nft = Nft()
        self.queue = HeldQueue.first_free(range(table.QUEUES[0], table.QUEUES[-1] + 1))
        self._held: set[str] = set()
        self._shut: set[str] = set()
        self._barrier = False

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
        keys = self._keys()
        for flow in flows:
            if flow.direction == EGRESS and flow.virtual:
                keys.append(table.key(flow.protocol, flow.virtual.address, flow.virtual.port))
        self.queue.hold()
        self._add("held", [f"{key} : {self._mark}" for key in keys])
        self._held.update(keys)

    def _add(self, name: str, elements: list[str]) -> None:
        if elements:
            self.nft.run("".join(f"add element {HEAD} {name} {{ {element} }}\n" for element in elements))

    def shut(self, flows: Iterable[Flow]) -> None:
        """The container is frozen, and what it said before has passed: drop whatever its old place says from now on.

        A kernel goes on retransmitting for a frozen process. Its timestamps are later than those of the dumped socket, so
        that a peer that has seen them discards what the restored one says (PAWS, RFC 7323) until it has caught up. And
        once the entries point elsewhere, such a packet would pass without its NAT and show an inner address outside.
        """
        keys = [table.key(s["protocol"], self.source, s["host_port"]) for s in self.services]
        keys += [table.key(f.protocol, f.host.address, f.host.port) for f in flows if f.direction == EGRESS]
        self._add("shut", [key for key in keys if key not in self._shut])
        self._shut.update(keys)

    def route(self, host: str) -> None:
        """Point new connections to the services at ``host``."""
        commands = []
        for service in self.services:
            element = table.Service(
                self.owner,
                service["protocol"],
                service["virtual_address"],
                service["virtual_port"],
                host,
                service["host_port"],
            )
            commands += [table.delete_service(element), table.add_service(element)]
        if commands:
            self.nft.run("".join(commands))

    def release(self) -> int:
        """Let the held packets go, in order; then stop holding. Return how many waited."""
        count = self.queue.release()
        commands = [f"delete element {HEAD} held {{ {key} }}\n" for key in sorted(self._held)]
        if self._barrier:
            commands += [f"delete element {HEAD} barrier {{ {key} }}\n" for key in self._tcp_keys()]
        if commands:
            self.nft.run("".join(commands))
        self._held.clear()
        self._barrier = False
        return count

    def reopen(self) -> None:
        """Stop shutting the old place out: nothing is left there, or it is in service again."""
        if self._shut:
            self.nft.run("".join(f"delete element {HEAD} shut {{ {key} }}\n" for key in sorted(self._shut)))
        self._shut.clear()

    def persist(self) -> None:
        """Write the table where the edge's boot loader finds it, without what lives only as long as a relocation."""
        os.makedirs(os.path.dirname(paths.EDGE_TABLE), mode=0o700, exist_ok=True)
        text = table.boot_text(self.nft.run(f"list table {HEAD}"))
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(paths.EDGE_TABLE), delete=False) as file:
            file.write(text)
        os.rename(file.name, paths.EDGE_TABLE)

    def close(self) -> None:
        """Unbind the queue."""
        self.queue.close()


def forget_relocation(services: list[dict], source: str, egress: Iterable[Flow] = ()) -> None:
    """Remove every volatile element a dead relocation may have left, one by one: some may never have been there."""
    nft = Nft()
    keys = [table.key(s["protocol"], s["virtual_address"], s["virtual_port"]) for s in services]
    shut = [table.key(s["protocol"], source, s["host_port"]) for s in services]
    for flow in egress:
        if flow.virtual:
            keys.append(table.key(flow.protocol, flow.virtual.address, flow.virtual.port))
            shut.append(table.key(flow.protocol, flow.host.address, flow.host.port))
    commands = [f"delete element {HEAD} {name} {{ {key} }}" for name in ("held", "barrier") for key in keys]
    for command in commands + [f"delete element {HEAD} shut {{ {key} }}" for key in shut]:
        try:
            nft.run(command)
        except NftError:
            pass
