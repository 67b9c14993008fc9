# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's address plan: one supernet, cut into equal subnets, one subnet per Docker host."""

from __future__ import annotations

try:
    import netaddr
except ImportError as error:
    NETADDR_PROBLEM: ImportError | None = error
else:
    NETADDR_PROBLEM = None


class AddressPlanError(ValueError):
    """The plan has no such subnet; the text is one sentence."""


def docker0_subnet(supernet: str, prefix: int, index: int) -> netaddr.IPNetwork:
    """Return the subnet number ``index`` of the plan.

    :param supernet: what the fleet's containers share, in CIDR notation.
    :param prefix: length of one host's prefix, in bits.
    :param index: the host's number, from 0.
    :raises AddressPlanError: the supernet is no IPv4 network, the prefix does not fit in it, or it has no such subnet;
        or the controller lacks netaddr.
    """
    if NETADDR_PROBLEM:
        raise AddressPlanError("the controller lacks the Python package netaddr; install it there") from NETADDR_PROBLEM
    try:
        network = netaddr.IPNetwork(supernet)
    except (netaddr.AddrFormatError, ValueError) as error:
        raise AddressPlanError(f"the supernet {supernet!r} is not an IPv4 network: {error}") from error
    if network.version != 4:
        raise AddressPlanError(f"the supernet {supernet} is not an IPv4 network; docker0 gets IPv4 addresses")
    if network.ip != network.network:
        raise AddressPlanError(f"the supernet {supernet} has host bits set; its network is {network.cidr}")
    if not network.prefixlen <= prefix <= 30:
        raise AddressPlanError(f"a host's prefix length must be {network.prefixlen} to 30 in {supernet}, not {prefix}")
    count = 1 << (prefix - network.prefixlen)
    if not 0 <= index < count:
        raise AddressPlanError(
            f"{supernet} has {count} subnets of /{prefix}, from number 0; there is no number {index}"
        )
    return netaddr.IPNetwork((network.first + index * (1 << (32 - prefix)), prefix))


def docker0_address(supernet: str, prefix: int, index: int) -> str:
    """Return the address of docker0 on a host: the first one in its subnet, with the prefix length.

    :raises AddressPlanError: as :func:`docker0_subnet`.
    """
    subnet = docker0_subnet(supernet, prefix, index)
    return f"{subnet[1]}/{subnet.prefixlen}"
