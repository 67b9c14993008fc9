# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes travel, and which keep their container where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _volumes

DATA = {"Type": "volume", "Name": "data", "Destination": "/data", "Driver": "local", "Source": "/v/data/_data"}
LOCAL = {"Driver": "local", "Options": None}


def inspected(*mounts: dict[str, Any], **host: Any) -> dict[str, Any]:
    return {"Name": "/db", "Mounts": list(mounts), "HostConfig": {"Binds": None, "Mounts": None, **host}}


@pytest.mark.parametrize(
    ("volume", "users", "says"),
    [
        (LOCAL, {"data": ["db"]}, None),
        ({"Driver": "local", "Options": {}}, {}, None),
        ({**LOCAL, "Driver": "nfs4"}, {}, "is kept by the driver 'nfs4'"),
        ({**LOCAL, "Options": {"type": "nfs", "o": "addr=x"}}, {}, "is a mount of something else (o=addr=x, type=nfs)"),
        (LOCAL, {"data": ["db", "web", "cron"]}, "is used by cron, web too"),
    ],
)
def test_a_volume_of_dockers_own_travels(volume: dict[str, Any], users: dict[str, list[str]], says: str | None) -> None:
    found = _volumes.refusals(inspected(DATA), {"data": volume}, users)
    assert len(found) == (1 if says else 0) and (says is None or says in found[0])


def test_a_part_of_a_volume_does_not_travel() -> None:
    asked = {"Type": "volume", "Source": "data", "Target": "/data", "VolumeOptions": {"Subpath": "deep"}}
    assert (
        "only a part of the volume data" in _volumes.refusals(inspected(DATA, Mounts=[asked]), {"data": LOCAL}, {})[0]
    )


@pytest.mark.parametrize(
    ("host", "anonymous"),
    [
        ({}, True),
        ({"Binds": ["data:/data:ro"]}, False),
        ({"Binds": ["other:/data/deep"]}, True),
        ({"Binds": ["data:/data/"]}, False),
        ({"Binds": ["data://data/."]}, False),
        ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/x/../data"}]}, False),
        ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/data"}]}, False),
        ({"Mounts": [{"Type": "volume", "Target": "/data"}]}, True),
    ],
)
def test_who_chose_the_name(host: dict[str, Any], anonymous: bool) -> None:
    assert _volumes.anonymous(inspected(DATA, **host), "/data") is anonymous


def test_users_are_all_that_have_it_running_or_not() -> None:
    shorts = [
        {"Names": ["/db"], "Mounts": [DATA]},
        {"Names": ["/old"], "Mounts": [DATA, {"Type": "bind"}]},
        {"Names": ["/x"]},
    ]
    assert _volumes.users(shorts) == {"data": ["db", "old"]}


def test_the_size_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file").write_bytes(b"x" * 8192)
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 30)
    assert 8192 <= _volumes.size(str(tmp_path)) < 1 << 20
    assert _volumes.size("/nowhere") == 0


def test_a_volume_in_two_places_would_be_copied_twice() -> None:
    found = _volumes.refusals(
        inspected(DATA, {**DATA, "Destination": "/more"}), {"data": LOCAL}, {"data": ["db", "db"]}
    )
    assert len(found) == 1 and "is mounted twice in the container db" in found[0]


def test_what_the_host_has_mounted_inside_does_not_travel() -> None:
    """Docker does not know of it, and the destination would show the empty directory below it."""

    def mounted(*points: str) -> str:
        return "".join(f"{number} 1 8:1 / {point} rw - ext4 /dev/sda rw\n" for number, point in enumerate(points))

    database = inspected(DATA, {"Type": "tmpfs", "Destination": "/scratch"})
    quiet = mounted("/", "/data", "/data/deep", "/data2", "/scratch/x", "/data/own")
    assert _volumes.mount_refusals(database, quiet, ["/data/deep/", "/data/own"]) == []
    says = _volumes.mount_refusals(database, mounted("/data", "/data/deep", "/data/a\\040b"), [])
    assert len(says) == 2 and "inside the container db at /data/a b: unmount it" in says[0]


def test_a_mount_behind_a_link_is_elsewhere_for_criu() -> None:
    """``-v run:/var/run/app``, where ``/var/run`` is a link to ``/run``: as in every Debian."""
    line = "1 1 8:1 / /run/app rw - ext4 /dev/sda rw\n"
    database = inspected({**DATA, "Destination": "/var/run/app"})
    assert (
        "the mount at /var/run/app in the container db leads through" in _volumes.mount_refusals(database, line, [])[0]
    )
    assert _volumes.mount_refusals(database, line.replace("/run", "/var/run"), []) == []
    assert _volumes.mount_refusals(database, "", []) == [], "it has ended meanwhile"
