# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages between the edge and the two other parts: who says each to whom, and what must be in it.

What comes over a channel is checked against this table before anybody acts on it. The cargo on the data channel between source
and destination is described in ``files.cargo``.
"""

from __future__ import annotations

from dataclasses import dataclass

Types = tuple[type, ...]
TEXT: Types = (str,)
NUMBER: Types = (int, float)
LIST: Types = (list,)
DOCUMENT: Types = (dict,)


@dataclass(frozen=True)
class Message:
    """One kind of message. :ivar fields: what must be in it, and of which types; other fields may be there."""

    sender: str
    receiver: str
    fields: dict[str, Types]


def _message(sender: str, receiver: str, **fields: Types) -> Message:
    return Message(sender, receiver, fields)


#: In the order in which they are said. A reader of this table and of ``parts.edge`` has read the protocol.
MESSAGES: dict[tuple[str, str], Message] = {
    (kind, message.sender if message.receiver == "edge" else message.receiver): message
    for kind, message in (
        # while the container runs
        ("describe", _message("edge", "source")),
        ("described", _message("source", "edge", document=DOCUMENT, address=TEXT)),
        ("create", _message("edge", "destination", document=DOCUMENT)),
        ("created", _message("destination", "edge", container_id=TEXT)),
        ("copy", _message("edge", "source", destination=LIST)),
        ("start", _message("edge", "destination")),
        ("gated", _message("destination", "edge", address=TEXT, container_id=TEXT)),
        ("copied", _message("source", "edge", bytes=(int,))),
        ("arm", _message("edge", "source", address=TEXT)),
        ("armed", _message("source", "edge", flows=LIST, memory_bytes=(int,), link_ms_per_mib=NUMBER)),
        # packets wait
        ("settle", _message("edge", "source")),
        ("settled", _message("source", "edge")),
        ("freeze", _message("edge", "source")),
        ("frozen", _message("source", "edge")),
        ("dumped", _message("source", "edge", flows=LIST)),
        ("place", _message("edge", "destination", flows=LIST)),
        ("placed", _message("destination", "edge", flows=LIST)),
        ("routed", _message("edge", "destination")),
        ("prepared", _message("destination", "edge")),
        # after the commit
        ("commit", _message("edge", "destination")),
        ("accepted", _message("destination", "edge")),
        ("running", _message("destination", "edge", address=TEXT)),
        ("drain", _message("edge", "destination")),
        ("drained", _message("destination", "edge")),
        ("finish", _message("edge", "source")),
        ("finished", _message("source", "edge", timings_ns=DOCUMENT)),
        ("finish", _message("edge", "destination")),
        ("finished", _message("destination", "edge", timings_ns=DOCUMENT)),
        # at any time before the commit
        ("failed", _message("source", "edge", reason=TEXT)),
        ("failed", _message("destination", "edge", reason=TEXT)),
        ("roll_back", _message("edge", "source")),
        ("roll_back", _message("edge", "destination")),
        ("rolled_back", _message("source", "edge")),
        ("rolled_back", _message("destination", "edge")),
    )
}


def check(sender: str, receiver: str, message: object) -> dict:
    """Return a message that came over a channel. :raises ValueError: it is none of this protocol."""
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError(f"the {sender} sent something that is no message")
    kind = message["kind"]
    known = MESSAGES.get((kind, sender if receiver == "edge" else receiver))
    if known is None or (known.sender, known.receiver) != (sender, receiver):
        raise ValueError(f"the {sender} asked for '{kind}', which the {receiver} does not know; run prepare.yml again")
    for name, types in known.fields.items():
        if not isinstance(message.get(name), types) or isinstance(message.get(name), bool):
            raise ValueError(f"the {sender}'s message '{kind}' has no proper '{name}'; run prepare.yml again")
    return message
