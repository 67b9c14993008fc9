# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scheduler in a process of its own, over a fleet that is a file: for tests that kill it.

``python harness.py DIRECTORY [--deaf]``: reads DIRECTORY/config.yml; containers and places are in DIRECTORY/places.json,
what was launched goes to DIRECTORY/launches.log. DIRECTORY/abandoned names relocations that have no process and no end, until
they are recovered. ``--deaf`` makes it wait for another's lease to lapse even if that process is
known to be dead, as a standby on another machine has to.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relocate.schedule import config, logs, reconcile
from relocate.schedule.discovery import Survey
from relocate.schedule.launchers.base import Move
from relocate.schedule.records import Tenant
from relocate.schedule.service import Service

HOSTS = ("host1", "host2", "host3")
MOVE_SECONDS = 0.08


@contextmanager
def places(directory: Path) -> Iterator[dict[str, Any]]:
    """The fleet, for one process at a time; what is changed is written when the block ends."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = directory / "places.json"
        fleet: dict[str, Any] = json.loads(path.read_text())
        yield fleet
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(fleet))
        fresh.replace(path)


def note(directory: Path, *words: str) -> None:
    """Append one line to what was launched."""
    descriptor = os.open(directory / "launches.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (" ".join(words) + "\n").encode())
    os.close(descriptor)


class FileLauncher:
    """Moves a container in the file, after a while in which it may be killed."""

    name = "file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def launch(self, move: Move, cancelled: threading.Event) -> dict[str, Any]:
        note(self._directory, move.id, move.container, str(os.getpid()))
        time.sleep(MOVE_SECONDS)
        with places(self._directory) as fleet:
            here = fleet[move.container]["host"]
            there = HOSTS[(HOSTS.index(here) + 1) % len(HOSTS)]
            fleet[move.container] = {"host": there, "since": time.time()}
        return {
            "id": move.id,
            "container": move.container,
            "outcome": "committed",
            "destination": {"host": there},
            "downtime_ms": 1.0,
        }

    def recover(self) -> dict[str, list[Any]]:
        (self._directory / "abandoned").unlink(missing_ok=True)
        return {"settled": [], "in_progress": [], "left": []}


def main() -> int:
    directory = Path(sys.argv[1])
    os.environ["RELOCATE_LEDGER"] = str(directory / "ledger.jsonl")
    reconcile.GRACE = 0.5  # no Ansible is on its way to a host here
    file = directory / "config.yml"
    configuration = config.load(file)
    logs.setup("text", "info")

    def survey(_: Collection[str]) -> Survey:
        with places(directory) as fleet:
            tenants = {name: Tenant(name, each["host"], each["since"], {}) for name, each in fleet.items()}
        file = directory / "abandoned"
        abandoned = set(file.read_text().split()) if file.exists() else set()
        return Survey(
            tenants=tenants, answered=set(HOSTS), edge="host0", unfinished=set(abandoned), abandoned=abandoned
        )

    service = Service(configuration, file=file, launcher=FileLauncher(directory), surveyor=survey)
    if "--deaf" in sys.argv:
        service.lease.dead = lambda _: False
    return service.run()


if __name__ == "__main__":
    sys.exit(main())
