# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container's file systems in memory: which there are, how they are made elsewhere, and how they are let go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Mount
from relocate_proxy.files import tmpfs
from relocate_proxy.host import mounts, secrets

SHM = {"point": "/dev/shm", "source": "shm", "options": "size=65536k,mode=1777,uid=0,gid=0"}


class Commands:
    """Programs that would be run; those named in ``refuse`` fail."""

    def __init__(self, refuse: str = "") -> None:
        self.did: list[list[str]] = []
        self.refuse = refuse

    def run(self, command: list[str], **_: Any) -> Any:
        """Note one."""
        self.did.append(command)

        class Done:
            returncode = 1 if command[0] == self.refuse else 0
            stderr = "it is busy\n"

        return Done()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return what is run instead of the host's programs."""
    made = Commands()
    monkeypatch.setattr(tmpfs.subprocess, "run", made.run)
    return made


def test_owner_and_mode_are_those_of_now(tmp_path: Path) -> None:
    """The limits are those of the mount; what a mount cannot be given again is left out."""
    (tmp_path / "dev/shm").mkdir(parents=True)
    (tmp_path / "dev/shm").chmod(0o1770)
    status = (tmp_path / "dev/shm").stat()
    mount = Mount("0:50", "/", "/dev/shm", "tmpfs", ("rw", "size=65536k", "nr_inodes=5", "inode64"), "shm")
    assert tmpfs.describe([mount], str(tmp_path)) == [
        {
            "point": "/dev/shm",
            "source": "shm",
            "options": f"size=65536k,nr_inodes=5,mode=1770,uid={status.st_uid},gid={status.st_gid}",
        }
    ]


def test_each_has_a_place_of_its_own(commands: Commands, tmp_path: Path) -> None:
    """Named by the mount point in the container."""
    places = tmpfs.mount_all([{**SHM, "point": "/dev"}, SHM], str(tmp_path / "memory"))
    assert places == {"/dev": f"{tmp_path}/memory/0", "/dev/shm": f"{tmp_path}/memory/1"}
    assert all(Path(place).is_dir() for place in places.values())
    assert commands.did[1] == ["mount", "-t", "tmpfs", "-o", SHM["options"], "--", "shm", places["/dev/shm"]]


@pytest.mark.parametrize("options", ["size=1k,suid", "mode=755,", "size=1k\n", "context=x", "mode=rwx"])
def test_an_option_that_no_container_has_is_refused(commands: Commands, tmp_path: Path, options: str) -> None:
    """The source is another machine."""
    with pytest.raises(ValueError, match="the source asked for a tmpfs with the option"):
        tmpfs.mount_all([{**SHM, "options": options}], str(tmp_path))
    assert commands.did == []


def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *points: str) -> None:
    """Let the host have these mounts."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("".join(f"1 2 0:5 / {point} rw - tmpfs tmpfs rw\n" for point in points))
    monkeypatch.setattr(mounts, "OWN_MOUNTS", str(mountinfo))


def test_what_lies_below_is_let_go_the_last_first(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And nothing else."""
    mounted(monkeypatch, tmp_path, "/run/r1/memory/0", "/run/r1/memory/1", "/run/r10/memory/0", "/run/r1")
    mounts.unmount_below("/run/r1")
    assert commands.did == [["umount", "--lazy", f"/run/r1/memory/{number}"] for number in (1, 0)]


def test_a_session_with_something_mounted_is_not_wiped(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be the memory of a container that runs."""
    session = tmp_path / "r1"
    session.mkdir()
    (session / "segment").write_text("the container's")
    commands.refuse = "umount"
    mounted(monkeypatch, tmp_path, f"{session}/memory/0")
    with pytest.raises(OSError, match="memory/0 could not be unmounted: it is busy"):
        secrets.wipe(str(session))
    assert (session / "segment").read_text() == "the container's"
