# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the address space of programs: written by hand for what this machine has not got, else of a real process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _areas
from ansible_collections.relocate.mtd.plugins.module_utils._areas import GIB, TIB, Spaces

MIB = 1 << 20
NEW, OLD = "6.18.44-fc", "6.1.0-40-amd64"
#: Reserves a TiB, of which it may write one MiB; maps 2 GiB of shared memory twice; says where the first begins.
PROGRAM = """
import ctypes, resource, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
at = libc.mmap(None, 1 << 40, 0, 0x22, -1, 0)
libc.mprotect(at + (1 << 30), 1 << 20, 3)
libc.mmap(None, 2 << 30, 3, 0x4021, -1, 0)
exec(sys.argv[1])
print(at, flush=True)
time.sleep(100)
"""


@pytest.fixture
def program() -> Iterator[Callable[..., int]]:
    """Return what starts a program that has reserved address space, and returns its pid."""
    started = []

    def start(then: str = "") -> int:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, then], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout and process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what writes down a process whose only area has this size."""
    monkeypatch.setattr(_areas, "PROC", str(tmp_path))

    def write(pid: int, parent: int, size: int, modes: str = "---p", resident: int = 0) -> None:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "maps").write_text(f"{MIB:x}-{MIB + size:x} {modes} 00000000 00:00 0 \n")
        (tmp_path / str(pid) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
        (tmp_path / str(pid) / "statm").write_text(f"9 {resident} 0\n")

    return write


def test_what_a_program_has_reserved(program: Callable[..., int]) -> None:
    """Only what it may write must be promised in a stop-and-copy; otherwise CRIU maps all as if it could be written."""
    needs = Spaces([program()]).needs(NEW)
    assert MIB < needs["committed_bytes"] < GIB and TIB < needs["mapped_bytes"] < TIB + GIB
    assert 10 < needs["areas"] < 1000


def test_what_is_reserved_makes_the_freeze_longer(program: Callable[..., int]) -> None:
    """Shared memory once, however often it is mapped; private memory where the kernel is asked for each page."""
    pid = program("import os; os.fork()")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spaces = Spaces([pid, *map(int, children)])
    try:
        assert spaces.needs(NEW)["walk_ms"] == 2 * _areas.SHARED_MS_PER_GIB
        assert (
            2 * 1024 * _areas.PRIVATE_MS_PER_GIB < spaces.needs(OLD)["walk_ms"] < 2 * 1100 * _areas.PRIVATE_MS_PER_GIB
        )
        needs = spaces.needs(NEW)
        assert 3 * TIB < needs["mapped_bytes"] < 4 * TIB, "the child begins with what its parent has, and gets its own"
        assert needs["committed_bytes"] == needs["mapped_bytes"]
    finally:
        subprocess.run(["kill", "-9", *children], check=True)


def test_many_areas_make_the_freeze_longer(program: Callable[..., int]) -> None:
    """What a container usually has is in the fixed part of the prediction."""
    many = "for i in range(0, 4000, 2): libc.mprotect(at + i * 4096, 4096, 1)"
    needs = Spaces([program(many)]).needs(NEW)
    assert 4000 < needs["areas"] < 5000
    extra = (needs["areas"] - _areas.USUAL_AREAS) * _areas.AREA_MS
    assert needs["walk_ms"] == pytest.approx(extra + 2 * _areas.SHARED_MS_PER_GIB, abs=0.1)


def test_a_process_that_has_ended_needs_nothing() -> None:
    nothing = {"areas": 0, "committed_bytes": 0, "mapped_bytes": 0, "walk_ms": 0.0}
    assert Spaces([2**22 + 1]).needs(NEW) == nothing and Spaces([2**22 + 1]).problems() == []


def test_a_limit_of_address_space_that_leaves_no_room(program: Callable[..., int]) -> None:
    """CRIU's list of pages lies in the process itself."""
    assert Spaces([program()]).problems() == []
    wide = program("resource.setrlimit(resource.RLIMIT_AS, ((1 << 40) + (20 << 30),) * 2)")
    assert Spaces([wide]).problems() == []
    narrow = program("resource.setrlimit(resource.RLIMIT_AS, ((1 << 40) + (4 << 30),) * 2)")
    [(pid, says)] = Spaces([narrow]).problems()
    assert pid == narrow and "MiB more (RLIMIT_AS), and CRIU needs 41" in says


@pytest.mark.parametrize(
    ("size", "resident", "says"),
    [
        (16 * TIB - GIB, 100, None),
        (16 * TIB + MIB, 100, "has reserved 16 TiB of address space, or a multiple of it, where CRIU miscounts"),
        (16 * TIB + 8 * MIB, 100, None),
        (16 * TIB + 8 * MIB, 2000, "miscounts"),
        (20 * TIB, 1 << 20, None),
        (80 * TIB, 100, "miscounts"),
        (81 * TIB, 100, "has reserved 81 TiB of address space, and 80 can be carried"),
    ],
)
def test_what_is_too_much(proc: Callable[..., None], size: int, resident: int, says: str | None) -> None:
    proc(7, 1, size, resident=resident)
    found = Spaces([7]).problems()
    assert len(found) == (says is not None) and all(str(says) in each for _, each in found)


def test_a_child_needs_the_room_of_its_parent_too(proc: Callable[..., None]) -> None:
    proc(7, 1, 41 * TIB)
    proc(8, 7, 41 * TIB)
    assert [pid for pid, _ in Spaces([7, 8]).problems()] == [8]


SMAPS = """\
7f0000000000-7f0000001000 {modes} 00000000 00:00 0 
Size:                  4 kB
ProtectionKey:         {key}
VmFlags: rd wr mr {flags}mw me ac
7ffc000c5000-7ffc000c7000 r-xp 00000000 00:00 0                          [vdso]
ProtectionKey:         0
VmFlags: rd ex mr mw me de sl
"""  # noqa: W291


@pytest.mark.parametrize(
    ("modes", "flags", "key", "says"),
    [
        ("rw-p", "", 0, ""),
        ("rw-p", "lo dd hg nr ", 0, ""),
        ("rw-p", "sl ", 0, "sealed memory (mseal)"),
        ("rw-p", "lf lo ", 0, "locked as it is used"),
        ("rw-p", "", 3, "protection key (pkey_mprotect)"),
        ("--xp", "", 3, ""),
    ],
)
def test_what_criu_would_forget(modes: str, flags: str, key: int, says: str) -> None:
    """The kernel's own pages may be sealed, and it keeps by a key what may be executed and not read."""
    found = _areas.forgotten(SMAPS.format(modes=modes, flags=flags, key=key))
    assert len(found) == bool(says) and all(says in each for each in found)
