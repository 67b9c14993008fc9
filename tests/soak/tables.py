# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes in the edge's tables: its nft sets and maps, and the connections that it tracks.

``python3 -``, as root on the edge, until it is hung up. Prints JSON lines: ``at``, ``of`` ("nft" or "conntrack"), ``line``.
Standard library only: it is sent to the edge as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

#: What is watched, and by which command.
COMMANDS = {
    "nft": ["nft", "monitor"],
    "conntrack": ["conntrack", "-E", "-p", "tcp", "-o", "id", "--buffer-size", "16777216"],
}


def tell(of: str, process: subprocess.Popen[str]) -> None:
    """Print each line that a process prints, with its time."""
    assert process.stdout is not None
    for line in process.stdout:
        print(json.dumps({"at": time.time(), "of": of, "line": line.strip()}), flush=True)


def main() -> None:
    """Watch until standard input ends."""
    quiet = subprocess.DEVNULL
    watching = {
        of: subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, text=True)
        for of, command in COMMANDS.items()
    }
    print(json.dumps({"at": time.time(), "of": "watch", "line": "begun"}), flush=True)
    for of, process in watching.items():
        threading.Thread(target=tell, args=(of, process), daemon=True).start()
    sys.stdin.read()
    for process in watching.values():
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
