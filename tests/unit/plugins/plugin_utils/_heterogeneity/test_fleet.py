# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Δ between hosts: worked by hand, against brute force, and refused where it cannot be computed."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import sets
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import FactError, Fleet, Weights

from tests.unit.fleets import TRIXIE, lab

EQUAL = Weights.equal()


def jaccard(left: set[Any], right: set[Any], weight: dict[Any, float] | None = None) -> float:
    """Brute force, straight from the definition."""
    weigh = (weight or {}).get
    union = sum(weigh(element, 1.0) for element in left | right)
    return 1.0 - sum(weigh(element, 1.0) for element in left & right) / union if union else 0.0


def brute_force(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Gower over one pair of profiles, with no array and no de-duplication."""
    answer = {}
    for term in ("c", "n", "s"):
        distances = []
        for key, left in first[term].items():
            right = second[term][key]
            if left is None or right is None:
                continue
            if key == "packages":
                versions = [{(name, version) for name, version in side.items()} for side in (left, right)]
                names = [set(side) for side in (left, right)]
                shared = 0.5 * len(versions[0] & versions[1]) + 0.5 * len(names[0] & names[1])
                size = len(left) + len(right)
                distances.append(1.0 - shared / (size - shared) if size else 0.0)
            elif isinstance(left, dict):
                distances.append(jaccard(set(left.items()), set(right.items())))
            elif isinstance(left, list):
                distances.append(jaccard(set(left), set(right)))
            else:
                distances.append(float(left != right))
        answer[term] = sum(distances) / len(distances)
    return answer


def test_identical_hosts_are_not_different_and_share_a_class() -> None:
    fleet = Fleet(lab())
    assert fleet.row("host1", EQUAL)[1] == 0.0
    assert fleet.class_of[0] == fleet.class_of[1] != fleet.class_of[2]
    assert list(fleet.counts) == [2, 1]
    assert fleet.shannon_bits() == pytest.approx(-(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3))


def test_the_parts_by_hand() -> None:
    parts = Fleet(lab()).terms_row("host1")
    # 2 of the 6 known facts of C differ; nothing in N
    assert parts["c"][2] == pytest.approx(2 / 6)
    assert parts["n"][2] == 0.0
    # shared: one (name, version) and three names, each half: 2; union 3 + 4 - 2; services and images are the same
    assert parts["s"][2] == pytest.approx((1 - 2 / 5) / 3)


def test_swapping_weights_changes_the_ranking_as_the_formula_says() -> None:
    hosts = lab()
    hosts["host2"]["n"]["listening"] = ["tcp/80", "tcp/443"]
    fleet = Fleet(hosts)
    parts = fleet.terms_row("host1")
    for weights in (Weights(0.8, 0.1, 0.1), Weights(0.1, 0.8, 0.1)):
        row = fleet.row("host1", weights)
        expected = weights.c * parts["c"] + weights.n * parts["n"] + weights.s * parts["s"]
        assert row.tolist() == expected.tolist()
    assert fleet.row("host1", Weights(0.8, 0.1, 0.1)).argmax() == 2
    assert fleet.row("host1", Weights(0.1, 0.8, 0.1)).argmax() == 1


def random_fleet(seed: int, hosts: int, unknown: bool) -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(seed)

    def some(prefix: str, size: int) -> list[str]:
        return [f"{prefix}{index}" for index in np.flatnonzero(random.random(size) < 0.4)]

    fleet = {}
    for host in range(hosts):
        fleet[f"h{host}"] = {
            "c": {
                "kernel": f"k{random.integers(90)}",
                "docker": f"d{random.integers(3)}",
                "microcode": None if unknown and random.random() < 0.3 else "0x1",
                "cpu_flags": some("f", 70),
                "sysctls": {f"s{index}": str(random.integers(2)) for index in range(5)},
            },
            "n": {"subnets": some("10.", 3), "rack": f"r{random.integers(4)}"},
            "s": {
                "packages": {name: str(random.integers(3)) for name in some("p", 150)},
                "services": None if unknown and host % 3 == 0 else some("u", 9),
                "images": some("i", 5),
            },
        }
    return fleet


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("block", [11, 1024])
def test_rows_and_matrix_agree_with_brute_force(unknown: bool, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity._BLOCK", block
    )
    hosts = random_fleet(3, 100, unknown)
    hosts["twin"] = copy.deepcopy(hosts["h5"])
    fleet = Fleet(hosts)
    weights = Weights(0.5, 0.2, 0.3)
    matrix = fleet.matrix(weights)
    for source in ("h0", "h5", "twin", "h99"):
        row = fleet.row(source, weights)
        for place, target in enumerate(fleet.hosts):
            expected = sum(weights.of(term) * part for term, part in brute_force(hosts[source], hosts[target]).items())
            assert row[place] == pytest.approx(expected, abs=1e-12)
            assert matrix[fleet.index(source), place] == pytest.approx(expected, abs=1e-6)


def test_the_population_count_of_old_numpy_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(1).integers(0, 2**63, size=100, dtype=np.uint64) * np.uint64(2)
    words[:2] = (0, np.iinfo(np.uint64).max)
    expected = [int(word).bit_count() for word in words]
    assert sets._popcount(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert sets._popcount(words).tolist() == expected


def test_facts_in_another_order_are_the_same_configuration() -> None:
    hosts = lab()
    packages = hosts["host2"]["s"]["packages"]
    hosts["host2"]["s"]["packages"] = dict(reversed(packages.items()))
    hosts["host2"]["c"]["cpu_flags"] = ["avx2", "aes"]
    assert list(Fleet(hosts).counts) == [2, 1]


def test_a_key_and_its_value_are_not_confused() -> None:
    hosts = lab()
    hosts["host1"]["c"] = {"kernel": "debian", "distribution": "6.18"}
    hosts["host2"]["c"] = {"kernel": "6.18", "distribution": "debian"}
    hosts["host3"]["c"] = {"kernel": "6.18", "distribution": "6.18"}
    assert list(Fleet(hosts).counts) == [1, 1, 1]


@pytest.mark.parametrize("block", [2, 1024])
def test_vulnerabilities_count_by_severity_and_direction(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity._BLOCK", block
    )
    hosts = lab()
    hosts["host1"]["v"] = {"CVE-1": 1.0, "CVE-2": 0.5, "CVE-3": 0.25}
    hosts["host2"]["v"] = {"CVE-1": 1.0}
    hosts["host3"]["v"] = {}
    fleet = Fleet(hosts)
    # of host1's weight 1.75, host2 shares 1.0 and host3 nothing
    assert fleet.terms_row("host1")["v"] == pytest.approx([0.0, 0.75 / 1.75, 1.0])
    assert fleet.terms_row("host2")["v"] == pytest.approx([0.0, 0.0, 1.0])
    # nothing to reuse anywhere: no preference
    assert fleet.terms_row("host3")["v"] == pytest.approx([0.0, 0.0, 0.0])
    weights = Weights(0.2, 0.1, 0.2, 0.5)
    matrix = fleet.matrix(weights)
    for place, host in enumerate(fleet.hosts):
        assert matrix[place] == pytest.approx(fleet.row(host, weights), abs=1e-6)


def test_the_highest_severity_counts_for_all_hosts() -> None:
    hosts = lab()
    hosts["host1"]["v"] = {"CVE-1": 0.25, "CVE-2": 0.75}
    hosts["host2"]["v"] = {"CVE-1": 0.75}
    hosts["host3"]["v"] = {}
    assert Fleet(hosts).terms_row("host1")["v"][1] == pytest.approx(0.5)


def test_paper_mode_is_equation_3_3_to_the_last_digit() -> None:
    hosts = lab()
    scores = {
        "host1": {"c": 0.2, "n": 0.5, "s": 0.3},
        "host2": {"c": 0.7, "n": 0.1, "s": 0.9},
        "host3": {"c": 0.4, "n": 0.6, "s": 0.1},
    }
    for host, given in scores.items():
        hosts[host]["scores"] = given
    fleet = Fleet(hosts)
    weights = Weights(0.5, 0.2, 0.3)
    row = fleet.row("host1", weights, "paper")
    for place, host in enumerate(fleet.hosts):
        source, target = scores["host1"], scores[host]
        expected = (
            0.5 * (target["c"] - source["c"]) + 0.2 * (target["n"] - source["n"]) + 0.3 * (target["s"] - source["s"])
        )
        assert row[place] == expected
    assert fleet.matrix(weights, "paper")[0] == pytest.approx(row, abs=1e-7)


def test_the_worked_example_of_the_documentation() -> None:
    hosts = lab()
    for host, numbers in zip(hosts, [(0.2, 0.5, 0.3), (0.7, 0.1, 0.9), (0.4, 0.6, 0.1)], strict=True):
        hosts[host]["scores"] = dict(zip("cns", numbers, strict=True))
    fleet, weights = Fleet(hosts), Weights(0.5, 0.2, 0.3)
    assert fleet.row("host1", weights, "paper") == pytest.approx([0.0, 0.35, 0.06], abs=1e-15)
    assert fleet.row("host2", weights, "paper")[2] == pytest.approx(-0.29, abs=1e-15)
    path = [0]
    for _ in range(5):
        row = fleet.row(fleet.hosts[path[-1]], weights, "paper")
        row[path[-1]] = -math.inf
        path.append(int(row.argmax()))
    assert path == [0, 1, 2, 1, 2, 1]


def test_paper_mode_under_argmax_ends_in_a_two_cycle() -> None:
    fleet = Fleet(random_fleet(5, 20, False))
    path = [0]
    for _ in range(8):
        row = fleet.row(fleet.hosts[path[-1]], EQUAL, "paper")
        row[path[-1]] = -math.inf
        path.append(int(row.argmax()))
    assert path[3:] in ([path[3], path[4]] * 3, [*([path[3], path[4]] * 3), path[3]])
    assert path[3] != path[4]


def test_without_scores_the_paper_scalar_is_the_mean_distance_to_the_fleet() -> None:
    fleet = Fleet(lab())
    assert fleet.scores()[0] == pytest.approx(np.array([2 / 6, 0.0, 0.2]) / 2)
    assert fleet.scores()[1] == pytest.approx([2 / 6, 0.0, 0.2])


def test_class_names_are_stable_readable_and_safe() -> None:
    first, second = Fleet(lab()).class_names()
    assert first.startswith("debian_13_docker26_")
    assert second.startswith("debian_forky_docker28_")
    shuffled = lab()
    assert Fleet({host: shuffled[host] for host in ("host3", "host2")}).class_names() == [second, first]
    shuffled["host1"]["c"]["distribution"] = "{{ lookup('pipe', 'id') }}"
    assert Fleet(shuffled).class_names()[0].startswith("lookuppipeid_13_docker26_")


MISSING = [
    (("c",), None, "host2: the profile has no facts under the key c"),
    (("s",), {}, "host2: the profile has no facts under the key s"),
    (("c", "docker"), ..., "host2: the fact c.docker is missing, though host1 has it"),
    (("n", "mtu"), "1500", "host1: the fact n.mtu is missing, though host2 has it"),
    (("c", "kernel"), math.nan, "host2: the fact c.kernel is nan, not a number"),
    (("c", "kernel"), 6.18, "host2: the fact c.kernel is a number, but a nominal on other hosts"),
    (("c", "cpu_flags"), [["aes"]], "host2: the fact c.cpu_flags has to be a list of strings"),
    (("s", "packages"), {"bash": 5.2}, "host2: the fact s.packages.bash has to be a string, not float"),
    (("c", "kernel"), object(), "host2: the fact c.kernel has the type object"),
    (("v",), {"CVE-1": -1}, "host2: the fact v.CVE-1 is -1: a severity"),
    (("v",), {"CVE-1": math.nan}, "host2: the fact v.CVE-1 is nan: a severity"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISSING)
def test_what_is_missing_or_wrong_is_named(path: tuple[str, ...], value: Any, message: str) -> None:
    hosts = lab()
    place = hosts["host2"]
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(FactError, match="^" + message.replace("(", r"\(")):
        Fleet(hosts)


def test_a_term_with_nothing_known_is_refused() -> None:
    hosts = lab()
    hosts["host1"]["n"] = dict.fromkeys(hosts["host1"]["n"])
    with pytest.raises(FactError, match="host1: the term n has no known fact"):
        Fleet(hosts)


def test_unknown_hosts_empty_fleets_and_doubles() -> None:
    with pytest.raises(FactError, match="host9: the host has no profile"):
        Fleet(lab()).row("host9", EQUAL)
    with pytest.raises(ValueError, match="the fleet has no host"):
        Fleet({})
    with pytest.raises(ValueError, match="host1: the host is given twice"):
        Fleet([("host1", TRIXIE), ("host1", TRIXIE)])


def test_partial_scores_and_unknown_modes_are_refused() -> None:
    hosts = lab()
    hosts["host1"]["scores"] = {"c": 1, "n": 1, "s": 1}
    with pytest.raises(FactError, match=r"host2: paper mode needs the number scores\.c, not None"):
        Fleet(hosts).row("host1", EQUAL, "paper")
    with pytest.raises(ValueError, match="mode is 'best'; use one of hardened, paper"):
        Fleet(lab()).row("host1", EQUAL, "best")
