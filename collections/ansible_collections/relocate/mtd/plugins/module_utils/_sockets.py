# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports of a host are taken, from ``/proc/net``. Pure functions over its text."""

from __future__ import annotations

# proc(5): the column "st". A bound UDP socket without a peer shows TCP_CLOSE.
_WAITING = {"tcp": "0A", "udp": "07"}


def listening(text: str, protocol: str) -> set[int]:
    """Return the local ports that a ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6`` shows as waiting for anybody.

    :param protocol: ``tcp`` or ``udp``.
    """
    ports = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _WAITING[protocol]:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
