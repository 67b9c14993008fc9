# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may take a container, and the draw: statistics, floors, exclusions and what is said about them."""

from __future__ import annotations

import copy
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import FactError, softmax_row
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.weights import WeightError
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import (
    NoDestination,
    PolicyError,
    Settings,
    choose_destination,
    draw,
)

from tests.unit.fleets import TRIXIE, lab

GIB = 2**30
SOURCE = {"host": "host1", "container": {"name": "web", "tenant": "acme", "labels": {}}}


def profiles(hosts: int = 6) -> dict[str, dict[str, Any]]:
    """Return host1 … hostN, each further from host1 than the one before."""
    fleet = {}
    for number in range(hosts):
        profile = copy.deepcopy(TRIXIE)
        profile["s"]["services"] = [f"service{index}" for index in range(number, number + 8)]
        fleet[f"host{number + 1}"] = profile
    return fleet


def candidates(hosts: int = 6, **facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return plain candidates host1 … hostN; ``host2={...}`` adds facts to one."""
    return [{"name": f"host{number}", **facts.get(f"host{number}", {})} for number in range(1, hosts + 1)]


def container(**facts: Any) -> dict[str, Any]:
    return {"host": "host1", "container": {**SOURCE["container"], **facts}}  # type: ignore[dict-item]


def test_ten_thousand_draws_fit_the_softmax_and_keep_the_floor() -> None:
    fleet, among = profiles(), candidates()
    settings = Settings(min_entropy_bits=1.5)
    first = choose_destination(SOURCE, among, fleet, settings, random.Random(1))
    expected = softmax_row(list(first.delta.values()), first.beta or 0.0)
    assert list(first.distribution.values()) == pytest.approx(list(expected))
    assert first.min_entropy_bits == pytest.approx(1.5, abs=1e-6)
    assert first.floor_kept

    rng = random.Random(2)
    hosts = list(first.distribution)
    # the draw alone: the row and β are the same every time
    draws = Counter(hosts[draw(expected, rng)] for _ in range(10_000))
    chi_squared = sum(
        (draws[host] - 10_000 * share) ** 2 / (10_000 * share) for host, share in first.distribution.items()
    )
    # four degrees of freedom: 18.47 is exceeded once in a thousand times
    assert chi_squared < 18.47
    assert max(draws.values()) / 10_000 < 2**-1.5 + 0.02


def test_the_operating_systems_entropy_is_the_default() -> None:
    drawn = {choose_destination(SOURCE, candidates(), profiles(), {"min_entropy_bits": 2.3}).host for _ in range(200)}
    assert drawn == {"host2", "host3", "host4", "host5", "host6"}


def test_the_further_host_is_the_likelier_one() -> None:
    choice = choose_destination(SOURCE, candidates(), profiles(), Settings(min_entropy_bits=1.0))
    assert list(choice.distribution) == ["host6", "host5", "host4", "host3", "host2"]
    assert list(choice.delta.values()) == sorted(choice.delta.values(), reverse=True)
    assert choice.terms["host2"].keys() == {"c", "n", "s"}
    assert sum(choice.distribution.values()) == pytest.approx(1.0)


def test_a_host_that_went_away_is_never_drawn() -> None:
    among = candidates(host6={"reachable": False})
    for seed in range(500):
        choice = choose_destination(SOURCE, among, profiles(), rng=random.Random(seed))
        assert choice.host != "host6"
    assert choice.excluded["host6"] == ["it cannot be reached"]
    assert "host6" not in choice.distribution


EXCLUSIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"cordoned": True}, "it is cordoned"),
    ({}, {"refusals": ["criu 3.17 cannot dump TCP sockets"]}, "criu 3.17 cannot dump TCP sockets"),
    (
        {"memory": GIB},
        {"memory_available": GIB},
        "the container needs 1 GiB of memory and it has 1 GiB available, 10% of which stay free",
    ),
    ({"disk": 3 * GIB}, {"disk_available": 2 * GIB}, "the container needs 3 GiB of disk and it has 2 GiB available"),
    ({"ports": ["tcp/80"]}, {"listening": ["tcp/22", "tcp/80"]}, "the port tcp/80 is taken there"),
    ({"ports": ["tcp/80"]}, {"containers": [{"name": "x", "ports": ["tcp/80"]}]}, "the port tcp/80 is taken there"),
    (
        {"labels": {"relocate.mtd/anti-affinity": "role=web, role=db"}},
        {"containers": [{"name": "db1", "labels": {"role": "db"}}]},
        "the container db1 there has the label role=db (relocate.mtd/anti-affinity)",
    ),
    (
        {"labels": {"role": "web"}},
        {"containers": [{"name": "shy", "labels": {"relocate.mtd/anti-affinity": "role"}}]},
        "the container shy there keeps away from the label role (relocate.mtd/anti-affinity)",
    ),
    (
        {"labels": {"relocate.mtd/host-anti-affinity": "zone=a"}},
        {"labels": {"zone": "a"}},
        "it has the host label zone=a (relocate.mtd/host-anti-affinity)",
    ),
    (
        {},
        {"containers": [{"name": "vault", "tenant": "other", "labels": {"relocate.mtd/sensitive": "true"}}]},
        "the sensitive container vault of another tenant is there",
    ),
    (
        {"labels": {"relocate.mtd/sensitive": "true"}},
        {"containers": [{"name": "blog", "tenant": "other"}]},
        "the container is sensitive and blog of another tenant is there",
    ),
]


@pytest.mark.parametrize(("needs", "facts", "reason"), EXCLUSIONS, ids=[reason for _n, _f, reason in EXCLUSIONS])
def test_every_reason_to_exclude_a_host(needs: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    choice = choose_destination(container(**needs), candidates(host3=facts), profiles())
    assert choice.excluded == {"host1": ["the container runs there"], "host3": [reason]}
    assert set(choice.distribution) == {"host2", "host4", "host5", "host6"}


def test_what_fits_is_not_excluded() -> None:
    facts = {
        "memory_available": 2 * GIB,
        "disk_available": GIB,
        "listening": ["tcp/22"],
        "labels": {"zone": "a"},
        "containers": [
            # its own tenant's sensitive container, and its own stopped copy, are no bad company
            {"name": "key", "tenant": "acme", "labels": {"relocate.mtd/sensitive": "true", "role": "db"}},
            {"name": "web", "tenant": "acme", "labels": {"role": "web"}},
        ],
    }
    needs = {
        "memory": GIB,
        "disk": GIB,
        "ports": ["udp/22"],
        "labels": {
            "relocate.mtd/affinity": "role=db",
            "relocate.mtd/anti-affinity": "role=web",
            "relocate.mtd/host-affinity": "zone",
        },
    }
    choice = choose_destination(container(**needs), candidates(3, host3=facts), profiles(3))
    assert choice.host == "host3"
    assert choice.excluded["host2"] == [
        "no container there has the label role=db (relocate.mtd/affinity)",
        "it lacks the host label zone (relocate.mtd/host-affinity)",
    ]


def test_sensitive_company_is_avoided_only_where_it_can_be() -> None:
    vault = {"containers": [{"name": "vault", "tenant": "other", "labels": {"relocate.mtd/sensitive": "true"}}]}
    choice = choose_destination(SOURCE, candidates(3, host2=vault, host3=vault), profiles(3))
    assert set(choice.distribution) == {"host2", "host3"}
    assert choice.notes[0].startswith(
        "no eligible host keeps sensitive containers apart from other tenants: host2: the"
    )
    # a host that would be better company but cannot be measured does not make the others avoidable
    choice = choose_destination(SOURCE, candidates(3, host2=vault), {"host1": TRIXIE, "host2": TRIXIE})
    assert choice.host == "host2"


def test_nowhere_to_go_says_why_of_each_host() -> None:
    among = candidates(3, host2={"cordoned": True}, host3={"reachable": False})
    message = (
        "^web has nowhere to go from host1: host1: the container runs there; host2: it is cordoned; host3: it cannot"
    )
    with pytest.raises(NoDestination, match=message) as caught:
        choose_destination(SOURCE, among, profiles(3))
    assert caught.value.excluded["host3"] == ["it cannot be reached"]
    with pytest.raises(NoDestination, match="web has nowhere to go: there is no host but host1"):
        choose_destination(SOURCE, [], profiles(1))


def test_too_few_hosts_for_the_floor_are_drawn_uniformly_and_it_is_said() -> None:
    choice = choose_destination(SOURCE, candidates(3), lab(), Settings(min_entropy_bits=2.0))
    assert choice.distribution == {"host2": 0.5, "host3": 0.5}
    assert (choice.beta, choice.floor_kept) == (0.0, False)
    assert choice.notes == [
        "the min-entropy floor of 2 bits is not kept (1.00 bits): 2 hosts are eligible and the draw is uniform; "
        "add hosts or lower the floor"
    ]
    alone = choose_destination(SOURCE, candidates(2), lab())
    assert alone.host == "host2"
    assert "1 host is eligible" in alone.notes[0]


def test_a_given_beta_and_the_paper_may_break_the_floor_and_it_is_said() -> None:
    choice = choose_destination(SOURCE, candidates(), profiles(), Settings(beta=200.0, min_entropy_bits=2.0))
    assert not choice.floor_kept
    assert "beta was given as 200" in choice.notes[0]


def test_the_papers_policy_samples_the_positive_part_of_equation_3_3() -> None:
    fleet = profiles(4)
    for number, profile in enumerate(fleet.values()):
        profile["scores"] = {"c": 0.1 * number, "n": 0.0, "s": -0.3 if number == 2 else 0.0}
    settings = Settings(policy="paper", weights={"w_c": 0.5, "w_s": 0.5})
    choice = choose_destination(SOURCE, candidates(4), fleet, settings)
    assert choice.mode == "paper"
    # Δ: host2 0.05, host3 0.10 − 0.15, host4 0.15
    assert choice.distribution == pytest.approx({"host4": 0.75, "host2": 0.25, "host3": 0.0})
    drawn = {choose_destination(SOURCE, candidates(4), fleet, settings).host for _ in range(200)}
    assert drawn == {"host2", "host4"}
    top = choose_destination({**SOURCE, "host": "host4"}, candidates(4), fleet, settings)
    assert top.distribution == pytest.approx(dict.fromkeys(("host1", "host2", "host3"), 1 / 3))
    assert top.notes[0] == "no eligible host has a Δ above 0 (eq. 3.3): the draw is uniform"


def test_uniform_needs_no_profiles() -> None:
    choice = choose_destination(SOURCE, candidates(5), {}, Settings(policy="uniform"))
    assert choice.distribution == dict.fromkeys(("host2", "host3", "host4", "host5"), 0.25)
    assert choice.delta == choice.terms == {}
    assert choice.sentence().startswith(f"{choice.host}: drawn with probability 0.25 among 4 hosts")


def test_the_draw_never_takes_a_host_of_probability_zero() -> None:
    class Last:
        def random(self) -> float:
            return float(np.nextafter(1.0, 0.0))

    # β so large that host2's share is an exact zero, and the largest number a generator can give
    choice = choose_destination(SOURCE, candidates(3)[::-1], profiles(3), Settings(beta=1e6), Last())
    assert choice.distribution["host2"] == 0.0
    assert choice.host == "host3"


def test_one_line_says_why_and_the_ledger_keeps_what_was_drawn() -> None:
    choice = choose_destination(SOURCE, candidates(3), lab(), Settings(beta=0.0))
    delta = choice.delta[choice.host]
    parts = choice.terms[choice.host]
    assert choice.sentence() == (
        f"{choice.host}: Δ {delta:.2f} from host1 (C {parts['c']:.2f}, N {parts['n']:.2f}, S {parts['s']:.2f}), "
        "drawn with probability 0.50 among 2 hosts (entropy of the choice 1.00 bits, min-entropy 1.00)"
    )
    assert choice.record() == {
        "host": choice.host,
        "policy": "softmax",
        "delta": delta,
        "terms": parts,
        "shannon_bits": 1.0,
        "min_entropy_bits": 1.0,
    }
    assert "distribution" in choice.plan()


def test_profiles_that_are_missing() -> None:
    fleet = profiles(3)
    del fleet["host3"]
    choice = choose_destination(SOURCE, candidates(3), fleet)
    assert choice.excluded["host3"][0].startswith("it has no profile")
    del fleet["host1"]
    with pytest.raises(FactError, match=r"^host1: the host has no profile"):
        choose_destination(SOURCE, candidates(3), fleet)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -1}, "beta is -1: it must be a number that is not negative"),
        ({"policy": "argmax"}, "policy is 'argmax'; use one of softmax, paper, uniform"),
        ({"mode": "best"}, "mode is 'best'; use one of hardened, paper"),
        ({"weights": "best"}, "weights is 'best'; use equal, fitted, or a mapping"),
        (
            {"min_entropy_bits": 0},
            "min_entropy_bits is 0: without a floor and without beta the choice would be an argmax",
        ),
        ({"min_entropy_bits": "two"}, "min_entropy_bits is 'two': it must be a number from 0 to below 64"),
        ({"headroom": 1}, "headroom is 1: it must be a number from 0 to below 1"),
        ({"floor": 1}, "floor: there is no such setting; use beta, exclude"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        choose_destination(SOURCE, candidates(3), lab(), settings)


def test_wrong_weights_sources_and_candidates() -> None:
    with pytest.raises(WeightError, match=r"sum to 0\.5"):
        choose_destination(SOURCE, candidates(3), lab(), {"weights": {"w_c": 0.5}})
    with pytest.raises(PolicyError, match=r"source\.host is missing"):
        choose_destination({}, candidates(3), lab())
    with pytest.raises(ValueError, match=r"candidates\[1\]\.name is missing"):
        choose_destination(SOURCE, [{"name": "host2"}, {}], lab())
    with pytest.raises(ValueError, match=r"candidates\[1\]\.name: host2 is there twice"):
        choose_destination(SOURCE, [{"name": "host2"}, {"name": "host2"}], lab())
