# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets held in a netfilter queue, and let go in order.

Dropping packets rounds the pause that a client sees up to TCP's next retransmission (207, 417, 833, 1660 ms); holding them
makes the pause as long as the freeze. The queue sits in front of connection tracking, so that the NAT of a held packet is
decided when it is released. Formats: ``<linux/netfilter/nfnetlink_queue.h>``.

What the queue cannot take is dropped. Passed on, it would reach the frozen original, or a copy that may never run: either's
kernel acknowledges it, the survivor never sees it, and the connection stands still for good. What is dropped, TCP sends again.
"""

from __future__ import annotations

import contextlib
import errno
import struct
import threading
from collections.abc import Sequence

from .netlink import NLM_F_ACK, NLM_F_REQUEST, NetfilterSocket, attribute, attributes

SUBSYSTEM = 3  # NFNL_SUBSYS_QUEUE
PACKET, VERDICT, CONFIG, VERDICT_BATCH = 0, 1, 2, 3  # NFQNL_MSG_*
CFG_COMMAND, CFG_PARAMETERS, CFG_MAX_LENGTH, CFG_MASK, CFG_FLAGS = 1, 2, 3, 4, 5  # NFQA_CFG_*
FAIL_OPEN, GSO = 1, 4  # NFQA_CFG_F_*: a full queue lets pass instead of dropping (never); do not split large packets
ACCEPT = 1
BIND, UNBIND = 1, 2  # NFQNL_CFG_CMD_*
MAX_PACKETS = 65536
CLOSE_SECONDS = 10.0  # its reader needs a moment; a busy machine may not give it that at once


def packet_number(payload: memoryview) -> int | None:
    """Return the number of a packet that waits for its verdict (NFQA_PACKET_HDR); None if it has none."""
    head = attributes(payload).get(1, b"")
    return struct.unpack_from("!I", head)[0] if len(head) >= 4 else None


class HeldQueue:
    """The reader of one queue. While ``holding``, it keeps packets; otherwise it passes them on at once.

    :raises OSError: EEXIST or EBUSY when another relocation has the queue.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.holding = False
        self.released = False
        self.total = 0
        self._closed = False
        self._waiting: list[int] = []
        self._lock = threading.Lock()
        self._socket = NetfilterSocket(SUBSYSTEM, 8 << 20)
        try:
            self._configure(CFG_COMMAND, struct.pack("!BBH", BIND, 0, 0))
            self._configure(
                CFG_PARAMETERS, struct.pack("!IB", 0, 1)
            )  # copy meta data only: the packet stays in the kernel
            self._configure(CFG_MAX_LENGTH, struct.pack("!I", MAX_PACKETS))
            payload = attribute(CFG_MASK, struct.pack("!I", FAIL_OPEN | GSO))
            payload += attribute(CFG_FLAGS, struct.pack("!I", GSO))
            self._socket.request(CONFIG, payload, resource=number)
        except OSError:
            self._socket.close()
            raise
        self._reader = threading.Thread(target=self._read, name=f"queue-{number}", daemon=True)
        self._reader.start()

    @classmethod
    def first_free(cls, numbers: Sequence[int]) -> HeldQueue:
        """Bind the first queue of ``numbers`` that no other relocation has. :raises OSError: EBUSY when all are taken."""
        for number in numbers:
            try:
                return cls(number)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.EBUSY, errno.EPERM):
                    raise
        raise OSError(
            errno.EBUSY,
            "all packet queues of the edge are in use by other relocations: try again, or run recover.yml if one of them died",
        )

    def _configure(self, what: int, value: bytes) -> None:
        self._socket.request(CONFIG, attribute(what, value), resource=self.number)

    def _read(self) -> None:
        while not self._closed:
            try:
                messages = self._socket.receive()
            except OSError as error:
                # Some were dropped: more than we could take (ENOBUFS), or their link went down (ENOENT, of a verdict).
                if error.errno in (errno.ENOBUFS, errno.ENOENT, errno.EBADMSG):
                    continue
                return
            with self._lock:
                if self._closed:
                    return
                for kind, _, body in messages:
                    if kind == SUBSYSTEM << 8 | PACKET:
                        number = packet_number(body[4:])
                        if number is not None:
                            # no room for a verdict: its sender repeats this one packet
                            with contextlib.suppress(OSError):
                                self._take(number)

    def _take(self, packet: int) -> None:
        if self.holding:
            self.total += 1
            self._waiting.append(packet)
        else:
            self._accept(VERDICT, packet)

    def _accept(self, message: int, packet: int) -> None:
        payload = attribute(2, struct.pack("!II", ACCEPT, packet))  # NFQA_VERDICT_HDR
        if self.released:
            payload += attribute(3, struct.pack("!I", 0))  # NFQA_MARK: the chain "early" lets it pass
        self._socket.send(self._socket.pack(message, payload, NLM_F_REQUEST, resource=self.number))

    def hold(self) -> None:
        """Keep what comes from now on. The rule that feeds the queue is set by the caller, afterwards."""
        with self._lock:
            self.holding, self.released = True, False

    def release(self) -> int:
        """Let everything go in the order it came, and pass on what still comes. Return how many packets waited.

        The rule that feeds the queue is removed by the caller afterwards: then nothing overtakes.
        """
        with self._lock:
            self.holding, self.released = False, True
            if self._waiting:
                self._accept(VERDICT_BATCH, self._waiting[-1])  # a batch verdict reaches every packet up to this one
            count = len(self._waiting)
            self._waiting = []
        return count

    def close(self) -> None:
        """Unbind the queue, and close its socket when its reader has ended.

        Not beneath the reader, which waits in a system call. The call keeps the socket, and so the queue, until something
        comes. And a signal that nobody heeds, such as the end of a child, has the kernel begin the call anew, with the same
        number. Whatever socket has the number by then loses a message to the reader. If that is the next queue's, the message
        is a packet that never gets a verdict.
        """
        unbind = attribute(CFG_COMMAND, struct.pack("!BBH", UNBIND, 0, 0))
        with self._lock:  # not in the middle of its verdicts
            self._closed = True
            # The acknowledgement wakes the reader. This fails when the queue was closed before, or without memory: then the
            # queue ends with the process.
            with contextlib.suppress(OSError):
                self._socket.send(self._socket.pack(CONFIG, unbind, NLM_F_REQUEST | NLM_F_ACK, resource=self.number))
        self._reader.join(CLOSE_SECONDS)
        if not self._reader.is_alive():
            self._socket.close()
