#!/usr/bin/env python3
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make faults``: run the fault matrix on the hosts of several labs, and write what came of it to ``build/``.

After each failure: one copy runs, one and the same connection goes on with its numbers, nothing is left over, and settling
twice changes nothing. A cell that fails does not end the run: the tenant is made anew, and the exit status is 1.

A cell in which no move could be started, though the hosts were put in order for a second try, did not run: the run says so, and
it is neither a success nor a failure.

Each cell adds a row to ``build/faults.jsonl`` as soon as it is over; ``--continue`` runs only what is missing there, or failed.
``build/faults.md`` and ``build/faults.csv`` are made of all rows, the newest of each cell.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2] / "collections"))
sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

import fault_rows
from direct import EDGE, ORPHANS, Direct, Heart, NotStarted
from fault_rows import DID_NOT_RUN, LOST, NOTHING, RECOVERED, Row
from fleet import ROOT, VIRTUAL, prepared_fleet
from matrix import NOT_RUN, Cell, every_cell, in_turn, named, select
from outside import DOCKER_AGAIN, JOURNALS, LARGE_MIB, SMALL_MIB
from quick import QuickFleet
from rehearsal import NothingToStrike, rehearse

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

TENANTS = {SMALL_MIB: ("walker", 7100), LARGE_MIB: ("bearer", 7101)}  # by their memory
TABLE = "/var/lib/relocate/edge/table.nft"  # what the edge loads at boot
BEAT_SECONDS = 0.025  # between an answer and the next question: several labs' clients share the machine's cores
BUILD = ROOT / "build"
ROWS, REPORT, LIST = BUILD / "faults.jsonl", BUILD / "faults.md", BUILD / "faults.csv"
DOCUMENTED = ROOT / "docs/fault-matrix.md", ROOT / "docs/faults.csv"
LABS = 4  # a lab waits more than it works


def options(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", default=[], choices=["source", "destination", "edge"])
    parser.add_argument("--state", action="append", default=[], help="a state of the journal; several may be given")
    parser.add_argument("--moment", action="append", default=[], choices=["before", "after"])
    parser.add_argument(
        "--fault", action="append", default=[], help="a kind, or how its name begins: kill, cut, disk-full"
    )
    parser.add_argument(
        "--first", action="append", default=[], metavar="KIND", help="run these kinds before the others"
    )
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="leave these kinds out")
    parser.add_argument("--sample", type=int, metavar="N", help="only N of the combinations, drawn by --seed")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the draw, and of the order; printed")
    parser.add_argument("--continue", dest="missing", action="store_true", help="only what has no row yet, or failed")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no combination later than this")
    parser.add_argument(
        "--limit", type=float, metavar="MS", help="the moves' downtime limit (none); such rows have files of their own"
    )
    parser.add_argument("--labs", type=int, default=LABS, metavar="N", help="labs abreast, each with its own hosts")
    parser.add_argument("--hosts", default="host1,host2", help="the two Docker hosts")
    parser.add_argument("--up", action="store_true", help="the labs are up and prepared: leave them as they are")
    parser.add_argument("--list", action="store_true", help="only list the combinations")
    parser.add_argument("--report", action="store_true", help="only make the tables of the rows that are there")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/, too")
    wanted = parser.parse_args(words)
    if wanted.docs and wanted.limit:
        parser.error("docs/ has the matrix without a limit: --docs or --limit")
    return wanted


def files(limit: float | None) -> tuple[Path, Path, Path]:
    """Return where rows, report and list of runs with this downtime limit are."""
    return tuple(path.with_stem(f"{path.stem}-{limit:g}ms") if limit else path for path in (ROWS, REPORT, LIST))


def quick_fleet(as_it_is: bool = False) -> QuickFleet:
    """Return the lab that the environment means: see ``prepared_fleet``."""
    return QuickFleet(prepared_fleet(as_it_is=as_it_is).inventory)


class Run:
    """A small and a large tenant that walk between two hosts through one failure after the other."""

    def __init__(self, fleet: QuickFleet, hosts: tuple[str, str], limit: float | None = None) -> None:
        self.fleet, self.hosts, self.limit, self.commit = fleet, hosts, limit, commit()
        self.tenants: dict[int, tuple[Direct, Heart]] = {}

    def tenant(self, mib: int) -> tuple[Direct, Heart]:
        """Return the tenant of that size and its client; they are made when they are asked for.

        :raises NotStarted: it cannot be run and asked here, or must not be moved.
        """
        try:
            if mib not in self.tenants:
                name, _ = TENANTS[mib]
                heart = self._make(mib)
                direct = Direct.of(self.fleet, name, *self.hosts)
                if self.limit:
                    direct.document["downtime_limit_ms"] = self.limit
                direct.others = tuple(other for other, _ in TENANTS.values() if other != name)
                self.tenants[mib] = direct, heart
            self.tenants[mib][1].assert_beats()
        except Exception as error:
            raise NotStarted(f"there is no tenant to be moved: {error}") from error
        return self.tenants[mib]

    def _make(self, mib: int) -> Heart:
        name, port = TENANTS[mib]
        for host in self.hosts:  # one that has died, or that nobody could connect to
            self.fleet.on(host, f"docker rm -f {name}", check=False)
        service = f"tcp . {VIRTUAL} . {port}"
        self.fleet.on(EDGE, f"nft 'delete element ip relocate services {{ {service} }}'", check=False)
        self.fleet.tenant(name, "counter", self.hosts[0], f"{port} {mib}", port)
        return Heart(self.fleet, port, pause=BEAT_SECONDS)

    def replace(self, mib: int) -> None:
        """Make a tenant that has died anew."""
        direct, heart = self.tenants[mib]
        heart.end()
        self.tenants[mib] = direct, self._make(mib)

    def end(self) -> None:
        """Let the clients go."""
        for _, heart in self.tenants.values():
            heart.end()
        self.tenants.clear()

    def put_in_order(self) -> None:
        """Take everything away that a failure, or a run that was interrupted, has left, or build the lab anew."""
        try:
            self._begin_again()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            self.build_again()

    def _begin_again(self) -> None:
        self.end()
        self.fleet.mend()
        for host in self.hosts:  # without it nothing can be removed, or found
            again = f"pidof dockerd >/dev/null || {{ {DOCKER_AGAIN}; }}"
            self.fleet.on(host, f"{again}; timeout 20 docker version >/dev/null")
        for host in (EDGE, *self.hosts):
            self.fleet.on(host, "kill -9 $(pgrep -f '[r]elocate_proxy|[c]riu ')", check=False)
            self.fleet.on(
                host,
                f"cd /run/relocate && rm -rf sessions/* gates/* expected/* parts/* results/* {JOURNALS}/*",
                check=False,
            )
        # nothing is held any more, and what is shut until a move is settled is open: its journal is gone
        self.fleet.on(EDGE, f"nft -f {TABLE} && nft flush set ip relocate shut")
        for host in self.hosts:
            thaw = "for at in /sys/fs/cgroup/freezer/docker/*/; do echo THAWED >$at/freezer.state; done"
            self.fleet.on(host, thaw, check=False)
        self.fleet.tenants[:] = [name for name, _ in TENANTS.values()]
        self.fleet.remove_tenants()
        for host in self.hosts:
            said = self.fleet.on(host, ORPHANS, check=False)
            for orphan in [line.rpartition(" ")[2] for line in said.splitlines()]:
                self.fleet.on(host, f"kill -9 $(grep -l {orphan} /proc/[0-9]*/cgroup | cut -d/ -f3)", check=False)

    def try_out(self, cell: Cell) -> Row:
        """Run one combination; once more if no move could be started, on hosts that were put in order."""
        row = self._try(cell)
        if row.ran:
            return row
        print(row)
        self.put_in_order()
        return self._try(cell)

    def _try(self, cell: Cell) -> Row:
        start, gap_ms = time.monotonic(), 0.0
        mib = cell.outside.mib if cell.outside else SMALL_MIB
        try:
            direct, heart = self.tenant(mib)
            outcome = rehearse(direct, heart, cell.fault, cell.outside)
            words, gap_ms = outcome.ended, outcome.gap_ms
            words += RECOVERED if outcome.recovered else ""
        except NothingToStrike:
            words = NOTHING
        except NotStarted as error:
            words = f"{DID_NOT_RUN}: {' '.join(str(error).split())[:500]}"
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            words = f"FAILED: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        seconds = round(time.monotonic() - start, 1)
        row = Row(cell.line, cell.kind, words, gap_ms, seconds, self.commit, now())
        try:
            if words == LOST:
                self.replace(mib)
            if cell.outside and (cell.outside.ends_host or cell.outside.mortal):
                self._replace_dead()
            if (row.failed or not row.ran) and not self._whole():
                self._begin_again()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            self.build_again()
        return row

    def build_again(self) -> None:
        """Throw the lab away and build it: what a failure has left cannot be taken away."""
        self.fleet.end()
        self.fleet.run("relocate", "lab", "down")
        self.fleet = quick_fleet()
        self.tenants.clear()

    def _replace_dead(self) -> None:
        """Make a tenant anew that was on a host which had to go, though another one was to be met."""
        for mib, (_, heart) in list(self.tenants.items()):
            try:
                heart.assert_beats()
            except AssertionError:
                self.replace(mib)

    def _whole(self) -> bool:
        """Say whether the tenants, their clients and the hosts are as they were, in spite of what was found."""
        try:
            for direct, heart in self.tenants.values():
                heart.assert_beats()
                if len(direct.running()) != 1 or direct.leftovers():
                    return False
            return True
        except AssertionError:
            return False


def now() -> str:
    """Return the time, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def commit() -> str:
    """Return the commit of this checkout, with ``+`` if it was changed since."""
    said = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(said, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def lab_names(count: int) -> list[str]:
    """Return the names of so many labs: the one that the environment means, and its neighbours."""
    first = os.environ.get("RELOCATE_LAB_NAME", "")
    return [first, *("-".join(filter(None, (first, str(number)))) for number in range(2, count + 1))]


def work(lab: str, wanted: argparse.Namespace, numbers: Queue[int], rows: Queue[Row | str]) -> None:
    """Run the cells of these numbers in one lab until there are no more; a process of its own, with a log in ``build/``.

    Puts every row that it has, and in the end its name.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: whoever has started this tells it
    os.environ["RELOCATE_LAB_NAME"] = lab
    log = (BUILD / f"faults.{lab or 'lab'}.log").open("a", buffering=1, encoding="utf-8")
    with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            _work(wanted, numbers, rows)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            rows.put(lab)


def _work(wanted: argparse.Namespace, numbers: Queue[int], rows: Queue[Row | str]) -> None:
    deadline = time.monotonic() + wanted.minutes * 60
    every = every_cell()
    fleet = quick_fleet(as_it_is=wanted.up)
    here, there = wanted.hosts.split(",")
    run = Run(fleet, (here, there), wanted.limit)
    try:
        run.put_in_order()  # a run that was interrupted may have left something
        while time.monotonic() < deadline:
            try:
                cell = every[numbers.get(timeout=1.0)]
            except queue.Empty:
                break
            print(f"== {now()} {cell}")
            row = run.try_out(cell)
            print(row)
            rows.put(row)
    finally:
        run.end()
        fleet.remove_tenants()


def main() -> int:
    """Run what was asked for; return the exit status."""
    wanted = options()
    every = every_cell()
    kept, told, listed = files(wanted.limit)
    chosen = select(
        every,
        parts=wanted.part,
        states=wanted.state,
        moments=wanted.moment,
        kinds=wanted.fault,
        sample=wanted.sample,
        seed=wanted.seed,
    )
    chosen = [cell for cell in chosen if not named(cell, wanted.without)]
    if wanted.list or not chosen:
        print("\n".join(map(str, chosen)) or "no such combination: see --list")
        return 0 if chosen else 2
    cells, known = chosen, fault_rows.newest(kept)
    idle: list[Row] = []
    if wanted.missing:
        green = {key for key, row in known.items() if not row.failed}
        cells = [cell for cell in chosen if (cell.line, cell.kind) not in green]
    if not wanted.report and cells:
        if os.geteuid() != 0:
            print("the labs need root: NOT RUN", file=sys.stderr)
            return 1
        print(f"{len(cells)} combinations, seed {wanted.seed}, commit {commit()}", flush=True)
        idle = run_abreast(in_turn(cells, wanted.seed, wanted.first), wanted, show(len(cells)))
        known = fault_rows.newest(kept)
    rows = fault_rows.of(chosen, known)
    seen = fault_rows.of(every, known)
    for report, as_list in ((told, listed), *([DOCUMENTED] if wanted.docs else [])):
        report.write_text(page(every, seen), encoding="utf-8")
        as_list.write_text(fault_rows.as_csv(seen), encoding="utf-8")
    print(f"\n{fault_rows.summary(chosen, rows)}\n{fault_rows.failures(rows)}\n{told} has the table of all.")
    print("".join(f"{row.line}: {row.kind} {row.outcome}\n" for row in idle), end="")
    return 0 if len(rows) == len(chosen) and not idle and not any(row.failed for row in rows) else 1


def show(count: int) -> Callable[[Row], None]:
    """Return what prints a row as one line."""
    numbers = iter(range(1, count + 1))

    def line(row: Row) -> None:
        where = f"{row.line}: {row.kind}"
        print(
            f"{next(numbers):4}/{count} {where:60} {row.outcome:30} {row.gap_ms:7.0f} ms {row.seconds:6.1f} s",
            flush=True,
        )

    return line


def run_abreast(cells: list[Cell], wanted: argparse.Namespace, seen: Callable[[Row], None]) -> list[Row]:
    """Run the cells in several labs at a time; write every row down and have it ``seen``. Return those that did not run."""
    idle: list[Row] = []
    BUILD.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    waiting: Queue[int] = context.Queue()
    rows: Queue[Row | str] = context.Queue()
    numbers = {(cell.line, cell.kind): number for number, cell in enumerate(every_cell())}  # what is sent is pickled
    for cell in cells:
        waiting.put(numbers[cell.line, cell.kind])
    labs = lab_names(min(wanted.labs, len(cells)))
    workers = {lab: context.Process(target=work, args=(lab, wanted, waiting, rows)) for lab in labs}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with the report of what was run
    for worker in workers.values():
        worker.start()
    at_work = dict(workers)
    try:
        while at_work:
            try:
                row = rows.get(timeout=5.0)
            except queue.Empty:
                at_work = {lab: worker for lab, worker in at_work.items() if worker.is_alive()}
                continue
            if isinstance(row, str):
                del at_work[row]
                continue
            if row.ran:
                fault_rows.append(files(wanted.limit)[0], row)
            else:  # what was known of the combination before counts on
                idle.append(row)
            seen(row)
    finally:
        waiting.cancel_join_thread()
        for lab in at_work:  # this run is ended by a signal
            workers[lab].terminate()
        for worker in workers.values():
            worker.join()
    broken = [lab or "the lab" for lab, worker in workers.items() if worker.exitcode]
    if broken:
        print(f"{', '.join(broken)} ended early: see {BUILD}/faults.*.log")
    return idle


def page(cells: list[Cell], rows: list[Row]) -> str:
    """Return what is written to the disk for a reader."""
    commits = ", ".join(dict.fromkeys(row.commit for row in rows))
    span = f"from {min(row.when for row in rows)} to {max(row.when for row in rows)} UTC" if rows else "never"
    not_run = "".join(f"- {what}: {why}.\n" for what, why in NOT_RUN.items())
    failed = fault_rows.failures(rows) or "None.\n"
    return f"""# The fault matrix, as it was run

`make faults` has made this page, of what was run {span}, at {commits}. What the kinds break, and why some combinations are left
out, is said in [failures.md](failures.md#the-fault-matrix); each row, with its time and its commit, is in
[faults.csv](faults.csv). A state has two marks where the failure was made before and after its line was on the disk, one where
that comes to the same. The waits are a client's that asks all the time; the moment in which a failure is made is part of them.

{fault_rows.summary(cells, rows)}

{fault_rows.LEGEND}
{fault_rows.small_tables(cells, rows)}
## By kind

{fault_rows.by_kind(cells, rows)}
## Failed when last run

{failed}
## Not in the matrix

{not_run}"""


if __name__ == "__main__":
    sys.exit(main())
