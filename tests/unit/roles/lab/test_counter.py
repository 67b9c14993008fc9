# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counter tenant: every connection counts for itself, contiguously, however its lines arrive."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.needs("gcc")


def numbers(connection: socket.socket, count: int) -> list[int]:
    """Read ``count`` answers."""
    received = b""
    while received.count(b"\n") < count:
        block = connection.recv(65536)
        assert block, f"the server hung up after {received!r}"
        received += block
    return [int(line) for line in received.split()]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, built as for the image but for the static linking that not every machine has the library for."""
    binary = tmp_path_factory.mktemp("counter") / "counter"
    source = ROOT / "roles" / "lab" / "files" / "counter.c"
    subprocess.run(["gcc", "-std=gnu17", "-Os", "-Wall", "-Wextra", "-Werror", "-o", binary, source], check=True)
    return binary


@pytest.fixture
def port(program: Path) -> Iterator[int]:
    """A running server's port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    with subprocess.Popen([program, str(free), "1"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"listening on {free} with 1 MB\n"
        yield free
        assert server.poll() is None, "the server ended by itself"
        server.terminate()
        assert server.wait(timeout=60) == 15, "SIGTERM must end it, even as process 1 of a container"


def test_each_connection_counts_for_itself(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as two:
        for expected in range(1, 50):
            one.sendall(b"tick\n")
            assert numbers(one, 1) == [expected]
        two.sendall(b"\n")
        assert numbers(two, 1) == [1]


def test_lines_in_pieces_and_in_bulk_are_all_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for piece in (b"a", b"b\nc", b"\n", b"\n\n"):
            connection.sendall(piece)
        assert numbers(connection, 4) == [1, 2, 3, 4]
        connection.sendall(b"\n" * 50_000)
        assert numbers(connection, 50_000) == list(range(5, 50_005))


def test_a_client_that_does_not_read_keeps_nobody_waiting(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as deaf, socket.create_connection(("127.0.0.1", port)) as keen:
        for _ in range(30):
            deaf.sendall(b"\n" * 60_000)
        keen.settimeout(60)
        keen.sendall(b"\n")
        assert numbers(keen, 1) == [1]
        assert numbers(deaf, 1_800_000) == list(range(1, 1_800_001))


def test_hundreds_of_connections_come_and_go(port: int) -> None:
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    for connection in connections[::2]:
        connection.close()
    for connection in connections[1::2]:
        connection.sendall(b"\n\n")
        assert numbers(connection, 2) == [1, 2]
        connection.close()
    with socket.create_connection(("127.0.0.1", port)) as late:
        late.sendall(b"\n")
        assert numbers(late, 1) == [1]


@pytest.mark.parametrize(
    "arguments",
    [["x"], ["70000"], ["7000", "-1"], ["7000", "1 "], ["7000", "1", "/", "-1", "1"], ["7000", "1", "/", "1", "0"]],
)
def test_wrong_arguments_are_refused_by_name(program: Path, arguments: list[str]) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "must be a whole number" in done.stderr


def datagrams(family: socket.AddressFamily, address: str, port: int) -> list[int]:
    """Ask five times from one socket."""
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(60)
        asking.connect((address, port))
        answers = []
        for _ in range(5):
            asking.send(b"x\n")
            answers.append(int(asking.recv(64)))
        return answers


def test_datagrams_are_counted_by_where_they_come_from(port: int) -> None:
    assert datagrams(socket.AF_INET, "127.0.0.1", port) == [1, 2, 3, 4, 5]
    assert datagrams(socket.AF_INET, "127.0.0.1", port) == [1, 2, 3, 4, 5], "another port is another peer"


def test_one_socket_for_both_families(program: Path) -> None:
    """IPv4 clients come to it as mapped addresses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    with subprocess.Popen([program, "-6", str(free), "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"listening on {free} with 0 MB\n"
        with socket.create_connection(("127.0.0.1", free)) as connection:
            connection.sendall(b"\n\n")
            assert numbers(connection, 2) == [1, 2]
            assert server.stdout.readline().startswith("accepted ::ffff:127.0.0.1:")
        assert datagrams(socket.AF_INET, "127.0.0.1", free) == [1, 2, 3, 4, 5]
        server.terminate()


def test_memory_that_is_as_it_was_made_is_found_so_after_any_number_of_stamps(port: int) -> None:
    """One page is stamped with every answer; 600 answers go twice round a megabyte."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"verify\n" + b"\n" * 600)
        assert numbers(one, 601)[-1] == 601
        one.sendall(b"verify\n")
        assert numbers(one, 1) == [602]


def test_a_page_that_was_lost_is_found(program: Path) -> None:
    """What a page of zeros looks like that a missing one was replaced with."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    with subprocess.Popen([program, str(free), "1"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        server.stdout.readline()
        maps = Path(f"/proc/{server.pid}/maps").read_text(encoding="ascii").splitlines()
        begin = next(
            int(low, 16)
            for low, _, high in (line.split()[0].partition("-") for line in maps if "rw-p 00000000 00:00 0" in line)
            if int(high, 16) - int(low, 16) >= 1 << 20
        )
        with open(f"/proc/{server.pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
            memory.seek(begin + 77 * 4096)
            memory.write(bytes(4096))
        with socket.create_connection(("127.0.0.1", free)) as one:
            one.sendall(b"verify\n")
            assert one.recv(10) == b""
        assert server.wait(timeout=60) == 3
        assert "is wrong" in server.stdout.read()


def test_a_volume_is_written_round_and_round_until_a_block_is_wrong(program: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    arguments = [str(free), "0", str(tmp_path), "17", "200"]
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"listening on {free} with 0 MB\n"
        files = [tmp_path / "0", tmp_path / "1"]
        assert [file.stat().st_size >> 20 for file in files] == [16, 1], "it answers when the volume is full"
        first = files[1].read_bytes()
        deadline = time.monotonic() + 60
        while files[1].read_bytes() == first:
            assert time.monotonic() < deadline, "a round did not end"
        assert server.poll() is None, "what it has written itself is right"
        for file in files:
            file.write_bytes(bytes(file.stat().st_size))
        assert server.wait(timeout=60) == 4
        assert "of the volume is wrong" in server.stdout.read()


def test_nothing_is_written_where_there_is_no_volume(program: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    arguments = [str(free), "0", str(tmp_path), "0", "1000"]
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"listening on {free} with 0 MB\n"
        child = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()[0]
        deadline = time.monotonic() + 60
        while int(Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11]) < 2:
            assert time.monotonic() < deadline, "its child does not work"
            time.sleep(0.01)
        assert not list(tmp_path.iterdir())
        server.terminate()


def test_the_words_of_a_volume_belong_together(program: Path) -> None:
    done = subprocess.run([program, "7000", "1", "/tmp"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "belong together" in done.stderr


def test_a_child_holds_connections_to_it(program: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    arguments = ["-u", tmp_path / "peers", "20", str(free), "0"]
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"listening on {free} with 0 MB\n"
        table = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
        ends = [line.split()[5] for line in table if line.endswith(f" {tmp_path / 'peers'}")]
        assert sorted(ends) == ["01", *["03"] * 20], "one listens, and 20 are connected"
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()
        assert len(children) == 1
        server.terminate()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{children[0]}").exists():
        assert time.monotonic() < deadline, "the child has outlived it"
        time.sleep(0.01)
