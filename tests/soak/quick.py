# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet whose hosts are asked thousands of times: by shells that stay, in place of one SSH session a question."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from dataclasses import dataclass, field

from fleet import Fleet

END = "\x04end of what was asked"


class ShellEnded(Exception):
    """The host hung up in the middle of an answer."""


class Shell:
    """A shell on a host, over SSH. It is used by one thread."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )

    @property
    def lives(self) -> bool:
        """Whether the connection is there, for all that is known."""
        return self._process.poll() is None

    def run(self, script: str, data: str | None) -> tuple[int, str]:
        """Run a script with ``data`` on its standard input; return its status, and what it printed (errors last, if it failed).

        :raises ShellEnded: the connection is gone.
        """
        assert self._process.stdin and self._process.stdout
        packed = [base64.b64encode(text.encode()).decode() for text in (script, data or "")]
        errors = "/tmp/errors.$$"
        line = (
            f'printf %s {packed[1]} | base64 -d | bash -c "$(printf %s {packed[0]} | base64 -d)" 2>{errors}; s=$?; '
            f"[ $s = 0 ] || cat {errors}; printf '\\n{END} %s\\n' $s\n"
        )
        said: list[str] = []
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            for answer in self._process.stdout:
                if answer.startswith(END):
                    return int(answer.removeprefix(END)), "".join(said)
                said.append(answer)
        except OSError as error:
            raise ShellEnded(str(error)) from error
        raise ShellEnded("the host hung up")

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what could not be sent
                assert pipe
                pipe.close()


@dataclass
class QuickFleet(Fleet):
    """A fleet that asks in this way. What is started is still a child of the host's sshd, as Ansible's commands are."""

    _idle: dict[str, list[Shell]] = field(default_factory=dict)

    def on(self, host: str, script: str, check: bool = True, data: str | None = None) -> str:
        """Run a shell script on a host, with ``data`` to read; return what it printed. Any thread may ask."""
        idle = self._idle.setdefault(host, [])
        while idle and not idle[-1].lives:  # its host was lost, and may be back
            idle.pop().end()
        shell = idle.pop() if idle else Shell(self.ssh(host, "exec bash"))
        try:
            status, said = shell.run(script, data)
            idle.append(shell)
        except ShellEnded as error:
            shell.end()
            status, said = 255, str(error)
        assert not check or status == 0, f"{host}: {script}: {said}"
        return said.strip()

    def end(self) -> None:
        """Hang up everything."""
        for idle in self._idle.values():
            while idle:
                idle.pop().end()
