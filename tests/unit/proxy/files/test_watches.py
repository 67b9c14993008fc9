# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is watched with inotify, of this very process: its watches are the kernel's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Mount
from relocate_proxy.files import watches
from relocate_proxy.files.watches import Unfollowable, Watches

_libc = ctypes.CDLL(None, use_errno=True)
WRITTEN = 2

Watching = Callable[[Path], None]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    """Return what makes this process watch a path."""
    queue = _libc.inotify_init1(os.O_CLOEXEC)
    # other tests of this process may watch something, too
    monkeypatch.setattr(watches, "descriptors", lambda _: iter([(os.getpid(), queue)]))

    def begin(path: Path) -> None:
        assert _libc.inotify_add_watch(queue, os.fsencode(path), WRITTEN) > 0

    yield begin
    os.close(queue)


def mounted(directory: Path, point: str = "/") -> Mount:
    """Return the mount of a container whose root is a directory of ours."""
    device = directory.stat().st_dev
    return Mount(f"{os.major(device)}:{os.minor(device)}", "/", point, "overlay", ())


def found(directory: Path, *mounts: Mount) -> Watches:
    """Return the watches of a container whose root is a directory of ours."""
    return Watches([os.getpid()], str(directory), list(mounts) or [mounted(directory)])


def test_paths_are_found_by_inode(watch: Watching, tmp_path: Path) -> None:
    """Of directories and files, with blanks in their names, and with bytes that are no UTF-8; never through a link."""
    deep = tmp_path / "a b" / os.fsdecode(b"\xff") / "c"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (tmp_path / "link").symlink_to(deep)
    for path in (deep, deep / "file", tmp_path):
        watch(path)
    seen = found(tmp_path)
    names = os.fsdecode(b"/a b/\xff/c")
    assert sorted(seen.paths.values()) == ["/", names, f"{names}/file"]
    root, *lines = seen.table().splitlines()
    assert root == str(tmp_path)
    fdinfo = "".join(Path(f"/proc/self/fdinfo/{n}").read_text() for _, n in watches.descriptors([]))
    for line in lines:
        assert f"f_handle:{line.partition(' ')[0]}\n" in fdinfo
    assert seen.lonely_files() == []
    seen.close()


def test_a_file_that_is_mounted_alone(watch: Watching, tmp_path: Path) -> None:
    """CRIU is told to look there, because it tries handles in mounted directories only."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").touch()
    watch(tmp_path / "etc/hosts")
    seen = found(tmp_path, mounted(tmp_path), mounted(tmp_path, "/etc/hosts"))
    assert seen.lonely_files() == ["/etc/hosts"]
    seen.close()


def test_events_that_nobody_has_read(watch: Watching, tmp_path: Path) -> None:
    """They would be dropped."""
    (tmp_path / "file").touch()
    watch(tmp_path / "file")
    seen = found(tmp_path)
    assert seen.unread() == 0
    (tmp_path / "file").write_text("changed")
    assert seen.unread() == 16
    seen.close()
    assert seen.unread() == 0


def test_a_file_without_a_name(watch: Watching, tmp_path: Path) -> None:
    """There is no path to watch at the destination."""
    with (tmp_path / "gone").open("w"):
        watch(tmp_path / "gone")
        (tmp_path / "gone").rename(tmp_path.parent / "outside")
        with pytest.raises(Unfollowable, match="no name any more"):
            found(tmp_path)


def test_file_systems_in_memory_need_no_help(watch: Watching, tmp_path: Path) -> None:
    """Their handles can be opened."""
    (tmp_path / "file").touch()
    watch(tmp_path / "file")
    seen = found(tmp_path, mounted(tmp_path)._replace(fstype="tmpfs"))
    assert seen.paths == {} and seen.watches
    seen.close()


def test_a_name_with_a_line_break(watch: Watching, tmp_path: Path) -> None:
    """The list has lines."""
    (tmp_path / "a\nb").touch()
    watch(tmp_path / "a\nb")
    with pytest.raises(Unfollowable, match="line break"):
        found(tmp_path)


def test_a_kernel_that_does_not_tell() -> None:
    """Older kernels have no handle for a file of an overlay."""
    assert watches.watches_of("pos:\t0\ninotify wd:1 ino:1f sdev:fe00000 mask:2 ignored_mask:0 fhandle-bytes:8 "
                              "fhandle-type:1 f_handle:6a82\n") == [(0xFE00000, 0x1F, "6a82")]  # fmt: skip
    with pytest.raises(Unfollowable, match=r"6\.6 or newer"):
        watches.watches_of("pos:\t0\ninotify wd:1 ino:1f sdev:154 mask:2 ignored_mask:0 \n")


def test_who_watches_is_found() -> None:
    """By what the descriptor is."""
    queue = _libc.inotify_init1(os.O_CLOEXEC)
    try:
        assert (os.getpid(), queue) in list(watches.descriptors([os.getpid(), 2**22 + 1]))
    finally:
        os.close(queue)


def test_what_the_restore_has_done_is_forgotten(watch: Watching, tmp_path: Path) -> None:
    """A copy that reads its queue hears of nothing that was before it ran."""
    (tmp_path / "file").touch()
    watch(tmp_path / "file")
    seen = found(tmp_path)
    (tmp_path / "file").write_text("changed")
    assert seen.unread()
    watches.forget([os.getpid()])
    assert seen.unread() == 0
    seen.close()
