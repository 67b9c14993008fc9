# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which memory a post-copy leaves behind, and that the image says so."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from relocate_proxy.memory import deferred
from relocate_proxy.memory.deferred import LAZY, PAGE, Area, Deferral
from relocate_proxy.protocol import protobuf

PRESENT = 4
MAPS = """\
55d0c8e9b000-55d0c8e9d000 r--p 00000000 fe:00 1234                       /usr/bin/python3
55d0ca000000-55d0cb000000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0040000000 rw-p 00000000 00:00 0 
7f0040000000-7f0050000000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0050000000-7f0060000000 rw-s 00000000 00:00 0 
7f0060000000-7f0070000000 rw-p 00000000 00:10 8                          /anon_hugepage (deleted)
7f0070000000-7f0070001000 r--p 00000000 00:00 0                          [anon: a pool]
7f0070001000-7f0080000000 ---p 00000000 00:00 0                          [anon: a pool]
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
7ffc000c1000-7ffc000c5000 r--p 00000000 00:00 0                          [vvar]
7ffc000c5000-7ffc000c7000 r-xp 00000000 00:00 0                          [vdso]
"""  # noqa: W291
#: An area of 3 MiB, two of them touched, with a locked page if asked to, and a thread that sleeps; says its address.
TASK = f"""
import ctypes, mmap, sys, threading, time
libc = ctypes.CDLL(None)
libc.prctl(0x59616D61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
kept = []
def area(pages):
    made = mmap.mmap(-1, 3 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(made))
    libc.madvise(ctypes.c_void_p(address), 3 << 20, 15)  # MADV_NOHUGEPAGE
    libc.mprotect(ctypes.c_void_p(address + (3 << 20) - {PAGE}), {PAGE}, 0)  # neighbours would be one area
    for page in range(pages):
        made[page * {PAGE}] = 1
    kept.append(made)
    return address
plain = area(512)
if len(sys.argv) > 1:
    libc.mlock(ctypes.c_void_p(plain), {PAGE})
threading.stack_size(8 << 20)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
time.sleep(0.2)
print(plain, flush=True)
time.sleep(1000)
"""


def task(*words: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the task; return it, when all its threads sleep, and the address of its area."""
    process = subprocess.Popen([sys.executable, "-c", TASK, *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    address = int(process.stdout.readline())
    while any(
        "running" in Path(thread, "syscall").read_text() for thread in Path(f"/proc/{process.pid}/task").iterdir()
    ):
        time.sleep(0.01)
    return process, address


@pytest.fixture
def plain() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Return a task without locked memory."""
    process, address = task()
    yield process, address
    process.kill()
    process.wait()


def test_only_private_anonymous_memory_can_come_later() -> None:
    found = [f"{start:x}" for start, _ in deferred.private_anonymous(MAPS)]
    assert found == ["55d0ca000000", "7f0000000000", "7f0070000000"]


def test_large_areas_are_deferred_but_for_their_stacks(plain: tuple[subprocess.Popen[bytes], int]) -> None:
    """Python's thread has its stack right below the area: to the kernel that is one."""
    process, address = plain
    found = deferred.areas([process.pid])
    assert [area for area in found if area.start <= address and address + (3 << 20) - PAGE <= area.end]
    pointers = [
        int(Path(thread, "syscall").read_text().split()[-2], 16)
        for thread in Path(f"/proc/{process.pid}/task").iterdir()
    ]
    assert len(pointers) == 2
    assert not [area for area in found for pointer in pointers if area.start <= pointer < area.end]
    assert found == sorted(found), "the preloaded object expects them in order"


@pytest.mark.parametrize(
    ("stacks", "parts"),
    [
        ([], [(10, 20)]),
        ([9, 21, 30], [(10, 20)]),
        ([10], [(11, 20)]),
        ([11], [(12, 20)]),
        ([15], [(10, 14), (16, 20)]),
        ([14, 15, 18], [(10, 13), (16, 17), (19, 20)]),
        ([20], [(10, 19)]),
        ([11, 13, 15, 17, 19], []),
    ],
)
def test_an_area_without_the_tops_of_stacks(stacks: list[int], parts: list[tuple[int, int]]) -> None:
    """In pages. The one below a pointer stays with it."""
    found = deferred.without_stacks(10 * PAGE, 20 * PAGE, [page * PAGE for page in stacks])
    assert [(start // PAGE, end // PAGE) for start, end in found] == parts


def test_a_process_with_locked_memory_is_carried() -> None:
    """CRIU locks it again, which would have every page wait for its own."""
    process, _ = task("locked")
    try:
        assert "VmLck:\t       4 kB" in Path(f"/proc/{process.pid}/status").read_text()
        assert deferred.areas([process.pid]) == []
    finally:
        process.kill()
        process.wait()


def test_a_process_that_has_ended_has_no_areas() -> None:
    assert deferred.areas([2**22 + 1]) == [] and deferred.carried_bytes([2**22 + 1]) == 0


def test_what_would_be_carried(plain: tuple[subprocess.Popen[bytes], int]) -> None:
    """An interpreter has some MiB of its own beside the 2 MiB of the area, and most of what it maps is files'."""
    process, _ = plain
    resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE
    assert 1 << 20 < deferred.carried_bytes([process.pid]) < resident - (2 << 20)


def test_a_list_that_the_dump_continues(tmp_path: Path, plain: tuple[subprocess.Popen[bytes], int]) -> None:
    """Neighbouring pages are one entry, whatever order they are noted in."""
    process, address = plain
    deferral = Deferral(str(tmp_path / "deferred"))
    deferral.choose([process.pid])
    assert list(deferral.tasks.values()) == [process.pid] and deferral.noted() == []
    listed = list(struct.iter_unpack("=QQQ", Path(deferral.path).read_bytes()))
    assert listed == deferred.areas([process.pid])
    pages = [(address + 4 * PAGE, 6), (address, 1), (address + PAGE, 2)]
    with Path(deferral.path).open("ab") as file:
        file.writelines(struct.pack("=QQQ", process.pid, at, at + number * PAGE) for at, number in pages)
    first = Area(process.pid, address, address + 3 * PAGE)
    second = Area(process.pid, address + 4 * PAGE, address + 10 * PAGE)
    assert deferral.noted() == [first, second]


def test_pages_that_the_dump_has_looked_at_twice_are_listed_once() -> None:
    """In pages: the head of an area, in the window of its small neighbour; the area; a part in its middle; other processes."""
    noted = [(1, 10, 14), (1, 10, 40), (1, 20, 30), (1, 39, 50), (1, 60, 61), (1, 60, 61), (2, 10, 14), (2, 15, 16)]
    areas = [Area(pid, start * PAGE, end * PAGE) for pid, start, end in noted]
    found = [(area.pid, area.start // PAGE, area.end // PAGE) for area in deferred.joined(areas)]
    assert found == [(1, 10, 50), (1, 60, 61), (2, 10, 14), (2, 15, 16)]


def image(*entries: dict[int, int]) -> bytes:
    """Return a page map with a head."""
    messages = [protobuf.encode({1: 9}), *(protobuf.encode(dict(entry)) for entry in entries)]
    return b"criupmap" + b"".join(struct.pack("=I", len(message)) + message for message in messages)


def read(path: Path) -> list[protobuf.Fields]:
    """Return the messages of a page map, its head first."""
    data, found = path.read_bytes(), []
    assert data[:8] == b"criupmap"
    data = data[8:]
    while data:
        (length,) = struct.unpack_from("=I", data)
        found.append(protobuf.decode(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def test_deferred_pages_are_entered_where_they_belong(tmp_path: Path) -> None:
    """CRIU reads the map in order. What the image has is restored at once, though CRIU says that it could come later."""
    path = tmp_path / "pagemap-1.img"
    path.write_bytes(image({1: 0x1000, 2: 1, 4: PRESENT | LAZY, 5: 1}, {1: 0x9000, 2: 2, 4: PRESENT, 5: 2}))
    huge = Area(1, 0x10000, 0x10000 + (1 << 32) * PAGE)
    deferred.enter(str(path), [Area(1, 0x4000, 0x4000 + 3 * PAGE), huge])
    assert read(path) == [
        {1: 9},
        {1: 0x1000, 2: 1, 4: PRESENT, 5: 1},
        {1: 0x4000, 2: 3, 4: LAZY, 5: 3},
        {1: 0x9000, 2: 2, 4: PRESENT, 5: 2},
        {1: 0x10000, 2: 0, 4: LAZY, 5: 1 << 32},
    ]


def test_every_process_gets_its_own(tmp_path: Path) -> None:
    """Images are called after the pid in the container; one that was dead has none."""
    deferral = Deferral(str(tmp_path / "deferred"))
    deferral.tasks = {1: 100, 7: 200, 9: 300}
    Path(deferral.path).write_bytes(struct.pack("=6Q", 200, 0x4000, 0x5000, 100, 0x6000, 0x8000))
    for inner in (1, 7):
        (tmp_path / f"pagemap-{inner}.img").write_bytes(image())
    assert deferral.enter(str(tmp_path)) == 0x3000
    assert [entry[1] for entry in read(tmp_path / "pagemap-1.img")[1:]] == [0x6000]
    assert [entry[1] for entry in read(tmp_path / "pagemap-7.img")[1:]] == [0x4000]
    (tmp_path / "pagemap-7.img").unlink()
    with pytest.raises(OSError):
        deferral.enter(str(tmp_path))
