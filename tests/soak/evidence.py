# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about each finding of a soak: kept before the hosts are gone, in one directory for each finding.

``gather`` brings the hosts' journals and logs. ``cut_out`` then works with what lies in the soak's directory alone. For each
finding it leaves in ``evidence/``:

* ``timeline.txt``: what was found, a wait by its stages, and all that happened around it in the order of time: lines of the
  journals, changes of the edge's tables, answers, failures that were made;
* the journals and the logs of the tenant's relocations around it, of every host.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

AROUND_SECONDS = 10.0  # before and after a finding
LEAST_STAGE = 0.05  # seconds; what is shorter is told with what comes before it
WORDS_OF_FACTS = 300  # of a line in a journal


class Event(NamedTuple):
    """Something that happened. ``stage`` says what it began for the clients of the tenant; "" if nothing."""

    at: float
    where: str
    words: str
    stage: str = ""


@dataclass
class Subject:
    """What evidence is wanted for: a tenant, from ``begun`` to ``ended``.

    :ivar connection: as the history has it, ``ADDRESS:PORT#N``; "" when it is not about one.
    :ivar wait: whether the time itself is the finding. :ivar failures: what was made to fail in the tenant's own moves.
    """

    kind: str
    tenant: str
    port: int
    words: str
    begun: float
    ended: float
    connection: str = ""
    wait: bool = False
    events: list[Event] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The client's address and port."""
        return self.connection.partition("#")[0]

    @property
    def ports(self) -> str:
        """Both ports of the connection, as conntrack has them."""
        return f"sport={self.place.rpartition(':')[2]} dport={self.port} "

    def near(self, begun: float, ended: float | None = None) -> bool:
        """Say whether a moment, or a stretch of time, is near enough to matter."""
        ended = begun if ended is None else ended
        return begun - AROUND_SECONDS <= self.ended and self.begun <= ended + AROUND_SECONDS


def gather(hosts: Iterable[tuple[str, list[str]]], directory: Path) -> None:
    """Bring what a directory of each host holds into one of its name under ``directory``.

    :param hosts: for each, the command that prints a tar archive of it.
    """
    for host, command in hosts:
        place = directory / host
        place.mkdir(parents=True, exist_ok=True)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-C", str(place), "-xf", "-"], stdin=archive.stdout, check=False)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file of JSON lines; half a line at the end is left out, and a file that is not there is empty."""
    if file.exists():
        with file.open(encoding="utf-8") as stream:
            yield from (json.loads(line) for line in stream if line.endswith("\n"))


def stages(events: Iterable[Event], begun: float, ended: float) -> list[tuple[float, str]]:
    """Return what a wait was made of: for each stage in it, its seconds and what had begun it."""
    found: list[tuple[float, str]] = []
    since, stage = begun, "before all of it"
    for event in sorted(event for event in events if event.stage):
        if event.at >= ended:
            break
        if event.at > begun:
            found.append((event.at - since, stage))
            since = event.at
        stage = event.stage
    found.append((ended - since, stage))
    return [(seconds, words) for seconds, words in found if seconds >= LEAST_STAGE]


def cut_out(directory: Path, subjects: Sequence[Subject]) -> list[str]:
    """Leave what there is about each subject in ``evidence/``; return a line for each, with the stages of a wait."""
    place = directory / "evidence"
    shutil.rmtree(place, ignore_errors=True)
    if not subjects:
        return []
    moves = list(lines(directory / "moves.jsonl"))
    _add_answers(directory, subjects)
    _add_tables(directory, subjects)
    _add_faults(directory, subjects)
    said = []
    for number, subject in enumerate(subjects):
        own = place / f"{number:02}-{subject.kind}-{subject.tenant}"
        own.mkdir(parents=True)
        for move in moves:
            if move["container"] == subject.tenant and subject.near(move["begun"], move["ended"]):
                _add_journals(directory / "hosts", move["id"], own, subject)
        said.append(_write(own, subject))
    return said


def _add_answers(directory: Path, subjects: Sequence[Subject]) -> None:
    of_port = _by_port(subjects)
    for name in ("calls", "seen"):
        for each in lines(directory / f"{name}.jsonl"):
            for subject in of_port.get(each.get("port", 0), ()):
                at = each.get("returned", each.get("at", 0.0))
                if not subject.near(at):
                    continue
                if "error" in each:
                    subject.events.append(Event(at, "client", each["error"]))
                elif subject.place and each["connection"].partition("#")[0] == subject.place:
                    words = f"{each['connection']}: {each['number']}"
                    if name == "seen":
                        subject.events.append(Event(at, f"leaves, from {each['host']}", words))
                    else:
                        asked = f"{words}, asked {each['returned'] - each['called']:.3f} s before"
                        subject.events.append(Event(at, "client has", asked))


def _add_tables(directory: Path, subjects: Sequence[Subject]) -> None:
    """Elements are recognized by the service's port, connections by the client's too."""
    for each in lines(directory / "tables.jsonl"):
        for subject in subjects:
            if not subject.near(each["at"]):
                continue
            line = each["line"]
            if each["of"] == "nft" and f". {subject.port} " in f"{line} ":
                subject.events.append(Event(each["at"], "edge: nft", line, f"nft: {line.partition('{')[0].strip()}"))
            elif each["of"] == "conntrack" and subject.ports in line:
                subject.events.append(Event(each["at"], "edge: conntrack", line))


def _add_faults(directory: Path, subjects: Sequence[Subject]) -> None:
    for each in lines(directory / "faults.jsonl"):
        for subject in subjects:
            begun, ended = each["at"], each["at"] + each["seconds"]
            if subject.near(begun, ended):
                words = (
                    f"{each['kind']} {each['line']}, {'struck' if each['struck'] else 'struck nothing'}, of "
                    f"{each['container'] or 'nobody by name'}, for {each['seconds']:.1f} s; {each['error']}"
                )
                subject.events.append(Event(begun, "failure ordered", words))
                if each["struck"] and each["container"] == subject.tenant:
                    subject.failures.append(f"{each['kind']} at {each['line']}")


def _add_journals(hosts: Path, relocation: str, own: Path, subject: Subject) -> None:
    for file in sorted(hosts.glob(f"*/{relocation}.*")):
        host, part = file.parent.name, file.name.split(".")[1]
        shutil.copy(file, own / f"{file.name}.{host}")
        if file.suffix != ".jsonl":
            continue
        for each in lines(file):
            at, state = each.pop("at_ns") / 1e9, each.pop("state")
            facts = json.dumps(each)[:WORDS_OF_FACTS]
            subject.events.append(Event(at, f"{host}: {part}", f"{relocation} {state} {facts}", f"{part} {state}"))


def _by_port(subjects: Sequence[Subject]) -> dict[int, list[Subject]]:
    found: dict[int, list[Subject]] = defaultdict(list)
    for subject in subjects:
        found[subject.port].append(subject)
    return found


def _write(own: Path, subject: Subject) -> str:
    """Write the timeline; return the line that sums it up."""
    summary = f"{subject.tenant}: {subject.words}"
    if subject.wait:
        parts = stages(subject.events, subject.begun, subject.ended)
        summary += ": " + ", ".join(f"{seconds:.2f} s after {words}" for seconds, words in parts)
    if subject.failures:
        summary += f"; made to fail: {', '.join(subject.failures)}"
    page = [f"{subject.kind}: {summary}", f"from {subject.begun:.3f} to {subject.ended:.3f}", ""]
    for event in sorted(subject.events):
        page.append(f"{event.at:.3f} {event.at - subject.begun:+9.3f}  {event.where:28} {event.words}")
    (own / "timeline.txt").write_text("\n".join(page) + "\n", encoding="utf-8")
    return f"{summary} ({own.name})"
