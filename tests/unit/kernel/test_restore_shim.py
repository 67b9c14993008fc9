# Copyright: (c) 2026, The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object that is preloaded into CRIU, in a Python that makes the calls that CRIU makes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "collections/ansible_collections/relocate/mtd/proxy/restore_shim.c"
#: What CRIU does at a restore, as far as the object sees it; "1" and "2" are said when a wait is over.
RESTORE = """
import os, socket, sys
images = os.open(sys.argv[1], os.O_RDONLY)
for name in ("core-1.img", "inventory.img", "inventory.img"):
    os.close(os.open(name, os.O_RDONLY, dir_fd=images))
print(1, flush=True)
criu, runc = socket.socketpair()
notice = bytes([8, 6, 16, 1, 42, 12, 10, 10]) + b"pre-resume"
criu.send(b"pre-resume in a log")
runc.send(b"anything")
assert criu.recv(100) == b"anything"
runc.send(b"agreed")
criu.send(notice)
assert criu.recv(100) == b"agreed"
print(2, flush=True)
"""
#: Sends messages to itself and prints the type that each arrives with.
REQUESTS = """
import socket, struct
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for length, kind, flags in ((20, 0x101, 0x301), (20, 0x101, 0x1), (20, 0x100, 0x301), (24, 0x101, 0x301)):
    ours.sendmsg([struct.pack("=IHHII", length, kind, flags, 7, 0) + bytes(length - 16)])
    print(hex(struct.unpack_from("=IH", theirs.recv(100))[1]))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile it as the role does."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    made = tmp_path_factory.mktemp("shim") / "restore_shim.so"
    command = [
        "cc",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-Os",
        "-nostdlib",
        "-o",
        str(made),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
    return made


class Keeper:
    """Where CRIU asks."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(10)

    def asked(self) -> tuple[socket.socket, bytes]:
        """Return the next question, and where to answer it."""
        client, _ = self.listener.accept()
        client.settimeout(10)
        return client, client.recv(10)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """Return a keeper that listens."""
    made = Keeper(tmp_path / "verdict")
    yield made
    made.listener.close()


def restore(shim: Path, directory: Path, pid: int) -> subprocess.Popen[str]:
    """Start what makes CRIU's calls. A copy that is to be killed has this pid."""
    for name in ("core-1.img", "inventory.img"):
        (directory / name).touch()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "RELOCATE_VERDICT": str(directory / "verdict"),
        "RELOCATE_PID": str(pid),
    }
    command = [sys.executable, "-c", RESTORE, str(directory)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def copy() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that stands for the init of the copy."""
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def test_it_waits_for_the_image_and_for_the_verdict(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]
) -> None:
    """Once for the image, however often it is opened; and nobody is killed on a commit."""
    criu = restore(shim, tmp_path, copy.pid)
    answer, question = keeper.asked()
    assert question == b"i"
    answer.send(b"o")
    answer, question = keeper.asked()
    assert question == b"p"
    answer.send(b"c")
    assert criu.communicate(timeout=10)[0] == "1\n2\n" and criu.returncode == 0
    assert copy.poll() is None


def test_an_image_that_does_not_come(shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes]) -> None:
    """CRIU ends, and has made nothing: the pid is still the placeholder's, which the keeper ends."""
    criu = restore(shim, tmp_path, copy.pid)
    answer, _ = keeper.asked()
    answer.send(b"x")
    assert criu.communicate(timeout=10)[0] == "" and criu.returncode == 1
    assert copy.poll() is None


@pytest.mark.parametrize("verdict", [b"x", b""], ids=["cancelled", "the keeper is gone"])
def test_a_copy_that_must_not_run(
    shim: Path, tmp_path: Path, keeper: Keeper, copy: subprocess.Popen[bytes], verdict: bytes
) -> None:
    """It is killed before CRIU lets it go."""
    criu = restore(shim, tmp_path, copy.pid)
    answer, _ = keeper.asked()
    answer.send(b"o")
    answer, _ = keeper.asked()
    answer.send(verdict) if verdict else answer.close()
    assert criu.communicate(timeout=10)[0] == "1\n" and criu.returncode == 1
    assert copy.wait(10) == -9


def test_without_a_keeper_nothing_waits(shim: Path, tmp_path: Path) -> None:
    """At the dump it is the same object."""
    for name in ("core-1.img", "inventory.img"):
        (tmp_path / name).touch()
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    command = [sys.executable, "-c", RESTORE, str(tmp_path)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "1\n2\n"


def test_a_listing_of_connections_is_made_short(shim: Path) -> None:
    """That one request and no other."""
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    done = subprocess.run(
        [sys.executable, "-c", REQUESTS], env=environment, capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout.split() == ["0x106", "0x101", "0x100", "0x101"]
