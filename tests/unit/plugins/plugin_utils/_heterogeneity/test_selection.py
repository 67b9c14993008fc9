# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selectors: what they keep, what they refuse."""

from __future__ import annotations

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    Fleet,
    Selection,
    SelectionError,
    Weights,
)

from tests.unit.fleets import lab


def test_include_keeps_only_the_named_facts() -> None:
    fleet = Fleet(lab(), Selection(include={"c": "{kernel: kernel, docker: docker}"}))
    assert fleet.terms_row("host1")["c"][2] == 0.5


def test_exclude_takes_features_and_single_elements_out() -> None:
    hosts = lab()
    hosts["host2"]["s"]["images"] = ["web:1"]
    assert len(Fleet(hosts).counts) == 3
    assert len(Fleet(hosts, Selection(exclude={"s": "['images']"})).counts) == 2
    hosts["host2"]["n"]["listening"].append("tcp/9100")
    selection = Selection(exclude={"s": "['images']", "n": "['listening.tcp/9100']"})
    assert Fleet(hosts, selection).row("host1", Weights.equal())[1] == 0.0


def test_exclude_by_expression() -> None:
    selection = Selection(exclude={"s": "keys(packages)[?starts_with(@, 'docker')].join('.', ['packages', @])"})
    facts = selection.apply("host1", "s", lab()["host1"]["s"])
    assert sorted(facts["packages"]) == ["bash", "openssh-server"]


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        ({"c": "{kernel"}, {}, "include.c: '{kernel' is no JMESPath expression"),
        ({"x": "kernel"}, {}, "include.x: there is no such term; use one of c, n, s"),
        ({"c": "kernel"}, {}, "host1: include.c: 'kernel' has to yield a mapping of names to facts, not a string"),
        ({"c": "nothing"}, {}, "host1: include.c: 'nothing' has to yield a mapping of names to facts, not nothing"),
        ({}, {"c": "kernel"}, "host1: exclude.c: 'kernel' has to yield a list of names, not a string"),
        ({}, {"c": "keys(@)"}, "host1: the selectors of the term c leave no fact"),
        ({}, {"c": "keys(kernel)"}, r"host1: exclude.c: 'keys\(kernel\)' fails"),
    ],
)
def test_selectors_that_do_not_fit(include: dict[str, str], exclude: dict[str, str], message: str) -> None:
    with pytest.raises(SelectionError, match="^" + message):
        Fleet(lab(), Selection(include, exclude))
