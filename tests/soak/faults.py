#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make faults``: run the fault matrix on the lab's hosts, print its table, and write it to ``build/faults.md``.

After each failure: one copy runs, one and the same connection goes on with its numbers, nothing is left over, and settling
twice changes nothing. A cell that fails does not end the run: the tenant is made anew, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "collections"))
sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from direct import EDGE, ORPHANS, Direct, Heart
from fleet import ROOT, Fleet, prepared_fleet
from matrix import NOT_RUN, Cell, Row, every_cell, select, summary, table
from outside import SIGN
from rehearsal import NothingToStrike, rehearse

NAME, PORT = "walker", 7100
REPORT = ROOT / "build/faults.md"


def options(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", default=[], choices=["source", "destination", "edge"])
    parser.add_argument("--state", action="append", default=[], help="a state of the journal; several may be given")
    parser.add_argument("--moment", action="append", default=[], choices=["before", "after"])
    parser.add_argument(
        "--fault", action="append", default=[], help="a kind, or how its name begins: kill, cut, disk-full"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="only N of the combinations, drawn by --seed")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the draw; printed")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no combination later than this")
    parser.add_argument("--hosts", default="host1,host2", help="the two Docker hosts")
    parser.add_argument("--up", action="store_true", help="the lab is up and prepared: leave it as it is")
    parser.add_argument("--list", action="store_true", help="only list the combinations")
    return parser.parse_args(words)


class Run:
    """A tenant that walks between two hosts through one failure after the other."""

    def __init__(self, fleet: Fleet, hosts: tuple[str, str]) -> None:
        self.fleet, self.hosts = fleet, hosts
        self.direct: Direct | None = None
        self.heart: Heart | None = None

    def begin(self) -> None:
        """Make the tenant, and a client of it."""
        if self.heart:
            self.heart.end()
        self.fleet.on(EDGE, "rm -f /run/relocate/results/*", check=False)  # nobody waits for them
        self.fleet.tenant(NAME, "counter", self.hosts[0], f"{PORT} 8", PORT)
        self.direct = Direct.of(self.fleet, NAME, *self.hosts)
        self.heart = Heart(self.fleet, PORT)

    def begin_again(self) -> None:
        """Take everything away that the last failure has left, and make the tenant anew."""
        for host in (EDGE, *self.hosts):
            self.fleet.on(host, f"rm -f /run/relocate/faults.json {SIGN}", check=False)
        if self.direct:
            self.direct.wait_until_quiet()
        self.fleet.run("relocate", "recover", check=False)
        self.fleet.remove_tenants()
        for host in self.hosts:
            said = self.fleet.on(host, ORPHANS, check=False)
            for orphan in [line.rpartition(" ")[2] for line in said.splitlines()]:
                self.fleet.on(host, f"kill -9 $(grep -l {orphan} /proc/[0-9]*/cgroup | cut -d/ -f3)", check=False)
        for host in (EDGE, *self.hosts):
            self.fleet.on(
                host, "rm -rf /run/relocate/sessions/* /run/relocate/gates/* /run/relocate/expected/*", check=False
            )
        self.begin()

    def try_out(self, cell: Cell) -> Row:
        """Run one combination."""
        assert self.direct and self.heart
        start = time.monotonic()
        gap_ms = 0.0
        try:
            self.heart.assert_beats()
            outcome = rehearse(self.direct, self.heart, cell.fault, cell.outside)
            words, gap_ms = outcome.ended, outcome.gap_ms
            words += " (by recover)" if outcome.recovered else ""
        except NothingToStrike:
            words = "nothing there to break"
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            words = f"FAILED: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        row = Row(cell, words, gap_ms, time.monotonic() - start)
        if (row.failed and not self._whole()) or words == "lost":
            self.begin_again()
        return row

    def _whole(self) -> bool:
        """Say whether the tenant, its client and the hosts are as they were, in spite of what was found."""
        assert self.direct and self.heart
        try:
            self.heart.assert_beats()
            return len(self.direct.running()) == 1 and not self.direct.leftovers()
        except AssertionError:
            return False


def main() -> int:
    """Run what was asked for; return the exit status."""
    wanted = options()
    cells = select(
        every_cell(),
        parts=wanted.part,
        states=wanted.state,
        moments=wanted.moment,
        kinds=wanted.fault,
        sample=wanted.sample,
        seed=wanted.seed,
    )
    if wanted.list or not cells:
        print("\n".join(map(str, cells)) or "no such combination: see --list")
        return 0 if cells else 2
    if os.geteuid() != 0:
        print("the lab needs root: NOT RUN", file=sys.stderr)
        return 1
    print(f"{len(cells)} combinations, seed {wanted.seed}", flush=True)
    order = {cell: number for number, cell in enumerate(cells)}
    if wanted.minutes < float("inf"):  # what the time is enough for is drawn, too
        random.Random(wanted.seed).shuffle(cells)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with the report of what was run
    fleet = prepared_fleet(as_it_is=wanted.up)
    here, there = wanted.hosts.split(",")
    run, rows, begun = Run(fleet, (here, there)), [], time.monotonic()
    try:
        run.begin()
        for number, cell in enumerate(cells, 1):
            if time.monotonic() > begun + wanted.minutes * 60:
                print(f"{len(cells) - number + 1} combinations were not begun: the time is over")
                break
            row = run.try_out(cell)
            rows.append(row)
            print(f"{number:4}  {cell!s:60} {row.outcome:30} {row.gap_ms:7.0f} ms {row.seconds:6.1f} s", flush=True)
    finally:
        if run.heart:
            run.heart.end()
        fleet.remove_tenants()
        report = page(sorted(rows, key=lambda row: order[row.cell]), wanted.seed)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(report, encoding="utf-8")
        print(report)
    return 1 if any(row.failed for row in rows) or not rows else 0


def page(rows: list[Row], seed: int) -> str:
    """Return what is written to the disk."""
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    words = " ".join(sys.argv[1:])
    not_run = "".join(f"- NOT RUN: {what}: {why}.\n" for what, why in NOT_RUN.items())
    return f"`tests/soak/faults.py {words}`, {when}, seed {seed}.\n\n{summary(rows)}\n\n{table(rows)}\n{not_run}"


if __name__ == "__main__":
    sys.exit(main())
