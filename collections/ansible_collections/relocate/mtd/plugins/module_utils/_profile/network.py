# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networking N of a host: subnets, drivers, firewall backend and listening ports, read from /proc and /sys.

What differs between two hosts only because each has its own number is left out: addresses within a subnet, Docker's own
bridges (every host has its own range by plan), loopback, and ports that change at every start.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import os
import re
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._profile.system import read

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x00000003
#: Size of struct ethtool_drvinfo (include/uapi/linux/ethtool.h); the driver's name is bytes 4 to 36.
_DRVINFO_SIZE = 196
_TCP_LISTEN = "0A"
_UDP_UNCONNECTED = "07"
_DOCKER_BRIDGE = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}")


def interfaces(root: str) -> list[str]:
    """Return the host's own interfaces: not loopback, not Docker's bridges, not what is plugged into those."""
    base = os.path.join(root, "sys/class/net")
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return []

    def docker(name: str) -> bool:
        master = os.path.join(base, name, "master")
        above = os.path.basename(os.path.realpath(master)) if os.path.islink(master) else name
        return bool(_DOCKER_BRIDGE.fullmatch(name) or _DOCKER_BRIDGE.fullmatch(above))

    return [name for name in names if name != "lo" and os.path.isdir(os.path.join(base, name)) and not docker(name)]


def driver(root: str, name: str) -> str | None:
    """Return an interface's kernel driver: by sysfs for a real card, by ethtool's ioctl for a virtual one."""
    link = os.path.join(root, "sys/class/net", name, "device/driver")
    if os.path.islink(link):
        return os.path.basename(os.path.realpath(link))
    if root != "/":
        return None
    buffer = array.array("B", struct.pack("I", _ETHTOOL_GDRVINFO) + b"\0" * (_DRVINFO_SIZE - 4))
    request = struct.pack("16sP", name.encode()[:15], buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            fcntl.ioctl(probe.fileno(), _SIOCETHTOOL, request.ljust(40, b"\0"))
        except OSError:
            return None
    return buffer.tobytes()[4:36].split(b"\0", 1)[0].decode(errors="replace") or None


def subnets(addresses: list[dict[str, Any]], wanted: list[str]) -> list[str]:
    """Return the subnets of the wanted interfaces from what ``ip -json address show`` printed; global scope only."""
    found = set()
    for link in addresses:
        if link.get("ifname") not in wanted:
            continue
        for address in link.get("addr_info", []):
            # a host route (a virtual service address on the edge) is no subnet
            host_route = address.get("prefixlen") == (32 if address.get("family") == "inet" else 128)
            if address.get("scope") == "global" and not host_route:
                found.add(str(ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)))
    return sorted(found)


def _sockets(root: str, protocol: str) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Yield the local address and port of every listening socket of tcp, tcp6, udp or udp6."""
    wanted = _TCP_LISTEN if protocol.startswith("tcp") else _UDP_UNCONNECTED
    for line in (read(root, "proc/net/" + protocol) or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == wanted:
            text, _colon, port = fields[1].partition(":")
            # the kernel prints the address as 32-bit words in its own byte order
            words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
            packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
            yield ipaddress.ip_address(packed), int(port, 16)


def listening(root: str) -> list[str]:
    """Return ports that others can reach, as ``tcp/22``: not on loopback, not from the range of ephemeral ports."""
    limits = (read(root, "proc/sys/net/ipv4/ip_local_port_range") or "32768 60999").split()
    first, last = int(limits[0]), int(limits[1])
    ports = {
        (protocol[:3], port)
        for protocol in ("tcp", "tcp6", "udp", "udp6")
        for address, port in _sockets(root, protocol)
        if not address.is_loopback and not first <= port <= last
    }
    return [f"{protocol}/{port}" for protocol, port in sorted(ports)]


def firewall() -> str:
    """Return what programs the packet filter: firewalld, ufw, iptables-nft, iptables-legacy, nftables or none."""
    if os.path.exists("/run/firewalld") or os.path.exists("/var/run/firewalld.pid"):
        return "firewalld"
    text = read("/", "etc/ufw/ufw.conf") or ""
    if re.search(r"^ENABLED=yes", text, re.MULTILINE):
        return "ufw"
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    program = shutil.which("iptables", path=path)
    if program:
        return "iptables-nft" if "nft" in os.path.basename(os.path.realpath(program)) else "iptables-legacy"
    return "nftables" if shutil.which("nft", path=path) else "none"
