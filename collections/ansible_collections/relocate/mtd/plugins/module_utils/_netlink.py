# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the kernel for all it has of something, in a container's network namespace. Format: ``<linux/netlink.h>``.

Standard library only, Python 3.9.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from typing import Callable, Dict, List

PROC = "/proc"
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST, NLM_F_DUMP
_ERROR, _DONE = 2, 3
_CLONE_NEWNET = 0x40000000
_WAIT_SECONDS = 5
_libc = ctypes.CDLL(None, use_errno=True)


def in_network(pid: int, look: Callable[[], List[str]]) -> List[str]:
    """Return what is seen in the network namespace of a process; nothing if that is gone."""
    found: List[str] = []

    def enter() -> None:
        try:
            namespace = os.open(f"{PROC}/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if _libc.setns(namespace, _CLONE_NEWNET):
                return
        finally:
            os.close(namespace)
        found.extend(look())

    # A namespace belongs to a thread: this one is thrown away.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found


def dump(family: int, kind: int, body: bytes) -> List[bytes]:
    """Return the bodies of all the messages that the kernel answers; none where it does not know what is asked for."""
    found: List[bytes] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as asking:
            asking.settimeout(_WAIT_SECONDS)
            asking.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body)
            while True:
                datagram, offset = asking.recv(1 << 18), 0
                while offset + 16 <= len(datagram):
                    length, answered = struct.unpack_from("=IH", datagram, offset)
                    if answered in (_ERROR, _DONE) or length < 16:
                        return found
                    found.append(datagram[offset + 16 : offset + length])
                    offset += (length + 3) & ~3
    except OSError:
        return found


def attributes(data: bytes) -> Dict[int, bytes]:
    """Return attributes by their numbers, without the flags."""
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
