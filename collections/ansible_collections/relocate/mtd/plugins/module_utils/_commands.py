# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands from a module: argument lists, C locale, and a record of everything that was run."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule


class Commands:
    """Runs commands for one module and keeps them, in order, for its result.

    ``ran`` are the commands as one could paste them into a shell (input as a here-document); ``timings_ns`` the time
    spent under each label given to :meth:`run`, in nanoseconds.
    """

    def __init__(self, module: AnsibleModule) -> None:
        """Run for ``module``: it executes, and its ``fail_json`` ends things."""
        self.module = module
        self.ran: list[str] = []
        self.timings_ns: dict[str, int] = {}
        self._binaries: dict[str, str] = {}

    def binary(self, name: str) -> str:
        """Return the path of a program; end the module with one sentence if the host has none."""
        if name not in self._binaries:
            found = self.module.get_bin_path(name, opt_dirs=["/usr/sbin", "/sbin", "/usr/local/sbin"])
            if found is None:
                self.fail(f"this host has no program {name!r}; install the package that carries it")
            self._binaries[name] = found
        return self._binaries[name]

    def run(
        self,
        argv: Sequence[str],
        stdin: str | None = None,
        check: bool = True,
        what: str | None = None,
        label: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> tuple[int, str, str]:
        """Run a command and return (exit status, stdout, stderr).

        :param argv: the program's name (looked up by :meth:`binary`) and its arguments.
        :param check: end the module if the command fails.
        :param what: what was attempted, for the failure's sentence: "adding the service web".
        :param label: count the time under this name.
        :param environment: variables besides ``LC_ALL=C``.
        """
        full = [self.binary(argv[0]), *argv[1:]]
        shown = shlex.join(argv)
        self.ran.append(shown if stdin is None else f"{shown} <<'.'\n{stdin.rstrip()}\n.")
        started = time.monotonic_ns()
        rc, out, err = self.module.run_command(
            full,
            data=stdin,
            expand_user_and_vars=False,
            environ_update={"LC_ALL": "C", **(environment or {})},
        )
        if label is not None:
            self.timings_ns[label] = self.timings_ns.get(label, 0) + time.monotonic_ns() - started
        if check and rc != 0:
            reason = (err.strip() or out.strip() or f"exit status {rc}").splitlines()[0]
            self.fail(f"{what or shown} failed: {reason}", cmd=shown, rc=rc, stdout=out, stderr=err)
        return rc, out, err

    def run_json(self, argv: Sequence[str], what: str | None = None) -> Any:
        """Run a command that prints JSON and return what it printed."""
        _rc, out, err = self.run(argv, what=what)
        try:
            return json.loads(out)
        except ValueError as error:
            self.fail(
                f"{shlex.join(argv)} did not print JSON: {error}", cmd=shlex.join(argv), rc=0, stdout=out, stderr=err
            )

    def write_file(self, path: str, content: str, mode: int) -> None:
        """Write a file at one stroke: its readers see the old content or the new, never a part.

        A file that exists keeps its owner and mode; a new one is root's, with ``mode``.
        """
        new = not os.path.exists(path)
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".relocate.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        self.module.atomic_move(temporary, path)
        if new:  # atomic_move gives a new file what the umask leaves
            os.chmod(path, mode)

    def fail(self, message: str, **details: Any) -> NoReturn:
        """End the module: one sentence, and the commands that led there."""
        self.module.fail_json(msg=message, commands=self.ran, timings_ns=self.timings_ns, **details)
        raise AssertionError("fail_json returned")  # it never does; type checkers do not know


def asking(module: AnsibleModule) -> Callable[..., str]:
    """Return a function that runs a command which changes nothing (its words as arguments), and returns what it printed.

    A command that fails has nothing to tell: the answer is empty.
    """

    def ask(*argv: str) -> str:
        status, out, _error = module.run_command(list(argv), environ_update={"LC_ALL": "C"}, expand_user_and_vars=False)
        return out if status == 0 else ""

    return ask


def read_text(path: str) -> str | None:
    """Return a text file's content, or None if there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
