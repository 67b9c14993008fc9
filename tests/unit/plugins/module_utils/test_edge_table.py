# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's table as text and as values."""

from __future__ import annotations

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as edge_table

GATEWAY = edge_table.Gateway("eth1", "10.77.0.0/24", "10.88.0.100")
COUNTER = edge_table.Service("counter", "tcp", "10.88.0.100", 7000, "10.77.0.11", 7000)
DNS = edge_table.Service("dns", "udp", "10.88.0.100", 53, "10.77.0.12", 5353)


def test_marks_name_queues() -> None:
    """Each queue with a mark of its own under one prefix."""
    marks = [edge_table.queue_mark(queue) for queue in edge_table.QUEUES]
    assert marks[0] == 0x52450000 + 5200 and len(set(marks)) == len(edge_table.QUEUES)
    assert all(mark & edge_table.MARK_MASK == edge_table.MARK_PREFIX for mark in marks)
    with pytest.raises(ValueError, match=r"queue 5232 is not one of 5200\.\.5231"):
        edge_table.queue_mark(5232)


def test_queues_are_in_the_table_or_in_iptables() -> None:
    """Never in both."""
    with_queue, without = (edge_table.table_text(GATEWAY, nft_queue) for nft_queue in (True, False))
    assert with_queue.count("queue flags bypass to") == len(edge_table.QUEUES) and "queue flags" not in without
    assert len(edge_table.raw_chain()) == len(edge_table.QUEUES)
    assert edge_table.raw_text(with_jump=True).count("-A PREROUTING") == 1
    assert "-A PREROUTING" not in edge_table.raw_text(with_jump=False)
    assert edge_table.raw_removal_text(2).count("-D PREROUTING") == 2


def test_what_is_not_held_meets_no_rule_of_the_queues() -> None:
    """Every packet of the fleet passes the edge."""
    hold = edge_table.table_text(GATEWAY, True).partition("chain hold")[2].partition("}")[0]
    assert "queue flags" not in hold and hold.rstrip().endswith("meta mark & 0xffff0000 == 0x52450000 jump queues")
    assert "jump" not in edge_table.table_text(GATEWAY, False)


def test_source_rule_waits_for_a_gateway() -> None:
    """A table made by nat_service alone sends nobody out under a made-up address."""
    assert 'oifname "eth1" ip saddr 10.77.0.0/24 snat to 10.88.0.100' in edge_table.table_text(GATEWAY, False)
    assert "snat" not in edge_table.table_text(None, False)


def test_elements_as_nft_writes_them() -> None:
    """The owner is the comment; deletion needs the key alone."""
    assert edge_table.add_service(COUNTER) == (
        'add element ip relocate services { tcp . 10.88.0.100 . 7000 comment "counter" : 10.77.0.11 . 7000 }\n'
    )
    assert edge_table.delete_service(COUNTER) == "delete element ip relocate services { tcp . 10.88.0.100 . 7000 }\n"
    assert COUNTER.virtual == "10.88.0.100:7000/tcp"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": 'x" }'}, "is not a name Docker would give"),
        ({"protocol": "icmp"}, "neither tcp nor udp"),
        ({"virtual_address": "::1"}, "Expected 4 octets"),
        ({"virtual_port": 0}, "port 0 is outside"),
        ({"host_address": "host1"}, "Expected 4 octets"),
        ({"host_port": 65536}, "port 65536 is outside"),
    ],
)
def test_what_is_no_service_never_reaches_nft(change: dict[str, object], complaint: str) -> None:
    """Every part is checked, because it becomes text that nft parses."""
    with pytest.raises(ValueError, match=complaint):
        edge_table.add_service(COUNTER._replace(**change))  # type: ignore[arg-type]


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
