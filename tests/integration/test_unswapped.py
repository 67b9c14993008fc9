# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where memory images lie: a file system that is never swapped out, on kernels that have one for that and on others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.paths import PROXY

pytestmark = pytest.mark.kernel


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return an empty directory; what is mounted there is unmounted afterwards."""
    made = tmp_path / "sessions"
    made.mkdir()
    yield made
    while os.path.ismount(made):
        subprocess.run(["umount", made], check=True)


def mounted(directory: Path) -> list[tuple[str, bool]]:
    """Return kind, and whether it says that it is not swapped, of everything that is mounted there."""
    from relocate_proxy.host import mounts

    return [(each.fstype, "noswap" in each.super_options) for each in mounts._mounts() if each.point == str(directory)]


def test_a_kernel_that_can_mounts_a_tmpfs_without_swap(directory: Path) -> None:
    """Once, however many parts ask at a time, and private to root."""
    from relocate_proxy.host import mounts

    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 4):
        pytest.skip("no noswap on this kernel")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: mounts.keep_in_memory(str(directory)), range(8)))
    assert mounted(directory) == [("tmpfs", True)]
    assert directory.stat().st_mode & 0o777 == 0o700
    (directory / "image").write_bytes(b"x" * 4096)
    mounts.keep_in_memory(str(directory))
    assert (directory / "image").stat().st_size == 4096


def test_an_older_kernel_gets_a_ramfs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses noswap as any kernel before 6.4 does: an option that it does not know."""
    from relocate_proxy.host import mounts

    first, second = mounts.UNSWAPPED
    old = [word.replace("noswap", "noswap-of-later") for word in first]
    refused = subprocess.run(["mount", *old, "x", directory], capture_output=True, check=False)
    assert refused.returncode != 0
    monkeypatch.setattr(mounts, "UNSWAPPED", (old, second))
    mounts.keep_in_memory(str(directory))
    assert mounted(directory) == [("ramfs", False)]
    assert directory.stat().st_mode & 0o777 == 0o700
    mounts.keep_in_memory(str(directory))
    assert len(mounted(directory)) == 1


@pytest.mark.parametrize("swaps", [True, False])
def test_what_somebody_has_mounted_there(directory: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is taken if nothing of it can be swapped out."""
    from relocate_proxy.host import mounts

    listed = directory.parent / "swaps"
    listed.write_text("Filename Type Size Used Priority\n" + ("/dev/sda2 partition 1 0 -2\n" if swaps else ""))
    monkeypatch.setattr(mounts, "SWAPS", str(listed))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "x", directory], check=True)
    if swaps:
        with pytest.raises(OSError, match="may be written to a disk or swapped out"):
            mounts.keep_in_memory(str(directory))
    else:
        mounts.keep_in_memory(str(directory))
    assert mounted(directory) == [("tmpfs", False)]


def test_what_is_under_way_is_not_hidden(directory: Path) -> None:
    """A relocation that a version before this one has begun."""
    from relocate_proxy.host import mounts

    (directory / "r1").mkdir()
    mounts.keep_in_memory(str(directory))
    assert mounted(directory) == []


def test_a_process_that_stays_in_memory_is_locked() -> None:
    """All of it, by the kernel's count; its child asks for itself."""
    code = (
        f"import sys; sys.path.insert(0, {str(PROXY)!r}); from relocate_proxy.host.syscalls import stay_in_memory\n"
        "asked = stay_in_memory(); more = bytearray(8 << 20)\n"
        "print(asked, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmLck')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    asked, locked = done.stdout.split()
    if asked == "False":
        pytest.skip("this machine lacks CAP_IPC_LOCK")
    assert int(locked) > 8192
