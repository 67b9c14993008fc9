# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is free where a host keeps files, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._room import room


@pytest.mark.parametrize(
    ("blocks", "files", "free"),
    [
        (100, 50, {"bytes": 7 * 4096, "inodes": 3}),
        (0, 0, {"bytes": None, "inodes": None}),  # ramfs
        (100, 0, {"bytes": 7 * 4096, "inodes": None}),  # btrfs
    ],
)
def test_what_is_not_limited_is_not_full(
    blocks: int, files: int, free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that has no limit tells zeros."""
    told = SimpleNamespace(f_blocks=blocks, f_bavail=7, f_frsize=4096, f_files=files, f_favail=3)
    monkeypatch.setattr(os, "statvfs", lambda _: told)
    assert room("/somewhere") == free


def test_a_place_that_is_not_there_yet_is_not_full(tmp_path: Path) -> None:
    """It is made when something is put there."""
    assert room(str(tmp_path / "later")) == {"bytes": None, "inodes": None}
    assert set(room(str(tmp_path))) == {"bytes", "inodes"}
