# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles that runc restores into without Docker, and the freezer on files that stand for a cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _bundle, _freezer
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Freezer

CONFIG = {
    "hooks": {"prestart": [{"path": "/proc/1/exe"}]},
    "root": {"path": "/old", "readonly": False},
    "linux": {"cgroupsPath": "/docker/c0ffee", "namespaces": [{"type": "pid"}, {"type": "network"}]},
}


def test_a_detached_bundle_has_nothing_of_docker() -> None:
    """Its hooks are gone, everything else points to what was given, and the original is left alone."""
    made = _bundle.detached(CONFIG, "copy", "/new", "/run/netns/q", "/b/criu.conf")
    assert "hooks" not in made and "hooks" in CONFIG
    assert made["root"] == {"path": "/new", "readonly": False}
    assert made["linux"]["cgroupsPath"] == "/relocate/copy"
    assert made["linux"]["namespaces"] == [{"type": "pid"}, {"type": "network", "path": "/run/netns/q"}]
    assert made["annotations"] == {"org.criu.config": "/b/criu.conf"}


def test_hidden_directories_become_empty_ones() -> None:
    """One line each, as criu.conf wants them."""
    assert _bundle.criu_options(["/proc/acpi"], "/b/empty") == "external mnt[/proc/acpi]:/b/empty\n"


def test_a_bundle_that_is_not_there_is_said() -> None:
    """With the short id people know."""
    with pytest.raises(FileNotFoundError, match="no OCI bundle of container 0000c0ffee00 "):
        _bundle.config_of("0000c0ffee00deadbeef")


def test_freezing_writes_and_waits(tmp_path: Path) -> None:
    """A file that keeps what is written is a cgroup that freezes at once."""
    state = tmp_path / "freezer.state"
    state.write_text("THAWED")
    at = Freezer(str(tmp_path), 1)
    _freezer.freeze(at)
    assert state.read_text() == "FROZEN" and _freezer.is_frozen(at)
    _freezer.thaw(at)
    assert state.read_text() == "THAWED" and not _freezer.is_frozen(at)


def test_what_does_not_freeze_is_thawed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On version 2 the state is another file; here it never says frozen."""
    monkeypatch.setattr(_freezer, "TIMEOUT_S", 0.01)
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(_freezer.FreezeError, match="a task did not stop"):
        _freezer.freeze(Freezer(str(tmp_path), 2))
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


def test_a_bundle_is_found_with_either_containerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's own first."""
    places = tuple(str(tmp_path / name) for name in ("own", "system"))
    monkeypatch.setattr(_bundle, "_PLACES", places)
    for place in reversed(places):
        Path(place, "c1").mkdir(parents=True)
        Path(place, "c1", "config.json").write_text("{}")
        assert _bundle.directory_of("c1") == f"{place}/c1"
