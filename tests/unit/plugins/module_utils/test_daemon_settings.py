# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging into daemon.json and taking out of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._daemon import consequence, merged, without

OURS = {"runtimes": {"relocate": {"path": "/r"}}, "insecure-registries": ["fleet:5000"], "userland-proxy": False}
THEIRS = {"debug": True, "runtimes": {"crun": {"path": "/c"}}, "insecure-registries": ["lan:5000"]}


def test_others_settings_stay() -> None:
    """Dictionaries key by key, lists by what they lack."""
    both = merged(THEIRS, OURS)
    assert both == {
        "debug": True,
        "runtimes": {"crun": {"path": "/c"}, "relocate": {"path": "/r"}},
        "insecure-registries": ["lan:5000", "fleet:5000"],
        "userland-proxy": False,
    }
    assert merged(both, OURS) == both


@pytest.mark.parametrize("before", [THEIRS, {}, {"live-restore": True}])
def test_taking_out_undoes_putting_in(before: dict[str, Any]) -> None:
    """Nothing of ours is left, nothing of theirs is lost."""
    assert without(merged(before, OURS), OURS) == before


def test_what_was_changed_since_stays() -> None:
    """A value that is not ours any more is somebody's decision."""
    assert without({"userland-proxy": True, "bip": "10.0.0.1/24"}, {**OURS, "bip": "172.20.1.1/24"}) == {
        "userland-proxy": True,
        "bip": "10.0.0.1/24",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"bip": "a"}, {"bip": "a"}, "nothing"),
        ({}, {"runtimes": {}, "insecure-registries": []}, "reload"),
        ({"debug": True}, {}, "reload"),
        ({}, {"runtimes": {}, "bip": "a"}, "restart"),
        ({"userland-proxy": True}, {"userland-proxy": False}, "restart"),
    ],
)
def test_a_restart_only_where_a_reload_will_not_do(
    before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    """By dockerd's own list of what it can reload."""
    assert consequence(before, after) == expected
