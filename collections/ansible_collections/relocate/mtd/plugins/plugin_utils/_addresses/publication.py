# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a person says where a service is to be reached: ``10.88.0.100:7000:7000/tcp``, ``[2001:db8::100]:7000:7000``."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_FORM = re.compile(
    r"(?:\[(?P<address6>[^\]/]+)\]|(?P<address>[^:/\[]+)):(?P<virtual>\d+):(?:(?P<host>\d+):)?(?P<container>\d+)(?:/(?P<protocol>\w+))?"
)
FORM_TEXT = "ADDRESS:PORT:[HOST_PORT:]CONTAINER_PORT[/tcp|udp]"


class PublicationError(ValueError):
    """The text says no place; the message is one sentence."""


def parse(text: str) -> list[dict[str, Any]]:
    """Return the places a text names, separated by commas.

    :return: dictionaries ``virtual_address, virtual_port, host_port, container_port, protocol``; the host port is the
        virtual one unless it is given.
    :raises PublicationError: a part that has not the form :data:`FORM_TEXT`, what is no address, no such port or
        protocol, or the same place twice.
    """
    found: list[dict[str, Any]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FORM.fullmatch(part)
        if not match:
            raise PublicationError(f"{part!r} does not say where a service is reached; the form is {FORM_TEXT}")
        place: dict[str, Any] = {
            "virtual_address": match["address6"] or match["address"],
            "virtual_port": int(match["virtual"]),
            "host_port": int(match["host"] or match["virtual"]),
            "container_port": int(match["container"]),
            "protocol": match["protocol"] or "tcp",
        }
        try:
            kind = ipaddress.IPv6Address if match["address6"] else ipaddress.IPv4Address
            virtual = kind(place["virtual_address"])
        except ValueError:
            name = "IPv6" if match["address6"] else "IPv4"
            raise PublicationError(f"{place['virtual_address']!r} in {part!r} is not an {name} address") from None
        if virtual.version == 6 and virtual.is_link_local:
            raise PublicationError(f"{place['virtual_address']!r} in {part!r} is an address of one link alone")
        place["virtual_address"] = str(virtual)
        for name in ("virtual_port", "host_port", "container_port"):
            if not 1 <= place[name] <= 65535:
                raise PublicationError(f"port {place[name]} in {part!r} is outside 1..65535")
        if place["protocol"] not in ("tcp", "udp"):
            raise PublicationError(f"protocol {place['protocol']!r} in {part!r} is neither tcp nor udp")
        for other in found:
            if all(place[name] == other[name] for name in ("virtual_address", "virtual_port", "protocol")):
                raise PublicationError(f"{text!r} names the same address and port twice")
        found.append(place)
    return found
