# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From profiles on disk to everything ``relocate fleet`` shows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import profiles as sources
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.fitting import fitted as fitted_weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import Fleet, Selection, Weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import default_path
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.next_hops import NextHop, fleet_summary, next_hop
from numpy.typing import NDArray

from relocate import reading
from relocate.errors import Refusal
from relocate.fleet.clusters import cluster_order
from relocate.reading import one_line

#: Hosts that a heat map shows; of a larger fleet, one host of each of its largest configurations.
SHOWN = 300


@dataclass(frozen=True)
class Question:
    """What is asked about the fleet. ``weights``: ``equal``, ``fitted``, or ``c=0.3,n=0.2,s=0.5``."""

    profiles: Path | None = None
    vulnerabilities: Path | None = None
    weights: str = "equal"
    mode: str = "hardened"
    floor_bits: float = 1.0
    beta: float | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The answer.

    :ivar shown: the hosts of the heat map, ordered by cluster. :ivar delta: shape (shown, shown), row = source.
    :ivar aside: hosts whose profile cannot be used, with the reason.
    :ivar hops: the draw from each configuration, in the order of ``fleet.counts``.
    """

    fleet: Fleet
    weights: Weights
    mode: str
    names: list[str]
    hops: list[NextHop | None]
    summary: dict[str, Any]
    shown: list[str]
    delta: NDArray[np.float64]
    members: list[list[str]] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)

    def number(self, host: str) -> int:
        """Return a host's configuration.

        :raises Refusal: the host has no profile.
        """
        if host not in self.fleet.hosts:
            raise Refusal(
                f"{host} has no profile: run 'relocate fleet --refresh', or name one of {_some(self.fleet.hosts)}"
            )
        return int(self.fleet.class_of[self.fleet.index(host)])

    def expected(self, host: str) -> list[dict[str, Any]]:
        """Return the hosts a container on ``host`` may go to, if all can take it: the most likely first."""
        number = self.number(host)
        hop = self.hops[number]
        if hop is None:
            return []
        row = self.fleet.row(host, self.weights, self.mode)
        parts = self.fleet.terms_row(host, self.mode)
        rows = [
            {
                "host": other,
                "probability": float(hop.share[self.fleet.class_of[place]]),
                "delta": float(row[place]),
                "terms": {term: float(part[place]) for term, part in parts.items()},
                "class": self.names[int(self.fleet.class_of[place])],
            }
            for place, other in enumerate(self.fleet.hosts)
            if other != host
        ]
        return sorted(rows, key=lambda item: (-item["probability"], item["host"]))

    def document(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {
            "fleet": self.summary,
            "classes": [
                {"name": name, "hosts": members, "next_hop": None if hop is None else hop.summary()}
                for name, members, hop in zip(self.names, self.members, self.hops, strict=True)
            ],
            "set_aside": self.aside,
            "delta": {"hosts": self.shown, "rows": np.round(self.delta, 6).tolist()},
        }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        term, equals, expression = text.partition("=")
        if not equals:
            raise Refusal(
                f"--{option} is {reading.shown(text)}: write it as TERM=EXPRESSION, such as s=\"['images']\"", status=2
            )
        found[term] = expression
    return found


def _weights(text: str, fleet: Fleet) -> Weights:
    if text == "equal":
        return Weights.equal(fleet.has_flaws)
    if text == "fitted":
        return fitted_weights(fleet)
    return Weights.given(_numbers(text))


def _numbers(text: str) -> dict[str, Any]:
    """Return weights that are given as numbers. :raises Refusal: they are none."""
    options: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            options["w_" + name.strip().removeprefix("w_")] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            known = "use equal, fitted, or numbers such as c=0.3,n=0.2,s=0.5"
            raise Refusal(f"--weights is {reading.shown(text)}: {known}", status=2)
    return options


def _load(question: Question, selection: Selection, aside: dict[str, str]) -> Mapping[str, Mapping[str, Any]]:
    directory = question.profiles or sources.default_directory()
    found = sources.agreeing(sources.from_directory(directory, aside=aside), aside, selection)
    if not found and aside:
        raise Refusal("; ".join(aside.values()))
    if not found:
        raise Refusal(f"there are no profiles in {directory}: run 'relocate fleet --refresh'")
    return sources.with_vulnerabilities(found, question.vulnerabilities) if question.vulnerabilities else found


def check(question: Question) -> Selection:
    """Check what can be checked without the hosts; return the selection of facts. :raises Refusal: something is wrong."""
    if not 0 < question.floor_bits < 64:
        raise Refusal(f"--floor is {question.floor_bits:g}: it must be above 0 and below 64 bits", status=2)
    if question.beta is not None and not (0 <= question.beta < math.inf):
        raise Refusal(f"--beta is {question.beta:g}: it must be a number that is not negative", status=2)
    if question.weights not in ("equal", "fitted"):
        _numbers(question.weights)
    try:
        return Selection(**{word: _pairs(word, getattr(question, word)) for word in ("include", "exclude")})
    except ValueError as error:
        raise Refusal(one_line(str(error)), 2) from error


def answer(question: Question) -> Report:
    """Read the profiles and compute the report.

    :raises Refusal: no profiles, or facts, weights or selectors that are wrong; one sentence.
    """
    selection = check(question)
    aside: dict[str, str] = {}
    try:
        fleet = Fleet(_load(question, selection, aside), selection)
        weights = _weights(question.weights, fleet)
        hops = [
            next_hop(fleet, number, weights, question.mode, question.floor_bits, question.beta)
            for number in range(len(fleet.counts))
        ]
        shown = _shown(fleet)
        places = [fleet.index(host) for host in shown]
        delta = np.stack([fleet.row(host, weights, question.mode)[places] for host in shown])
    except ValueError as error:
        raise Refusal(one_line(str(error))) from error
    order = cluster_order(delta)
    members: list[list[str]] = [[] for _ in fleet.counts]
    for host, number in zip(fleet.hosts, fleet.class_of.tolist(), strict=True):
        members[number].append(host)
    return Report(
        fleet=fleet,
        weights=weights,
        mode=question.mode,
        names=fleet.class_names(),
        hops=hops,
        summary=fleet_summary(fleet, weights, question.mode, hops),
        shown=[shown[place] for place in order],
        delta=delta[np.ix_(order, order)],
        members=members,
        aside=aside,
    )


def _shown(fleet: Fleet) -> list[str]:
    if len(fleet.hosts) <= SHOWN:
        return list(fleet.hosts)
    largest = np.argsort(-fleet.counts, kind="stable")[:SHOWN]
    return [fleet.hosts[int(np.flatnonzero(fleet.class_of == number)[0])] for number in sorted(largest)]


def place_of(container: str, ledger: Path | None = None) -> str:
    """Return the host to which the ledger's last committed relocation brought a container.

    :raises Refusal: no ledger, or no such relocation.
    """
    path = ledger or default_path()
    host = ""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                host = _arrival(line, container) or host
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise Refusal(f"the ledger {path} cannot be read ({reason}): name the container's host with --from") from error
    if not host:
        raise Refusal(f"the ledger {path} has no relocation of {container}: name its host with --from")
    return host


def _arrival(line: str, container: str) -> str:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(entry, dict) or entry.get("container") != container or entry.get("outcome") != "committed":
        return ""
    place = entry.get("destination")
    host = place.get("host") if isinstance(place, dict) else place
    return host if isinstance(host, str) else ""
