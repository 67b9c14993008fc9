# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of unix sockets. Which file a socket has, the kernel tells root alone: here it is opened by its path."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _kernel, _unix_files
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fuzzing import fuzzed, outcome


@pytest.fixture
def bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return a socket that is bound to a path in a directory; the file that it has is told as the kernel does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("run/s.1")
        sock.listen()
        kept = os.open("run/s.1", os.O_PATH)
        monkeypatch.setattr(_unix_files, "file_of", lambda _: os.dup(kept))
        yield sock
        os.close(kept)


def path(root: Path) -> str:
    """Return where the socket's file is, as seen in a root of ours; links tell of the host's."""
    file = _unix_files.file_of(socket.socket())
    try:
        return _unix_files.path_of(file, "/")[len(str(root)) :]
    finally:
        os.close(file)


def test_a_file_is_found_by_the_name_that_it_has_now(tmp_path: Path, bound: socket.socket) -> None:
    """After it was renamed, and its directory, too; whatever lies at the address."""
    assert _unix_files.address_of(bound) == b"run/s.1" and path(tmp_path) == "/run/s.1"
    Path("run/s.1").rename("run/s (deleted)")
    Path("run/s.1").touch()
    assert path(tmp_path) == "/run/s (deleted)"
    Path("run").rename("else")
    assert path(tmp_path) == "/else/s (deleted)"
    os.link("else/s (deleted)", "else/link")
    Path("else/s (deleted)").unlink()
    assert path(tmp_path) == ""


def test_a_file_that_cannot_be_reached_is_lost(tmp_path: Path, bound: socket.socket) -> None:
    """Its name leads elsewhere in the root."""
    file = _unix_files.file_of(bound)
    with pytest.raises(_unix_files.Lost):
        _unix_files.path_of(file, str(tmp_path))
    os.close(file)


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Nor any other way out of the root."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    directory = _unix_files.opened(str(tmp_path), "/run/x")
    assert os.path.samestat(os.fstat(directory), (tmp_path / "run").stat())
    os.close(directory)
    for odd in ("/link/x", "/../x", "/run/../x", "//x/y", "/none/x"):
        with pytest.raises(OSError, match=r"\[Errno"):
            _unix_files.opened(str(tmp_path), odd)


def test_why_a_socket_stays(tmp_path: Path, bound: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is hidden, or a directory of the host has it; one that has been renamed is carried."""
    Path("run/s.1").rename("run/s")
    assert _unix_files.problems(bound, "/proc/self/root", ["/somewhere"]) == []
    monkeypatch.setattr(_unix_files, "mount_point", lambda *_: "/somewhere")
    [told] = _unix_files.problems(bound, "/proc/self/root", ["/somewhere"])
    assert "bound to run/s.1, in a directory of the host (/somewhere)" in told
    (tmp_path / "other").mkdir()
    [told] = _unix_files.problems(bound, str(tmp_path / "other"), [])
    assert "bound to run/s.1, whose file cannot be reached any more" in told
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("run/s")
        with bound.accept()[0] as server:
            assert _unix_files.problems(server, str(tmp_path / "other"), []) == [], "nobody comes to a connection"
    with socket.socket(socket.AF_UNIX) as unbound:
        assert _unix_files.problems(unbound, str(tmp_path / "other"), []) == []


def test_a_connection_is_told_from_what_others_come_to(tmp_path: Path, bound: socket.socket) -> None:
    """It shares the address of the socket that took it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("run/s.1")
        server, _ = bound.accept()
        assert _unix_files.address_of(server) == b"run/s.1"
        assert [_unix_files.is_connection(each) for each in (bound, client, server)] == [False, True, True]
        server.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind("run/d")
        datagrams.connect("run/d")
        assert not _unix_files.is_connection(datagrams)
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{tmp_path}")
        assert _unix_files.address_of(abstract) == b""


def test_the_kernels_table_tells_what_is_bound_to_a_path(bound: socket.socket) -> None:
    """Neither abstract addresses, nor sockets without any."""
    assert str(os.fstat(bound.fileno()).st_ino) in _unix_files.bound_inodes(_kernel.read_text("/proc/self/net/unix"))
    lines = [
        "Num RefCount",
        "0: 2 0 10000 1 1 77 /a b",
        "0: 2 0 10000 1 1 78 @a",
        "0: 2 0 0 1 1 79",
        "0: 2 0 0 1 1 80 r",
    ]
    assert _unix_files.bound_inodes("\n".join(lines)) == {"77", "80"}


def test_the_mount_that_a_file_is_below() -> None:
    """As the container's list of mounts has it, whatever that says."""
    file = os.open("/", os.O_PATH)
    assert _unix_files.mount_point(file, _kernel.read_text("/proc/self/mountinfo")) == "/"
    assert _unix_files.mount_point(file, "no list\n\n1") == ""
    os.close(file)


@fuzzed
@given(st.text(), st.binary(max_size=108))
def test_whatever_names_there_are(table: str, address: bytes) -> None:
    """A table that a stranger has written lines into, an address of any bytes."""
    assert all(isinstance(each, str) for each in outcome(_unix_files.bound_inodes, table) or ())
    assert _unix_files.plain(address).isprintable()
