# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes on a host: never made over another, taken away only if they were made by the move, and put aside once."""

from __future__ import annotations

import calendar
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from relocate_proxy.host import volumes


class Docker:
    """Stands for the daemon: volumes are directories below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root, self.made_at, self.has = root, "2026-01-01T00:00:00Z", []  # type: ignore[var-annotated]

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": str(self.root)}

    def containers(self) -> list[dict[str, Any]]:
        return [{"Id": each, "Mounts": [{"Name": name}]} for each, name in self.has]

    def request(self, method: str, path: str, body: Any = None) -> Any:
        place = self.root / "volumes" / (body or {}).get("Name", path.rpartition("/")[2])
        if method == "POST":
            (place / "_data").mkdir(parents=True)
            return None
        if not place.exists():
            raise DockerError(404, "no such volume")
        if method == "DELETE":
            for entry in sorted(place.rglob("*"), reverse=True):
                entry.rmdir() if entry.is_dir() else entry.unlink()
            place.rmdir()
            return None
        return {"Mountpoint": str(place / "_data"), "CreatedAt": self.made_at}


@pytest.fixture
def docker(tmp_path: Path) -> Any:
    made = Docker(tmp_path)
    volumes.make(made, "data", {})  # type: ignore[arg-type]
    (tmp_path / "volumes/data/_data/row").write_text("1")
    return made


def test_a_volume_is_not_made_over_another(docker: Any) -> None:
    with pytest.raises(volumes.VolumeProblem, match="a volume named data is here already"):
        volumes.make(docker, "data", {})


@pytest.mark.parametrize(
    ("made_at", "since", "goes"),
    [
        ("2026-01-01T00:00:10Z", "2026-01-01T00:00:10.9", True),
        ("2026-01-01T00:00:09Z", "2026-01-01T00:00:10.1", False),
        ("2026-01-01T02:00:10+02:00", "2026-01-01T00:00:10", True),
        ("2026-01-01T00:00:10+02:00", "2026-01-01T00:00:10", False),
    ],
)
def test_a_volume_older_than_the_move_is_nobodys_to_remove(docker: Any, made_at: str, since: str, goes: bool) -> None:
    docker.made_at = made_at
    begun = calendar.timegm(time.strptime(since[:19], "%Y-%m-%dT%H:%M:%S")) + float(f"0{since[19:]}")
    volumes.unmake(docker, "data", begun)
    assert (docker.root / "volumes/data").exists() is not goes
    volumes.unmake(docker, "nothing", begun)


def test_what_a_container_leaves_is_put_aside_once(docker: Any) -> None:
    """And not again by whoever repeats the step: Docker's place is empty by then."""
    docker.has = [("c1", "data")]
    for _ in range(2):
        volumes.put_aside(docker, ["data", "gone"], "c1", "db", "20260101-000000-abcdef")
        kept = docker.root / "relocate/volumes/db@20260101-000000-abcdef/data"
        assert (kept / "row").read_text() == "1"
    docker.has = []
    for _ in range(2):
        volumes.remove_left(docker, ["data", "gone"], "c1")
        assert not (docker.root / "volumes/data").exists() and (kept / "row").exists()


def test_what_another_container_has_stays(docker: Any) -> None:
    """It was started while the move went on; preflight refuses a volume of two."""
    docker.has = [("c1", "data"), ("c2", "data")]
    volumes.put_aside(docker, ["data"], "c1", "db", "20260101-000000-abcdef")
    volumes.remove_left(docker, ["data"], "c1")
    assert (docker.root / "volumes/data/_data/row").exists()


def test_what_was_put_aside_goes_after_a_week(docker: Any) -> None:
    volumes.put_aside(docker, ["data"], "c1", "db", "r")
    directory, now = volumes.aside(docker), time.time()
    volumes.prune(directory, now + volumes.KEPT_SECONDS - 60)
    assert [each.name for each in Path(directory).iterdir()] == ["db@r"]
    volumes.prune(directory, now + volumes.KEPT_SECONDS + 60)
    assert list(Path(directory).iterdir()) == []
    volumes.prune("/nowhere")


def test_what_docker_puts_into_a_new_volume_goes(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/file").write_text("of the image")
    (tmp_path / "link").symlink_to("/etc")
    volumes.empty(str(tmp_path))
    assert list(tmp_path.iterdir()) == [] and Path("/etc/passwd").exists()


def test_a_volume_that_somebody_made_anew_is_not_what_was_left(docker: Any) -> None:
    """Between a crash after the commit and the recovery: its data is nobody's to remove."""
    volumes.put_aside(docker, ["data"], "c1", "db", "r")
    (docker.root / "volumes/data/_data/new").write_text("2")
    for _ in range(2):
        volumes.put_aside(docker, ["data"], "c1", "db", "r")
        volumes.remove_left(docker, ["data"], "c1")
        assert (docker.root / "volumes/data/_data/new").read_text() == "2"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EBUSY])
def test_a_volume_with_a_file_system_of_its_own_stays(
    docker: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nothing can be moved out of it; the end of a move must not fail for that."""

    def refuse(*_: object) -> None:
        raise OSError(number, "cannot be moved")

    monkeypatch.setattr(os, "rename", refuse)
    volumes.put_aside(docker, ["data"], "c1", "db", "r")
    volumes.remove_left(docker, ["data"], "c1")
    assert (docker.root / "volumes/data/_data/row").exists()


def test_only_the_last_that_a_container_has_left_is_kept(tmp_path: Path) -> None:
    """One that moves every ten minutes would fill the disk within a week."""
    now = time.time()
    for age, name in enumerate(("db@r3", "db@r2", "web@r2", "db@r1")):
        (tmp_path / name / "data").mkdir(parents=True)
        os.utime(tmp_path / name, (now - age, now - age))
    volumes.prune(str(tmp_path), now)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["db@r3", "web@r2"]


def test_none_may_be_there_before_it_is_written_down_whose_they_are(docker: Any) -> None:
    volumes.need_none(docker, ["gone", "other"])
    with pytest.raises(volumes.VolumeProblem, match="a volume named data is here already"):
        volumes.need_none(docker, ["gone", "data"])
