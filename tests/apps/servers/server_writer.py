# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that also writes 50 MB/s over and over into a file of 100 MB, and reads back what it wrote a round ago."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time

BLOCK, BLOCKS, PATTERNS = 1 << 20, 100, 4
PLACE = "/written"


def write() -> None:
    """Write each block with its round's bytes; end the whole program when a block is not what was written."""
    blocks = [hashlib.sha256(bytes([round_])).digest() * (BLOCK // 32) for round_ in range(PATTERNS)]
    fd = os.open(PLACE, os.O_RDWR | os.O_CREAT, 0o600)
    begin, done = time.monotonic(), 0
    while True:
        round_, block = divmod(done, BLOCKS)
        if round_ and os.pread(fd, BLOCK, block * BLOCK) != blocks[(round_ - 1) % PATTERNS]:
            os._exit(1)
        os.pwrite(fd, blocks[round_ % PATTERNS], block * BLOCK)
        done += 1
        time.sleep(max(0.0, done / 50 - (time.monotonic() - begin)))


def serve(connection: socket.socket) -> None:
    """A line for a line."""
    file = connection.makefile("rw")
    for count, line in enumerate(file, 1):
        file.write(f"{line.strip()} {count}\n")
        file.flush()


threading.Thread(target=write, daemon=True).start()
with socket.create_server(("", 8000)) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
