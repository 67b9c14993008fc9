# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The little of netfilter netlink that conntrack entries and held packets need: attributes, messages, acknowledgements.

Formats: ``<linux/netlink.h>`` (header and attributes in host byte order, 4-byte alignment) and
``<linux/netfilter/nfnetlink.h>`` (subsystem in the high byte of the type, one ``nfgenmsg``, payloads in network byte order).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_CREATE, NLM_F_EXCL = 0x400, 0x200
NLMSG_ERROR, NLMSG_DONE = 0x2, 0x3
NLA_F_NESTED = 0x8000
MOST_ERRNO = 4096

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_GENMSG = struct.Struct("!BBH")  # family, version, resource id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = struct.Struct("=i")


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that holds other attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def attributes(payload: bytes | memoryview) -> dict[int, memoryview]:
    """Return the attributes of a payload by type (without the nesting flag)."""
    view, found, offset = memoryview(payload), {}, 0
    while offset + 4 <= len(view):
        length, kind = _ATTRIBUTE.unpack_from(view, offset)
        if length < 4 or offset + length > len(view):
            break
        found[kind & 0x3FFF] = view[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def messages(datagram: bytes) -> list[tuple[int, int, memoryview]]:
    """Return ``(type, sequence, body)`` of every message of a datagram; bodies start with ``nfgenmsg``.

    :raises OSError: when one of them is an error, with its number; EBADMSG when it is no datagram of netlink.
    """
    data, offset, found = memoryview(datagram), 0, []
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        body = data[offset + _HEADER.size : offset + length]
        if length < _HEADER.size + _GENMSG.size or offset + length > len(data):
            raise unreadable("a message is shorter or longer than it says")
        if kind == NLMSG_ERROR:
            number = -_ERROR.unpack_from(body)[0]
            if not 0 <= number < MOST_ERRNO:
                raise unreadable("an error has no number of an error")
            if number:
                raise OSError(number, os.strerror(number))
        found.append((kind, sequence, body))
        offset += (length + 3) & ~3
    return found


def unreadable(what: str) -> OSError:
    """Return the error for what the kernel should never say."""
    return OSError(errno.EBADMSG, f"an answer of the kernel's netfilter cannot be read: {what}")


class NetfilterSocket:
    """A netlink socket to one subsystem of netfilter, in the network namespace of the calling thread."""

    def __init__(self, subsystem: int, receive_buffer: int = 1 << 20) -> None:
        self.subsystem = subsystem
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        for option in (33, socket.SO_RCVBUF):  # 33 = SO_RCVBUFFORCE: beyond rmem_max, with CAP_NET_ADMIN
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, receive_buffer)
                break
            except OSError:
                continue
        self._socket.bind((0, 0))

    def fileno(self) -> int:
        """The descriptor, for ``select``."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; a queue bound through it is unbound by the kernel."""
        self._socket.close()

    def pack(self, message: int, payload: bytes, flags: int, family: int = 0, resource: int = 0) -> bytes:
        """Return one message, ready to send, possibly in a batch."""
        self._sequence += 1
        body = _GENMSG.pack(family, 0, resource) + payload
        return _HEADER.pack(_HEADER.size + len(body), self.subsystem << 8 | message, flags, self._sequence, 0) + body

    def send(self, messages: bytes) -> None:
        """Send one or more packed messages without waiting for an answer."""
        self._socket.send(messages)

    def request(
        self, message: int, payload: bytes, flags: int = 0, family: int = 0, resource: int = 0
    ) -> memoryview | None:
        """Send one message and wait for its acknowledgement; return the payload (after ``nfgenmsg``) of what came before it.

        :raises OSError: with the kernel's error number.
        """
        self.send(self.pack(message, payload, NLM_F_REQUEST | NLM_F_ACK | flags, family, resource))
        wanted, answer = self._sequence, None
        while True:
            for kind, sequence, body in self.receive():
                if sequence != wanted:
                    continue
                if kind == NLMSG_ERROR:  # number zero: the acknowledgement
                    return answer
                answer = body[_GENMSG.size :]

    def dump(self, message: int, payload: bytes = b"", family: int = 0) -> Iterator[memoryview]:
        """Yield the payload (after ``nfgenmsg``) of every object of a dump."""
        self.send(self.pack(message, payload, NLM_F_REQUEST | NLM_F_DUMP, family))
        while True:
            for kind, _, body in self.receive():
                if kind == NLMSG_DONE:
                    return
                yield body[_GENMSG.size :]

    def receive(self, size: int = 1 << 18) -> list[tuple[int, int, memoryview]]:
        """Return ``(type, sequence, body)`` of every message of the next datagram; bodies start with ``nfgenmsg``.

        :raises OSError: when one of them is an error, with its number; EBADMSG when it is no datagram of netlink.
        """
        return messages(self._socket.recv(size))
