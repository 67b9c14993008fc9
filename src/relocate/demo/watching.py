# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients at work in the lab's outside world, watched from here."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relocate.errors import Refusal

CLIENT = Path(__file__).with_name("client.py")
CONNECT_SECONDS = 20.0
END_SECONDS = 10.0


@dataclass(frozen=True)
class Pause:
    """One answer that took long: when it was asked for (seconds since the epoch), and how long it took (ms)."""

    at: float
    ms: float


@dataclass
class Client:
    """A client process in a network namespace. It lives until :meth:`stop`, or until something is lost.

    ``interval_ms``: from an answer to the next question; ``patience``: seconds it waits for an answer.
    """

    kind: str
    address: str
    port: int
    namespace: str
    interval_ms: float = 2.0
    patience: float = 60.0
    pauses: list[Pause] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def start(self) -> Client:
        """Start and return when the connection stands. Raises Refusal when it cannot be made."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, str(CLIENT), self.kind, self.address]
        command += [str(self.port), str(self.interval_ms), str(self.patience)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._connected = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._connected.wait(CONNECT_SECONDS) or self.summary:
            self._process.kill()
            raise Refusal(
                f"no {self.kind} client could connect to {self.address}:{self.port} "
                f"({self.summary.get('error', 'no answer')}): is the tenant running and published?"
            )
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            document = json.loads(line)
            if "pause_ms" in document:
                self.pauses.append(Pause(document["at"], document["pause_ms"]))
            elif "requests" in document:
                self.summary = document
            self._connected.set()
        self._connected.set()

    @property
    def lost(self) -> str | None:
        """What went wrong, if something did already."""
        return self.summary.get("error")

    def longest_since(self, moment: float) -> float | None:
        """Return the longest pause (ms) of a request made at or after ``moment`` or still unanswered then."""
        found = [pause.ms for pause in self.pauses if pause.at + pause.ms / 1000 >= moment]
        return max(found) if found else None

    def stop(self) -> dict[str, Any]:
        """End the client and return its summary: ``requests``, ``longest_ms``, ``error``."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # it waits for an answer that does not come
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        return self.summary or {"requests": 0, "longest_ms": 0.0, "error": "it was still waiting for an answer"}
