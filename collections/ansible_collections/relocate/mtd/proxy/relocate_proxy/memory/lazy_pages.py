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
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from .deferred import Deferral

LOG = "lazy-pages.log"
PROGRAM = "relocate_proxy.memory.page_process"
START_SECONDS = 20.0
POLL_SECONDS = 0.005


class PagesLost(RuntimeError):
    """Memory of the container will never come: its copy must not run, or no longer."""


def fetch_command(images: str, work: str, connection: int, status: int, criu: str = "criu") -> list[str]:
    """Return the ``criu lazy-pages`` that fetches pages on a connected descriptor; a restore finds it in ``work``."""
    command = [criu, "lazy-pages", "--page-server", "--ps-socket", str(connection), "--status-fd", str(status)]
    return [*command, "--images-dir", images, "--work-dir", work, "--log-file", LOG, "-v1"]


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
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, role, session],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
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
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise PagesLost(f"the process that carries memory after the move said nothing for {seconds:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PagesLost("the process that carries memory after the move is gone")
        document = json.loads(line)
        if "error" in document:
            raise PagesLost(document["error"])
        return document

    def kill(self) -> None:
        """End it; what it was connected to sees that."""
        self._process.kill()
        self._process.wait()


class PageServer:
    """The source's side: a process that is connected to the destination before the hold, and then serves frozen memory.

    :ivar deferral: the memory that it serves.
    """

    def __init__(self, session: str, specification: dict[str, Any], address: tuple[str, int]) -> None:
        """Connect. :raises PagesLost: the destination is not to be reached."""
        self.deferral = Deferral(f"{session}/deferred")
        order = {"id": specification["id"], "credentials": specification["credentials"], "address": address}
        self._helper = Helper("serve", session, order)
        self._helper.hear(START_SECONDS)

    def serve(self, pids: Iterable[int]) -> None:
        """Have it begin with frozen processes, by their numbers on this host. :raises PagesLost: it is gone."""
        self.deferral.choose(pids)
        self._helper.tell({"tasks": self.deferral.tasks})

    def await_serving(self) -> None:
        """Return when it has begun. :raises PagesLost: it cannot."""
        self._helper.hear(START_SECONDS)

    def close(self) -> None:
        """Serve no more. The destination has hung up if it has the last page."""
        self._helper.kill()


class PageClient:
    """The destination's side: a process that waits for the source's connection, and for the image."""

    def __init__(self, session: str, specification: dict[str, Any]) -> None:
        """Listen; ``port`` is where. :raises PagesLost: it cannot."""
        order = {key: specification[key] for key in ("id", "credentials", "listen")}
        self._helper = Helper("fetch", session, order)
        self.port: int = self._helper.hear(START_SECONDS)["port"]

    def begin(self, container_id: str, pid: int) -> None:
        """The image is here: return when a restore may ask for pages. :raises PagesLost: it never will.

        :param pid: the one that the copy's init will have on this host.
        """
        self._helper.tell({"container_id": container_id, "pid": pid})
        self._helper.hear(START_SECONDS)


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
    return json.loads(text) if text else {"lost": "the process that fetched it was killed"}


def await_outcome(session: str, seconds: float) -> dict[str, Any]:
    """Return how the transfer ended. :raises TimeoutError: it goes on."""
    deadline = time.monotonic() + seconds
    while (found := outcome(session)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the container's memory did not come from its source within {seconds:g} s")
        time.sleep(POLL_SECONDS)
    return found


def end_processes(session: str) -> None:
    """End the page processes of a session, which outlive the proxy that started them, and CRIU where it fetches."""
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
            continue
        ours = PROGRAM in words or ("lazy-pages" in words and "criu" in map(os.path.basename, words[:2]))
        if ours and any(word == session or word.startswith(session + "/") for word in words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry), signal.SIGKILL)
