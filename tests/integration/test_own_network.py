# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that no move would carry, made by their own tools in a namespace of the real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _own_network
from relocate_proxy.network import links

from .namespaces import Network

pytestmark = pytest.mark.kernel


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a namespace as Docker gives it to a container: one link to outside."""
    made = Network()
    made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    made.run("sh", "-c", "ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip link set peer0 up")
    made.run("ip", "route", "add", "default", "via", "172.17.0.1")
    yield made
    made.close()


def test_nothing_is_said_of_a_usual_one(network: Network) -> None:
    """Nor of tables that somebody has only looked at, of a neighbour that was found, and of one that is gone."""
    network.run("iptables", "-w", "-L")
    network.run("nft", "add table inet empty; add chain inet empty input { type filter hook input priority 0; }")
    network.run("ip", "neigh", "add", "172.17.0.9", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "stale")
    assert _own_network.own_rules(network.pid) == []
    assert _own_network.own_rules(2**22 + 1) == []


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_dockers_name_service_is_dockers(network: Network, tool: str) -> None:
    """The rules by which dockerd (libnetwork, resolver_unix.go) leads 127.0.0.11 to itself; it makes them anew."""
    for rule in (
        "-N DOCKER_OUTPUT",
        "-N DOCKER_POSTROUTING",
        "-A OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT",
        "-A DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:40000",
        "-A POSTROUTING -d 127.0.0.11 -j DOCKER_POSTROUTING",
        "-A DOCKER_POSTROUTING -s 127.0.0.11 -p udp --sport 40000 -j SNAT --to-source :53",
    ):
        network.run(tool, "-w", "-t", "nat", *rule.split())
    assert _own_network.own_rules(network.pid) == []


def test_links_are_told_with_their_addresses_in_their_order(network: Network) -> None:
    """One that has none of IPv4 is left out, and so is the loopback."""
    for name, address in (("eth2", "10.9.2.2/24"), ("eth1", "10.9.1.2/24"), ("eth3", "fd00:9::2/64")):
        network.run("sh", "-c", f"ip link add {name} type veth peer name p{name}; ip addr add {address} dev {name}")
    found = links.places(f"/proc/{network.pid}/ns/net")
    assert list(found.items()) == [("eth0", "172.17.0.2"), ("eth2", "10.9.2.2"), ("eth1", "10.9.1.2")]


#: As Docker gives them to a container of a network with IPv6.
GIVEN = {"172.17.0.2", "fd00::2"}


def test_of_links_and_addresses_only_what_was_added_is_told(network: Network) -> None:
    """The kernel gives a link its own address, and routes to all that is on it. Each of what somebody adds is told."""
    host = Network()
    network.run("ip", "link", "set", "peer0", "netns", str(host.pid))  # a container does not see its peer
    host.run("ip", "link", "set", "peer0", "up")
    network.run("sh", "-c", "ip addr add fd00::2/64 dev eth0 nodad; ip -6 route add default via fd00::1")
    assert _own_network.own_links(network.pid, GIVEN) == []
    for command, says in (
        ("ip -6 addr add 2001:db8::7/64 dev eth0 nodad", "2001:db8::7"),
        ("ip -6 route add 2001:db8:1::/48 via fd00::9", "a route by eth0"),
        ("ip addr add 10.9.9.9/24 dev eth0", "10.9.9.9"),
        ("ip route add 10.8.0.0/16 via 172.17.0.9", "a route by eth0"),
        ("ip link add d0 type bridge", "d0"),
    ):
        before = _own_network.own_links(network.pid, GIVEN)
        network.run("sh", "-c", command)
        (added,) = [each for each in _own_network.own_links(network.pid, GIVEN) if each not in before] or [
            "a route by eth0"
        ]
        assert added == says
        assert len(_own_network.own_links(network.pid, GIVEN)) == len(before) + 1
    host.close()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("nft add table inet mine; nft add chain inet mine x; nft add rule inet mine x drop", "in the table mine"),
        (
            "nft add table ip6 shut; nft 'add chain ip6 shut in { type filter hook input priority 0; policy drop; }'",
            "in the table shut",
        ),
        ("iptables-nft -w -A INPUT -p tcp --dport 22 -j DROP", "a packet filter with rules in the table filter"),
        ("iptables-legacy -w -A INPUT -p tcp --dport 22 -j DROP", "a packet filter with rules in the table filter"),
        ("ip6tables-legacy -w -t mangle -A OUTPUT -j DROP", "a packet filter with rules in the table mangle"),
        ("ip rule add fwmark 7 table 77", "a routing rule of priority 32765"),
        ("ip -6 rule add from fd00::/8 table 78 priority 90", "a routing rule of priority 90"),
        ("tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb latency 50ms", "a queueing discipline (tbf)"),
        ("ip neigh add 172.17.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent", "a neighbour's link-layer address"),
        (
            "ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out tmpl proto esp mode tunnel",
            "IPsec",
        ),
    ],
)
def test_what_was_added(network: Network, command: str, says: str) -> None:
    """One thing each, by the tool that people have for it."""
    network.run("sh", "-c", command)
    (said,) = _own_network.own_rules(network.pid)
    assert says in said
