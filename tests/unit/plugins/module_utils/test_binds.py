# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bind mounts travel: those that both hosts' policies name, and that show the same on both."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _binds
from ansible_collections.relocate.mtd.plugins.module_utils._binds import SAME, SHARED, Bind, Policy


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a host's root, as it were."""
    (tmp_path / "same").mkdir()
    (tmp_path / "same/zone").write_text("UTC")
    (tmp_path / "shared/deep").mkdir(parents=True)
    (tmp_path / "shared/file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    return tmp_path


def of(host: Path) -> Policy:
    return Policy((f"{host}/same",), (f"{host}/shared", f"{host}/link"))


def described(host: Path, *binds: str, mounts: Any = None) -> tuple[list[dict[str, Any]], list[str]]:
    settings = {"Binds": [f"{host}{bind}" for bind in binds], "Mounts": mounts}
    return _binds.describe({"Name": "/web", "HostConfig": settings}, of(host))


def test_what_the_policy_names_travels(host: Path) -> None:
    found, refused = described(host, "/same/zone:/etc/localtime:ro", "/shared/deep:/srv", "/shared:/all:rw,rprivate")
    assert refused == []
    inodes = [(host / name).stat().st_ino for name in ("shared/deep", "shared")]
    assert found == [
        {
            "source": f"{host}/same/zone",
            "point": "/etc/localtime",
            "rule": SAME,
            "digest": _binds.digest(f"{host}/same/zone"),
        },
        {"source": f"{host}/shared/deep", "point": "/srv", "rule": SHARED, "inode": inodes[0]},
        {"source": f"{host}/shared", "point": "/all", "rule": SHARED, "inode": inodes[1]},
    ]
    assert _binds.refusals("host2", found, of(host)) == []


@pytest.mark.parametrize(
    ("bind", "says"),
    [
        ("/other:/srv", "is not carried: use a volume, or name it in relocate_binds and run prepare.yml"),
        ("/same/zone:/etc/localtime", "is not carried: mount it read-only"),
        ("/shared2:/srv", "shows what is not there any more: restart the container"),
        ("/shared/../other:/srv", "is not carried"),
        ("/shared:/srv:rshared", "has the option rshared: only private ones are carried"),
        ("/shared:/srv:ro,slave", "has the option slave"),
        ("/shared/file:/srv/file", "a single file of a shared directory: mount the directory"),
        ("/link:/srv", "leads through a symbolic link: mount "),
    ],
)
def test_what_it_does_not_name_stays(host: Path, bind: str, says: str) -> None:
    found, refused = described(host, bind)
    assert found == [] and len(refused) == 1 and says in refused[0], refused


def test_a_socket_of_the_host_stays_even_where_it_is_named(host: Path) -> None:
    """docker.sock is the one that everybody binds."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{host}/shared/docker.sock")
        _, refused = described(host, "/shared/docker.sock:/var/run/docker.sock")
    assert "a socket, pipe or device of this host" in refused[0]


def test_mounts_of_the_long_form(host: Path) -> None:
    long = {"Type": "bind", "Source": f"{host}/shared/", "Target": "//srv/", "ReadOnly": True}
    found, refused = described(host, mounts=[long, {"Type": "volume", "Source": "data", "Target": "/data"}])
    assert refused == [] and [each["point"] for each in found] == ["/srv"]
    _, refused = described(host, mounts=[{**long, "BindOptions": {"Propagation": "rslave"}}])
    assert "has the option rslave" in refused[0]
    assert _binds.asked({"Mounts": [long]}) == [Bind(f"{host}/shared", "/srv", True)]


@pytest.mark.parametrize(
    "host", [{"Binds": [1]}, {"Binds": ["/a"]}, {"Binds": ["/a:b"]}, {"Mounts": [1]}, {"Mounts": [{"Type": "bind"}]}]
)
def test_what_docker_would_never_say_is_an_error(host: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Binds|Mounts"):
        _binds.asked(host)


def test_another_host_decides_for_itself(host: Path) -> None:
    found, _ = described(host, "/same/zone:/etc/localtime:ro", "/shared:/srv")
    nothing = _binds.refusals("host2", found, Policy((), (), "its policy is broken"))
    assert len(nothing) == 2 and all("host2 does not show" in each and "is broken" in each for each in nothing)
    assert "(same)" in nothing[0] and "(shared)" in nothing[1]
    swapped = Policy((f"{host}/shared",), (f"{host}/same",))
    assert len(_binds.refusals("host2", found, swapped)) == 2, "a shared directory is not shown as one that is the same"


def test_another_host_must_have_the_same(host: Path) -> None:
    found, _ = described(host, "/same/zone:/etc/localtime:ro", "/shared/deep:/srv")
    (host / "same/zone").write_text("CET")
    (host / "shared/deep").rename(host / "shared/moved")
    (host / "shared/deep").mkdir()
    says = _binds.refusals("host2", found, of(host))
    assert "is not what the container was shown" in says[0] and "is another directory" in says[1]
    (host / "same/zone").unlink()
    (host / "shared/deep").rmdir()
    assert all("install or mount it there" in each for each in _binds.refusals("host2", found, of(host)))
    (host / "shared/deep").symlink_to(host / "shared/moved")
    assert "is another directory" in _binds.refusals("host2", found[1:], of(host))[0]


def test_a_directory_is_the_same_if_all_in_it_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").write_text("1")
        (tmp_path / name / "link").symlink_to("deep")
    first = _binds.digest(f"{tmp_path}/a")
    assert _binds.digest(f"{tmp_path}/b") == first
    seen = {first}
    for change in (
        lambda: (tmp_path / "b/deep/file").write_text("2"),
        lambda: (tmp_path / "b/deep/more").touch(),
        lambda: (tmp_path / "b/deep/more").rename(tmp_path / "b/more"),
        lambda: ((tmp_path / "b/link").unlink(), (tmp_path / "b/link").symlink_to("elsewhere")),
        lambda: ((tmp_path / "b/link").unlink(), (tmp_path / "b/link").mkdir()),
    ):
        change()  # type: ignore[no-untyped-call]
        found = _binds.digest(f"{tmp_path}/b")
        assert found not in seen
        seen.add(found)


def test_what_is_too_large_is_not_compared(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_binds, "MOST_BYTES", 2)
    assert "has more than 0 MiB" in described(host, "/same/zone:/z:ro")[1][0]
    monkeypatch.setattr(_binds, "MOST_ENTRIES", 0)
    assert "has more than 0 entries" in described(host, "/same:/z:ro")[1][0]


def test_the_policy_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "binds.json"
    assert _binds.policy(str(path)) == Policy(_binds.USUAL, ())
    path.write_text(json.dumps({"shared": ["/srv"]}))
    assert _binds.policy(str(path)) == Policy(_binds.USUAL, ("/srv",))
    path.write_text(json.dumps({"same": []}))
    assert _binds.policy(str(path)) == Policy((), ())
    for wrong in ("[]", "{", '{"same": 1}', '{"same": ["etc"]}', '{"shared": [1]}'):
        path.write_text(wrong)
        found = _binds.policy(str(path))
        assert found[:2] == ((), ()) and "cannot be read" in found.problem


@pytest.mark.parametrize(
    ("source", "read_only", "rule"),
    [
        ("/etc/localtime", True, SAME),
        ("/etc/localtime", False, None),
        ("/etc/ssl/certs/ca.pem", True, SAME),
        ("/etc/ssl/certs2", True, None),
        ("/etc/ssl", True, None),
        ("/srv/a", False, SHARED),
        ("/srv/../etc", False, None),
        ("/srv", True, SHARED),
        ("/", True, None),
    ],
)
def test_a_path_with_what_lies_below_it(source: str, read_only: bool, rule: str | None) -> None:
    assert Policy(_binds.USUAL, ("/srv",)).rule(source, read_only) == rule
