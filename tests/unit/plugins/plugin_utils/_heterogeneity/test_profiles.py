# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading profiles and vulnerability reports on the controller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import profiles
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import FactError, Fleet, Weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fleets import TRIXIE, lab


def write(directory: Path, host: str, document: Any) -> None:
    (directory / f"{host}.json").write_text(document if isinstance(document, str) else json.dumps(document))


def test_a_file_may_hold_the_profile_or_the_facts_around_it(tmp_path: Path) -> None:
    write(tmp_path, "host1", TRIXIE)
    write(tmp_path, "host2", {"relocate_profile": TRIXIE})
    write(tmp_path, "host3", {"ansible_facts": {"relocate_profile": TRIXIE}, "changed": False})
    found = profiles.from_directory(tmp_path)
    assert list(found) == ["host1", "host2", "host3"]
    assert all(profile == TRIXIE for profile in found.values())
    assert list(profiles.from_directory(tmp_path, ["host3", "host9"])) == ["host3"]


def test_a_host_name_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path, "secret", TRIXIE)
    assert profiles.from_directory(tmp_path / "inner", ["../secret"]) == {}
    assert "v" not in profiles.with_vulnerabilities({"../secret": TRIXIE}, tmp_path / "inner")["../secret"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "host1.json is no JSON"),
        ('{"version": 1, "c": NaN}', "it holds NaN, which is not a number"),
        ([], "host1: the fact relocate_profile is not a mapping"),
        ({"version": 7}, "host1: the fact relocate_profile.version is 7 and this version reads 1"),
    ],
)
def test_files_that_are_no_profile(tmp_path: Path, document: Any, message: str) -> None:
    write(tmp_path, "host1", document)
    with pytest.raises(FactError, match=message):
        profiles.from_directory(tmp_path)


def test_the_default_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RELOCATE_PROFILES", str(tmp_path))
    assert profiles.default_directory() == tmp_path
    monkeypatch.delenv("RELOCATE_PROFILES")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert profiles.default_directory() == Path("/state/relocate/profiles")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert profiles.default_directory() == Path.home() / ".local/state/relocate/profiles"


def test_trivy_and_grype_reports_give_the_same_weights() -> None:
    found = [("CVE-1", "CRITICAL"), ("CVE-2", "low"), ("CVE-2", "MEDIUM"), ("CVE-3", None)]
    expected = {"CVE-1": 1.0, "CVE-2": 0.5, "CVE-3": 0.5}
    trivy = {
        "Results": [{"Vulnerabilities": [{"VulnerabilityID": i, "Severity": s} for i, s in found]}, {"Class": "x"}]
    }
    grype = {"matches": [{"vulnerability": {"id": i, "severity": s}} for i, s in found]}
    assert profiles.vulnerabilities("h", trivy) == expected
    assert profiles.vulnerabilities("h", grype) == expected
    assert profiles.vulnerabilities("h", {"SchemaVersion": 2, "Results": None}) == {}
    assert profiles.vulnerabilities("h", {"matches": []}) == {}


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"vulnerabilities": []}, "h: the vulnerability report has neither the key Results"),
        ([], "h: the vulnerability report has neither"),
        ({"matches": [{"vulnerability": {}}]}, r"h: the vulnerability report has no matches\[0\]\.vulnerability\.id"),
        (
            {"Results": [{"Vulnerabilities": [{"Severity": "LOW"}]}]},
            r"has no Results\[0\]\.Vulnerabilities\[0\]\.VulnerabilityID",
        ),
    ],
)
def test_reports_that_are_none(report: Any, message: str) -> None:
    with pytest.raises(FactError, match=message):
        profiles.vulnerabilities("h", report)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, 1.7e308, "\ud800", "{{{ x }}", "\x1b[2J\n"])
    | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150)
@given(
    whole=st.none() | ANYTHING,
    facts=st.dictionaries(
        st.tuples(
            st.sampled_from("cns"),
            st.sampled_from(["kernel", "listening", "packages", "images", "memory", "x", "\x1b[2J\n"]),
        ),
        ANYTHING,
        max_size=3,
    ),
    scores=st.none() | ANYTHING,
)
def test_whatever_one_host_says_the_others_are_compared(whole: Any, facts: Any, scores: Any, tmp_path: Path) -> None:
    """It is one of them, or it is set aside with one sentence that can be shown."""
    profile: Any = whole
    if whole is None:
        profile = json.loads(json.dumps(TRIXIE))
        for (term, key), value in facts.items():
            profile[term][key] = value
        if scores is not None:
            profile["scores"] = scores
    for host, honest in lab().items():
        write(tmp_path, host, honest)
    write(tmp_path, "a_liar", json.dumps(profile))
    aside: dict[str, str] = {}
    kept = profiles.agreeing(profiles.from_directory(tmp_path, aside=aside), aside)
    assert set(lab()) <= set(kept) and set(kept) | set(aside) == {*lab(), "a_liar"}
    assert all(reason.isprintable() for reason in aside.values())
    fleet = Fleet(kept)
    assert all("".join(name).isprintable() for name in fleet.class_names())
    for mode in ("hardened", "paper"):
        assert ((row := fleet.row("host1", Weights.equal(False), mode)) == row).all(), mode
    assert "{{" not in json.dumps(list(kept.values()))


def test_where_hosts_disagree_most_of_them_are_believed(tmp_path: Path) -> None:
    """A liar that comes first in the alphabet does not set the others aside; scores of one host are not the operator's."""
    for number in range(3):
        write(tmp_path, f"honest{number}", TRIXIE)
    liar = json.loads(json.dumps(TRIXIE))
    liar["c"]["extra"] = "x"
    write(tmp_path, "a_liar", liar)
    write(tmp_path, "b_liar", {**TRIXIE, "c": {**TRIXIE["c"], "kernel": 1e300}})
    write(tmp_path, "c_liar", {**TRIXIE, "scores": {"c": 1, "n": 1, "s": 1}})
    aside: dict[str, str] = {}
    kept = profiles.agreeing(profiles.from_directory(tmp_path, aside=aside), aside)
    assert set(kept) == {"honest0", "honest1", "honest2", "c_liar"} and "scores" not in kept["c_liar"]
    assert (
        aside["a_liar"] == "a_liar: it has the fact c.extra, unlike most hosts: profile all hosts with the same version"
    )
    assert "the fact c.kernel is a number, but a nominal on other hosts" in aside["b_liar"]
