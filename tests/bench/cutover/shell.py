# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shells that stay open on the lab's hosts: a pipeline must not pay for logging in at each of its steps."""

from __future__ import annotations

import secrets
import subprocess
import threading


class CommandFailed(RuntimeError):
    """A script ended with a status other than 0; the message has what it printed."""


class Shell:
    """One POSIX shell at the other end of a pipe."""

    def __init__(self, name: str, argv: list[str]) -> None:
        """Start ``argv``, which must end up in a shell that reads commands. ``name`` is for messages."""
        self.name = name
        self._lock = threading.Lock()
        # a session of its own: Ctrl-C is for the one who tidies up through this shell
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def __call__(self, script: str, check: bool = True) -> str:
        """Run a script in a subshell; return what it printed.

        :raises CommandFailed: it failed and ``check`` is set, or the shell is gone.
        """
        mark = secrets.token_hex(8)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(f"(\n{script}\n) </dev/null 2>&1\nprintf '\\n%s %s\\n' {mark} $?\n")
                self._process.stdin.flush()
            except OSError as error:
                raise CommandFailed(f"the shell on {self.name} is gone: {error}") from error
            lines: list[str] = []
            while True:
                line = self._process.stdout.readline()
                if not line:
                    raise CommandFailed(f"the shell on {self.name} is gone: {''.join(lines).strip()}")
                if line.startswith(mark):
                    break
                lines.append(line)
        status, said = int(line.split()[1]), "".join(lines).strip()
        if check and status:
            raise CommandFailed(f"on {self.name}, '{script.strip()}' ended with {status}: {said}")
        return said

    def close(self) -> None:
        """End the shell."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
