# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relocations that are carried out on an execution node: ansible-runner's transmit | worker | process.

The pipe to the worker is ssh's, or that of any command which has the worker's input and output, such as Receptor's. What the
run needs goes over it: the node has nothing but ansible-runner and Ansible, with what ``execution-environment.yml`` lists.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ansible_runner

from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import events, relocation
from relocate.move.playbook import failure
from relocate.schedule.launchers.base import LaunchError, Move, require_names
from relocate.schedule.launchers.bundle import pack
from relocate.schedule.launchers.outcome import CANCELLED, settle
from relocate.schedule.launchers.retention import Retention
from relocate.schedule.launchers.settings import StreamSettings

KEEPALIVE = "10"  # seconds after which a silent worker says that it lives


class _Heard:
    """The worker's output, with the moment of the last word of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.at = time.monotonic()
        self.silent = False  # for so long that the pipe was closed

    def readline(self) -> bytes:
        """Return the next line."""
        line = self._stream.readline()
        self.at = time.monotonic()
        return line

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._stream.read(size)
        self.at = time.monotonic()
        return data

    def __getattr__(self, name: str) -> Any:
        """Leave the rest to the stream: ansible-runner's decoder asks for a whole file object."""
        return getattr(self._stream, name)


class StreamLauncher:
    """Streams runs to a worker. Stateless between runs, so one serves all threads."""

    name = "stream"

    def __init__(self, settings: StreamSettings, inventory: str | None) -> None:
        self._settings = settings
        self._root = project_root()
        self._inventory = relocation.inventory_path(inventory, self._root)
        self._retention = Retention(settings.runs, settings.kept_runs, settings.kept_days)

    def command(self) -> list[str]:
        """Return the command whose input and output are the worker's."""
        if self._settings.command is not None:
            return list(self._settings.command)
        worker = list(self._settings.worker)
        if Path(worker[0]).name == "ansible-runner" and "--keepalive-seconds" not in worker:
            worker += ["--keepalive-seconds", KEEPALIVE]
        options = ["-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"]
        # ssh hands the node's shell one string: quoted, words stay words
        return ["ssh", *options, *self._settings.ssh_arguments, "--", str(self._settings.node), shlex.join(worker)]

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        """Run the playbook on the node and return the relocation's result.

        ``cancelled`` is heeded until the run is sent. Afterwards it is allowed to finish: a worker cannot be told to stop, and
        closing the pipe would lose the result of a run that goes on.
        """
        require_names(move)
        if cancelled.is_set():
            raise LaunchError(CANCELLED)
        caught = relocation.Catcher(relocation.RELOCATE)
        said, kept = self._run("playbooks/relocate.yml", move.variables, caught, move.id)
        return settle(move, caught, said or "the playbook ended without relocating anything", run=kept)

    def recover(self) -> dict[str, list[Any]]:
        """Run ``playbooks/recover.yml`` on the node. Raises LaunchError when something could not be settled."""
        caught = relocation.Catcher(relocation.RECOVER)
        said, _ = self._run("playbooks/recover.yml", {}, caught, "recover")
        if said:
            raise LaunchError(said)
        return {name: caught.result.get(name, []) for name in ("settled", "in_progress", "left")}

    def _run(
        self, book: str, variables: dict[str, Any], caught: relocation.Catcher, name: str
    ) -> tuple[str | None, str | None]:
        """Run a playbook; return why it failed (None: it did not) and where its output is kept."""
        failed: list[str] = []
        statuses: list[dict[str, Any]] = []

        def handle(event: dict[str, Any]) -> bool:
            caught(event)
            bad = event.get("event") in ("runner_on_failed", "runner_on_unreachable")
            if bad and not events.data(event).get("ignore_errors"):
                failed.append(failure(event))
            return False  # nothing is kept on disk

        # Directories of their own for each run: a used one would hand its variables to the next.
        with (
            tempfile.TemporaryDirectory(prefix="relocate-send-") as sent,
            tempfile.TemporaryDirectory(prefix="relocate-back-") as back,
        ):
            try:
                pack(Path(sent), self._root, self._inventory, variables, self._settings.verbosity)
            except (Refusal, OSError) as error:
                raise LaunchError(str(error)) from None
            with self._worker(Path(sent), book) as (heard, complaint):
                result = ansible_runner.interface.run(
                    streamer="process",
                    private_data_dir=back,
                    _input=heard,
                    event_handler=handle,
                    status_handler=lambda status, runner_config: statuses.append(status),
                    cancel_callback=lambda: False,  # without one, ansible-runner takes the signals' handlers
                    quiet=True,
                )
            if result.status == "successful":
                return None, None
            kept = self._retention.keep(name, Path(back) / "artifacts" / "stdout")
        if result.status == "error" and (heard.silent or len(statuses) > 1):
            # the pipe broke after the run had been sent, or had even started: it may go on there, and relocate
            caught.begun = True
        explanation = statuses[-1].get("job_explanation") if statuses else None
        said = failed[0] if failed else complaint() or str(explanation or f"the run ended as {result.status}")
        if not failed:
            said = f"{self._where()}: {said}"
        return said, None if kept is None else str(kept)

    @contextlib.contextmanager
    def _worker(self, sent: Path, book: str) -> Iterator[tuple[_Heard, Any]]:
        """Start the worker, send it the run, and see that it does not fall silent; gives its output and its complaints."""
        with tempfile.TemporaryFile() as errors:
            try:
                worker = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,  # the terminal's Ctrl-C is for the service, which lets runs end
                )
            except OSError as error:
                raise LaunchError(f"the worker cannot be started: {self.command()[0]}: {error.strerror}") from None
            assert worker.stdin is not None and worker.stdout is not None  # both are pipes
            said = ""

            def complaint() -> str:
                return said

            heard, done = _Heard(worker.stdout), threading.Event()
            sender = threading.Thread(target=_send, args=(worker.stdin, sent, book), daemon=True)
            watcher = threading.Thread(target=self._watch, args=(worker, heard, done), daemon=True)
            sender.start()
            watcher.start()
            try:
                yield heard, complaint
            finally:
                done.set()
                worker.stdout.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(timeout=10)
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()
                sender.join()
                watcher.join()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                said = lines[-1].strip() if lines else ""

    def _watch(self, worker: subprocess.Popen[bytes], heard: _Heard, done: threading.Event) -> None:
        """End the pipe to a worker that has been silent for too long: its run may go on, and counts as in doubt."""
        while not done.wait(min(1.0, self._settings.silence / 4)):
            if time.monotonic() - heard.at > self._settings.silence:
                heard.silent = True
                worker.kill()
                return

    def _where(self) -> str:
        return self._settings.node or shlex.join(self._settings.command or [])


def _send(stream: IO[bytes], sent: Path, book: str) -> None:
    """Send the private data directory, and close: the worker may have gone already, which its output will tell."""
    with contextlib.suppress(OSError, ValueError), stream:
        ansible_runner.interface.run(
            streamer="transmit",
            private_data_dir=str(sent),
            playbook=book,
            _output=stream,
            cancel_callback=lambda: False,
        )
