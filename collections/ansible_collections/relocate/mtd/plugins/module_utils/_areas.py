# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address space of a container's programs: what mapping it anew takes, and what of it CRIU would forget.

Programs reserve far more than they use: databases and garbage collectors terabytes. C(/proc/PID/maps) tells of that at once;
C(smaps) walks all memory that is there (50 ms for each GiB), and is read of a container that is about to be moved only.
Standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ansible_collections.relocate.mtd.plugins.module_utils import _kernel
from ansible_collections.relocate.mtd.plugins.module_utils._criu import version_tuple

PROC = "/proc"
PAGE = 4096
GIB, TIB = 1 << 30, 1 << 40
#: CRIU counts the pages of private areas in 32 bits. It survives if what is left of the number is more than it needs.
COUNTED = PAGE << 32
#: Where nothing larger can be had in one piece: programs lie in the middle of the address space, at two thirds of 128 TiB.
LARGEST_PIECE = 80 * TIB
#: CRIU's code and its list of pages, in the process itself.
CRIU_BYTES, CRIU_BYTES_PER_PAGE = 4 << 20, 16
CRIU_AREAS = 128
#: What a walk through an area costs in the freeze, however empty it is, as measured; without PAGEMAP_SCAN page by page.
SHARED_MS_PER_GIB, PRIVATE_MS_PER_GIB = 0.7, 1.8
PAGEMAP_SCAN = (6, 7)
#: What an area costs in the freeze, dump and restore, beyond those that every container has: those are in the fixed part.
AREA_MS, USUAL_AREAS = 0.06, 1000
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+) *(.*)")
_SHARED = re.compile(r"/dev/zero \(deleted\)|/memfd:|/SYSV|\[anon_shmem")
_SYSTEM = re.compile(r"\[v(dso|var|syscall|var_vclock)\]")
#: Flags of C(smaps) that CRIU forgets, and what they mean.
FORGOTTEN = {
    "sl": "has sealed memory (mseal), which would not be sealed any more",
    "lf": "has memory that is locked as it is used (MLOCK_ONFAULT), all of which would be filled and locked",
}


class Area(NamedTuple):
    """A mapping of a process."""

    start: int
    end: int
    modes: str  # as in rwxp
    offset: int
    file: Tuple[str, str]  # device and inode
    name: str

    @property
    def bytes(self) -> int:
        return self.end - self.start


def areas(maps: str) -> List[Area]:
    """Return the areas of a C(/proc/PID/maps), but those that the kernel gives every process."""
    found = []
    for line in _kernel.lines(maps):
        match = _MAPPING.fullmatch(line)
        if match and not _SYSTEM.fullmatch(match[7]):
            start, end, offset = (int(match[group], 16) for group in (1, 2, 4))
            found.append(Area(start, end, match[3], offset, (match[5], match[6]), match[7]))
    return found


def _text(pid: int, name: str) -> str:
    try:
        return _kernel.read_text(f"{PROC}/{pid}/{name}")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    match = re.search(r"^PPid:\s+(\d+)$", _text(pid, "status"), re.MULTILINE)
    return int(match[1]) if match else 0


def _limit(pid: int) -> Optional[int]:
    match = re.search(r"^Max address space +(\d+)", _text(pid, "limits"), re.MULTILINE)
    return int(match[1]) if match else None


def _resident(pid: int) -> int:
    fields = _text(pid, "statm").split()
    return int(fields[1]) if len(fields) > 1 else 0


class Spaces:
    """The address spaces of a container's processes. :param pids: them."""

    def __init__(self, pids: Iterable[int]) -> None:
        found = {pid: areas(_text(pid, "maps")) for pid in pids}
        self.of: Dict[int, List[Area]] = {pid: each for pid, each in found.items() if each}
        self._parents = {pid: _parent(pid) for pid in self.of}

    def _with_parents(self, sizes: Dict[int, int]) -> Dict[int, int]:
        """Return sizes, each with that of the parent: a process that CRIU makes begins with all that its parent has."""
        return {pid: size + sizes.get(self._parents[pid], 0) for pid, size in sizes.items()}

    def _private(self) -> Dict[int, int]:
        return {pid: sum(area.bytes for area in each if area.modes[3] == "p") for pid, each in self.of.items()}

    def _writable(self) -> Dict[int, int]:
        return {
            pid: sum(area.bytes for area in each if area.modes[1] == "w" and area.modes[3] == "p")
            for pid, each in self.of.items()
        }

    def needs(self, kernel: str) -> Dict[str, Any]:
        """Return what a destination must give.

        C(areas) of one process, C(committed_bytes) that must be promised in a stop-and-copy, C(mapped_bytes) in other modes, in
        which CRIU maps all as if it were writable, as it does what several processes share; and C(walk_ms), how much longer the
        freeze lasts because of what is only reserved, and of many areas.

        :param kernel: release of this host's.
        """
        mapped = sum(self._with_parents(self._private()).values())
        counts = self._with_parents({pid: len(each) for pid, each in self.of.items()})
        return {
            "areas": max(counts.values(), default=0),
            "committed_bytes": sum(self._writable().values()) if len(self.of) < 2 else mapped,
            "mapped_bytes": mapped,
            "walk_ms": self._walk_ms(kernel),
        }

    def _walk_ms(self, kernel: str) -> float:
        shared: Dict[Tuple[str, str], int] = {}
        for area in (area for each in self.of.values() for area in each):
            if area.modes[3] == "s" and _SHARED.match(area.name):
                shared[area.file] = max(shared.get(area.file, 0), area.offset + area.bytes)
        taken = sum(shared.values()) / GIB * SHARED_MS_PER_GIB
        if version_tuple(kernel) < PAGEMAP_SCAN:
            taken += sum(self._private().values()) / GIB * PRIVATE_MS_PER_GIB
        taken += max(sum(map(len, self.of.values())) - USUAL_AREAS, 0) * AREA_MS
        return round(taken, 1)

    def problems(self) -> List[Tuple[int, str]]:
        """Return processes whose address space CRIU cannot take, and why, with what to do."""
        found = []
        private = self._private()
        for pid, pieces in self._with_parents(private).items():
            size, limit = private[pid], _limit(pid)
            total = sum(area.bytes for area in self.of[pid])
            room = CRIU_BYTES + size // PAGE * CRIU_BYTES_PER_PAGE
            if pieces > LARGEST_PIECE:
                found.append(
                    (pid, f"has reserved {pieces / TIB:.0f} TiB of address space, and 80 can be carried: limit that")
                )
            elif size >= COUNTED and size % COUNTED < _resident(pid) * PAGE + CRIU_BYTES:
                found.append(
                    (pid, "has reserved 16 TiB of address space, or a multiple of it, where CRIU miscounts: take less")
                )
            if limit is not None and total + room > limit:
                found.append(
                    (
                        pid,
                        f"may map {(limit - total) >> 20} MiB more (RLIMIT_AS), and CRIU needs {room >> 20} MiB in it: raise "
                        "that limit",
                    )
                )
        return found


def forgotten(smaps: str) -> List[str]:
    """Return what of a process's memory CRIU would forget: clauses, each with what to do.

    :param smaps: C(/proc/PID/smaps).
    """
    flags: Set[str] = set()
    keys, name, modes = set(), "", ""
    for line in _kernel.lines(smaps):
        match = _MAPPING.fullmatch(line)
        if match:
            name, modes = match[7], match[3]
        elif _SYSTEM.fullmatch(name):
            continue
        elif line.startswith("VmFlags:"):
            flags.update(line.split()[1:])
        elif (
            line.startswith("ProtectionKey:") and modes[:3] != "--x"
        ):  # the kernel itself keeps that from being read so
            keys.add(line.split()[-1])
    found = [f"{what}: start it without" for flag, what in FORGOTTEN.items() if flag in flags]
    if keys - {"0"}:
        found.append(
            "has memory with a protection key (pkey_mprotect), which it would not have any more: start it without"
        )
    return found
