# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of unix sockets, told of one and given to another.

Which file a socket has, the kernel tells root alone: here it is opened by its path. Binding in a room takes root, too:
``tests/integration/test_unix_sockets.py``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _unix_files
from relocate_proxy.host import unix_sockets
from relocate_proxy.host.unix_sockets import Misplaced

SECOND = 10**9


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, int]]:
    """Return the files of sockets by the addresses that they were bound to."""
    found: dict[bytes, int] = {}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices").mkdir()
    monkeypatch.setattr(unix_sockets, "DEVICES", f"{tmp_path}/devices")
    monkeypatch.setattr(_unix_files, "file_of", lambda sock: os.dup(found[_unix_files.address_of(sock)]))
    yield found
    for each in found.values():
        os.close(each)


def bound(files: dict[bytes, int], address: str) -> socket.socket:
    """Return a socket that listens."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    sock.listen()
    files[os.fsencode(address)] = os.open(address, os.O_PATH)
    return sock


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(each.name for each in directory.iterdir())


def described(sock: socket.socket, **other: Any) -> dict[str, Any]:
    """Return what is told of a socket of this process."""
    told = unix_sockets.description(sock, "/")
    assert told
    return {**told, "pid": 1, "fd": sock.fileno(), **other}


def heard(*told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what comes over the network of that."""
    return unix_sockets.read(json.dumps([{key: each[key] for key in unix_sockets.TOLD} for each in told]).encode())


def test_a_file_has_its_name_owner_mode_and_times_again(tmp_path: Path, files: dict[bytes, int]) -> None:
    """The copy's was made by CRIU, in the same directory; at the name that it is to have lies a dead one."""
    (tmp_path / "run").mkdir()
    with bound(files, "run/s.1") as original:
        Path("run/s.1").rename("run/s")
        Path("run/s").chmod(0o620)
        os.utime("run/s", ns=(0, SECOND))
        os.utime("run", ns=(0, 2 * SECOND))
        told = described(original)
        assert told["path"] == f"{tmp_path}/run/s" and told["parents"][f"{tmp_path}/run"] == 2 * SECOND
    with bound(files, "run/s.1") as copy:
        unix_sockets.settle(heard({**told, "fd": copy.fileno()}), {1: os.getpid()}, "/")
        assert names(tmp_path / "run") == ["s"]
        status = (tmp_path / "run/s").stat()
        assert os.path.samestat(status, os.fstat(files[b"run/s.1"]))
        assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o620, SECOND)
        assert (tmp_path / "run").stat().st_mtime_ns == 2 * SECOND


def test_all_names_of_a_file_are_made_again(tmp_path: Path, files: dict[bytes, int]) -> None:
    """One that the layer has brought belongs to nobody. A file whose first name is gone takes another for its own."""
    with bound(files, "first") as sock:
        os.link("first", "second")
        os.link("first", "third")
        Path("first").unlink()
        [told] = unix_sockets.nameless([described(sock)])
        unix_sockets.name(told, [f"{tmp_path}/{each}" for each in ("second", "third", "none")], "/")
        assert (told["path"], told["names"]) == (f"{tmp_path}/second", [f"{tmp_path}/third"])
        with pytest.raises(LookupError, match=r"bound to first has more names than were found"):
            unix_sockets.name(described(sock), [f"{tmp_path}/third"], "/")
    Path("second").unlink()
    with bound(files, "token") as copy:
        unix_sockets.settle(heard({**told, "address": "token", "fd": copy.fileno()}), {1: os.getpid()}, "/")
        assert names(tmp_path) == ["devices", "second", "third"]
        assert {each.stat().st_ino for each in tmp_path.iterdir() if each.is_socket()} == {
            os.fstat(files[b"token"]).st_ino
        }


def test_a_file_is_given_to_one_socket_only() -> None:
    """To that which takes connections, if there is one, and not to those that it has taken."""
    told: list[dict[str, Any]] = [
        {"connection": True, "path": "/a", "file": [1, 2, 2]},
        {"connection": False, "path": "/a", "file": [1, 2, 2]},
        {"connection": True, "path": "/b", "file": [1, 3, 1]},
        {"connection": True, "path": "/b", "file": [1, 3, 1]},
    ]
    unix_sockets.settle_shared(told)
    assert [each["path"] for each in told] == ["", "/a", "/b", ""]
    assert unix_sockets.nameless(told) == [told[1]]


def test_an_address_leads_where_links_of_the_container_do(tmp_path: Path, files: dict[bytes, int]) -> None:
    """And not where they would lead on the host."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("/run")
    with bound(files, "run/s"):
        status = os.fstat(files[b"run/s"])
        assert unix_sockets._leads(str(tmp_path), b"/var/s", status)
        assert unix_sockets._leads(str(tmp_path), b"/../run/./s", status)
        assert not unix_sockets._leads(str(tmp_path), b"/var/t", status)
        assert not unix_sockets._leads(str(tmp_path), b"run/s", status), "a relative one: of whom?"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"address": "other"}, "it is bound to run-s there"),
        ({"pid": 2}, "its process is missing"),
        ({"path": "/none/s"}, "No such file"),
    ],
    ids=["address", "process", "directory"],
)
def test_what_cannot_be_the_same(tmp_path: Path, files: dict[bytes, int], wrong: dict[str, Any], says: str) -> None:
    """It is said in one sentence, and the move is rolled back."""
    with bound(files, "run-s") as sock, pytest.raises(Misplaced, match=f"^the unix socket bound to .*{says}"):
        unix_sockets.settle(heard(described(sock, **wrong)), {1: os.getpid()}, "/")


def test_a_link_that_the_source_has_put_in_the_way_is_not_followed(tmp_path: Path, files: dict[bytes, int]) -> None:
    """We are root, and it would lead out of the copy."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with bound(files, "s") as sock, pytest.raises(Misplaced, match="Not a directory"):
        unix_sockets.settle(heard(described(sock, path=f"{tmp_path}/link/s")), {1: os.getpid()}, "/")
    assert names(tmp_path / "out") == [] and names(tmp_path) == ["devices", "link", "out", "s"]


def test_a_connection_whose_file_is_hidden_has_its_address_alone(files: dict[bytes, int], tmp_path: Path) -> None:
    """Nobody comes to it; of one that listens, somebody must."""
    with bound(files, "s") as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect("s")
        with sock.accept()[0] as server:
            root = f"{tmp_path}/root"
            (tmp_path / f"root{unix_sockets.DEVICES}").mkdir(parents=True)
            told = unix_sockets.description(server, root)
            assert told and told["path"] == "" and unix_sockets.nameless([told]) == []
            with pytest.raises(_unix_files.Lost):
                unix_sockets.description(sock, root)


def test_names_of_any_bytes_come_over(tmp_path: Path, files: dict[bytes, int]) -> None:
    """JSON knows none."""
    with bound(files, os.fsdecode(b"\xff\xfe")) as sock:
        [told] = heard(described(sock))
        assert os.fsencode(told["address"]) == b"\xff\xfe" and os.fsencode(told["path"]).endswith(b"/\xff\xfe")
