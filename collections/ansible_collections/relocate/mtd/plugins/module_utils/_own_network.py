# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was configured in a container's network beyond what Docker gave it, by itself or from its host. No move carries it.

A packet filter that is gone after a hop is the worst of it: everything works, and nobody is kept out any more. /proc tells of
links and addresses; the rest is asked of the kernel by netlink, in the container's network namespace. Formats:
``<linux/rtnetlink.h>``, ``<linux/netfilter/nf_tables.h>``, ``<linux/netfilter_ipv4/ip_tables.h>``, ``<linux/xfrm.h>``.
Standard library only, Python 3.9.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct
from typing import Collection, Dict, List

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._netlink import attributes, dump, in_network

PROC = "/proc"
MODULE_LINKS = re.compile(r"(tunl|sit|gre|gretap|erspan|ip_vti|ip6_vti|ip6tnl|ip6gre)0")
DOCKERS_LINKS = re.compile(r"eth\d{1,9}")
#: Docker's name service in a container of a network of its own: these chains, and the jumps to them.
DOCKERS = b"DOCKER_"
_ROUTE, _XFRM, _NETFILTER = 0, 6, 12  # families of netlink
_GETNEIGH, _GETRULE, _GETQDISC, _GETSA, _GETPOLICY = 30, 34, 38, 18, 21
_NFT_GETCHAIN, _NFT_GETRULE = 10 << 8 | 4, 10 << 8 | 7
_RULE_TABLE, _RULE_PRIORITY, _QDISC_KIND = 15, 6, 1
_NFT_TABLE, _NFT_POLICY = 1, 5  # attributes of a rule and a chain, of a chain
#: (priority, table) of the rules that every namespace has: local, main, default.
USUAL_RULES = {(0, 255), (32766, 254), (32767, 253)}
_PERMANENT = 0x80  # NUD_PERMANENT
_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_GET_INFO and IP6T_SO_GET_INFO, …_GET_ENTRIES
_INFO_SIZE, _NUMBER_AT, _SIZE_AT, _HOOKS_AT, _HEAD_SIZE = 84, 76, 80, 32, 40
_KERNELS_SCOPES = ("10", "20")  # of the loopback, and of a link, which the kernel gives itself
_libc = ctypes.CDLL(None, use_errno=True)


def dockers_links(init: int) -> List[str]:
    """Return the links that Docker gave to a container: by its numbers. :param init: a process of the container."""
    return sorted((link for link in _links(init) if DOCKERS_LINKS.fullmatch(link)), key=lambda link: int(link[3:]))


def _links(init: int) -> List[str]:
    return [line.partition(":")[0].strip() for line in _lines(f"{init}/net/dev")[2:]]


def own_links(init: int, given: Collection[str]) -> List[str]:
    """Return the links, addresses and routes that were added.

    :param init: a process of the container. :param given: the addresses that Docker gave it.
    """
    own = [
        _kernel.plain(link)
        for link in _links(init)
        if link != "lo" and not DOCKERS_LINKS.fullmatch(link) and not MODULE_LINKS.fullmatch(link)
    ]
    last, addresses = "", set()
    for line in _lines(f"{init}/net/fib_trie"):
        if "|--" in line:
            last = line.split()[-1]
        elif "host LOCAL" in line:
            addresses.add(last)
    own += sorted(each for each in addresses if not each.startswith("127.") and each not in given)
    six = (line.split() for line in _lines(f"{init}/net/if_inet6"))
    own += sorted(
        address
        for each in six
        if len(each) > 3 and each[3] not in _KERNELS_SCOPES and (address := _six(each[0])) not in given
    )
    # What leads through a gateway, and is not the default route. The columns are the kernel's fib_trie.c and ipv6/route.c.
    routes = (line.split() for line in _lines(f"{init}/net/route")[1:])
    routed = [each[0] for each in routes if len(each) > 2 and each[1] != "00000000" and each[2] != "00000000"]
    routes = (line.split() for line in _lines(f"{init}/net/ipv6_route"))
    routed += [each[9] for each in routes if len(each) > 9 and each[1] != "00" and each[4] != "0" * 32]
    return own + [f"a route by {_kernel.plain(link)}" for link in routed]


def _six(digits: str) -> str:
    """Return an IPv6 address as people write it. :param digits: the 32 of /proc."""
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def own_rules(init: int) -> List[str]:
    """Return what rules were added: of a packet filter, of routing, of queueing, of IPsec, and neighbours that were set.

    What this kernel does not have, nobody has added. Nothing is returned for a container that is gone.
    """
    return in_network(init, lambda: _packet_filter(init) + _routing())


def _packet_filter(init: int) -> List[str]:
    tables = set()
    for rule in map(_nft_attributes, dump(_NETFILTER, _NFT_GETRULE, bytes(4))):
        if not any(DOCKERS in each for each in rule.values()):
            tables.add(_word(rule.get(_NFT_TABLE, b"")))
    for chain in map(_nft_attributes, dump(_NETFILTER, _NFT_GETCHAIN, bytes(4))):
        if chain.get(_NFT_POLICY) == bytes(4):  # NF_DROP
            tables.add(_word(chain.get(_NFT_TABLE, b"")))
    for family, names in ((socket.AF_INET, "ip_tables_names"), (socket.AF_INET6, "ip6_tables_names")):
        tables |= {name for name in _lines(f"{init}/net/{names}") if name and _legacy_rules(family, name)}
    return [f"a packet filter with rules in the table {name}" for name in sorted(tables)]


def _routing() -> List[str]:
    found = []
    for body in dump(_ROUTE, _GETRULE, bytes(12)):
        rule = attributes(body[12:])
        table = struct.unpack("=I", rule[_RULE_TABLE])[0] if _RULE_TABLE in rule else body[4]
        priority = struct.unpack("=I", rule.get(_RULE_PRIORITY, bytes(4)))[0]
        if body[0] in (socket.AF_INET, socket.AF_INET6) and (priority, table) not in USUAL_RULES:
            found.append(f"a routing rule of priority {priority}")
    for body in dump(_ROUTE, _GETQDISC, bytes(20)):
        if struct.unpack_from("=I", body, 8)[0]:  # one that the kernel made itself has no handle
            found.append(f"a queueing discipline ({_word(attributes(body[20:]).get(_QDISC_KIND, b''))})")
    loopback = socket.if_nametoindex("lo")
    for body in dump(_ROUTE, _GETNEIGH, bytes(12)):
        _family, link, state = struct.unpack_from("=BxxxiH", body)
        if state & _PERMANENT and link != loopback:
            found.append("a neighbour's link-layer address")
    if dump(_XFRM, _GETSA, b"") or dump(_XFRM, _GETPOLICY, b""):
        found.append("IPsec")
    return list(dict.fromkeys(found))


def _nft_attributes(body: bytes) -> Dict[int, bytes]:
    return attributes(body[4:])  # struct nfgenmsg


def _word(name: bytes) -> str:
    return _kernel.plain(name.rstrip(b"\0").decode("utf-8", "replace"))


def _legacy_rules(family: int, table: str) -> bool:
    """Tell whether a table of iptables (not of its variant on nftables) has more than the policies that it is made with."""
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
        info = ctypes.create_string_buffer(table.encode()[:31], _INFO_SIZE)
        length = ctypes.c_uint32(_INFO_SIZE)
        if _libc.getsockopt(asking.fileno(), level, _GET_INFO, info, ctypes.byref(length)):
            return False
        hooks, number = (struct.unpack_from("=I", info, at)[0] for at in (_HOOKS_AT, _NUMBER_AT))
        if number <= bin(hooks).count("1") + 1:  # a policy for each hook, and the end of the table
            return False
        size = struct.unpack_from("=I", info, _SIZE_AT)[0]
        head = struct.pack("=32sI", table.encode()[:31], size).ljust(_HEAD_SIZE, b"\0")
        entries = ctypes.create_string_buffer(head, _HEAD_SIZE + size)
        length = ctypes.c_uint32(_HEAD_SIZE + size)
        failed = _libc.getsockopt(asking.fileno(), level, _GET_ENTRIES, entries, ctypes.byref(length))
        return bool(failed) or DOCKERS not in entries.raw


def _lines(path: str) -> List[str]:
    try:
        return _kernel.lines(_kernel.read_text(f"{PROC}/{path}"))
    except OSError:
        return []
