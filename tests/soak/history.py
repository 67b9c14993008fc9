# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a soak has recorded in its directory, and what is found in it.

``python tests/soak/history.py build/soak`` judges a history again, that of a run which is still under way too.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from cutover.summary import distribution
from evidence import Subject, cut_out, lines
from growth import Growth, growths
from growth import table as growth_table
from single_owner import Call, Finding, Move, Sighting, Verdict, Wait, check, owners, told_apart, waits

UNDER_WAY_SECONDS = 5.0  # from the moment that is judged last to the latest that is known
LONG_SECONDS = 5.0  # a wait in a committed move that is explained by its stages
DOCKER_KILLED, DOCKER_SECONDS = "kill-dockerd", 2.0  # it says that it is there, and its rules are made
STRETCH_SECONDS = 10.0  # errors of a tenant's clients that are nearer to one another are one finding
EXPLAINED = 20  # of these, the longest


@dataclass
class Report:
    """What came of a soak.

    :ivar waits: the longest wait of a client in each committed move.
    :ivar cut: connections that ended otherwise than by their client.
    :ivar refused: new connections that a Docker refused which was being started again.
    :ivar missed: packets that the watch could not see.
    :ivar subjects: what evidence is wanted for.
    """

    tenants: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    moves: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    longest: float = 0.0
    cut: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    missed: int | None = None
    growths: list[Growth] = field(default_factory=list)
    minutes: float = 0.0
    subjects: list[Subject] = field(default_factory=list)

    def text(self) -> str:
        """Return it as a page."""
        committed = sum(move["committed"] for move in self.moves)
        begun, struck = Counter(each["kind"] for each in self.faults), [each for each in self.faults if each["struck"]]
        moved = {move["container"] for move in self.moves}
        rows = {
            "minutes": f"{self.minutes:.0f}",
            "tenants": f"{self.tenants}, of which {len(moved)} were moved",
            "moves": f"{len(self.moves)}",
            "committed": f"{committed}",
            "rolled back": f"{len(self.moves) - committed}",
            "failures ordered": f"{len(self.faults)}, of {len(begun)} kinds",
            "failures that struck": f"{len(struck)}, of {len({each['kind'] for each in struck})} kinds",
            "answers": f"{self.verdict.calls}",
            "answers seen as they left": f"{self.verdict.sightings} (packets missed: {self.missed})",
            "doubles": f"{len(self.verdict.doubles)}",
            "vanished": f"{len(self.verdict.vanished)}",
            "lost": f"{len(self.verdict.lost)}",
            "repeated": f"{len(self.verdict.repeated)}",
            "connections cut": f"{len(self.cut)}",
            "refused while the owner's Docker was started again": f"{len(self.refused)}",
            "longest wait": f"{self.longest:.1f} s",
            "wait in a committed move": self._waits(),
            "quantities that grow": f"{sum(each.grows for each in self.growths)} of {len(self.growths)}",
        }
        lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
        lines += ["", f"Struck: {dict(Counter(each['kind'] for each in struck).most_common())}.", ""]
        return "\n".join(lines) + "\n" + growth_table(self.growths)

    def _waits(self) -> str:
        found = distribution([1000 * wait.seconds for wait in self.waits])
        if found is None:
            return "none"
        return f"{found['median']:.0f} ms (median), {found['p99']:.0f} ms (p99), {found['max']:.0f} ms at most"


def read(directory: Path) -> Report:
    """Judge a history: ``setup.json``, ``calls.jsonl``, ``seen.jsonl``, ``moves.jsonl``, ``faults.jsonl``, ``samples.jsonl``.

    Tenants are judged one after the other: hours of all of them are not in memory at once as objects. Of a run that is still
    under way, or was killed (there is no file ``complete``), what came after the last look at the moves is left out.
    """
    setup = json.loads((directory / "setup.json").read_text(encoding="utf-8"))
    names = {address: host for host, address in setup["addresses"].items()}
    report = Report(len(setup["tenants"]), moves=list(lines(directory / "moves.jsonl")))
    report.faults = list(lines(directory / "faults.jsonl"))
    long: list[Subject] = []
    errors: dict[int, list[Finding]] = defaultdict(list)
    calls: dict[int, list[tuple[str, int, float, float]]] = defaultdict(list)
    seen: dict[int, list[tuple[float, str, str, int]]] = defaultdict(list)
    for each in lines(directory / "calls.jsonl"):
        if "error" in each:
            errors[each["port"]].append(Finding(f"{each['port']}: {each['error']}", each["at"]))
        else:
            calls[each["port"]].append((each["connection"], each["number"], each["called"], each["returned"]))
    for each in lines(directory / "seen.jsonl"):
        if "number" in each:
            host = names.get(each["host"], each["host"])
            seen[each["port"]].append((each["at"], host, each["connection"], each["number"]))
        elif "missed" in each:
            report.missed = each["missed"]
    until = float("inf")
    if not (directory / "complete").exists():
        newest = max((each[0] for its in seen.values() for each in its), default=0.0)
        until = min((directory / "moves.jsonl").stat().st_mtime, newest) - UNDER_WAY_SECONDS
    first, last = float("inf"), 0.0
    for name, tenant in setup["tenants"].items():
        its = [Call(*each) for each in calls.pop(tenant["port"], []) if each[3] < until]
        sightings = told_apart(its, [Sighting(*each) for each in seen.pop(tenant["port"], []) if each[0] < until])
        moves = [
            Move(each["begun"], each["ended"], each["source"], each["destination"], each["committed"], each["id"])
            for each in report.moves
            if each["container"] == name
        ]
        verdict = check(its, sightings, moves, tenant["host"])
        for kind, wrong in verdict.kinds().items():
            report.subjects += _wanted(kind, name, tenant["port"], wrong)
            wrong[:] = [replace(each, words=f"{name}: {each.words}") for each in wrong]
        report.verdict.add(verdict)
        excused = [each for each in errors[tenant["port"]] if _is_dockers(each, moves, tenant["host"], report.faults)]
        cut = [each for each in errors[tenant["port"]] if each not in excused]
        report.refused += excused
        report.cut += cut
        report.subjects += [Subject("cut", name, tenant["port"], *each) for each in _stretches(cut)]
        report.waits += (of_moves := waits(its, moves))
        long += [_long(wait, name, tenant["port"]) for wait in of_moves if wait.seconds >= LONG_SECONDS]
        report.longest = max([report.longest, *(call.returned - call.called for call in its)])
        first, last = (
            min([first, *(call.called for call in its[:1])]),
            max([last, *(call.returned for call in its[-1:])]),
        )
    report.minutes = (last - first) / 60 if last else 0.0
    samples = [(each["at"], each["host"], each["numbers"]) for each in lines(directory / "samples.jsonl")]
    report.subjects += sorted(long, key=lambda subject: subject.begun - subject.ended)[:EXPLAINED]
    report.growths = growths(samples, [move["begun"] for move in report.moves])
    return report


def _is_dockers(error: Finding, moves: list[Move], first_host: str, faults: list[dict[str, Any]]) -> bool:
    """Say whether a new connection was refused because the owner's Docker was just being started again.

    It removes its rules then, and makes them anew; what is established lives on. Nothing was accepted, so nothing is lost.
    """
    if "ConnectionRefusedError" not in error.words:
        return False
    hosts = owners(moves, first_host, error.at)
    return any(
        each["kind"].startswith(DOCKER_KILLED)
        and each["struck"]
        and each["host"] in hosts
        and each["at"] <= error.at <= each["at"] + each["seconds"] + DOCKER_SECONDS
        for each in faults
    )


def _stretches(found: list[Finding]) -> list[tuple[str, float, float]]:
    """Return what came soon after one another as one: in words, when it began, and when it ended."""
    stretches: list[list[Finding]] = []
    for each in sorted(found, key=lambda each: each.at):
        if stretches and each.at - stretches[-1][-1].at < STRETCH_SECONDS:
            stretches[-1].append(each)
        else:
            stretches.append([each])
    return [(f"{each[0]} ({len(each)} in all)", each[0].at, each[-1].at) for each in stretches]


def _wanted(kind: str, name: str, port: int, found: list[Finding]) -> list[Subject]:
    return [Subject(kind, name, port, each.words, each.at, each.at, each.connection) for each in found]


def _long(wait: Wait, name: str, port: int) -> Subject:
    assert wait.call is not None
    words = f"{wait.call.connection} waited {wait.seconds:.1f} s for {wait.call.number}, in {wait.move.id}"
    return Subject("wait", name, port, words, wait.call.called, wait.call.returned, wait.call.connection, wait=True)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found = read(place)
    print(found.text())
    print("\n".join(cut_out(place, found.subjects)))
