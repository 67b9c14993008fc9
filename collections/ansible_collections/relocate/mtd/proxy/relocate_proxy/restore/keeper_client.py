# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The destination proxy's end of the gate: it talks to the keeper of one container (see ``keeper``)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable

from ..host import paths

ASK_SECONDS = 5.0
SHIM_KILLED = "the containerd-shim of the copy was killed, and containerd ends the copy with it"


class GateFailed(RuntimeError):
    """The keeper gave up, and says why."""


class KeeperGone(GateFailed):
    """The keeper has hung up without a word. Nobody knows what it did last."""


def told(line: bytes) -> dict:
    """Return the event in a line of the keeper. :raises GateFailed: it is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("event"), str):
        raise GateFailed("the keeper of the container's start said something that is no event")
    return document


class KeeperClient:
    """A connection to the keeper of a container that is being started."""

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._buffer = b""

    @staticmethod
    def expect_container(container_id: str, session: str) -> None:
        """Mark the container: its next start goes to the keeper, which logs into ``session``."""
        for directory in (paths.EXPECTED, paths.GATES):
            paths.private_directory(directory)
        with open(paths.marker(container_id), "w", encoding="utf-8") as file:
            file.write(session)

    @staticmethod
    def forget(container_id: str) -> None:
        """Remove the marker, and what a keeper that was killed has left: from now on the container starts like any other."""
        for path in (paths.marker(container_id), paths.gate(container_id), paths.verdict(container_id)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def attach(self, seconds: float, coming: Callable[[], bool] = lambda: True) -> None:
        """Connect as soon as the keeper listens.

        :param coming: whether there is still somebody who will start it.
        :raises TimeoutError: when it does not listen.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._socket.connect(paths.gate(self.container_id))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or not coming():
                    raise TimeoutError(
                        "the runtime did not start the gate; is its log in the session directory?"
                    ) from None
                time.sleep(0.005)
        self.say("attach")

    def say(self, what: str, **fields: object) -> None:
        """Send one request."""
        self._socket.sendall(json.dumps({"do": what, **fields}).encode() + b"\n")

    def print(self, words: list[list[str]]) -> None:
        """Have lines said on the container's standard streams before it runs: ``[stream, text]`` each."""
        for begin in range(0, len(words), 64):
            self.say("print", words=words[begin : begin + 64])

    def ask(self) -> dict:
        """Return which ``pid`` Docker knows, and whether the container's ``shim`` lives.

        :raises GateFailed: the keeper has given up, or is gone; :raises TimeoutError: it is silent.
        """
        self.say("ask")
        return self.expect("asked", ASK_SECONDS)

    def expect(self, event: str, seconds: float) -> dict:
        """Return the next event of that name.

        :raises GateFailed: when the keeper reports that it gave up, or is gone; :raises TimeoutError: when it is silent.
        """
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    data = self._socket.recv(65536)
                except TimeoutError:
                    raise TimeoutError(f"the container's start did not reach '{event}' within {seconds:g} s") from None
                if not data:
                    raise KeeperGone("the keeper of the container's start is gone")
                self._buffer += data
                continue
            self._buffer = rest
            document = told(line)
            if document["event"] == event:
                return document
            if document["event"] in ("failed", "cancelled"):
                raise GateFailed(document.get("reason") or f"runc restore ended with status {document.get('status')}")

    def close(self) -> None:
        """Hang up. The keeper goes on."""
        self._socket.close()
