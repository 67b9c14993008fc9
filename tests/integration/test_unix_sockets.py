# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix sockets bound in a room of their own, and what the kernel tells of their files: both take root."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _traits, _unix_files
from relocate_proxy.host import unix_sockets

from .namespaces import Network


@pytest.mark.parametrize("address", [b"/none/at/all", b"../x/./y", b"/" + b"z" * 107, b"\xff", b"."])
@pytest.mark.parametrize("keep", [True, False], ids=["with a name", "without"])
def test_a_connection_is_given_an_address(tmp_path: Path, address: bytes, keep: bool) -> None:
    """As CRIU gives it none: the other end sees it, too; and nothing but its file is left, if that is asked for."""
    ours, theirs = socket.socketpair()
    directory = os.open(tmp_path, os.O_PATH)
    with ours, theirs:
        if address == b".":
            with pytest.raises(OSError, match="Address already in use"):
                unix_sockets.bind(ours, address, directory, keep)
            assert list(tmp_path.iterdir()) == []
            return
        unix_sockets.bind(ours, address, directory, keep)
        assert os.fsencode(ours.getsockname()) == os.fsencode(theirs.getpeername()) == address
        file = _unix_files.file_of(ours)
        path = _unix_files.path_of(file, "/")
        assert path == (f"{tmp_path}/{unix_sockets.TOKEN.decode()}own" if keep else "")
        assert [str(each) for each in tmp_path.iterdir()] == [path] * keep
        os.close(file)
    os.close(directory)
    assert Path("/proc/self/root").resolve() == Path("/"), "only a thread had another root"


ACCEPTING = """
import os, socket, sys
os.chdir(sys.argv[1])
pair, server, own = socket.socketpair(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
server.bind("file")
server.listen()
own.connect("file")
print("listens", flush=True)
accepted = server.accept()[0], server.accept()[0]
print("accepted", flush=True)
sys.stdin.read()
"""


def test_who_has_connected_from_another_network_is_outside(tmp_path: Path) -> None:
    """The kernel lists the end that the program has there, too."""
    network = Network()
    told = lambda: [  # noqa: E731
        each for each in _traits.program_refusals([program.pid], network.pid) if "by a unix socket" in each
    ]
    command = ["nsenter", f"--net={network.path}", sys.executable, "-c", ACCEPTING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None and program.stdin is not None
        assert program.stdout.readline() == "listens\n"
        assert told() == []
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/file")
            assert program.stdout.readline() == "accepted\n"
            (found,) = told()
            assert "with a program outside of the container, and would be cut off" in found
        program.stdin.close()
    network.close()


def test_the_file_of_a_socket_is_told_wherever_it_is(tmp_path: Path) -> None:
    """The kernel follows it."""
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="SIOCUNIXFILE"):
            _unix_files.file_of(sock)
        sock.bind(str(tmp_path / "s.1"))
        (tmp_path / "s.1").rename(tmp_path / "s")
        file = _unix_files.file_of(sock)
        assert _unix_files.path_of(file, "/proc/self/root") == str(tmp_path / "s")
        assert not os.get_inheritable(file)
        os.close(file)
