# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller hands over: the plan of a relocation, and what each part is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._downtime import Cost
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong, document, each, one_of, record
from ansible_collections.relocate.mtd.plugins.module_utils._modes import DRAIN_LIMIT_S

from .addresses import Addresses
from .messages import is_address
from .words import shown

REMEDY = "collection and proxy differ, run prepare.yml again"
#: What the destination is told of the networks that it makes.
NETWORKS = each(record({"what": one_of(_networks.MADE, _networks.RENEWED), "settings": _networks.SETTINGS}, more=False))


def _place(value: Any) -> tuple[str, int]:
    if isinstance(value, (list, tuple)) and [type(each) for each in value] == [str, int]:
        return value[0], value[1]
    raise ValueError(f"the specification names no address and port: {REMEDY}")


def _need(document: dict, what: str, *names: str) -> list[Any]:
    missing = [name for name in names if name not in document] if isinstance(document, dict) else list(names)
    if missing:
        raise ValueError(f"the {what} lacks {', '.join(missing)}: {REMEDY}")
    return [document[name] for name in names]


@dataclass(frozen=True)
class Plan:
    """The plan as the edge follows it.

    :ivar document: the whole of it; the result is the same document with more in it.
    :ivar source, destination: the hosts' addresses.
    :ivar services: ``protocol``, ``virtual_address``, ``virtual_port``, ``host_port`` and ``container_port`` of each.
    :ivar dump_seconds: after which a dump or a restore is stuck.
    :ivar predictions: milliseconds of downtime by mode.
    :ivar gateway: with two edges, the address that the one has which packets go to; else "".
    :ivar drain_limit_s: for how long the connections of a container that is made anew may go on at the source.
    """

    document: dict
    container: str
    mode: str
    source: Addresses
    destination: Addresses
    services: list[dict]
    memory_bytes: int
    dump_seconds: float
    downtime_limit_ms: float
    predictions: dict[str, float]
    cost: Cost
    gateway: str = ""
    drain_limit_s: float = DRAIN_LIMIT_S

    @classmethod
    def read(cls, document: dict) -> Plan:
        """Return the plan in a document. :raises ValueError: it lacks something."""
        names = ("container", "mode", "services", "memory_bytes", "dump_seconds", "downtime_limit_ms", "predictions")
        values = dict(zip(names, _need(document, "plan", *names)))
        source, destination, cost = _need(document, "plan", "source", "destination", "cost")
        try:
            return cls(
                document=document,
                source=Addresses.read(source),
                destination=Addresses.read(destination),
                cost=Cost(**cost),
                gateway=str((document.get("standby") or {}).get("gateway", "")),
                drain_limit_s=float(document.get("drain_limit_s", DRAIN_LIMIT_S)),
                **values,
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"the plan is none ({shown(str(error))}): {REMEDY}") from error


def networks_told(value: Any) -> list[dict]:
    """Return what a destination is told of the networks that it makes. :raises ValueError: it is none of that."""
    try:
        told: list[dict] = NETWORKS(document(value))
    except Wrong as wrong:
        raise ValueError(f"the specification names networks that are none ({wrong}): {REMEDY}") from wrong
    for each_told in told:
        if clauses := _networks.problems(each_told["settings"]):
            raise ValueError(f"the network {each_told['settings']['Name']} cannot be made here, for it {clauses[0]}")
    return told


@dataclass(frozen=True)
class Specification:
    """What a listening part is told.

    :ivar credentials: ``authority``, ``certificate`` and ``key``, PEM. :ivar listen: the address of this host.
    :ivar listen6: its IPv6 address, if it has one; nobody listens there.
    :ivar port: where it listened before it was started again; 0 at first.
    :ivar peers: the only addresses that it hears; empty: whoever shows a certificate.
    :ivar together: of a container that moves together with others of its project: the ``addresses`` of all of them on
        their networks, its own among them; else empty.
    :ivar kept_addresses: all of a container that moves alone and keeps them, as it is on several networks; else empty.
    :ivar networks: those that the destination makes for it: ``what`` and ``settings`` of each.
    :ivar recording: of a part that works alone, for a snapshot: ``name`` of the file, its ``key``, and the
        ``seconds`` that the container may be frozen, ``trial`` if nobody is to keep it; else empty.
    """

    id: str
    credentials: dict
    listen: str
    container: str = ""
    mode: str = ""
    port: int = 0
    peers: tuple[str, ...] = ()
    recording: dict = field(default_factory=dict)
    together: dict = field(default_factory=dict)
    networks: list[dict] = field(default_factory=list)
    listen6: str = ""
    kept_addresses: tuple[str, ...] = ()

    @property
    def companions(self) -> frozenset[str]:
        """The addresses that stay as they are, of the container and of what moves with it; empty: it gets a new one."""
        return frozenset((*self.together.get("addresses", ()), *self.kept_addresses))

    @property
    def addresses(self) -> Addresses:
        """The host's, at which its containers are seen from outside."""
        return Addresses(self.listen, self.listen6)

    @classmethod
    def read(cls, document: dict) -> Specification:
        """Return the specification in a document. :raises ValueError: it lacks something."""
        identifier, credentials, listen = _need(document, "specification", "id", "credentials", "listen")
        container, mode = document.get("container", ""), document.get("mode", "")
        port, peers = document.get("port", 0), tuple(document.get("peers", ()))
        recording = document.get("recording") or {}
        together = document.get("together") or {}
        addresses = together.get("addresses", []) if isinstance(together, dict) else None
        kept = document.get("kept_addresses", [])
        if not all(isinstance(each, list) and all(map(is_address, each)) for each in (addresses, kept)):
            raise ValueError(f"the specification names no addresses of the container or its project: {REMEDY}")
        networks, listen6 = networks_told(document.get("networks", [])), document.get("listen6") or ""
        return cls(
            identifier,
            credentials,
            listen,
            container,
            mode,
            port,
            peers,
            recording,
            together,
            networks,
            listen6,
            tuple(kept),
        )


@dataclass(frozen=True)
class EdgeSpecification:
    """What the edge is told.

    :ivar source, destination: where these two listen: address and port.
    :ivar standby: where the other edge does, if there is one.
    """

    id: str
    credentials: dict
    plan: Plan
    source: tuple[str, int]
    destination: tuple[str, int]
    standby: tuple[str, int] | None = None

    @classmethod
    def read(cls, document: dict) -> EdgeSpecification:
        """Return the specification in a document. :raises ValueError: it lacks something."""
        names = ("id", "credentials", "plan", "source", "destination")
        identifier, credentials, plan, source, destination = _need(document, "specification", *names)
        standby = _place(document["standby"]) if document.get("standby") else None
        return cls(identifier, credentials, Plan.read(plan), _place(source), _place(destination), standby)

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where the other parts listen."""
        others = {"source": self.source, "destination": self.destination}
        return others if self.standby is None else {**others, "standby": self.standby}
