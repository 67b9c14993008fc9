# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of an OCI runtime, as containerd's shim gives it to us, and the ``runc restore`` that is made of it."""

from __future__ import annotations

import contextlib
import os

COMMANDS = ("create", "start", "ps", "kill", "exec")


class Runtime:
    """The command line that the shim gave us, as far as we need it."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.command = next(word for word in arguments if word in COMMANDS)
        self.container = arguments[-2 if self.command == "kill" else -1]  # a signal comes behind it
        self.root = self._option("--root") or "/run/runc"
        self.log = self._option("--log") or os.devnull
        self.bundle = self._option("--bundle") or self._option("-b") or ""
        self.pid_file = self._option("--pid-file") or ""
        self.systemd_cgroup = "--systemd-cgroup" in arguments
        self._state = b""

    def _option(self, name: str) -> str | None:
        for position, word in enumerate(self.arguments):
            if word == name:
                return self.arguments[position + 1]
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
        return None

    def restore_command(self, images: str, work: str, options: list[str]) -> list[str]:
        """Return the ``runc restore`` of this container."""
        command = ["runc", "--root", self.root, "--log", self.log, "--log-format", "json"]
        if self.systemd_cgroup:
            command.append("--systemd-cgroup")
        command += ["restore", "--detach", "--tcp-established", "--ext-unix-sk", "--file-locks", *options]
        command += ["--image-path", images, "--work-path", work]
        return [*command, "--pid-file", self.pid_file, "--bundle", self.bundle, self.container]

    @property
    def _state_path(self) -> str:
        return f"{self.root}/{self.container}/state.json"

    def remember(self) -> None:
        """Read what runc knows of the container that it has restored."""
        with contextlib.suppress(OSError), open(self._state_path, "rb") as file:
            self._state = file.read()

    def remind(self) -> None:
        """Write that again if it is gone: runc forgets a container whose CRIU was killed, though it runs.

        Without it Docker could neither stop the container nor run anything in it.
        """
        if self._state and not os.path.exists(self._state_path):
            os.makedirs(os.path.dirname(self._state_path), 0o711, exist_ok=True)
            fd = os.open(self._state_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb") as file:
                file.write(self._state)
