# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default launcher: ansible-playbook on this machine, through ansible-runner.

What is seen to, for each of it has cost somebody an hour: a private data directory of its own for every run (a used one hands
its variables to the next), no signal handler taken, one thread of the service's own with a synchronous run in it (an exception
in ansible-runner's thread leaves a run "running" for ever), host keys checked, variables out of ``ps``.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from relocate.errors import Refusal
from relocate.lab.paths import project_root
from relocate.move import playbook, relocation
from relocate.schedule.launchers.base import LaunchError, Move, require_names
from relocate.schedule.launchers.outcome import CANCELLED, settle
from relocate.schedule.launchers.retention import Retention
from relocate.schedule.launchers.settings import RunnerSettings


class RunnerLauncher:
    """Runs ``playbooks/relocate.yml`` here. Stateless between runs, so one serves all threads."""

    name = "runner"

    def __init__(self, settings: RunnerSettings, inventory: str | None) -> None:
        self._root = project_root()
        self._inventory = relocation.inventory_path(inventory, self._root)
        self._arguments = "-" + "v" * settings.verbosity if settings.verbosity else ""
        self._retention = Retention(settings.runs, settings.kept_runs, settings.kept_days)

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        """Run the playbook and return the relocation's result.

        ``cancelled`` kills Ansible until the relocation itself begins. From then on it is allowed to finish: ansible-runner's
        cancel is a SIGKILL, no ``always:`` runs, the hosts finish the cutover all the same, and only the result would be lost.
        """
        require_names(move)
        caught = relocation.Catcher(relocation.RELOCATE)
        said = "the playbook ended without relocating anything"
        with tempfile.NamedTemporaryFile(prefix="relocate-run-") as output:
            try:
                self._run(
                    "playbooks/relocate.yml",
                    move.variables,
                    caught,
                    cancelled=lambda: cancelled.is_set() and not caught.begun,
                    output=Path(output.name),
                )
            except Refusal as refusal:
                said = str(refusal)
            except KeyboardInterrupt:
                said = CANCELLED
            kept = self._keep(move.id, Path(output.name))
        return settle(move, caught, said, run=kept)

    def recover(self) -> dict[str, list[Any]]:
        """Run ``playbooks/recover.yml``. Raises LaunchError when something could not be settled."""
        caught = relocation.Catcher(relocation.RECOVER)
        try:
            self._run("playbooks/recover.yml", {}, caught, cancelled=lambda: False, output=None)
        except Refusal as refusal:
            raise LaunchError(str(refusal)) from None
        return {name: caught.result.get(name, []) for name in ("settled", "in_progress", "left")}

    def _run(self, book: str, variables: dict[str, Any], caught: relocation.Catcher, **rest: Any) -> None:
        try:
            playbook.run(
                self._root,
                book,
                variables,
                inventory=self._inventory,
                quiet=True,
                arguments=self._arguments,
                watch=caught,
                **rest,
            )
        except (Refusal, KeyboardInterrupt):
            raise
        except Exception as error:  # ansible-runner's own, which have no common base; the service's thread must live on
            raise Refusal(f"ansible-runner could not run {book}: {type(error).__name__}: {error}") from error

    def _keep(self, name: str, output: Path) -> str | None:
        if output.stat().st_size == 0:
            return None
        kept = self._retention.keep(name, output)
        return None if kept is None else str(kept)
