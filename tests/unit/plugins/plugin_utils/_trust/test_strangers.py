# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms that foreign text must have, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers
from hypothesis import given
from hypothesis import strategies as st

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            strangers.container_name,
            ["web", "a", "0.x_y-Z"],
            ["", "-a", "_a", "a b", "a\n", "{{ 7 }}", "ä", None, 7, ["a"]],
        ),
        (
            strangers.host_name,
            ["host1", "10.0.0.1", "fe80::1", "a_b"],
            ["", "a,b", "all:!a", "*", "~x", "&a", "a\n", None],
        ),
        (strangers.identifier, ["20261127-230000-abcdef", "m1"], ["", "../x", "a.b", "a/b", "a" * 200, None, {}]),
        (strangers.address, ["10.0.0.1", "fe80::1"], ["", "10.0.0", "10.0.0.1/24", 1, None, "localhost"]),
    ],
)
def test_forms(check: Any, good: list[Any], bad: list[Any]) -> None:
    """What has the form is returned, and the rest refused in one printable sentence."""
    assert [check(each) for each in good] == good
    for each in bad:
        with pytest.raises(strangers.Odd) as refused:
            check(each)
        assert str(refused.value).isprintable()


@given(ANYTHING)
def test_no_value_breaks_a_check(value: Any) -> None:
    """A check returns, or refuses: there is no third way, whatever a host says."""
    for check in (
        strangers.container_name,
        strangers.host_name,
        strangers.identifier,
        strangers.address,
        strangers.document,
    ):
        try:
            check(value)
        except strangers.Odd as odd:
            assert str(odd).isprintable() and len(str(odd)) < 600
    assert strangers.quoted(value).isprintable()


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_moves_no_cursor(text: str) -> None:
    """Every text is one line that can be printed and encoded."""
    line = strangers.shown(text)
    assert line.isprintable()
    line.encode()


def test_what_is_shown_stays_readable() -> None:
    """Letters stay, of any language; escapes, line ends, turned text and half characters are spelt out."""
    assert strangers.shown("naïve 東京 web") == "naïve 東京 web"
    assert strangers.shown("a\x1b[31m\nb\u202e\ud800") == r"a\x1b[31m\nb\u202e\ud800"


@pytest.mark.parametrize(
    "document",
    [10**400, float("nan"), "\ud800", {"\ud800": 1}, {1: 2}, {"a": {1, 2}}, [0] * 600_000],
    ids=["digits", "nan", "surrogate", "key", "number-key", "set", "large"],
)
def test_documents_that_are_none(document: Any) -> None:
    """Each with its own sentence."""
    with pytest.raises(strangers.Odd):
        strangers.document({"x": [document]})


def test_a_deep_document_does_not_exhaust_the_stack() -> None:
    """It is refused for its depth."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(strangers.Odd, match="nested more than"):
        strangers.document(deep)
