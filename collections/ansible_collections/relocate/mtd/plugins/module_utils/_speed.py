# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast this host writes memory into tmpfs and reads it back: what a dump and a restore do most of the time.

Measured on an anonymous tmpfs file, which nobody sees and which leaves nothing behind. Standard library only, Python 3.9.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Dict

SIZE = 4 << 20
CHUNK = 1 << 20
ROUNDS = 6


def memory_speed(size: int = SIZE, rounds: int = ROUNDS) -> Dict[str, float]:
    """Return milliseconds per MiB as ``write_ms_per_mib`` and ``read_ms_per_mib``, each the best of some rounds.

    The best, because whatever else runs on the host only ever adds to it. Takes about 30 ms.

    :param size: bytes, a multiple of one MiB. :raises OSError: there is no memory for that.
    """
    data = memoryview(bytearray(os.urandom(CHUNK)) * (size // CHUNK))
    writes, reads = [], []
    for _ in range(rounds):
        fd = os.memfd_create("relocate-speed", os.MFD_CLOEXEC)
        try:
            begin = time.perf_counter()
            for offset in range(0, size, CHUNK):
                os.write(fd, data[offset : offset + CHUNK])
            writes.append(time.perf_counter() - begin)
            with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh, memoryview(fresh) as view:
                begin = time.perf_counter()
                for offset in range(0, size, CHUNK):
                    os.preadv(fd, [view[offset : offset + CHUNK]], offset)
                reads.append(time.perf_counter() - begin)
        finally:
            os.close(fd)
    mebibytes = size / (1 << 20)
    return {
        "write_ms_per_mib": round(min(writes) * 1e3 / mebibytes, 4),
        "read_ms_per_mib": round(min(reads) * 1e3 / mebibytes, 4),
    }
