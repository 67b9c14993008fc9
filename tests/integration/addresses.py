# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a small fleet, in each family: two hosts, the edge in front of them, a client outside."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple


class Plan(NamedTuple):
    """Those of one family."""

    edge: str  # as the hosts see it
    old: str
    new: str
    stranger: str  # a host that has no part in the move
    gate: str  # the edge as the client sees it
    client: str
    virtual: str
    inside: str  # the container, at the old host
    bridge: str  # which it is on
    copy: str  # the container at the new host
    neighbour: str  # another one there
    bits: int  # of the prefix of each of these networks

    @property
    def flag(self) -> str:
        """What tells ``ip`` the family."""
        return "-6" if self is SIX else "-4"

    def network(self, address: str) -> str:
        """Return the network of one of these addresses, in CIDR notation."""
        return str(ipaddress.ip_interface(f"{address}/{self.bits}").network)

    @property
    def table(self) -> str:
        """The edge's table of this family, for nft."""
        return "ip6 relocate" if self is SIX else "ip relocate"


FOUR = Plan(
    edge="10.77.0.1",
    old="10.77.0.11",
    new="10.77.0.12",
    stranger="10.77.0.99",
    gate="10.88.0.1",
    client="10.88.0.2",
    virtual="10.88.0.100",
    inside="172.20.1.2",
    bridge="172.20.1.1",
    copy="172.20.2.9",
    neighbour="172.20.2.3",
    bits=24,
)
SIX = Plan(
    edge="fd00:77::1",
    old="fd00:77::11",
    new="fd00:77::12",
    stranger="fd00:77::99",
    gate="fd00:88::1",
    client="fd00:88::2",
    virtual="fd00:88::100",
    inside="fd00:20:1::2",
    bridge="fd00:20:1::1",
    copy="fd00:20:2::9",
    neighbour="fd00:20:2::3",
    bits=64,
)
