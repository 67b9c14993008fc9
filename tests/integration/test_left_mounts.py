# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed runc or CRIU leaves mounted on the host goes with the end of its relocation, and nothing else does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.host import criu_processes, mounts

from tests.lab.waiting import until

pytestmark = pytest.mark.kernel
ID, OTHER = "c" * 64, "d" * 64


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Mount what is left of this container's restore, of another's, and of some CRIU."""
    monkeypatch.setattr(mounts, "CRIU_ROOTS", f"{tmp_path}/.criu.mntns.")
    monkeypatch.setattr(criu_processes, "NAME", "criu-of-a-test")  # labs may have some
    made = {
        "own": tmp_path / ID / "criu-root",
        "another's": tmp_path / OTHER / "criu-root",
        "CRIU's": tmp_path / ".criu.mntns.4VjvWD",
    }
    for place in made.values():
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "left", place], check=True)
    yield made
    for place in made.values():
        if os.path.ismount(place):
            subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("lives", [False, True])
def test_what_is_left_mounted(places: dict[str, Path], tmp_path: Path, lives: bool) -> None:
    """A directory of CRIU stays while any CRIU lives: it may be its own. It goes the next time."""
    sleep = shutil.copy(shutil.which("sleep") or "", tmp_path / "criu-of-a-test")
    with subprocess.Popen([sleep, "100"]) if lives else subprocess.Popen(["true"]) as process:
        if lives:
            until(
                lambda: Path(f"/proc/{process.pid}/comm").read_text(), "a criu", lambda comm: comm == "criu-of-a-test\n"
            )
        mounts.unmount_left(ID)
        process.kill()
    there = {name for name, place in places.items() if os.path.ismount(place)}
    assert there == ({"another's", "CRIU's"} if lives else {"another's"})
    assert not places["own"].exists()
    mounts.unmount_left(ID)
    assert not places["CRIU's"].exists() and os.path.ismount(places["another's"])
