# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding, ending and removing what a host has left in the control groups."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from relocate.lab.status import role_code

cgroups = role_code("lab_cgroups")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's /sys/fs/cgroup with two v1 hierarchies, a link to one of them, and Docker's groups in a host."""
    for controller in ("memory", "cpu,cpuacct"):
        (tmp_path / controller / "lab" / "host1" / "payload" / "docker" / "abc").mkdir(parents=True)
        (tmp_path / controller / "lab" / "host2").mkdir()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    return tmp_path


def test_a_group_is_found_once_in_every_hierarchy(root: Path) -> None:
    assert cgroups.trees("lab/host1", str(root)) == [
        str(root / "cpu,cpuacct/lab/host1"),
        str(root / "memory/lab/host1"),
    ]
    assert cgroups.trees("lab/host9", str(root)) == []


def test_on_v2_the_only_hierarchy_is_the_root_itself(tmp_path: Path) -> None:
    (tmp_path / "lab" / "host1").mkdir(parents=True)
    assert cgroups.trees("lab/host1", str(tmp_path)) == [str(tmp_path / "lab/host1")]


def test_processes_of_all_levels_and_hierarchies_count_once(root: Path) -> None:
    (root / "memory/lab/host1/payload/cgroup.procs").write_text("10\n11\n")
    (root / "memory/lab/host1/payload/docker/abc/cgroup.procs").write_text("12\n0\n")
    (root / "cpu,cpuacct/lab/host1/payload/cgroup.procs").write_text("10\n13\n")
    (root / "memory/lab/host2/cgroup.procs").write_text("99\n")
    assert cgroups.processes("lab/host1", str(root)) == {10, 11, 12, 13}


def test_removal_takes_the_deepest_first_and_leaves_other_hosts(root: Path) -> None:
    assert cgroups.remove("lab/host1", timeout=0.1, root=str(root)) == []
    assert not (root / "memory/lab/host1").exists()
    assert (root / "memory/lab/host2").is_dir()


def test_what_cannot_be_removed_is_named(root: Path) -> None:
    (root / "memory/lab/host1/payload/busy").write_text("as a group with a process would be")
    left = cgroups.remove("lab/host1", timeout=0.1, root=str(root))
    assert left == [str(root / "memory/lab/host1/payload"), str(root / "memory/lab/host1")]


def test_processes_are_killed_and_those_that_stay_are_named(root: Path) -> None:
    listing = root / "memory/lab/host1/payload/cgroup.procs"
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        listing.write_text(f"{sleeper.pid}\n")
        # a real listing empties itself; this one does not, so that the process counts as still there
        assert cgroups.end("lab/host1", timeout=0.2, root=str(root)) == {sleeper.pid}
        assert sleeper.wait(timeout=60) == -9
    listing.write_text("")
    assert cgroups.end("lab/host1", timeout=0.2, root=str(root)) == set()
