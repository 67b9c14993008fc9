# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's table as text and as values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table
from ansible_collections.relocate.mtd.plugins.module_utils._edge_table import IP4, IP6

GATEWAY = edge_table.Gateway("eth1", "10.77.0.0/24", "10.88.0.100")
COUNTER = edge_table.Service("counter", "tcp", "10.88.0.100", 7000, "10.77.0.11", 7000)
DNS = edge_table.Service("dns", "udp", "10.88.0.100", 53, "10.77.0.12", 5353)
GATEWAY6 = edge_table.Gateway("eth1", "fd00:77::/64", "2001:db8::100")
COUNTER6 = COUNTER._replace(virtual_address="2001:db8::100", host_address="fd00:77::11")


def test_marks_name_queues() -> None:
    """Each queue with a mark of its own under one prefix."""
    marks = [edge_table.queue_mark(queue) for queue in edge_table.QUEUES]
    assert marks[0] == 0x52450000 + 5200 and len(set(marks)) == len(edge_table.QUEUES)
    assert all(mark & edge_table.MARK_MASK == edge_table.MARK_PREFIX for mark in marks)
    with pytest.raises(ValueError, match=r"queue 5232 is not one of 5200\.\.5231"):
        edge_table.queue_mark(5232)


def test_queues_are_in_the_table_or_in_iptables() -> None:
    """Never in both."""
    with_queue, without = (edge_table.table_text(IP4, GATEWAY, nft_queue) for nft_queue in (True, False))
    assert with_queue.count("queue flags bypass to") == len(edge_table.QUEUES) and "queue flags" not in without
    assert len(edge_table.raw_chain()) == len(edge_table.QUEUES)
    assert edge_table.raw_text(with_jump=True).count("-A PREROUTING") == 1
    assert "-A PREROUTING" not in edge_table.raw_text(with_jump=False)
    assert edge_table.raw_removal_text(2).count("-D PREROUTING") == 2


def test_what_is_not_held_meets_no_rule_of_the_queues() -> None:
    """Every packet of the fleet passes the edge."""
    hold = edge_table.table_text(IP4, GATEWAY, True).partition("chain hold")[2].partition("}")[0]
    assert "queue flags" not in hold and hold.rstrip().endswith("meta mark & 0xffff0000 == 0x52450000 jump queues")
    assert "jump" not in edge_table.table_text(IP4, GATEWAY, False)


def test_source_rule_waits_for_a_gateway() -> None:
    """A table made by nat_service alone sends nobody out under a made-up address."""
    assert 'oifname "eth1" ip saddr 10.77.0.0/24 snat to 10.88.0.100' in edge_table.table_text(IP4, GATEWAY, False)
    assert "snat" not in edge_table.table_text(IP4, None, False)


def test_the_two_tables_differ_in_the_kind_of_address_alone() -> None:
    """What holds and leads IPv4 does the same for IPv6, rule by rule."""
    for nft_queue in (True, False):
        four = edge_table.table_text(IP4, GATEWAY, nft_queue, [COUNTER])
        six = edge_table.table_text(IP6, GATEWAY6, nft_queue, [COUNTER6])
        assert "ipv4" not in six and "ip saddr" not in six and "ip daddr" not in six and "dnat ip to" not in six
        for one, other in (
            ("ip6 length <= 60", "ip length <= 80"),
            *(("fd00:77::/64", "10.77.0.0/24"), ("fd00:77::11", "10.77.0.11"), ("2001:db8::100", "10.88.0.100")),
            *(("ipv6_addr", "ipv4_addr"), ("ip6 ", "ip ")),
        ):
            assert one in six
            six = six.replace(one, other)
        assert six == four


def test_a_packet_of_headers_alone_is_one_in_both_families() -> None:
    """IPv4 counts its own header of 20 bytes, IPv6 not that of 40: TCP has at most 60."""
    for kind, match in ((IP4, "ip length <= 80"), (IP6, "ip6 length <= 60")):
        text = edge_table.table_text(kind, None, False)
        assert f"tcp flags == ack {match} meta l4proto . {kind.name} saddr . th sport @unborn drop" in text


def test_a_table_is_brought_up_to_date_and_made_anew_in_its_own_family() -> None:
    """The other one may have services under way."""
    update = edge_table.update_text(IP6, GATEWAY6, True, ["hold", "source"])
    assert update.startswith("flush chain ip6 relocate hold\nflush chain ip6 relocate source\ntable ip6 relocate {\n")
    replace = edge_table.replace_text(IP6, GATEWAY6, True, [COUNTER6])
    assert replace.startswith("delete table ip6 relocate\ntable ip6 relocate {\n") and "ip relocate" not in replace


def test_elements_as_nft_writes_them() -> None:
    """The owner is the comment; deletion needs the key alone."""
    assert edge_table.add_service(COUNTER) == (
        'add element ip relocate services { tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000 }\n'
    )
    assert edge_table.delete_service(COUNTER) == "delete element ip relocate services { tcp . 10.88.0.100 . 7000 }\n"
    assert COUNTER.virtual == "10.88.0.100:7000/tcp"


def test_an_element_is_in_the_table_of_its_address() -> None:
    """Whatever it says beside its key; and an address has one form there, however it was written."""
    assert edge_table.key("tcp", "2001:DB8:0::100", 7000) == "tcp . 2001:db8::100 . 7000"
    assert edge_table.add_service(COUNTER6._replace(virtual_address="2001:DB8:0::100")) == (
        'add element ip6 relocate services { tcp . 2001:db8::100 . 7000 comment "counter" : fd00:77::11 . 7000 }\n'
    )
    assert (
        edge_table.delete_service(COUNTER6) == "delete element ip6 relocate services { tcp . 2001:db8::100 . 7000 }\n"
    )
    for service, table in ((COUNTER, "ip relocate"), (COUNTER6, "ip6 relocate")):
        assert edge_table.add("shut", service.key) == f"add element {table} shut {{ {service.key} }}\n"
        assert edge_table.delete("shut", service.key) == f"delete element {table} shut {{ {service.key} }}\n"
        held = f"{service.key} : 0x52451450"
        assert edge_table.add("held", held) == f"add element {table} held {{ {held} }}\n"
    assert COUNTER6.virtual == "[2001:db8::100]:7000/tcp"
    assert [edge_table.bracketed(each) for each in ("10.88.0.100", "2001:db8::100")] == [
        "10.88.0.100",
        "[2001:db8::100]",
    ]
    assert [edge_table.family(each) for each in ("10.0.0.0/8", "::1", "fd00::/8")] == [IP4, IP6, IP6]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": 'x" }'}, "is not a name Docker would give"),
        ({"protocol": "icmp"}, "neither tcp nor udp"),
        ({"virtual_address": "::1"}, "::1 is not of the same family as 10.77.0.11"),
        ({"virtual_address": "10.88.0"}, "'10.88.0' does not appear to be an IPv4 or IPv6 address"),
        ({"virtual_port": 0}, "port 0 is outside"),
        ({"host_address": "host1"}, "'host1' does not appear to be an IPv4 or IPv6 address"),
        ({"host_address": "fd00:77::11"}, "10.88.0.100 is not of the same family as fd00:77::11"),
        ({"host_port": 65536}, "port 65536 is outside"),
    ],
)
def test_what_is_no_service_never_reaches_nft(change: dict[str, object], complaint: str) -> None:
    """Every part is checked, because it becomes text that nft parses."""
    with pytest.raises(ValueError, match=complaint):
        edge_table.add_service(COUNTER._replace(**change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"virtual_address": "10.88.0.100"}, "10.88.0.100 is not of the same family as fd00:77::11: the edge does not"),
        ({"virtual_address": "fe80::1%eth1"}, "'fe80::1%eth1' is an address of one link alone"),
        ({"virtual_address": "fe80::1"}, "'fe80::1' is an address of one link alone"),
        ({"virtual_address": "::ffff:192.0.2.1"}, "is IPv4 written as IPv6: write 192.0.2.1"),
        ({"virtual_address": "fd00::1%x }; flush ruleset; #"}, "is an address of one link alone"),
        ({"virtual_address": "2001:db8::/64"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"virtual_address": "[2001:db8::1]"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"host_address": "fe80::2%eth0"}, "'fe80::2%eth0' is an address of one link alone"),
        ({"host_address": "10.77.0.11"}, "2001:db8::100 is not of the same family as 10.77.0.11"),
    ],
)
def test_what_is_no_service_by_ipv6_never_reaches_nft(change: dict[str, str], complaint: str) -> None:
    """A zone is any text: Python takes it for a part of an address. And nothing translates between the families."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        edge_table.add_service(COUNTER6._replace(**change))  # type: ignore[arg-type]


def test_a_gateway_does_not_hide_behind_an_address_of_one_link() -> None:
    with pytest.raises(ValueError, match="is an address of one link alone"):
        edge_table.table_text(IP6, GATEWAY6._replace(egress_address="fe80::1%eth1"), True)


def test_services_are_read_with_and_without_owner() -> None:
    """nft wraps a key only when it has a comment."""
    document = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {
                "map": {
                    "name": "services",
                    "elem": [
                        [
                            {"elem": {"val": {"concat": ["tcp", "10.88.0.100", 7000]}, "comment": "counter"}},
                            {"concat": ["10.77.0.11", 7000]},
                        ],
                        [{"concat": ["udp", "10.88.0.100", 53]}, {"concat": ["10.77.0.12", 5353]}],
                    ],
                }
            },
        ]
    }
    assert edge_table.services(document) == [DNS._replace(name=""), COUNTER]


def declared(family: str, *lacks: str, **elements: list[Any]) -> list[dict[str, Any]]:
    """Return what nft lists of a table: all that it has to have but ``lacks``, with elements by their set."""
    objects = [("set", name) for name in (edge_table.SHUT, edge_table.UNBORN)]
    objects += [("map", name) for name in (edge_table.SERVICES, edge_table.HELD, edge_table.BARRIER)]
    objects += [("chain", name) for name in ("queues", "hold", "early", "destination", "source")]
    return [
        {kind: {"family": family, "table": "relocate", "name": name, "elem": elements.get(name, [])}}
        for kind, name in objects
        if name not in lacks
    ]


def test_a_document_may_have_both_tables() -> None:
    """Elements and services are those of either. What one lacks is missed, though the other has it."""
    four = [
        {"elem": {"val": {"concat": ["tcp", "10.88.0.100", 7000]}, "comment": "counter"}},
        {"concat": ["10.77.0.11", 7000]},
    ]
    six = [
        {"elem": {"val": {"concat": ["tcp", "2001:db8::100", 7000]}, "comment": "counter"}},
        {"concat": ["fd00:77::11", 7000]},
    ]
    shut4, shut6 = {"concat": ["tcp", "10.77.0.11", 7000]}, {"concat": ["tcp", "fd00:77::11", 7000]}
    tables = [*declared("ip6", services=[six], shut=[shut6]), *declared("ip", services=[four], shut=[shut4])]
    document = {"nftables": tables}
    assert edge_table.services(document) == [COUNTER, COUNTER6], "IPv4 is first"
    assert edge_table.elements(document, "shut") == [shut6, shut4]
    assert edge_table.lacking(document) == []
    assert edge_table.lacking({"nftables": [*declared("ip"), *declared("ip6", "early", "unborn")]}) == [
        "early",
        "unborn",
    ]
    assert edge_table.lacking({"nftables": [*declared("ip", "shut"), *declared("ip6")]}) == ["shut"]
    assert edge_table.lacking({"nftables": declared("ip")}) == [], "an edge need not serve IPv6"
    assert len(edge_table.lacking({"nftables": []})) == 10


LISTING = """table ip relocate {
	map services {
		type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
		elements = { udp . 10.88.0.100 . 53 comment "dns" : 10.77.0.12 . 5353,
				tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000 }
	}

	map held {
		type inet_proto . ipv4_addr . inet_service : mark
		elements = { tcp . 10.88.0.100 . 7000 : 0x52451450 }
	}

	set shut {
		type inet_proto . ipv4_addr . inet_service
		elements = { tcp . 10.77.0.11 . 7000,
				tcp . 10.77.0.11 . 7001 }
	}

	chain destination {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
"""


def test_what_a_relocation_holds_is_not_kept_for_the_next_boot() -> None:
    """A packet held by nobody would wait for ever, and an address that is shut would stay so."""
    kept = edge_table.lasting_text(LISTING)
    assert "counter" in kept and "dns" in kept and "chain destination" in kept
    assert "0x52451450" not in kept and "7001" not in kept
    assert kept.count("{") == kept.count("}")


def test_what_leads_to_a_copy_that_may_not_run_is_shut_at_the_next_boot() -> None:
    """Nobody will hold it then, and whichever kernel got it would acknowledge it. What is shut already stays so."""
    unborn = """	set unborn {
		type inet_proto . ipv4_addr . inet_service
		elements = { tcp . 10.88.0.100 . 7000, tcp . 10.77.0.12 . 7000 }
	}
"""
    text = edge_table.boot_text(LISTING.replace("	chain destination", f"{unborn}\n	chain destination"))
    lasting, *shut = text.split("add element ")
    assert "10.77.0.12 . 7000" not in lasting and lasting.count("{") == lasting.count("}")
    places = ("10.77.0.11 . 7000", "10.77.0.11 . 7001", "10.77.0.12 . 7000", "10.88.0.100 . 7000")
    assert shut == [f"ip relocate shut {{ tcp . {place} }}\n" for place in places]


def test_the_form_on_disk_does_not_depend_on_the_kernels_order() -> None:
    """The kernel lists elements in another order after every boot."""
    swapped = LISTING.replace(
        'udp . 10.88.0.100 . 53 comment "dns" : 10.77.0.12 . 5353,\n\t\t\t\t'
        'tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000',
        'tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000,\n\t\t\t\t'
        'udp . 10.88.0.100 . 53 comment "dns" : 10.77.0.12 . 5353',
    )
    assert swapped != LISTING
    assert edge_table.boot_text(swapped) == edge_table.boot_text(LISTING)
    assert edge_table.lasting_text(edge_table.lasting_text(LISTING)) == edge_table.lasting_text(LISTING)


LISTING6 = (
    LISTING.replace("ip relocate", "ip6 relocate")
    .replace("ipv4", "ipv6")
    .replace("10.88.0.100", "2001:db8::100")
    .replace("10.77.0.1", "fd00:77::1")
)


def test_both_tables_are_in_one_file_for_the_next_boot() -> None:
    """Each in place of what is there, and what is shut is shut in its own. An edge with one has nothing of the other."""
    text = edge_table.boot_text(LISTING + LISTING6)
    head = text.partition("table ip relocate {")[0].splitlines()[1:]
    assert head == [f"{verb}table {name} relocate" for name in ("ip", "ip6") for verb in ("", "delete ")]
    assert edge_table.lasting_text(LISTING + LISTING6) == edge_table.lasting_text(LISTING) + edge_table.lasting_text(
        LISTING6
    )
    assert text.split("add element ")[1:] == [
        f"{table} shut {{ tcp . {host} . {port} }}\n"
        for table, host in (("ip relocate", "10.77.0.11"), ("ip6 relocate", "fd00:77::11"))
        for port in (7000, 7001)
    ]
    assert "ip6" not in edge_table.boot_text(LISTING) and "table ip relocate" not in edge_table.boot_text(LISTING6)


def test_a_copy_that_may_not_run_is_shut_by_ipv6_as_well() -> None:
    unborn = """	set unborn {
		type inet_proto . ipv6_addr . inet_service
		elements = { tcp . 2001:db8::100 . 7000,
				tcp . fd00:77::12 . 7000 }
	}
"""
    text = edge_table.boot_text(LISTING + LISTING6.replace("	chain destination", f"{unborn}\n	chain destination"))
    shut = [line for line in text.splitlines() if line.startswith("add element ip6 relocate shut")]
    places = ("2001:db8::100 . 7000", "fd00:77::11 . 7000", "fd00:77::11 . 7001", "fd00:77::12 . 7000")
    assert shut == [f"add element ip6 relocate shut {{ tcp . {place} }}" for place in places]
    assert text.count("add element ip relocate shut") == 2
