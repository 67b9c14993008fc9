# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a playbook of the project through ansible-runner, showing how far it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import ansible_runner
from ansible_collections.relocate.mtd.plugins.module_utils._modes import CONNECTIONS_WORDS, DRAINING_WORDS
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import shown as escaped
from rich.console import Console

from relocate.errors import Refusal
from relocate.move import events
from relocate.terminal import cell

DRAINS = (DRAINING_WORDS, CONNECTIONS_WORDS)
PATIENCE = 1.0  # seconds before a task is worth a line where nothing can be redrawn


class Progress(Protocol):
    """Told of each task when it begins."""

    def task(self, name: str) -> None:
        """A task begins."""


class LiveProgress:
    """One line on a terminal, redrawn: the task at work and the time since the start."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("starting")
        self._start = time.monotonic()
        self._name = "starting"

    def __enter__(self) -> LiveProgress:
        self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()

    def task(self, name: str) -> None:
        """Show the task."""
        self._status.update(f"{cell(name)} [dim]({time.monotonic() - self._start:.0f} s since the start)[/dim]")


class LineProgress:
    """Plain lines for a log: only tasks that take longer than a moment get one, while they are at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._timer: threading.Timer | None = None

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._timer:
            self._timer.cancel()

    def task(self, name: str) -> None:
        """Print the task's name, unless the next one begins within a moment."""
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(
            PATIENCE, self._console.print, [f"{escaped(name)} …"], {"markup": False, "highlight": False}
        )
        self._timer.daemon = True
        self._timer.start()


class Silence:
    """Nothing at all: the output is for a machine, or Ansible speaks for itself."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def task(self, name: str) -> None:
        """Say nothing."""


def task_name(event: dict[str, Any]) -> str:
    """Return the name of an event's task without its role's name."""
    name = str(events.data(event).get("task") or "")
    return name.partition(" : ")[2] or name


def _line(text: Any) -> str:
    """Return what Ansible or a host said as one line that moves no cursor."""
    return escaped(" ".join(str(text).split()))


def failure(event: dict[str, Any]) -> str:
    """Return what a failed task said, with the task's name unless the sentence is a refusal made for people."""
    data, result = events.data(event), events.result(event)
    said = _line(result.get("msg") or result.get("stderr") or "no reason given")
    if str(data.get("task_action")).endswith("assert"):
        return said
    detail = str(result.get("stderr") or "").strip().splitlines()
    if detail and (last := _line(detail[-1])) not in said:
        said += f" ({last})"
    return f"'{_line(task_name(event))}' failed on {_line(data.get('host', '?'))}: {said}"


def complaint(output: str) -> str:
    """Return the error in Ansible's own output, for a run that failed before any task did."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\[?ERROR[]!]", line)]
    return errors[0] if errors else "; ".join(lines[-3:])


@contextmanager
def _cancelling() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into an answer for the time of a run; ansible-runner asks for it and ends Ansible."""
    wanted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wanted.is_set
        return
    before = {number: signal.signal(number, lambda *_: wanted.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wanted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


#: How Ansible's JSON marks a text that is no template, and what it would take for something else again.
UNSAFE, RESERVED = "__ansible_unsafe", "__ansible_"


def _as_data(value: Any) -> Any:
    """Return a JSON value with every text marked as one that is no template: Ansible evaluates all others before use.

    Not YAML's ``!unsafe``: of a text ``null`` or ``010`` it makes nothing, or 8. Raises ValueError for a key that has a meaning
    to Ansible: it would fail to read the file as JSON, and read it again as YAML, where no text is marked.
    """
    if isinstance(value, str):
        return {UNSAFE: value}
    if isinstance(value, dict):
        for key in value:
            if str(key).startswith(RESERVED):
                raise ValueError(f"an extra variable has the key {escaped(key)}, which Ansible keeps for itself")
        return {str(key): _as_data(content) for key, content in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_data(content) for content in value]
    return value


def write_variables(private: Path, variables: dict[str, Any]) -> None:
    """Leave extra variables where ansible-runner finds them: given as an argument, they would stand in ``ps`` for all.

    They are data: names of containers come from hosts, and what looks like a template in them is never evaluated. Raises
    Refusal for variables that cannot be written so.
    """
    try:
        text = json.dumps(_as_data(variables))
    except (ValueError, TypeError) as error:
        raise Refusal(f"the extra variables cannot be given to Ansible: {error}") from None
    directory = private / "env"
    directory.mkdir(mode=0o700)
    fd = os.open(directory / "extravars", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)


def run(
    root: Path,
    playbook: str,
    variables: dict[str, Any],
    *,
    inventory: str = "localhost,",
    verbose: bool = False,
    quiet: bool = False,
    arguments: str = "",
    watch: Callable[[dict[str, Any]], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    output: Path | None = None,
) -> None:
    """Run ``playbook`` (relative to ``root``) with extra variables; show its tasks as they come.

    ``verbose`` shows Ansible's own output instead, ``quiet`` nothing. ``arguments`` are added to ansible-playbook's command
    line; ``watch`` sees every event. ``cancelled`` is asked a few times a second whether the run is to be killed; without it,
    in the main thread, SIGINT and SIGTERM decide. The output of a run that fails is copied to ``output``. Raises Refusal with
    the first failed task's own words, KeyboardInterrupt if the run was interrupted.
    """
    console = Console(stderr=True)
    failed: list[str] = []
    shown: LiveProgress | LineProgress | Silence
    if verbose or quiet:
        shown = Silence()
    elif console.is_terminal:
        shown = LiveProgress(console)
    else:
        shown = LineProgress(console)

    def handle(event: dict[str, Any]) -> bool:
        kind = event.get("event")
        if watch:
            watch(event)
        if kind == "playbook_on_task_start":
            shown.task(task_name(event))
        elif kind == "verbose" and any(words in str(event.get("stdout")) for words in DRAINS):
            shown.task(str(event["stdout"]).strip())
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not events.data(event).get("ignore_errors"):
            failed.append(failure(event))
        return False  # nothing is kept on disk

    # A directory for each run: a used one would hand the variables and the environment of its first run to the next.
    with (
        tempfile.TemporaryDirectory(prefix="relocate-") as private,
        shown,
        _cancelling() if cancelled is None else nullcontext(cancelled) as wanted,
    ):
        write_variables(Path(private), variables)
        result = ansible_runner.interface.run(
            private_data_dir=private,
            project_dir=str(root),
            playbook=str(root / playbook),
            inventory=inventory,
            cmdline=arguments or None,
            envvars={
                "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
                # ansible-runner has a directory of its own for these, and adds it to what is given here only
                "ANSIBLE_CALLBACK_PLUGINS": str(root / "plugins" / "callback"),
                # ansible-runner switches this off unless told
                "ANSIBLE_HOST_KEY_CHECKING": "True",
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            },
            # the default of 5 makes an interrupted run linger
            settings={"pexpect_timeout": 0.25, "suppress_ansible_output": not verbose},
            event_handler=handle,
            cancel_callback=wanted,  # without one, ansible-runner takes the signals' handlers for good
            quiet=not verbose,
        )
        if result.status != "successful" and output is not None:
            shutil.copyfile(Path(result.config.artifact_dir) / "stdout", output)
        if result.status == "canceled" or (cancelled is None and wanted()):
            raise KeyboardInterrupt
        if result.status != "successful":
            with result.stdout as stream:
                said = failed[0] if failed else complaint(stream.read())
            raise Refusal(said or f"{playbook} ended with status {result.status} and said nothing")
