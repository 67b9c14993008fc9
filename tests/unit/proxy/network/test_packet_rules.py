# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the edge's two tables a relocation's rules go into. What they do there is tested on real ones: tests/integration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from relocate_proxy.host import paths
from relocate_proxy.network import packet_rules
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.network.flows import EGRESS, INGRESS, Flow
from relocate_proxy.network.nft import NftError
from relocate_proxy.network.packet_rules import Bystander, PacketRules
from relocate_proxy.protocol.addresses import Addresses

from ..world import NEW, NEW6, OLD, OLD6

SOURCE, DESTINATION = Addresses(OLD, OLD6), Addresses(NEW, NEW6)
WEB: dict[str, Any] = {"protocol": "tcp", "virtual_address": "10.88.0.100", "virtual_port": 80, "host_port": 8080}
WEB6 = {**WEB, "virtual_address": "2001:db8::100"}
IN6 = Flow(INGRESS, "tcp", Endpoint("fd00:20:1::2", 80), Endpoint("2001:db8::2", 4), Endpoint(OLD6, 8080))
OUT6 = Flow(
    EGRESS, "tcp", Endpoint("fd00:20:1::2", 51000), Endpoint("2001:db8::2", 80), Endpoint(OLD6, 45000),
    Endpoint("2001:db8::100", 45001),
)  # fmt: skip


class Tables:
    """Stands for libnftables: the tables that there are, and the transactions that were run."""

    def __init__(self, *families: str) -> None:
        self.families = families
        self.ran: list[list[str]] = []

    def query(self, command: str) -> list[dict[str, Any]]:
        """List. Other programs have tables, too."""
        if command == "list tables":
            named = [*self.families, "inet"]
            return [{"table": {"family": each, "name": "relocate"}} for each in named] + [
                {"table": {"family": "ip6", "name": "nat"}}
            ]
        _, _, family, _ = command.split()
        kinds = {"map": ("services", "held", "barrier"), "set": ("shut", "unborn")}
        chains = [
            {"chain": {"family": family, "name": n}} for n in ("queues", "hold", "early", "destination", "source")
        ]
        return [{kind: {"family": family, "name": name}} for kind in kinds for name in kinds[kind]] + chains

    def run(self, commands: str) -> str:
        """Take a transaction, or list a table as text."""
        if commands.startswith("list table "):
            return f"{commands[5:]} {{\n}}\n"
        self.ran.append(commands.splitlines())
        return ""


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tables:
    """Return an edge with both tables."""
    found = Tables("ip", "ip6")
    queue = SimpleNamespace(number=5200, hold=lambda: None, release=lambda: 3, close=lambda: None)
    monkeypatch.setattr(packet_rules, "Nft", lambda: found)
    monkeypatch.setattr(packet_rules.HeldQueue, "first_free", lambda _: queue)
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    return found


def elements(lines: list[str]) -> list[str]:
    """Return what lines add and delete, in short: ``+ip6 held KEY``."""
    return sorted(
        f"{'+' if line.startswith('add') else '-'}{line.split()[2]} {line.split()[4]} {line.split('{ ')[1].split(' }')[0]}"
        for line in lines
    )


def test_both_families_are_held_and_shut_in_one_transaction(nft: Tables) -> None:
    """Between two, a packet of one family would pass."""
    rules = PacketRules("web", [WEB, WEB6], SOURCE, DESTINATION)
    rules.raise_barrier()
    rules.hold([IN6, OUT6])
    rules.shut([IN6, OUT6])
    barrier, held, shut = (elements(lines) for lines in nft.ran)
    mark = "0x52451450"
    assert barrier == [
        f"+ip barrier tcp . 10.88.0.100 . 80 : {mark}",
        f"+ip6 barrier tcp . 2001:db8::100 . 80 : {mark}",
    ]
    assert held == [
        f"+ip held tcp . 10.88.0.100 . 80 : {mark}",
        "+ip shut tcp . 10.77.0.12 . 8080",
        f"+ip6 held tcp . 2001:db8::100 . 45001 : {mark}",
        f"+ip6 held tcp . 2001:db8::100 . 80 : {mark}",
        "+ip6 shut tcp . fd00:77::12 . 45000",
        "+ip6 shut tcp . fd00:77::12 . 8080",
    ]
    assert shut == [
        "+ip shut tcp . 10.77.0.11 . 8080",
        "+ip6 shut tcp . fd00:77::11 . 45000",
        "+ip6 shut tcp . fd00:77::11 . 8080",
    ]


def test_both_families_are_led_elsewhere_in_one_transaction(nft: Tables) -> None:
    """Each service to the host's address of its own family."""
    rules = PacketRules("web", [WEB, WEB6], SOURCE, DESTINATION)
    rules.route(DESTINATION)
    assert nft.ran == [
        [
            "delete element ip relocate services { tcp . 10.88.0.100 . 80 }",
            'add element ip relocate services { tcp . 10.88.0.100 . 80 comment "web" : 10.77.0.12 . 8080 }',
            "delete element ip6 relocate services { tcp . 2001:db8::100 . 80 }",
            'add element ip6 relocate services { tcp . 2001:db8::100 . 80 comment "web" : fd00:77::12 . 8080 }',
        ]
    ]


def test_nothing_is_led_to_a_host_that_has_no_address_of_its_family(nft: Tables) -> None:
    """Not what could be led there either: clients of one family would be at another place than those of the other."""
    rules = PacketRules("web", [WEB, WEB6], SOURCE, DESTINATION)
    with pytest.raises(LookupError, match=r"10\.77\.0\.13 has no address of the family of 2001:db8::100"):
        rules.route(Addresses("10.77.0.13"))
    assert nft.ran == []


def test_an_edge_that_stands_by_shuts_both_families(nft: Tables) -> None:
    """Whichever host is meant, and the container's own connections."""
    Bystander("web", [WEB, WEB6], SOURCE, DESTINATION).guard([IN6, OUT6])
    (lines,) = nft.ran
    for place in ("tcp . 2001:db8::100 . 80", "tcp . fd00:77::11 . 8080", "tcp . fd00:77::12 . 8080"):
        assert f"+ip6 shut {place}" in elements(lines)
    assert "+ip6 shut tcp . 2001:db8::100 . 45001" in elements(lines) and "+ip shut tcp . 10.88.0.100 . 80" in elements(
        lines
    )


@pytest.mark.parametrize("families", [("ip",), ("ip6", "ip"), ("ip6",)])
def test_the_tables_that_there_are_are_kept(nft: Tables, families: tuple[str, ...]) -> None:
    """In one file, IPv4 first, whichever was made first."""
    rules = PacketRules("web", [WEB], SOURCE, DESTINATION)
    nft.families = families
    rules.persist()
    kept = Path(paths.EDGE_TABLE).read_text(encoding="utf-8")
    assert [line for line in kept.splitlines() if line.endswith("{")] == [
        f"table {each} relocate {{" for each in sorted(families)
    ]


def test_an_edge_that_has_lost_its_tables_does_not_forget_its_services(nft: Tables) -> None:
    """Somebody has flushed them in the middle of a move: what the next boot loads must not be empty for that."""
    rules = PacketRules("web", [WEB], SOURCE, DESTINATION)
    rules.persist()
    before = Path(paths.EDGE_TABLE).read_text(encoding="utf-8")
    nft.families = ()
    with pytest.raises(NftError, match="the edge has no table that could be kept for its next boot"):
        rules.persist()
    assert Path(paths.EDGE_TABLE).read_text(encoding="utf-8") == before
    with pytest.raises(RuntimeError, match=r"the edge's table cannot be read \(there is none\): run prepare.yml again"):
        PacketRules("web", [WEB], SOURCE, DESTINATION)
