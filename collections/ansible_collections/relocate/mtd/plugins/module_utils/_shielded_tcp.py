# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP that the kernel encrypts or signs for its program. CRIU carries neither the keys nor that there are any.

The copy of a program that leaves TLS to the kernel (kTLS, ``TCP_ULP``) would send in the clear what it takes for encrypted.
One that asked for signed segments (``TCP_MD5SIG``, RFC 2385) would take unsigned ones, and be taken for a stranger.
Format: ``<linux/inet_diag.h>``. The kernel tells this to who may administer the network. Of the keys of TCP-AO it tells nobody.
Standard library only, Python 3.9.
"""

from __future__ import annotations

import socket
import struct
from typing import List

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._netlink import attributes, dump, in_network

_SOCK_DIAG, _BY_FAMILY = 4, 20  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
_WITH_INFO = 2  # INET_DIAG_INFO: without it the kernel leaves out what is told behind it
_ALL_STATES = 0xFFFFFFFF
_MESSAGE_SIZE = 72  # struct inet_diag_msg
_MD5SIG, _ULP_INFO, _ULP_NAME = 18, 19, 1  # attributes; the last is within the second
#: Upper layer protocols that are told of elsewhere: sockets of MPTCP are of another protocol.
_OTHERS = ("mptcp",)


def clause(layer: str) -> str:
    """Return what is said of connections with a protocol of the kernel's above TCP."""
    if layer == "tls":
        return "leaves TLS to the kernel (kTLS), and its keys cannot be carried: turn that off (OpenSSL: Options -KTLS)"
    return f"has the protocol {layer} of the kernel above TCP, which cannot be carried: end it"


def shielded_tcp(init: int) -> List[str]:
    """Return clauses for what a container's TCP sockets have that would be lost; ``init`` is a process of it."""
    return in_network(init, _look)


def _look() -> List[str]:
    layers, signed = set(), False
    for family in (socket.AF_INET, socket.AF_INET6):
        # struct inet_diag_req_v2, with an identity of nobody
        for body in dump(
            _SOCK_DIAG, _BY_FAMILY, struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, _WITH_INFO, _ALL_STATES)
        ):
            told = attributes(body[_MESSAGE_SIZE:])
            signed = signed or _MD5SIG in told
            layer = attributes(told.get(_ULP_INFO, b"")).get(_ULP_NAME, b"").rstrip(b"\0")
            layers.add(_kernel.plain(layer.decode("utf-8", "replace")))
    found = [clause(layer) for layer in sorted(layers - {"", *_OTHERS})]
    if signed:
        found.append(
            "has keys for signed TCP segments (TCP_MD5SIG), which cannot be carried: end it, or have it do without"
        )
    return found
