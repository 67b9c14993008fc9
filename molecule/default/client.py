#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count over one connection while its server moves: ``client.py ADDRESS PORT STOP_FILE``.

Asks every 10 ms until the file appears (two minutes at most) and prints one JSON document: how many answers came, and the
longest wait for one, in milliseconds. An answer that is not the next number, or none within ten seconds, ends it with 1.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    """Entry point."""
    address, port, stop = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    answers, longest = 0, 0.0
    deadline = time.monotonic() + 120
    with socket.create_connection((address, port), timeout=10) as connection, connection.makefile("rw") as lines:
        while not stop.exists() and time.monotonic() < deadline:
            asked = time.monotonic()
            lines.write("\n")
            lines.flush()
            answer = lines.readline().strip()
            longest = max(longest, time.monotonic() - asked)
            answers += 1
            if answer != str(answers):
                sys.exit(f"answer {answers} was {answer!r}")
            time.sleep(0.01)
    print(json.dumps({"answers": answers, "longest_ms": round(longest * 1000, 1)}))


if __name__ == "__main__":
    main()
