# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A destination whose Docker publishes nothing for IPv6 does not take a container that is reached so."""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.modules.relocation_preflight import ipv6_refusals

CONTAINER = {"name": "web", "by_ipv6": ["2001:db8::100", "2001:db8::101"]}


def test_docker_has_its_chain_where_it_publishes_by_ipv6() -> None:
    """Its rules are asked, not its settings: their defaults differ between versions. Empty, the chain is there all the same."""
    asked: list[tuple[str, ...]] = []

    def ask(*argv: str) -> str:
        asked.append(argv)
        return "-N DOCKER\n"

    assert ipv6_refusals(ask, "host2", CONTAINER) == []
    assert asked == [("ip6tables", "-w", "-t", "nat", "-S", "DOCKER")]


def test_without_it_the_host_refuses_with_the_remedy() -> None:
    (refusal,) = ipv6_refusals(lambda *_: "", "host2", CONTAINER)
    assert refusal.startswith(
        "web is reached at 2001:db8::100, and Docker on host2 publishes no port for IPv6: set ip6tables"
    )
    assert "relocate_fabric_address6" in refusal and "\n" not in refusal
