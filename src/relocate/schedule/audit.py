# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the clock honest? Tests a ledger's stays against the configured law, and one another for independence.

    >>> print(audit([Stay(8.1, "web"), Stay(3.4, "web"), ...], make_clock({"kind": "poisson", "rate": 0.1})).text())

What is tested of each stay is its measured length; of one that a limit or a window changed, the length that the clock had drawn
(leaving those out would favour what the limit does not touch). All tests together raise a false alarm with a probability of at
most ``level``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock

from relocate.schedule import audit_tests as tests

FEW = 20  # stays below which passing means little
UNCLAMPED = (None, "", "none")


@dataclass(frozen=True)
class Stay:
    """One stay that has ended. Times in seconds.

    ``drawn`` is what the clock gave before ``clamp`` changed it; ``room`` is how long the stay could have lasted and still been
    seen, that is from its beginning to the audit (infinite where that was long enough for any stay).
    """

    seconds: float
    container: str = ""
    drawn: float | None = None
    clamp: str | None = None
    room: float = math.inf


@dataclass(frozen=True)
class Test:
    """One test: what it asks, its statistic, its p-value, and that adjusted for the number of tests."""

    name: str
    question: str
    statistic: float
    p_value: float
    adjusted: float
    detail: str

    def failed(self, level: float) -> bool:
        """Whether the answer is no."""
        return self.adjusted < level


@dataclass(frozen=True)
class Audit:
    """The outcome. ``verdict`` is pass, fail, or undecided (too few stays to tell, and nothing spoke against the clock)."""

    verdict: str
    stays: int
    containers: int
    clamped: dict[str, int]
    left_out: int
    impossible: int
    level: float
    p_value: float
    tests: tuple[Test, ...]
    sentences: tuple[str, ...]
    clock: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the clock and there were stays enough to say so."""
        return self.verdict == "pass"

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return asdict(self)

    def text(self) -> str:
        """Return the verdict for people: one sentence a line."""
        return "\n".join(self.sentences)


def audit(stays: Iterable[Stay | float], clock: Clock, *, level: float = 0.05, resolution: float = 0.05) -> Audit:
    """Test ``stays``, in the order in which they ended, against ``clock``.

    ``level`` is the probability of a false alarm, ``resolution`` (seconds) how exactly stays were measured. The same stays give
    the same p-values: what randomness the tests take comes from the stays themselves. ValueError for a negative stay.
    """
    given = [stay if isinstance(stay, Stay) else Stay(float(stay)) for stay in stays]
    clamped: dict[str, int] = {}
    kept: list[tuple[float, float, str]] = []
    for stay in given:
        changed = stay.clamp not in UNCLAMPED
        if changed:
            clamped[str(stay.clamp)] = clamped.get(str(stay.clamp), 0) + 1
        value = stay.drawn if changed else stay.seconds
        if value is not None and math.isfinite(value):
            kept.append((value, max(stay.room, value), stay.container))
    values = np.array([value for value, _, _ in kept])
    if values.size and values.min() < 0:
        raise ValueError(f"a stay of {values.min():g} s: no stay is negative")
    rooms = np.array([room for _, room, _ in kept])
    names = {name: number for number, name in enumerate(dict.fromkeys(name for _, _, name in kept))}
    series = np.array([names[name] for _, _, name in kept], dtype=np.int64)
    found, broken = _tests(clock, values, rooms, series, resolution) if kept else ([], 0)
    return _verdict(clock, level, found, len(kept), len(names), clamped, len(given) - len(kept), broken)


def _tests(
    clock: Clock, values: tests.Floats, rooms: tests.Floats, series: tests.Integers, resolution: float
) -> tuple[list[Test], int]:
    """Return the tests that these stays allow, and how many stays the law cannot give."""
    seed = int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:8])
    generator = np.random.default_rng(seed)
    u, snapped = tests.transform(clock, values, rooms, resolution, generator)
    broken = tests.impossible(clock, snapped)
    rows: list[tuple[str, str, float, float, str]] = []
    statistic, p = tests.law(u)
    if broken:
        rows.append(("law", "are the lengths those of the law", statistic, 0.0, f"{broken} cannot come from it at all"))
    else:
        rows.append(
            ("law", "are the lengths those of the law", statistic, p, f"Kolmogorov-Smirnov D = {statistic:.4f}")
        )
    q, p, lags = tests.order(u, series)
    if lags:
        rows.append(("order", "is each stay independent of those before it", q, p, f"Q = {q:.2f} over {lags} lags"))
    if values.size >= 4:
        z, p = tests.drift(u)
        rows.append(("drift", "do the lengths stay the same over time", z, p, f"trend z = {z:+.2f}"))
    if clock.lattice is None and values.size >= 4:
        width = resolution / clock.mean if math.isfinite(clock.mean) else 0.0
        pairs, expected, p = tests.repeats(_spread(clock, u, snapped), width)
        rows.append(("repeats", "is no stay seen twice", pairs, p, f"{pairs} equal pairs, {expected:.1f} by chance"))
    mean, p, containers = tests.step(u, series, generator)
    if containers:
        rows.append(
            ("step", "do containers hop independently", mean, p, f"correlation {mean:+.3f} of {containers} containers")
        )
    adjusted = tests.holm([row[3] for row in rows])
    return [
        Test(name, question, float(statistic), float(p), float(corrected), detail)
        for (name, question, statistic, p, detail), corrected in zip(rows, adjusted, strict=True)
    ], broken


def _spread(clock: Clock, u: tests.Floats, snapped: tests.Floats) -> tests.Floats:
    """Return the transforms of stays that are no atom, spread over [0, 1]: stays equal to a ceiling are the law's own."""
    atom = float(clock.survivor(clock.longest)) if math.isfinite(clock.longest) else 0.0
    return np.asarray(u[snapped != clock.longest] / (1.0 - atom)) if 0.0 < atom < 1.0 else u


def _verdict(
    clock: Clock,
    level: float,
    found: list[Test],
    stays: int,
    containers: int,
    clamped: dict[str, int],
    left_out: int,
    broken: int,
) -> Audit:
    wrong = [test for test in found if test.failed(level)]
    lowest = min((test.adjusted for test in found), default=1.0)
    verdict = "fail" if wrong else "undecided" if stays < FEW else "pass"
    sentences = [_first(verdict, clock, stays, containers, lowest, level)]
    for test in found:
        answer = "NO" if test.failed(level) else "yes"
        sentences.append(f"  {test.name:<8}{test.question}? {answer}: {test.detail}, p = {test.p_value:.3g}")
    if stays:
        # 1.36 / sqrt(n): the distance that a Kolmogorov-Smirnov test of n stays sees half the time or so at 5 %
        sentences.append(
            f"  A law whose probabilities differ from the configured one's by less than {1.36 / math.sqrt(stays):.0%} "
            f"would not be noticed with {_count(stays, 'stay')}."
        )
    if 0 < stays < FEW:
        sentences.append(
            f"  Fewer than {FEW} stays: a wrong rate within a factor of two, dependence between stays and slow drift "
            "cannot be told from chance."
        )
    if clamped:
        listed = ", ".join(f"{number} by {name}" for name, number in sorted(clamped.items()))
        sentences.append(
            f"  {_count(sum(clamped.values()), 'stay')} changed ({listed}): tested as drawn, not as lived."
        )
    if left_out:
        sentences.append(f"  {_count(left_out, 'stay')} left out: what had been drawn is not known.")
    sentences += [f"  {warning}" for warning in clock.warnings]
    return Audit(
        verdict,
        stays,
        containers,
        clamped,
        left_out,
        broken,
        level,
        lowest,
        tuple(found),
        tuple(sentences),
        {"kind": clock.kind, **clock.parameters()},
    )


def _first(verdict: str, clock: Clock, stays: int, containers: int, lowest: float, level: float) -> str:
    parameters = ", ".join(f"{name} {value:.6g}" for name, value in clock.parameters().items())
    configured = f"the {clock.kind} clock" + (f" ({parameters})" if parameters else "")
    counted = f"{_count(stays, 'stay')} of {_count(containers, 'container')}"
    if verdict == "fail":
        return f"FAIL: {counted} do not agree with {configured} (p = {lowest:.2g}, level {level:g})."
    if stays == 0:
        return f"UNDECIDED: there is no stay to test {configured} with."
    if verdict == "undecided":
        return f"UNDECIDED: {counted} do not contradict {configured}, but they are too few to say more."
    return f"PASS: {counted} agree with {configured} (smallest adjusted p = {lowest:.2g}, level {level:g})."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
