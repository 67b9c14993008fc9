# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protobuf messages without their schema: numbers and bytes by field number.

Enough for CRIU's orders, its statistics and its page maps, and a hundred times quicker than to import and build the classes.
"""

from __future__ import annotations

from typing import Union

Fields = dict[int, Union[int, bytes]]

MOST_BITS = 64  # of a number


class BadMessage(ValueError):
    """Some bytes are no such message: they are cut off, or have what is not understood here."""


def varint_bytes(value: int) -> bytes:
    """Return a number as a varint: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append((value & 0x7F) | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def encode(fields: Fields) -> bytes:
    """Return a protobuf message: numbers as varints, bytes (texts and messages too) length-delimited."""
    message = b""
    for number, value in fields.items():
        if isinstance(value, int):
            message += varint_bytes(number << 3) + varint_bytes(value)
        else:
            message += varint_bytes(number << 3 | 2) + varint_bytes(len(value)) + value
    return message


def decode(message: bytes) -> Fields:
    """Return the fields of a protobuf message that has varints and length-delimited ones only, as CRIU's answers have.

    :raises BadMessage: it is none.
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            if position >= len(message) or shift >= MOST_BITS:
                raise BadMessage("a protobuf message ends in the middle of a number, or has one that is too large")
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    fields: Fields = {}
    while position < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 2:
            length = varint()
            if length > len(message) - position:
                raise BadMessage("a protobuf message is shorter than it says")
            fields[number] = message[position : position + length]
            position += length
        elif kind == 0:
            fields[number] = varint()
        else:
            raise BadMessage(f"a protobuf message has a field of the kind {kind}, which is not read here")
    return fields
