# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m relocate_proxy PART < specification.json``: start one part of one relocation and return when it is ready.

The specification (JSON on standard input: it holds the part's key, which no command line may show) is kept in memory by a
guardian process, which outlives the connection that started it. The guardian runs the part as its child; a part that is
killed is started again with ``resume``, and brings what its journal says to an end.

Prints one JSON document: ``{"pid": ..., "port": ...}``, or ``{"error": "one sentence"}`` with exit status 1.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback

from . import faults, paths, restarted
from .journal import DIRECTORY, Journal, prune
from .part import wipe
from .recovery import hold_part, recover, release_part

PARTS = ("source", "destination", "edge")
RESTARTS = 3
SWITCH_SECONDS = 0.0005  # how long a thread may keep another of this process waiting: its own default is 5 ms
NICENESS = -10  # the freeze is short: let it not wait for anybody's compiler


def _run_edge(specification: dict, journal: Journal, ready: int) -> None:
    from .edge import Edge, resume

    if journal.state is None:
        edge = Edge(specification, journal)
        _announce(ready, {"pid": os.getpid(), "port": 0})
        result = edge.run()
        edge.close()
    else:
        result = resume(specification, journal)
    _write_result(specification["id"], result)


def _run_listener(part: str, specification: dict, journal: Journal, ready: int) -> None:
    module = importlib.import_module(f".{part}", __package__)
    if journal.state is None:
        listening = getattr(module, part.capitalize())(specification, journal)
        _announce(ready, {"pid": os.getpid(), "port": listening.listener.port})
        listening.serve()
    elif not journal.finished:  # else it was killed between its last line and its end
        restarted.resume(part, specification, journal)


def _announce(ready: int, document: dict) -> None:
    """Write one line to whoever waits for this process to be ready, and hang up."""
    try:
        os.write(ready, json.dumps(document).encode() + b"\n")
        os.close(ready)
    except OSError:  # announced already
        pass


def result_path(relocation: str) -> str:
    """Return where the edge leaves the result for the controller to fetch."""
    return f"{paths.RUN}/results/{relocation}.json"


def _write_result(relocation: str, result: dict) -> None:
    path = result_path(relocation)
    paths.private_directory(os.path.dirname(path))
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(path + ".part", path)


def _run_part(part: str, specification: dict, ready: int) -> int:
    """Run the part in this process. Return 0 when it came to an end, 1 when it refused to begin, 2 when it was stopped."""
    journal = Journal.at(specification["id"], part)
    try:
        if journal.state is None:
            faults.arm(part)
        if part == "edge":
            _run_edge(specification, journal, ready)
        else:
            _run_listener(part, specification, journal, ready)
    except Exception as error:
        traceback.print_exc()
        _announce(ready, {"error": str(error) or type(error).__name__})
        return 1 if journal.state is None or journal.finished else 2
    return 0


def _hurry() -> None:
    """Let nothing in this process, and little on this host, get in the way of the freeze."""
    gc.disable()  # a collection takes milliseconds, and this process lives for seconds
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        os.nice(NICENESS)
    except OSError:
        pass


def _guard(part: str, specification: dict, ready: int) -> None:
    """Run the part as a child; when the child is killed in the middle, run it again on the same port."""
    relocation = specification["id"]
    lock = hold_part(relocation, part)  # its child has it too: `recover` leaves a living part alone
    for _ in range(RESTARTS + 1):
        announced, announce = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(announced)
            _hurry()
            os._exit(_run_part(part, specification, announce))
        os.close(announce)
        with os.fdopen(announced) as line:
            document = json.loads(line.readline() or '{"error": "the proxy ended before it was ready; see its log"}')
        _announce(ready, document)
        specification.setdefault("port", document.get("port", 0))
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, 1):
            break
        if Journal.at(relocation, part).state is None:  # killed before it began: whoever started it has heard so
            break
        time.sleep(0.2)
    if Journal.at(relocation, part).state is None:
        wipe(paths.session(relocation))
    release_part(relocation, part, lock)
    prune()


def _recover(order: dict) -> int:
    try:
        print(json.dumps(recover(order)))
    except Exception as error:
        print(json.dumps({"error": str(error) or type(error).__name__}))
        return 1
    return 0


def _detach(log: str) -> None:
    """Leave the session and the pipes of the connection that started us."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.makedirs(os.path.dirname(log), mode=0o700, exist_ok=True)
    null = os.open(os.devnull, os.O_RDONLY)
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (words, 1), (words, 2)):
        os.dup2(source, target)


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2 or sys.argv[1] not in (*PARTS, "recover"):
        print(f"usage: python3 -m relocate_proxy {{{','.join(PARTS)}|recover}} < specification.json", file=sys.stderr)
        sys.exit(2)
    part, specification = sys.argv[1], json.load(sys.stdin)
    if part == "recover":
        sys.exit(_recover(specification))
    announced, announce = os.pipe()
    if os.fork() == 0:
        os.close(announced)
        _detach(os.path.join(DIRECTORY, f"{specification['id']}.{part}.log"))
        _guard(part, specification, announce)
        os._exit(0)
    os.close(announce)
    with os.fdopen(announced) as line:
        document = json.loads(line.readline() or '{"error": "the proxy ended before it was ready; see its log"}')
    print(json.dumps(document))
    sys.exit(1 if "error" in document else 0)


if __name__ == "__main__":
    main()
