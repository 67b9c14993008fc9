# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that a post-copy leaves behind: which it is, and how the image says so.

``criu dump --lazy-pages`` keeps large memory back, too, but takes hold of it in the freeze: every page goes into a pipe
(vmsplice(2)), 0.1 ms for each MiB. Nobody needs that. The tasks stand still until they are killed, and what is theirs can be
read where it lies (``page_server``). So CRIU makes a full dump, and is not shown the deferred areas' pages: its preloaded
object (``restore_shim.c``) answers for these areas that there is nothing, and notes what there is. We enter that into the
image as what CRIU calls lazy, and ``filler`` fetches it at the destination.

An area is deferred if CRIU could restore it lazily (``vma_entry_can_be_lazy`` of its source): private, anonymous, not locked,
not of huge pages; and if it is readable and large enough. The pages at a thread's stack pointer are not, as in CRIU.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

from ..protocol import protobuf
from . import criu_image

#: Smaller ones are small enough to be carried.
LEAST_BYTES = 2 << 20
#: The preloaded object keeps its list in static memory. The largest areas are taken; the rest is carried.
MOST_AREAS = 4096
PAGE = os.sysconf("SC_PAGE_SIZE")

RECORD = struct.Struct("=QQQ")  # of the list that the preloaded object reads, and continues: pid, start, end
#: images/pagemap.proto
ADDRESS, PAGES_COMPATIBLE, FLAGS, PAGES = 1, 2, 4, 5
LAZY = 2  # PE_LAZY
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r..p [0-9a-f]+ \S+ 0 *(?:\[heap\]|\[anon:.*\])?$", re.MULTILINE)
_USAGE = re.compile(r"^([0-9a-f]+)-[0-9a-f]+ .*?^Anonymous: +(\d+) kB$", re.MULTILINE | re.DOTALL)


class Area(NamedTuple):
    """A range of addresses of a process, as this host numbers it. Both are multiples of a page; ``end`` is not in it."""

    pid: int
    start: int
    end: int


# -- at the source, in the freeze ---------------------------------------------------------------------------------------


def areas(pids: Iterable[int]) -> list[Area]:
    """Return the areas of frozen processes that need not be dumped, in order."""
    found = [area for pid in pids for area in _of_process(pid)]
    return sorted(sorted(found, key=lambda area: area.start - area.end)[:MOST_AREAS])


def carried_bytes(pids: Iterable[int]) -> int:
    """Return how much memory of running processes a dump would carry: what is their own, and not in an area to be deferred."""
    return sum(map(_carried_bytes, pids))


def _carried_bytes(pid: int) -> int:
    try:
        usage = _read(pid, "smaps")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    deferred = {start for start, end in private_anonymous(usage) if end - start >= LEAST_BYTES}
    own = {int(match[1], 16): int(match[2]) << 10 for match in _USAGE.finditer(usage)}
    return sum(size for start, size in own.items() if start not in deferred)


def _of_process(pid: int) -> list[Area]:
    try:
        if _locked(pid):
            return []
        pointers = [_stack_pointer(pid, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]
        maps = _read(pid, "maps")
    except (FileNotFoundError, ProcessLookupError):
        return []
    if None in pointers:
        return []
    stacks = sorted(pointer // PAGE * PAGE for pointer in pointers if pointer is not None)
    large = ((start, end) for start, end in private_anonymous(maps) if end - start >= LEAST_BYTES)
    return [Area(pid, *part) for start, end in large for part in without_stacks(start, end, stacks)]


def without_stacks(start: int, end: int, stacks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield a range without the pages of stack pointers, and those below, where a red zone may reach.

    What lies beside a stack is often one area with it: the kernel joins them.

    :param stacks: addresses of pages, in order.
    """
    for page in stacks:
        if start < page + PAGE and page - PAGE < end:
            if start < page - PAGE:
                yield start, page - PAGE
            start = page + PAGE
    if start < end:
        yield start, end


def private_anonymous(maps: str) -> Iterator[tuple[int, int]]:
    """Yield where the readable private anonymous areas begin and end.

    What the process itself may not read, newer kernels need not let us read either.

    :param maps: ``/proc/PID/maps`` or ``smaps``, whose entries begin as those of the former do.
    """
    for match in _MAPPING.finditer(maps):
        yield int(match[1], 16), int(match[2], 16)


def _read(pid: int, name: str) -> str:
    return read_text(f"/proc/{pid}/{name}")


def _locked(pid: int) -> bool:
    """Return whether a process has locked memory: which, maps does not say."""
    match = re.search(r"^VmLck:\s+(\d+)", _read(pid, "status"), re.MULTILINE)
    return bool(match and int(match[1]))


def _stack_pointer(pid: int, thread: int) -> int | None:
    """Return a stopped thread's; None if the kernel does not know it. It is the last but one word; "running" is no answer."""
    words = _read(pid, f"task/{thread}/syscall").split()
    return int(words[-2], 16) if len(words) > 2 else None


def in_namespace(pid: int) -> int:
    """Return a process's number in its own pid namespace: what its images are called after."""
    match = re.search(r"^NSpid:.*\s(\d+)$", _read(pid, "status"), re.MULTILINE)
    return int(match[1]) if match else pid


class Deferral:
    """The deferred memory of one dump.

    :ivar path: the list that the preloaded object reads when the dump looks at memory, and continues.
    :ivar tasks: pid in the container → pid on this host, of all its processes.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.tasks: dict[int, int] = {}
        self._areas: list[Area] = []

    def choose(self, pids: Iterable[int]) -> None:
        """Choose what is deferred, now that the tasks are frozen."""
        pids = list(pids)
        self.tasks = {in_namespace(pid): pid for pid in pids}
        self._areas = areas(pids)
        with open(self.path, "wb") as file:
            file.writelines(RECORD.pack(*area) for area in self._areas)

    def noted(self) -> list[Area]:
        """Return the pages that the dump has not taken, neighbours joined, in order."""
        with open(self.path, "rb") as file:
            records = file.read()[len(self._areas) * RECORD.size :]
        return joined(map(Area._make, RECORD.iter_unpack(records)))

    def enter(self, images: str) -> int:
        """Enter them into the image; return their bytes. :raises OSError: the image is not complete."""
        pages = self.noted()
        for inner, outer in self.tasks.items():
            own = [area for area in pages if area.pid == outer]
            if own or os.path.exists(page_map(images, inner)):  # a task that is dead has none
                enter(page_map(images, inner), own)
        return sum(area.end - area.start for area in pages)


def joined(noted: Iterable[Area]) -> list[Area]:
    """Return areas in order, and one for those without a gap between them: each page once, however often it was noted.

    CRIU may look at a page twice. Where a small mapping begins in a window of 2 MiB, it looks at the whole window, and at what
    begins there and ends elsewhere again, later. A page that is listed twice comes twice, and the second time it cannot be
    placed; ``criu lazy-pages`` would ask for it again, for ever.
    """
    found: list[Area] = []
    for area in sorted(noted):
        if found and found[-1].pid == area.pid and area.start <= found[-1].end:
            found[-1] = found[-1]._replace(end=max(found[-1].end, area.end))
        else:
            found.append(area)
    return found


# -- in the image -------------------------------------------------------------------------------------------------------


def page_map(images: str, pid: int) -> str:
    """Return the page map of a process. :param pid: in its own namespace."""
    return os.path.join(images, f"pagemap-{pid}.img")


def enter(path: str, extents: Iterable[Area]) -> None:
    """Enter a process's deferred pages into its page map, and call none lazy that the image has.

    :raises OSError: there is no such page map; :raises BadMessage: it is none.
    """
    with open(path, "rb") as file:
        before = file.read()
    head, *entries = [message for _, message in criu_image.messages(before)] or [b""]
    merged = [_carried(entry) for entry in entries]
    merged += [(area.start, _deferred_entry(area)) for area in extents]
    with open(path, "wb") as file:
        file.write(before[: criu_image.HEAD])
        file.writelines(map(criu_image.framed, (head, *(entry for _, entry in sorted(merged)))))


def _carried(entry: bytes) -> tuple[int, bytes]:
    """Return an entry's address, and the entry without the word that its pages could come later: they are here."""
    fields = protobuf.decode(entry)
    address, flags = fields.get(ADDRESS), fields.get(FLAGS, 0)
    if not (isinstance(address, int) and isinstance(flags, int)):
        raise protobuf.BadMessage("an entry of a page map has no address")
    if flags & LAZY:
        fields[FLAGS] = flags & ~LAZY
        entry = protobuf.encode(fields)
    return address, entry


def _deferred_entry(area: Area) -> bytes:
    pages = (area.end - area.start) // PAGE
    return protobuf.encode({ADDRESS: area.start, PAGES_COMPATIBLE: pages & 0xFFFFFFFF, FLAGS: LAZY, PAGES: pages})
