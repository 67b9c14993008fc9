# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-copy, as the source's and the destination's proxy see it: what they start, wait for and end.

The work is done by a process of its own on each side, which outlives the proxy: see ``page_process``. Everything that belongs
to one relocation has its session directory on the command line, so that it can be found again by whoever has to end it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..host import paths
from ..host.syscalls import wait_for
from ..protocol.documents import Specification
from .deferred import Deferral

PROGRAM = "relocate_proxy.memory.page_process"
#: In the session: how a drain goes, at the destination; what the source's page process was told, with its key.
REPORT, ORDER, FETCH_ORDER = "progress", "serve.json", "fetch.json"
PART_OF = {"serve": "source", "fetch": "destination"}
START_SECONDS = 20.0
END_SECONDS = 10.0
RESTORED_SECONDS = 5.0
POLL_SECONDS = 0.005
LOOK_SECONDS, TELL_SECONDS = 0.1, 1.0

Watch = Callable[[dict[str, Any]], object]


class PagesLost(RuntimeError):
    """Memory of the container will never come: its copy must not run, or no longer."""


def criu_words(path: str) -> str:
    """Return the first error line of one of CRIU's logs: later ones are consequences. "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            errors = [line.partition(") ")[2].strip() for line in file if "Error" in line]
    except OSError:
        return ""
    return errors[0] if errors else ""


# -- the processes beside the proxies -----------------------------------------------------------------------------------


class Helper:
    """A page process that this proxy has started."""

    def __init__(self, role: str, session: str, specification: dict[str, Any]) -> None:
        # Not to where this process complains, which may be recovery's pipe: its reader would wait for the last of the memory.
        with os.fdopen(paths.open_log(os.path.basename(session), PART_OF[role]), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, role, session],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
        self.tell(specification)

    def tell(self, document: dict[str, Any]) -> None:
        """Give it a line. :raises PagesLost: it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PagesLost(f"the process that carries memory after the move is gone: {error}") from error

    def hear(self, seconds: float) -> dict[str, Any]:
        """Return its next line. :raises PagesLost: it says that it cannot, nothing at all, or is gone."""
        assert self._process.stdout is not None
        if not wait_for(self._process.stdout.fileno(), select.POLLIN, seconds):
            raise PagesLost(f"the process that carries memory after the move said nothing for {seconds:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PagesLost("the process that carries memory after the move is gone")
        document = _document(line)
        if document is None or "error" in document:
            raise PagesLost(
                (document or {}).get("error", "the process that carries memory said something that is no answer")
            )
        return document

    def kill(self) -> None:
        """End it; what it was connected to sees that."""
        self._process.kill()
        self._process.wait()


def served_tasks(session: str) -> set[int]:
    """Return the processes whose memory a session serves. :raises FileNotFoundError: it serves none."""
    with open(f"{session}/{ORDER}", encoding="utf-8") as file:
        return set(json.load(file)["order"]["tasks"].values())


def serve_again(session: str) -> bool:
    """Have frozen memory served again, if nothing of its process is left; return whether it was started.

    The destination waits for it, however long that takes.

    :raises FileNotFoundError: nothing was being served. :raises PagesLost: it cannot be served.
    """
    with open(f"{session}/{ORDER}", encoding="utf-8") as file:
        order = json.load(file)
    if any(role == "serve" for role in processes(session).values()):
        return False
    Helper("serve", session, order).hear(START_SECONDS)
    return True


class PageServer:
    """The source's side: a process that is connected to the destination before the hold, and then serves frozen memory.

    :ivar deferral: the memory that it serves.
    """

    def __init__(self, session: str, specification: Specification, address: tuple[str, int]) -> None:
        """Connect. :raises PagesLost: the destination is not to be reached."""
        self.deferral = Deferral(f"{session}/deferred")
        self._order = {"id": specification.id, "credentials": specification.credentials, "address": address}
        self._session = session
        self._helper = Helper("serve", session, self._order)
        self._helper.hear(START_SECONDS)

    def serve(self, pids: Iterable[int]) -> None:
        """Have it begin with frozen processes, by their numbers on this host. :raises PagesLost: it is gone."""
        self.deferral.choose(pids)
        self._helper.tell({"tasks": self.deferral.tasks})
        write_order(f"{self._session}/{ORDER}", {**self._order, "order": {"tasks": self.deferral.tasks}})

    def await_serving(self) -> None:
        """Return when it has begun. :raises PagesLost: it cannot."""
        self._helper.hear(START_SECONDS)

    def close(self) -> None:
        """Serve no more: neither on a connection nor on a new one, which a child that misses the last word would look for."""
        self._helper.kill()
        end_processes(self._session)


class PageClient:
    """The destination's side: a process that waits for the source's connection, and for the image."""

    def __init__(self, session: str, specification: Specification) -> None:
        """Listen; ``port`` is where. :raises PagesLost: it cannot."""
        order = {"id": specification.id, "credentials": specification.credentials, "listen": specification.listen}
        order["peers"] = list(specification.peers)
        self._helper = Helper("fetch", session, order)
        self.port: int = self._helper.hear(START_SECONDS)["port"]

    def begin(self, container_id: str, pid: int) -> None:
        """The image is here: return when a restore may ask for pages. :raises PagesLost: it never will.

        :param pid: the one that the copy's init will have on this host.
        """
        self._helper.tell({"container_id": container_id, "pid": pid})
        self._helper.hear(START_SECONDS)

    def await_restored(self) -> None:
        """Return when all that the copy lacks is written down: from then on another goes on where one is killed.

        CRIU has said its last word before it asks whether the tasks may run: so this hardly ever waits.

        :raises PagesLost: it is not, and never will be.
        """
        said = self._helper.hear(RESTORED_SECONDS)
        if "restored" not in said:
            raise PagesLost(said.get("lost", "the process that carries memory after the move has ended too early"))


def write_order(path: str, order: dict[str, Any]) -> None:
    """Leave what a page process needs to be started again, with its key, in the session."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(order, file)


# -- how it ends --------------------------------------------------------------------------------------------------------


def outcome_path(session: str) -> str:
    """Return the file that the destination's page process locks while it lives, and writes to when it ends."""
    return f"{session}/pages"


def outcome(session: str) -> dict[str, Any] | None:
    """Return how the transfer ended: ``bytes`` carried, or the reason under ``lost``; None while it goes on."""
    try:
        with open(outcome_path(session), encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return None
            text = file.read()
    except FileNotFoundError:
        return {"lost": "nothing is left of it on this host: it has been rebooted"}
    return _document(text) or {"lost": "the process that fetched it was killed"}


def _document(text: str | bytes) -> dict[str, Any] | None:
    """Return what a page process has written; None if it is nothing whole."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class StandsStill(TimeoutError):
    """Memory is missing, and nothing of it comes."""


def await_outcome(session: str, seconds: float, watch: Watch = lambda _: None) -> dict[str, Any]:
    """Return how the transfer ended.

    What is missing changes by the copy's own doing, too: each fork of it misses as much again, until it ends. So it is progress
    only when less is missing than ever before, or more has found its place. That something comes is none: the same may come
    for ever, and be wanted by nobody.

    :param seconds: for how long nothing may come, from now on. :param watch: is told how it goes, every second.
    :raises StandsStill: nothing has come for that long.
    """
    least, most = math.inf, -1
    moved = looked = told = time.monotonic()
    while (found := outcome(session)) is None:
        now = time.monotonic()
        if now >= looked:
            looked = now + LOOK_SECONDS
            going = report(session)
            left, placed = going.get("left", math.inf), going.get("placed", 0)
            if left < least or placed > most:
                least, most, moved = min(left, least), max(placed, most), now
            if now > moved + seconds:
                raise StandsStill(still_words(going, seconds))
            if now >= told + TELL_SECONDS:
                told = now
                watch(going)
        time.sleep(POLL_SECONDS)
    return found


def still_words(going: dict[str, Any], seconds: float) -> str:
    """Return the sentence on a drain that stands still."""
    problem = going.get("problem") or (
        "the source is silent" if going.get("connected") else "the source does not call again"
    )
    return (
        f"{going.get('left', 0) / 2**20:.1f} MiB of the copy's memory are still at its source, and nothing of it has found its "
        f"place for {seconds:g} s ({problem}): nothing is lost, the copy runs as far as it can without, and the source is "
        "kept; see that the source host is up and reachable, then run recover.yml"
    )


def processes(session: str) -> dict[int, str]:
    """Return the page processes of a session, which outlive the proxy that started them: pid → role."""
    found = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
            continue
        if session in words and (program := [word for word in words if word.endswith(".page_process")]):
            found[int(entry)] = words[words.index(program[0]) + 1]
    return found


def end_processes(session: str) -> None:
    """End the page processes of a session. They start each other again: until there are none."""
    deadline = time.monotonic() + END_SECONDS
    while (found := processes(session)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def report(session: str) -> dict[str, Any]:
    """Return how a drain goes, as the destination's page process wrote down last: see ``filler``. {} before it begins."""
    try:
        with open(f"{session}/{REPORT}", encoding="utf-8") as file:
            return _document(file.read()) or {}
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
