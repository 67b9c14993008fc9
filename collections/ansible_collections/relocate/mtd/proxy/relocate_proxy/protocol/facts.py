# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a part's journal tells whoever has to bring it to its end: one type a part, and every fact that a line may have."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TypeVar

from .journal import Journal

F = TypeVar("F", bound="Facts")
#: What a fact may be, by the type of its default.
_TYPES: dict[type, tuple[type, ...]] = {
    **{each: (each,) for each in (str, int, bool, dict, list)},
    tuple: (list, tuple),
    type(None): (str, type(None)),
}


@dataclass(frozen=True)
class Facts:
    """Facts of any part. :ivar reason: why it was rolled back, or that it was recovered."""

    reason: str = ""

    @classmethod
    def of(cls: type[F], journal: Journal) -> F:
        """Return what a journal says; what it does not say has its default.

        :raises ValueError: a fact is of another type than it can be.
        """
        default = cls()
        found = {}
        for each in fields(cls):
            found[each.name] = value = journal.facts.get(each.name, getattr(default, each.name))
            if not isinstance(value, _TYPES[type(getattr(default, each.name))]):
                raise ValueError(
                    f"the journal {journal.path} has no proper '{each.name}': see where the container runs, and remove what "
                    "does not"
                )
        return cls(**found)


@dataclass(frozen=True)
class SourceFacts(Facts):
    """Facts of the source.

    :ivar freezer: the directory of the container's freezer cgroup, and the cgroup version.
    :ivar veth: the host's end of the container's link. :ivar flows: the connections that leave with it.
    :ivar restart_policy: what the container is to have again. :ivar limits: what may have been lifted: file, value, and what
        lifts it, of each. :ivar volumes: the names of its volumes.
    :ivar probes: the files in shared directories by which the destination sees that they are shared.
    :ivar mode: how its memory travels, or that it does not.
    :ivar severed: its network may have been cut while it was frozen, for others of its project move with it.
    """

    container: str = ""
    container_id: str = ""
    mode: str = ""
    volumes: list[str] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)
    freezer: tuple[str, int] = ("", 0)
    veth: str | None = None
    restart_policy: dict = field(default_factory=dict)
    flows: list[dict] = field(default_factory=list)
    limits: list[list[str]] = field(default_factory=list)
    severed: bool = False


@dataclass(frozen=True)
class DestinationFacts(Facts):
    """Facts of the destination.

    :ivar container_id: of the copy, once it was made; before that only its provisional name is known.
    :ivar address, address6: of the copy. :ivar other_addresses: on further networks. :ivar pid: of its init, on this host.
    :ivar ran: it has run an instruction, at least.
    :ivar restart_policy: what the copy is to have when it is Docker's.
    :ivar lost: why the last of its memory never came. :ivar drained: bytes that came after the verdict; -1 until all have.
    :ivar limits: see :class:`SourceFacts`; lifted for the restore.
    :ivar volumes: the names of those that are made for it. :ivar networks: those that may be, as the plan has them.
    """

    container: str = ""
    container_id: str = ""
    volumes: list[str] = field(default_factory=list)
    networks: list[dict] = field(default_factory=list)
    mode: str | None = None
    address: str = ""
    address6: str = ""
    other_addresses: list[str] = field(default_factory=list)
    pid: int = 0
    ran: bool = False
    restart_policy: dict = field(default_factory=dict)
    lost: str = ""
    drained: int = -1
    limits: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class EdgeFacts(Facts):
    """Facts of the edge.

    :ivar armed, flows, moved: connections before the freeze, in the image, and as they are at the destination.
    :ivar report: what the result says beside the plan. :ivar taken_back: why a commit was, when the copy died before it ran.
    :ivar lost: why the copy's last memory never came. :ivar everywhere: both other parts have said that they have ended.
    :ivar took_over: why this edge decides, which was not to.
    """

    plan: dict = field(default_factory=dict)
    armed: list[dict] = field(default_factory=list)
    flows: list[dict] = field(default_factory=list)
    moved: list[dict] = field(default_factory=list)
    report: dict = field(default_factory=dict)
    taken_back: str = ""
    lost: str = ""
    limits: list[list[str]] = field(default_factory=list)
    everywhere: bool = False
    took_over: str = ""


#: The other edge of two writes down what the one that decides does.
FACTS: dict[str, type[Facts]] = {
    "source": SourceFacts,
    "destination": DestinationFacts,
    "edge": EdgeFacts,
    "standby": EdgeFacts,
}
