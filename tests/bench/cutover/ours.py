# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This project's own moves, each through the playbook that an operator runs: one container, every mode, and a failure."""

from __future__ import annotations

import json
from typing import Any

from relocate.commands.move import PHASES
from relocate.errors import Refusal
from relocate.move.relocation import relocate

from .lab import REPOSITORY, VIRTUAL, BenchLab
from .pipeline import Sample, Timing, Unavailable, watched

PORT = 7105
NAME = "bench-ours"
FAULTS = "/run/relocate/faults.json"
FAULT = {"part": "destination", "state": "prepared", "moment": "before", "do": "fail"}
#: The bench wants to see what a move over any limit takes.
NO_LIMIT_MS = 3_600_000.0


def pause_phases(timings_ns: dict[str, int | None]) -> dict[str, float]:
    """Return the phases of the pause in milliseconds, in the order in which they pass; 0 and unknown ones are left out."""
    return {name: value / 1e6 for name in PHASES if (value := timings_ns.get(name))}


class Tenant:
    """The container that all modes move, back and forth between the two hosts."""

    def __init__(self, lab: BenchLab) -> None:
        self.lab = lab
        self.here, self.there = lab.hosts
        self.mib = 0

    def begin(self, mib: int) -> None:
        """Have it run with that much memory: one container serves all modes."""
        if self.mib == mib:
            return
        self.end()
        self.lab.play(
            "instantiate.yml",
            container=NAME,
            image=f"{REPOSITORY}/counter:1",
            host=self.here,
            publish=f"{VIRTUAL}:{PORT}:{PORT}/tcp",
            command=f"{PORT} {mib}",
            tenant="bench",
        )
        self.mib = mib

    def move(self, mode: str, check: bool = False) -> dict[str, Any]:
        """Relocate it to the other host; return the result document. Raises Refusal when nothing was even tried."""
        result = relocate(
            NAME,
            destination=self.there,
            mode=mode,
            downtime_limit_ms=NO_LIMIT_MS,
            reason="bench",
            inventory=self.lab.inventory,
            check=check,
            quiet=True,
        )
        if result["outcome"] == "committed":
            self.here, self.there = self.there, self.here
        return result

    def end(self) -> None:
        """Remove it, wherever it is."""
        for on in self.lab.on.values():
            on(f"docker rm -f {NAME}", check=False)
        self.lab.withdraw(PORT)
        self.here, self.there = self.lab.hosts
        self.mib = 0


class Mode:
    """A move in one mode."""

    def __init__(self, tenant: Tenant, mode: str) -> None:
        self.tenant = tenant
        self.name = mode

    def begin(self, mib: int) -> None:
        """Have the container run. Raises Unavailable where the project itself says that this mode cannot be had."""
        self.tenant.begin(mib)
        try:
            planned = self.tenant.move(self.name, check=True)
        except Refusal as refusal:
            raise Unavailable(str(refusal)) from refusal
        if planned["outcome"] != "planned":
            raise Unavailable(str(planned.get("msg")))

    def hop(self) -> Sample:
        """Move it."""

        def move() -> Timing:
            result = self.tenant.move(self.name)
            if result["outcome"] != "committed":
                raise Refusal(str(result.get("msg")))
            if result["mode"] != self.name:
                raise Refusal(f"asked for {self.name}, got {result['mode']}")
            return Timing(result["downtime_ms"], pause_phases(result["timings_ns"]))

        return watched(self.tenant.lab, PORT, move)

    def end(self) -> None:
        """Remove the container."""
        self.tenant.end()


class Rollback:
    """A move that fails at the destination when the whole image has been carried over and restored: as late as it can."""

    name = "rollback"

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def begin(self, mib: int) -> None:
        """Have the container run."""
        self.tenant.begin(mib)

    def hop(self) -> Sample:
        """Try to move it, in vain."""
        destination = self.tenant.lab.on[self.tenant.there]
        destination(f"umask 077; printf %s '{json.dumps(FAULT)}' >{FAULTS}")

        def fail() -> Timing:
            result = self.tenant.move("stop-and-copy")
            if result["outcome"] != "rolled-back":
                raise Refusal(f"a move that should have failed ended as {result['outcome']}: {result.get('msg')}")
            timings = result["timings_ns"]
            return Timing(timings["held_total"] / 1e6, pause_phases(timings))

        try:
            return watched(self.tenant.lab, PORT, fail)
        finally:
            destination(f"rm -f {FAULTS}")

    def end(self) -> None:
        """Remove the container."""
        self.tenant.end()
