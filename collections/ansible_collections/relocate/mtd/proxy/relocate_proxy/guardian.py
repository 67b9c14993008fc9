# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guardian of one part: a process that outlives the connection that started it, and starts a killed part again.

It keeps the specification, with the part's key, in memory. The part is its child; one that is killed in the middle is started
again on the same port, and brings what its journal says to an end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE

from .host import mounts, paths, volumes
from .host.secrets import wipe
from .host.syscalls import stay_in_memory
from .parts import restarted
from .parts.recovery import InProgress, hold_part, release_part
from .protocol import faults
from .protocol.journal import Journal, prune, prune_results

PARTS = ("source", "destination", "edge", "standby")
ALONE = {"source": "snapshot", "destination": "revival"}  # with a recording in place of the other parts
RESTARTS = 3
SWITCH_SECONDS = 0.0005  # how long a thread may keep another of this process waiting: its own default is 5 ms
NICENESS = -10  # the freeze is short, and other load must not delay it


def begin(part: str, specification: dict) -> dict:
    """Start a guardian for ``part`` and return what the part announces: ``pid`` and ``port``, or ``error``."""

    def guardian(ready: int) -> int:
        _detach(specification["id"], part)
        _guard(part, specification, ready)
        return 0

    _, announced = _fork(guardian)
    return announced


def _fork(work: Callable[[int], int]) -> tuple[int, dict]:
    """Run ``work`` in a child, which ends with its exit status; return the child's pid and the one line that it announces.

    ``work`` gets the descriptor to announce on.
    """
    announced, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(announced)
        os._exit(work(ready))
    os.close(ready)
    with os.fdopen(announced) as line:
        return pid, json.loads(line.readline() or '{"error": "the proxy ended before it was ready; see its log"}')


def _announce(ready: int, document: dict) -> None:
    """Write one line to whoever waits for this process to be ready, and hang up."""
    try:
        os.write(ready, json.dumps(document).encode() + b"\n")
        os.close(ready)
    except OSError:  # announced already
        pass


def _detach(relocation: str, part: str) -> None:
    """Leave the session and the pipes of the connection that started us."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null, output = os.open(os.devnull, os.O_RDONLY), paths.open_log(relocation, part)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _guard(part: str, specification: dict, ready: int) -> None:
    """Run the part as a child; when the child is killed in the middle, run it again on the same port."""
    relocation = specification["id"]
    lock = hold_part(relocation, part)  # its child has it too: `recover` leaves a living part alone
    locks = [(relocation, lock)]
    for each in specification.get("members", ()):  # a project's: this process is the edge's part of each
        locks.append((each["id"], hold_part(each["id"], part)))

    if Journal.at(relocation, part).state is not None:  # an order that is sent again, by whomever, with whatever keys
        _announce(
            ready, {"error": f"relocation {relocation} was begun on this host before: relocate recover settles it"}
        )
        _release(locks, part)
        return
    stay_in_memory()  # it has the part's key as long as it lives

    def child(announce: int) -> int:
        stay_in_memory()
        _hurry()
        return run_part(part, specification, announce)

    for _ in range(RESTARTS + 1):
        pid, announced = _fork(child)
        _announce(ready, announced)
        specification.setdefault("port", announced.get("port", 0))
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, 1):
            break
        if Journal.at(relocation, part).state is None:  # killed before it began: whoever started it has heard so
            break
        time.sleep(0.2)
    if Journal.at(relocation, part).state is None:
        wipe(paths.session(relocation))
    _release(locks, part)
    prune()
    with contextlib.suppress(DockerError):
        volumes.prune(volumes.aside(DockerClient()))
    prune_results(os.path.dirname(paths.result(relocation)))
    _sweep()
    _forget_locks()


def _release(locks: list[tuple[str, int]], part: str) -> None:
    for relocation, lock in locks:
        release_part(relocation, part, lock)


def _forget_locks() -> None:
    """Remove the lock files of parts that had ended when their guardians were killed: `recover` has nothing to settle there."""
    for name in os.listdir(paths.PARTS):
        relocation, _, part = name.rpartition(".")
        if not Journal.at(relocation, part).finished:
            continue
        with contextlib.suppress(InProgress):  # it is just ending
            release_part(relocation, part, hold_part(relocation, part))


def _sweep() -> None:
    """Wipe the sessions of relocations whose parts, guardians and all, were killed before they had written a line."""
    for relocation in os.listdir(paths.SESSIONS) if os.path.isdir(paths.SESSIONS) else []:
        if any(Journal.at(relocation, part).state for part in PARTS):
            continue  # it is `recover` that settles it
        held = []
        try:
            for part in PARTS:
                held.append((part, hold_part(relocation, part)))
            wipe(paths.session(relocation))
        except InProgress:  # it is just beginning
            pass
        finally:
            for part, lock in held:
                release_part(relocation, part, lock)


def _hurry() -> None:
    """Let nothing in this process, and little on this host, get in the way of the freeze."""
    gc.disable()  # a collection takes milliseconds, and this process lives for seconds
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        os.nice(NICENESS)
    except OSError:
        pass


def run_part(part: str, specification: dict, ready: int) -> int:
    """Run the part in this process. Return 0 when it came to an end, 1 when it refused to begin, 2 when it was stopped."""
    journal = Journal.at(specification["id"], part)
    try:
        if journal.state is None:
            faults.arm(part)
        if part == "edge":
            _run_edge(specification, journal, ready)
        elif part == "standby":
            _run_standby(specification, journal, ready)
        else:
            _run_listener(part, specification, journal, ready)
    except Exception as error:
        traceback.print_exc()
        _announce(ready, {"error": str(error) or type(error).__name__})
        return 1 if journal.state is None or journal.finished else 2
    return 0


# A part's module is imported by the process that runs it, and by no other: pycriu is on the Docker hosts only.


def _run_edge(specification: dict, journal: Journal, ready: int) -> None:
    from .parts.edge import resume
    from .parts.recreating import kind_of

    if specification.get("members"):
        _run_company(specification, journal, ready)
        return
    kind = kind_of(specification)
    if journal.state is None:
        edge = kind(specification, journal)
        edge.on_drain = lambda going: _show(specification["id"], going)
        _announce(ready, {"pid": os.getpid(), "port": 0})
        result = edge.run()
        edge.close()
    else:
        result = resume(specification, journal, kind)
    _write(paths.result(specification["id"]), result)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.progress(specification["id"]))


def _run_company(specification: dict, journal: Journal, ready: int) -> None:
    from .parts.company import Company

    company = Company(specification, journal)
    if journal.state is None:
        _announce(ready, {"pid": os.getpid(), "port": 0})
        result = company.run()
    else:
        result = company.resume()
    company.close()
    _write(paths.result(specification["id"]), result)


def _run_standby(specification: dict, journal: Journal, ready: int) -> None:
    from .parts.standby import Standby

    if journal.finished:
        return
    standby = Standby(specification, journal)
    _announce(ready, {"pid": os.getpid(), "port": standby.listener.port})
    result = standby.follow()
    if result is not None:
        _write(paths.result(specification["id"]), result)


def _run_listener(part: str, specification: dict, journal: Journal, ready: int) -> None:
    if specification.get("recording"):
        _run_alone(part, specification, journal, ready)
    elif journal.state is None:
        mounts.keep_in_memory(paths.private_directory(paths.SESSIONS))
        anew = specification.get("mode") == RECREATE
        module = importlib.import_module(f".parts.{'recreated_' if anew else ''}{part}", __package__)
        listening = getattr(module, f"{'Recreated' if anew else ''}{part.capitalize()}")(specification, journal)
        _announce(ready, {"pid": os.getpid(), "port": listening.listener.port})
        listening.serve()
    elif not journal.finished:  # else it was killed between its last line and its end
        restarted.resume(part, specification, journal)


def _run_alone(part: str, specification: dict, journal: Journal, ready: int) -> None:
    name = "trial" if specification["recording"].get("trial") else ALONE[part]
    module = importlib.import_module(f".parts.{name}", __package__)
    if journal.state is None:
        mounts.keep_in_memory(paths.private_directory(paths.SESSIONS))
        alone = getattr(module, name.capitalize())(specification, journal)
        _announce(ready, {"pid": os.getpid(), "port": 0})
        alone.serve()
    elif not journal.finished:
        module.resume(specification, journal)


def _show(relocation: str, going: dict) -> None:
    """Leave how a drain goes for the controller; what is only shown must not end it."""
    with contextlib.suppress(OSError):
        _write(paths.progress(relocation), going)


def _write(path: str, document: dict) -> None:
    paths.private_directory(os.path.dirname(path))
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(path + ".part", path)
