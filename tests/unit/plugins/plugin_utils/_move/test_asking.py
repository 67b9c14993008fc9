# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host is, by the inventory, and what keeps it from taking a container that is reached by IPv6."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import NO_EDGES, Asking, Edges

WEB = {"name": "web"}
BY_IPV4, BY_IPV6 = {"virtual_address": "10.88.0.100"}, {"virtual_address": "2001:db8::100"}
SOURCE: dict[str, Any] = {"host": {}}


class Inventory:
    """Hosts with their variables; what they are asked is kept, and they refuse nothing."""

    def __init__(self, **hosts: dict[str, Any]) -> None:
        self.hosts = hosts
        self.asked: list[dict[str, Any]] = []

    def of(self, host: str) -> Any:
        """Return a host."""
        return SimpleNamespace(get=self.hosts[host].get, module=self.module)

    def module(self, _: str, /, **arguments: Any) -> dict[str, Any]:
        """Answer."""
        self.asked.append(arguments)
        return {"refusals": []}


def asking(inventory: Inventory) -> Asking:
    """Return who asks them."""
    return Asking(inventory)  # type: ignore[arg-type]


def test_a_host_is_where_the_inventory_has_it() -> None:
    """With both addresses, if it has two: a plan and a part's specification name the second only then."""
    hosts = asking(
        Inventory(
            one={"relocate_fabric_address": "10.77.0.11", "relocate_fabric_address6": "fd00:77::11"},
            two={"ansible_host": "10.77.0.12", "relocate_fabric_address6": ""},
            three={},
        )
    )
    assert hosts.place("one") == {"host": "one", "address": "10.77.0.11", "address6": "fd00:77::11"}
    assert hosts.listening("one") == {"listen": "10.77.0.11", "listen6": "fd00:77::11"}
    assert (hosts.place("two"), hosts.listening("two")) == (
        {"host": "two", "address": "10.77.0.12"},
        {"listen": "10.77.0.12"},
    )
    assert hosts.place("three") == {"host": "three", "address": "three"} and hosts.address6("three") == ""


@pytest.mark.parametrize("written", ["FD00:77::11", "fd00:77:0:0:0:0:0:11", "fd00:0077::0011"])
def test_an_ipv6_address_has_one_form(written: str) -> None:
    """The edge's table and the kernel's have it so: another one would be taken for another host's."""
    assert asking(Inventory(one={"relocate_fabric_address6": written})).address6("one") == "fd00:77::11"


def test_what_is_reached_by_ipv6_does_not_go_where_there_is_none() -> None:
    """The host is not even asked. The sentence has the remedy."""
    inventory = Inventory(one={"relocate_fabric_address": "10.77.0.11"})
    assert asking(inventory).preflight("one", WEB, SOURCE, Edges("gate", None, [BY_IPV4, BY_IPV6])) == [
        "web is reached at 2001:db8::100, and one has no IPv6 address to lead that to: set relocate_fabric_address6 in the "
        "inventory"
    ]
    assert inventory.asked == []
    for edges in (Edges("gate", None, [BY_IPV4]), NO_EDGES):
        assert asking(inventory).preflight("one", WEB, SOURCE, edges) == []
    assert [each["container"] for each in inventory.asked] == [WEB, WEB]


def test_a_host_hears_where_it_is_to_be_reached_by_ipv6() -> None:
    """It alone knows whether its Docker publishes ports there."""
    inventory = Inventory(one={"relocate_fabric_address6": "fd00:77::11"})
    assert asking(inventory).preflight("one", WEB, SOURCE, Edges("gate", None, [BY_IPV6, BY_IPV4])) == []
    assert [each["container"] for each in inventory.asked] == [{"name": "web", "by_ipv6": ["2001:db8::100"]}]
