# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's address plan and the places where services are reached, as values and as filters."""

from __future__ import annotations

import netaddr
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.relocate.mtd.plugins.filter.criu_problem import criu_problem_filter
from ansible_collections.relocate.mtd.plugins.filter.docker0_address import docker0_address_filter
from ansible_collections.relocate.mtd.plugins.filter.publications import publications_filter
from ansible_collections.relocate.mtd.plugins.plugin_utils._addresses.address_plan import (
    AddressPlanError,
    docker0_address,
    docker0_subnet,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._addresses.publication import PublicationError, parse
from hypothesis import given
from hypothesis import strategies as st


def test_the_plan_of_the_lab() -> None:
    """host1 has 172.20.1.1/24, and so on; subnet 0 exists too."""
    assert [docker0_address("172.20.0.0/16", 24, index) for index in (0, 1, 255)] == [
        "172.20.0.1/24",
        "172.20.1.1/24",
        "172.20.255.1/24",
    ]


@given(st.integers(8, 24), st.integers(0, 6), st.integers(0, 63), st.integers(0, 63))
def test_no_two_hosts_share_an_address(supernet_length: int, extra: int, one: int, other: int) -> None:
    """Subnets of different numbers are disjoint and inside the supernet."""
    supernet = netaddr.IPNetwork(f"10.0.0.0/{supernet_length}")
    prefix = supernet_length + extra
    one, other = one % (1 << extra), other % (1 << extra)
    first, second = (docker0_subnet(str(supernet), prefix, number) for number in (one, other))
    assert first in supernet and second in supernet
    assert (one == other) == (first.first <= second.last and second.first <= first.last)


@pytest.mark.parametrize(
    ("supernet", "prefix", "index", "complaint"),
    [
        ("172.20.0.0/16", 24, 256, "172.20.0.0/16 has 256 subnets of /24, from number 0; there is no number 256"),
        ("172.20.0.0/16", 24, -1, "there is no number -1"),
        ("172.20.0.0/16", 31, 0, "must be 16 to 30 in 172.20.0.0/16, not 31"),
        ("172.20.0.0/16", 12, 0, "must be 16 to 30 in 172.20.0.0/16, not 12"),
        ("172.20.1.0/16", 24, 0, "172.20.1.0/16 has host bits set; its network is 172.20.0.0/16"),
        ("fd00::/48", 64, 0, "fd00::/48 is not an IPv4 network; docker0 gets IPv4 addresses"),
        ("somewhere", 24, 0, "the supernet 'somewhere' is not an IPv4 network"),
    ],
)
def test_what_is_no_plan(supernet: str, prefix: int, index: int, complaint: str) -> None:
    """One sentence each, from the function and from the filter."""
    with pytest.raises(AddressPlanError) as refused:
        docker0_address(supernet, prefix, index)
    assert complaint in str(refused.value)
    with pytest.raises(AnsibleFilterError) as failed:
        docker0_address_filter(supernet, prefix, index)
    assert complaint in str(failed.value)


def test_the_filter_takes_what_inventories_hold() -> None:
    """Numbers may be texts there; other texts are refused."""
    assert docker0_address_filter("172.20.0.0/16", "24", "3") == "172.20.3.1/24"
    with pytest.raises(AnsibleFilterError, match="must be whole numbers, not 'x' and 1"):
        docker0_address_filter("172.20.0.0/16", "x", 1)


def test_places() -> None:
    """The host's port is the virtual one unless it is given; the protocol is TCP unless it is given."""
    assert publications_filter("10.88.0.100:80:8080:8000/udp, 10.88.0.101:7000:7000") == [
        {
            "virtual_address": "10.88.0.100",
            "virtual_port": 80,
            "host_port": 8080,
            "container_port": 8000,
            "protocol": "udp",
        },
        {
            "virtual_address": "10.88.0.101",
            "virtual_port": 7000,
            "host_port": 7000,
            "container_port": 7000,
            "protocol": "tcp",
        },
    ]
    assert parse("") == []


def test_places_of_both_families() -> None:
    """An IPv6 address is in brackets, as before every other port; it has one form, however it was written."""
    found = parse("[2001:DB8:0::100]:80:8080:8000/udp,[2001:db8::100]:80:8080:8000, 10.88.0.100:80:8080:8000")
    assert [(each["virtual_address"], each["protocol"]) for each in found] == [
        ("2001:db8::100", "udp"),
        ("2001:db8::100", "tcp"),
        ("10.88.0.100", "tcp"),
    ]
    assert {(each["virtual_port"], each["host_port"], each["container_port"]) for each in found} == {(80, 8080, 8000)}
    assert publications_filter("[2001:db8::100]:7000:7000")[0]["host_port"] == 7000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("7000", "'7000' does not say where a service is reached; the form is ADDRESS:PORT:"),
        ("10.88.0.300:1:1", "'10.88.0.300' in '10.88.0.300:1:1' is not an IPv4 address"),
        ("10.88.1:1:1", "'10.88.1' in '10.88.1:1:1' is not an IPv4 address"),
        ("10.88.0.1:0:1", "port 0 in '10.88.0.1:0:1' is outside 1..65535"),
        ("10.88.0.1:1:70000", "port 70000 in"),
        ("10.88.0.1:1:1/sctp", "protocol 'sctp' in '10.88.0.1:1:1/sctp' is neither tcp nor udp"),
        ("10.88.0.1:1:1,10.88.0.1:1:2", "names the same address and port twice"),
        ("2001:db8::1:80:80", "'2001:db8::1:80:80' does not say where a service is reached; the form is"),
        ("[2001:db8::1:80:80", "does not say where a service is reached"),
        ("2001:db8::1]:80:80", "does not say where a service is reached"),
        ("[]:80:80", "does not say where a service is reached"),
        ("[2001:db8::1]80:80", "does not say where a service is reached"),
        ("[2001:db8::1]:80", "does not say where a service is reached"),
        ("[2001:db8::1/64]:80:80", "does not say where a service is reached"),
        ("[10.88.0.1]:80:80", "'10.88.0.1' in '[10.88.0.1]:80:80' is not an IPv6 address"),
        ("[2001:db8::g]:80:80", "'2001:db8::g' in '[2001:db8::g]:80:80' is not an IPv6 address"),
        ("[fe80::1%eth0]:80:80", "'fe80::1%eth0' in '[fe80::1%eth0]:80:80' is an address of one link alone"),
        ("[fe80::1]:80:80", "is an address of one link alone"),
        ("[2001:db8::1]:80:70000", "port 70000 in"),
        ("[2001:db8::1]:1:1,[2001:DB8::1]:1:2", "names the same address and port twice"),
    ],
)
def test_what_is_no_place(text: str, complaint: str) -> None:
    """One sentence each, from the parser and from the filter."""
    with pytest.raises(PublicationError) as refused:
        parse(text)
    assert complaint in str(refused.value)
    with pytest.raises(AnsibleFilterError) as failed:
        publications_filter(text)
    assert complaint in str(failed.value)


def test_criu_problem() -> None:
    """Empty where there is none, so that a play can say so in one line."""
    assert criu_problem_filter("Version: 4.2.1", "6.18.44") == ""
    assert criu_problem_filter("Version: 3.17.1", "6.18.44").startswith("CRIU 3.17.1 is too old for kernel 6.18.44")
    with pytest.raises(AnsibleFilterError, match="no version number"):
        criu_problem_filter("", "6.18.44")
