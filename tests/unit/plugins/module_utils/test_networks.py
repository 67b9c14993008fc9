# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which networks a move makes, how they are described, and what stands against one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong

LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.network": "default"}
INSPECTED: dict[str, Any] = {
    "Name": "shop_default",
    "Id": "a1",
    "Created": "2026-11-28T17:35:38.151059388Z",
    "Scope": "local",
    "Driver": "bridge",
    "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]},
    "Internal": False,
    "Attachable": False,
    "Ingress": False,
    "ConfigFrom": {"Network": ""},
    "ConfigOnly": False,
    "Containers": {},
    "Options": None,
    "Labels": LABELS,
}
SETTINGS = _networks.describe(INSPECTED)
HOST: dict[str, Any] = {
    "networks": ["bridge"],
    "subnets": {"bridge": ["172.17.0.0/16"]},
    "network_settings": {},
    "routes": ["10.77.0.0/24", "172.17.0.0/16", "fe80::/64"],
    "interfaces": ["lo", "eth0"],
}


def changed(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(settings), **more}


def with_subnets(*subnets: str) -> dict[str, Any]:
    return changed(SETTINGS, IPAM={**SETTINGS["IPAM"], "Config": [{"Subnet": each} for each in subnets]})


def planned(host: dict[str, Any], settings: dict[str, Any], *there: dict[str, Any], keeps: bool = True) -> Any:
    container = {"wanted_networks": [settings], **({"kept_addresses": []} if keeps else {})}
    steps, refused = _networks.plan("host3", host, there, container)
    return [(each["what"], each["settings"]["Name"]) for each in steps], [r for each in refused.values() for r in each]


def having(present: dict[str, Any]) -> dict[str, Any]:
    subnets = {**HOST["subnets"], "shop_default": _networks.subnets(present)}
    known = {"networks": ["bridge", "shop_default"], "network_settings": {"shop_default": present}, "subnets": subnets}
    return {**HOST, **known, "routes": [*HOST["routes"], *_networks.subnets(present)]}


def test_what_is_made_is_what_docker_told() -> None:
    """And its form is that of a description, in every key."""
    assert _networks.SETTINGS(SETTINGS) == SETTINGS
    made = _networks.creation(SETTINGS)
    assert made["IPAM"]["Config"] == [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]
    assert (made["Labels"], made["Options"]) == (LABELS, {})
    again = _networks.describe({**INSPECTED, **made, "Id": "b2"})
    assert _networks.differences(again, SETTINGS) == []
    assert made["IPAM"]["Options"] is None, "as Compose has made it"
    assert _networks.differences(changed(SETTINGS, IPAM={**SETTINGS["IPAM"], "Options": {}}), SETTINGS) == []
    turned = {"Driver": "default", "Options": None, "Config": [{"Subnet": "fd00:1::/64"}, *INSPECTED["IPAM"]["Config"]]}
    assert _networks.subnets(_networks.describe({**INSPECTED, "IPAM": turned})) == ["172.18.0.0/16", "fd00:1::/64"]
    for name in SETTINGS:
        lacking = {key: value for key, value in SETTINGS.items() if key != name}
        with pytest.raises(Wrong):
            _networks.SETTINGS(lacking)
    with pytest.raises(Wrong, match="is no subnet"):
        _networks.SETTINGS(with_subnets("172.18.0.0/99"))
    with pytest.raises(Wrong):
        _networks.SETTINGS(changed(SETTINGS, Privileged=True))


def test_a_missing_network_is_made_and_one_that_is_there_is_used() -> None:
    assert planned(HOST, SETTINGS) == ([("made", "shop_default")], [])
    assert planned(HOST, SETTINGS, keeps=False) == ([("made", "shop_default")], [])
    given = having(with_subnets("172.18.0.0/16"))
    assert planned(given, with_subnets("172.18.0.0/16")) == ([], []), "its subnet was surely named"


def test_an_empty_one_of_the_project_is_renewed_where_docker_may_have_chosen_its_subnet() -> None:
    here = having(SETTINGS)
    assert planned(here, SETTINGS) == ([("renewed", "shop_default")], [])
    assert planned(here, SETTINGS, keeps=False) == ([], []), "a container alone takes another address"
    stopped = {"name": "once", "state": "exited", "networks": {"shop_default": None}}
    assert planned(here, SETTINGS, stopped) == ([], []), "it would not start any more"
    assert planned(having(changed(SETTINGS, Labels={})), SETTINGS) == ([], []), "it is not the project's"
    assert planned(having(SETTINGS), changed(SETTINGS, Labels={})) == ([], [])
    bare = changed(SETTINGS, Labels={})
    assert planned(having(bare), bare) == ([("renewed", "shop_default")], []), "nobody's, and it stays the same"
    for other in ({"Internal": True}, {"Options": {"com.docker.network.bridge.name": "br-app"}}):
        assert planned(having(changed(bare, **other)), bare) == ([], []), "nobody's, and it would be another one"
    other = having(with_subnets("172.25.0.0/16"))
    assert planned(other, SETTINGS) == ([("renewed", "shop_default")], []), "its addresses are not there"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Driver": "macvlan"}, "it is of the driver 'macvlan'"),
        ({"Scope": "swarm"}, "it is a swarm's (scope swarm)"),
        ({"Ingress": True}, "it is a swarm's"),
        ({"ConfigOnly": True}, "it has its settings from another network (--config-only, --config-from)"),
        ({"ConfigFrom": "basis"}, "it has its settings from another network"),
        ({"IPAM": {**SETTINGS["IPAM"], "Driver": "dhcp"}}, "it has its addresses from the driver 'dhcp'"),
        ({"EnableIPv4": False}, "it has no IPv4"),
        ({"IPAM": with_subnets("fd00::/64")["IPAM"]}, "it has no IPv4"),
    ],
)
def test_what_cannot_be_made_elsewhere_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    steps, refused = planned(HOST, changed(SETTINGS, **change))
    assert steps == [] and len(refused) == 1
    assert refused[0].startswith("host3 has no Docker network 'shop_default', and it cannot be made there, for ")
    assert says in refused[0] and refused[0].endswith(": create it there")


def test_a_subnet_that_overlaps_is_refused_with_the_remedy() -> None:
    taken = {**HOST, "subnets": {**HOST["subnets"], "other": ["172.18.5.0/24"]}, "routes": ["172.18.5.0/24"]}
    assert planned(taken, SETTINGS) == (
        [],
        [
            "the Docker network 'shop_default' (172.18.0.0/16) cannot be made on host3, whose network 'other' (172.18.5.0/24) "
            "overlaps with it: remove that one there (docker network rm other), or give one of the two another subnet"
        ],
    )
    routed = {**HOST, "routes": ["172.16.0.0/12"]}
    assert planned(routed, SETTINGS) == (
        [],
        [
            "the Docker network 'shop_default' (172.18.0.0/16) cannot be made on host3, which has a route to 172.16.0.0/12: "
            "give the network another subnet"
        ],
    )
    assert planned({**HOST, "routes": ["0.0.0.0/0", "::/0"]}, SETTINGS)[1] == [], "everybody has a default route"
    assert planned(HOST, with_subnets("172.18.0.0/16", "fd00:1::/64"))[1] == []
    assert (
        "a route to fd00:1::/48"
        in planned({**HOST, "routes": ["fd00:1::/48"]}, with_subnets("172.18.0.0/16", "fd00:1::/64"))[1][0]
    )
    renewed = {**having(SETTINGS), "subnets": {"shop_default": ["172.25.0.0/16"], "other": ["172.18.0.0/16"]}}
    assert "whose network 'other'" in planned(renewed, with_subnets("172.18.0.0/16"))[1][0]


def test_the_name_of_its_bridge_must_be_free() -> None:
    named = changed(SETTINGS, Options={_networks.BRIDGE_NAME: "eth0"})
    assert "which has an interface named eth0 already" in planned(HOST, named)[1][0]
    assert planned(HOST, changed(SETTINGS, Options={_networks.BRIDGE_NAME: "br-shop"}))[1] == []


def test_what_was_made_otherwise_is_noticed() -> None:
    for name, value in (("Internal", True), ("Attachable", True), ("Labels", {}), ("EnableIPv6", True)):
        assert _networks.differences(changed(SETTINGS, **{name: value}), SETTINGS) == [name]
    asked = changed(SETTINGS, Options={"a": "b"})
    assert _networks.differences(SETTINGS, asked) == ["Options"]
    assert _networks.differences(asked, SETTINGS) == [], "a host may add its own"
    assert _networks.wanted(["bridge", "shop_default", "gone"], {"shop_default": SETTINGS, "bridge": SETTINGS}) == [
        SETTINGS
    ]
