# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of an OCI runtime, as containerd's shim gives it to us, and the ``runc restore`` that is made of it."""

from __future__ import annotations

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
