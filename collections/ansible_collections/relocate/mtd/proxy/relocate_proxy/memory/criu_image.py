# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a file of a memory image is laid out: two magic numbers, then messages, and before each message its length."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..protocol.protobuf import BadMessage

HEAD = 8  # bytes
LENGTH = struct.Struct("=I")


def framed(message: bytes) -> bytes:
    """Return a message as it stands in an image."""
    return LENGTH.pack(len(message)) + message


def messages(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the place (of its length) and the bytes of each message of an image.

    :raises BadMessage: it ends in the middle of one.
    """
    offset = HEAD
    while offset < len(image):
        length = LENGTH.unpack_from(image, offset)[0] if len(image) - offset >= LENGTH.size else len(image)
        if length > len(image) - offset - LENGTH.size:
            raise BadMessage("a file of the memory image ends in the middle of a message")
        yield offset, image[offset + LENGTH.size : offset + LENGTH.size + length]
        offset += LENGTH.size + length
