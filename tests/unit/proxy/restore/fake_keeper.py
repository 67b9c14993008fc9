# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A keeper that only talks, for whoever talks to one."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from relocate_proxy.host import paths

ID = "c" * 64


class FakeKeeper:
    """Listens where a container's keeper would, remembers what it hears, and says what it is told to."""

    def __init__(self) -> None:
        paths.private_directory(paths.GATES)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(paths.gate(ID))
        self.listener.listen()
        self.heard: list[dict] = []
        self.answers: dict[str, list[bytes]] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    self.heard.append(message)
                    for answer in self.answers.get(message["do"], []):
                        if answer == b"hang up":
                            client.shutdown(socket.SHUT_RDWR)
                            break
                        client.sendall(answer)

    def close(self) -> None:
        """Stop listening."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(5)
        Path(paths.gate(ID)).unlink(missing_ok=True)


def event(name: str, **fields: object) -> bytes:
    """Return what the keeper sends."""
    return json.dumps({"event": name, **fields}).encode() + b"\n"
