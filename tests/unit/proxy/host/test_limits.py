# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of control groups, in a directory that stands for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from relocate_proxy.host import limits
from relocate_proxy.host.limits import Limit

NONE_V1 = "9223372036854771712"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a control group for each controller of version 1, and "" of version 2, where it exists."""

    def directory(pid: int, controller: str, version: int, container_id: str) -> str | None:
        assert (pid, container_id) == (7, "c1")
        found = tmp_path / (controller or "unified")
        return str(found) if found.is_dir() and (version == 2) == (not controller) else None

    monkeypatch.setattr(limits, "control_directory", directory)
    return tmp_path


def write(directory: Path, **files: str) -> None:
    """Write the files of a control group; ``_`` stands for a dot."""
    directory.mkdir(exist_ok=True)
    for name, value in files.items():
        (directory / name.replace("__", ".")).write_text(value + "\n")


def test_version_1(groups: Path) -> None:
    """Memory with swap is lifted first and set last: the kernel keeps it above memory alone."""
    write(groups / "pids", pids__max="2")
    write(groups / "memory", memory__limit_in_bytes="33554432", memory__memsw__limit_in_bytes="67108864")
    write(groups / "cpu", cpu__cfs_quota_us="-1")
    found = limits.find(7, "c1")
    assert [(Path(limit.path).name, limit.value) for limit in found] == [
        ("pids.max", "2"),
        ("memory.memsw.limit_in_bytes", "67108864"),
        ("memory.limit_in_bytes", "33554432"),
    ]
    limits.lift(found)
    assert (groups / "pids/pids.max").read_text() == "max"
    assert (groups / "memory/memory.limit_in_bytes").read_text() == "-1"
    as_journalled = [Limit(*each) for each in json.loads(json.dumps(found))]
    assert limits.set_again(as_journalled) == []
    assert (groups / "pids/pids.max").read_text() == "2"
    assert (groups / "memory/memory.memsw.limit_in_bytes").read_text() == "67108864"


def test_most_containers_have_none(groups: Path) -> None:
    """Whatever no limit looks like, and where a controller is not used."""
    write(groups / "pids", pids__max="max")
    write(groups / "memory", memory__limit_in_bytes=NONE_V1)
    write(groups / "unified", cpu__max="max 100000", memory__high="max")
    assert limits.find(7, "c1") == []


def test_version_2_kills_at_once(groups: Path) -> None:
    """So a limit of memory waits until what is used fits; pages of files do not count, the kernel can drop them."""
    stat = "anon 5\ninactive_file 300\nactive_file 100"
    write(groups / "unified", memory__max="1000", memory__current="1500", memory__stat=stat, cpu__max="5000 100000")
    found = limits.find(7, "c1")
    limits.lift(found)
    left = limits.set_again(found)
    assert [Path(limit.path).name for limit in left] == ["memory.max"]
    assert (groups / "unified/memory.max").read_text() == "max"
    assert (groups / "unified/cpu.max").read_text() == "5000 100000"
    write(groups / "unified", memory__current="1400")
    assert limits.set_again(left) == [] and (groups / "unified/memory.max").read_text() == "1000"


def test_a_container_that_is_gone_has_no_limits(groups: Path) -> None:
    """Recover may come late."""
    assert limits.set_again([Limit(str(groups / "gone/pids.max"), "2", "max")]) == []


def test_a_limit_that_the_kernel_does_not_take_yet_is_left(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 says that it is busy."""
    write(groups / "memory", memory__limit_in_bytes="33554432")
    found = limits.find(7, "c1")

    def busy(path: str, value: str) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(limits, "_write", busy)
    limits.lift(found)
    assert limits.set_again(found) == found
