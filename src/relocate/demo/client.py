# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that asks every few milliseconds over one connection, and notices everything that goes missing.

Run as a program, inside the network namespace that stands for the outside world::

    python client.py counter|redis ADDRESS PORT [MILLISECONDS [PATIENCE_SECONDS]]

Prints JSON lines: ``{"connected": …}`` first, ``{"at": …, "pause_ms": …}`` for every answer that took longer than 20 ms, and at
the end (SIGTERM, or a failure) ``{"requests": …, "longest_ms": …, "error": null | "…"}``. Standard library only.

The counter answers each line with the next number of this connection; redis counts a key of ours. Either way an answer that is
not one more than the last one means that something was lost or done twice.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

NOTICEABLE = 0.020  # seconds
PATIENCE = 60.0
KEY = b"relocate:demo"


class Stop(Exception):
    """SIGTERM: enough."""


class Wrong(Exception):
    """An answer that cannot be right."""


def ask_counter(connection: socket.socket, answers: BinaryIO) -> int:
    """Ask the counter tenant once; return its number."""
    connection.sendall(b"x\n")
    return _number(answers.readline())


def ask_redis(connection: socket.socket, answers: BinaryIO) -> int:
    """Increment our key once (RESP, ``*2 INCR key``); return its value."""
    connection.sendall(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(KEY), KEY))
    return _number(answers.readline().removeprefix(b":"))


def _number(line: bytes) -> int:
    if not line:
        raise Wrong("the connection was closed")
    return int(line)


QUESTIONS: dict[str, Callable[[socket.socket, BinaryIO], int]] = {"counter": ask_counter, "redis": ask_redis}


def say(**document: object) -> None:
    """Print one JSON line, now."""
    print(json.dumps(document), flush=True)


def run(kind: str, address: str, port: int, interval: float, patience: float = PATIENCE) -> int:
    """Ask until told to stop. Return the exit status: 0 when nothing was lost.

    ``interval``: seconds from an answer to the next question; ``patience``: seconds an answer may take.
    """
    ask = QUESTIONS[kind]
    requests, longest, last, error = 0, 0.0, None, None
    try:
        connection = socket.create_connection((address, port), patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        say(connected=f"{address}:{port}", local_port=connection.getsockname()[1])
        answers = connection.makefile("rb")
        while True:
            asked = time.time()
            number = ask(connection, answers)
            waited = time.time() - asked
            if last is not None and number != last + 1:
                raise Wrong(f"after {last} came {number}")
            last = number
            requests += 1
            longest = max(longest, waited)
            if waited > NOTICEABLE:
                say(at=asked, pause_ms=round(waited * 1000, 1))
            time.sleep(interval)
    except Stop:
        pass
    except (OSError, ValueError, Wrong) as problem:
        error = f"{type(problem).__name__}: {problem}"
    say(requests=requests, longest_ms=round(longest * 1000, 1), last=last, error=error)
    return 1 if error else 0


def _stop(*_: object) -> None:
    raise Stop


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us ends us
    kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    milliseconds = float(sys.argv[4]) if len(sys.argv) > 4 else 2.0
    patience = float(sys.argv[5]) if len(sys.argv) > 5 else PATIENCE
    sys.exit(run(kind, address, port, milliseconds / 1000, patience))


if __name__ == "__main__":
    main()
