# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the user's files are, also of a user who has no home."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _homes
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.profiles import default_directory
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import ledger
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.asked import open_store
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.sealing import NoKey

from relocate.state import state_directory


def test_the_standard_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG base directory specification: an empty variable is as good as none."""
    monkeypatch.setenv("HOME", "/home/u")
    for value, state, configuration in (
        ("", "/home/u/.local/state/relocate", "/home/u/.config/relocate"),
        ("/x", "/x/relocate", "/x/relocate"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert (_homes.state(), _homes.configuration()) == (Path(state), Path(configuration))


def test_a_user_who_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """An automation controller's jobs run under any number, without $HOME. Python then raises; what reads finds nothing."""
    for variable in (
        "HOME",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "RELOCATE_LEDGER",
        "RELOCATE_PROFILES",
        "STATE_DIRECTORY",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)  # in no passwd file
    with pytest.raises(RuntimeError):
        Path.home()
    assert ledger.latest(ledger.default_path()) == []
    assert not default_directory().exists()
    assert not state_directory().exists()
    with pytest.raises(NoKey):
        open_store({"store": None, "key": None})
