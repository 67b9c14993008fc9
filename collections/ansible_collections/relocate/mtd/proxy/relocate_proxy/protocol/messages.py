# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages between the edge and the other parts: who says each to whom, and what must be in it.

What comes over a channel is checked against this table before anybody acts on it. The cargo on the data channel between source
and destination is described in ``files.cargo``.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .words import shown

COUNT_LIMIT = 1 << 63
TEXT_LIMIT = 1 << 16  # characters: CRIU's words are short
FLOWS_LIMIT = 1 << 17
COMMANDS_LIMIT = 1 << 12


@dataclass(frozen=True)
class Kind:
    """What a field may hold. :ivar name: of this kind. :ivar fits: returns whether a value that came as JSON is one."""

    name: str
    fits: Callable[[Any], bool]


def is_text(value: Any, limit: int = TEXT_LIMIT) -> bool:
    """Return whether a value is text that can be written down."""
    return isinstance(value, str) and len(value) <= limit and not any("\ud800" <= each <= "\udfff" for each in value)


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number that a 64-bit counter can have."""
    return type(value) is int and 0 <= value < COUNT_LIMIT


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, 0 or more."""
    return (type(value) is int or type(value) is float) and 0 <= value < COUNT_LIMIT and math.isfinite(value)


def is_address(value: Any) -> bool:
    """Return whether a value is an IP address."""
    try:
        return isinstance(value, str) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_text(value[0]) and is_count(value[1]) and value[1] < 65536


def _each(fits: Callable[[Any], bool], limit: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) <= limit and all(map(fits, value))


def _by_name(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(is_text(each) and fits(value[each]) for each in value)


TEXT = Kind("text", is_text)
ADDRESS = Kind("address", is_address)
COUNT = Kind("count", is_count)
NUMBER = Kind("number", is_number)
FLAG = Kind("flag", lambda value: isinstance(value, bool))
DOCUMENT = Kind("document", lambda value: isinstance(value, dict))
#: Where somebody listens: an address and a port.
PLACE = Kind("place", _is_place)
PLACE_OR_NONE = Kind("place or none", lambda value: value is None or _is_place(value))
#: What each of them says, ``network.flows`` reads.
FLOWS = Kind("flows", _each(lambda each: isinstance(each, dict), FLOWS_LIMIT))
COUNTS = Kind("counts", _by_name(is_count))
#: Nanoseconds, or nothing where no such moment came.
TIMINGS = Kind("timings", _by_name(lambda each: each is None or is_count(each)))
COMMANDS = Kind("commands", _each(_each(is_text, COMMANDS_LIMIT), COMMANDS_LIMIT))
ROUNDS = Kind("rounds", _each(_by_name(is_number), 64))

Fields = dict[str, Kind]


@dataclass(frozen=True)
class Message:
    """One kind of message.

    :ivar fields: what must be in it. :ivar optional: what may be in it. What else is there, a newer version may know.
    """

    sender: str
    receiver: str
    fields: Fields
    optional: Fields = field(default_factory=dict)


def _message(sender: str, receiver: str, may: Fields | None = None, **fields: Kind) -> Message:
    return Message(sender, receiver, fields, may or {})


#: In the order in which they are said. A reader of this table and of ``parts.edge`` has read the protocol.
MESSAGES: dict[tuple[str, str], Message] = {
    (kind, message.sender if message.receiver == "edge" else message.receiver): message
    for kind, message in (
        # while the container runs
        ("describe", _message("edge", "source")),
        ("described", _message("source", "edge", {"address6": ADDRESS}, document=DOCUMENT, address=ADDRESS)),
        ("create", _message("edge", "destination", document=DOCUMENT)),
        ("lacks_image", _message("destination", "edge")),
        ("send_image", _message("edge", "source", destination=PLACE)),
        ("image_sent", _message("source", "edge", bytes=COUNT)),
        ("created", _message("destination", "edge", {"pages": PLACE}, container_id=TEXT)),
        ("copy", _message("edge", "source", {"pages": PLACE_OR_NONE}, destination=PLACE)),
        ("start", _message("edge", "destination")),
        ("gated", _message("destination", "edge", {"address6": ADDRESS}, address=ADDRESS, container_id=TEXT)),
        ("copied", _message("source", "edge", bytes=COUNT)),
        ("arm", _message("edge", "source", {"address6": ADDRESS}, address=ADDRESS)),
        (
            "armed",
            _message(
                "source",
                "edge",
                {"rounds": ROUNDS, "left_bytes": COUNT, "files_ms": NUMBER},
                flows=FLOWS,
                memory_bytes=COUNT,
                link_ms_per_mib=NUMBER,
            ),
        ),
        # packets wait
        ("settle", _message("edge", "source")),
        ("settled", _message("source", "edge", {"stop_limit_s": NUMBER})),
        ("freeze", _message("edge", "source")),
        ("frozen", _message("source", "edge")),
        ("dump", _message("edge", "source")),  # of a project: all of its members are frozen
        ("dumped", _message("source", "edge", flows=FLOWS)),
        ("place", _message("edge", "destination", flows=FLOWS)),
        ("placed", _message("destination", "edge", flows=FLOWS)),
        ("silent", _message("destination", "edge")),  # of a project: its sockets are there, and say nothing
        ("routed", _message("edge", "destination")),
        ("prepared", _message("destination", "edge")),
        # after the commit
        ("commit", _message("edge", "destination")),
        ("accepted", _message("destination", "edge")),
        ("running", _message("destination", "edge", address=ADDRESS)),
        ("drain", _message("edge", "destination")),
        ("drained", _message("destination", "edge", {"going": DOCUMENT, "stands": TEXT, "lost": TEXT, "bytes": COUNT})),
        ("drain", _message("edge", "source")),
        ("drained", _message("source", "edge", left=COUNT)),
        ("finish", _message("edge", "source")),
        ("finished", _message("source", "edge", {"bytes": COUNTS, "commands": COMMANDS}, timings_ns=TIMINGS)),
        ("finish", _message("edge", "destination")),
        ("finished", _message("destination", "edge", {"commands": COMMANDS, "exit_code": COUNT}, timings_ns=TIMINGS)),
        # at any time before the commit
        ("failed", _message("source", "edge", reason=TEXT)),
        ("failed", _message("destination", "edge", reason=TEXT)),
        ("roll_back", _message("edge", "source", {"reason": TEXT})),
        ("roll_back", _message("edge", "destination", {"reason": TEXT, "unless_accepted": FLAG})),
        ("rolled_back", _message("source", "edge", {"timings_ns": TIMINGS, "commands": COMMANDS})),
        ("rolled_back", _message("destination", "edge", {"timings_ns": TIMINGS, "commands": COMMANDS})),
        # with two edges: what the one that decides writes down, the other has before it acts on it
        ("note", _message("edge", "standby", state=TEXT, facts=DOCUMENT)),
        ("noted", _message("standby", "edge", state=TEXT)),
        ("tell", _message("edge", "standby")),
        ("told", _message("standby", "edge", state=TEXT, facts=DOCUMENT)),
        ("failed", _message("standby", "edge", reason=TEXT)),
    )
}


def missing(message: dict, fields: Fields, optional: Fields) -> str:
    """Return the name of a field that a message lacks, or that holds what it must not; "" if it is as it should be."""
    for name, kind in fields.items():
        if not kind.fits(message.get(name)):
            return name
    for name, kind in optional.items():
        if name in message and not kind.fits(message[name]):
            return name
    return ""


def check(sender: str, receiver: str, message: object) -> dict:
    """Return a message that came over a channel. :raises ValueError: it is none of this protocol."""
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError(f"the {sender} sent something that is no message")
    kind = message["kind"]
    known = MESSAGES.get((kind, sender if receiver == "edge" else receiver))
    if known is None or (known.sender, known.receiver) != (sender, receiver):
        raise ValueError(
            f"the {sender} asked for {shown(kind)}, which the {receiver} does not know; run prepare.yml again"
        )
    if name := missing(message, known.fields, known.optional):
        raise ValueError(f"the {sender}'s message '{kind}' has no proper '{name}'; run prepare.yml again")
    return message
