# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks are made once for all parts of a move, and taken away by the last of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from relocate_proxy.host import networks
from relocate_proxy.host.networks import NetworkProblem

BEGUN = 1_000_000_000.5
BEFORE, AFTER = "2001-09-09T01:46:40.400000000Z", "2001-09-09T01:46:40.600000001Z"
SETTINGS = _networks.describe(
    {
        "Name": "shop_default",
        "Driver": "bridge",
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]},
        "Labels": {_networks.PROJECT: "shop"},
    }
)


class Docker:
    """An engine with networks and containers."""

    def __init__(self) -> None:
        self.networks: dict[str, dict[str, Any]] = {}
        self.users: list[str] = []
        self.spoils: dict[str, Any] = {}
        self.refuses = ""

    def add(self, created: str, **more: Any) -> None:
        """Have a network."""
        self.networks["shop_default"] = {**SETTINGS, "Id": f"id{created}", "Created": created, "ConfigFrom": {}, **more}

    def containers(self) -> list[dict[str, Any]]:
        """Return who is on it."""
        return [{"NetworkSettings": {"Networks": {name: {}}}} for name in self.users]

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Do what the API does."""
        if self.refuses and method != "GET":
            raise DockerError(403, self.refuses)
        if method == "GET":
            found = self.networks.get(path.rpartition("/")[2])
            if found is None:
                raise DockerError(404, "no such network")
            return found
        if method == "DELETE":
            self.networks = {n: each for n, each in self.networks.items() if each["Id"] != path.rpartition("/")[2]}
            return None
        assert body["Name"] not in self.networks
        self.add(AFTER, **self.spoils)
        return {}


@pytest.fixture
def docker() -> Docker:
    return Docker()


def plan(what: str) -> list[dict[str, Any]]:
    return [{"what": what, "settings": SETTINGS}]


def made(docker: Any, what: str = "made") -> list[dict[str, Any]]:
    found = networks.to_make(docker, plan(what), BEGUN)
    networks.make(docker, found, BEGUN)
    return found


def test_the_second_part_finds_it_and_the_last_removes_it(docker: Any) -> None:
    first, second = made(docker), made(docker)
    assert first == second == plan("made"), "either may have to take it away"
    docker.users = ["shop_default"]  # the other's copy
    networks.unmake(docker, first, BEGUN)
    assert docker.networks
    docker.users = []
    networks.unmake(docker, second, BEGUN)
    networks.unmake(docker, first, BEGUN)
    assert not docker.networks


def test_one_that_was_made_since_the_plan_is_not_ours(docker: Any) -> None:
    docker.add(BEFORE)
    assert made(docker) == []
    networks.unmake(docker, plan("made"), BEGUN)
    assert docker.networks["shop_default"]["Created"] == BEFORE


def test_an_empty_one_is_renewed_once_and_stays_when_the_move_does_not(docker: Any) -> None:
    docker.add(BEFORE)
    assert made(docker, "renewed") == plan("renewed")
    assert docker.networks["shop_default"]["Created"] == AFTER
    docker.add(AFTER, Id="same")
    docker.users = ["shop_default"]
    assert made(docker, "renewed") == plan("renewed")
    assert docker.networks["shop_default"]["Id"] == "same"
    networks.unmake(docker, plan("renewed"), BEGUN)
    assert docker.networks, "there was one before"
    docker.networks.clear()
    networks.unmake(docker, plan("renewed"), BEGUN)
    assert docker.networks, "the part was killed between removing and making"


def test_one_that_somebody_is_on_by_now_is_left_alone(docker: Any) -> None:
    docker.add(BEFORE)
    docker.users = ["shop_default"]
    assert made(docker, "renewed") == []
    assert docker.networks["shop_default"]["Created"] == BEFORE


def test_what_docker_does_not_make_as_asked_ends_the_move(docker: Any) -> None:
    docker.refuses = "Pool overlaps with other one on this address space"
    with pytest.raises(NetworkProblem, match="'shop_default' cannot be made on the destination: Pool overlaps"):
        made(docker)
    docker.refuses, docker.spoils = "", {"Internal": True}
    with pytest.raises(NetworkProblem, match=r"otherwise than it is on the source \(Internal\)"):
        made(docker)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2001-09-09T01:46:40Z", 1e9),
        ("2001-09-09T01:46:40.25Z", 1e9 + 0.25),
        ("2001-09-09T03:46:40.25+02:00", 1e9 + 0.25),
        ("2001-09-09T03:46:40+02:00", 1e9),
        (None, 0),
    ],
)
def test_when_a_network_was_made(text: str | None, seconds: float) -> None:
    assert networks._made_at({"Created": text}) == seconds
