# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that keeps writing: much memory that stays as it is, some that never does. On SIGUSR1 it says if all is right."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

COLD, HOT, PAGE = 24 << 20, 2 << 20, 4096

cold = os.urandom(COLD)
digest = hashlib.sha256(cold).hexdigest()
hot = bytearray(HOT)
turn = 0


def verdict(*_: object) -> None:
    """Write what was found, under another name first: nobody reads half of it."""
    # within a turn the pages that were written have its number, and the others that of the turn before
    right = hashlib.sha256(cold).hexdigest() == digest and set(hot[::PAGE]) <= {turn % 256, (turn - 1) % 256}
    unread = Path(f"{sys.argv[1]}.new")
    unread.write_text(f"{'right' if right else 'wrong'} {turn}\n", encoding="ascii")
    unread.rename(sys.argv[1])


signal.signal(signal.SIGUSR1, verdict)
verdict()
while True:
    turn += 1
    for at in range(0, HOT, PAGE):
        hot[at] = turn % 256
    time.sleep(0.01)
