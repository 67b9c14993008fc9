# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a container goes next: which hosts may take it, and an unpredictable draw among them.

Pure functions: facts in, a :class:`Choice` out. Nothing is read from hosts and nothing is written, so that the same code
serves a relocation, its check mode, the lookup ``relocate.mtd.next_hop`` and the tests.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.fitting import fitted as fitted_weights
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
    MODES,
    Fleet,
    Selection,
    Weights,
    beta_for_floor,
    min_entropy_bits,
    paper_row,
    shannon_bits,
    softmax_row,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.eligibility import exclusions
from numpy.typing import NDArray

POLICIES = ("softmax", "paper", "uniform")

#: Bits of min-entropy the next hop keeps unless the settings say otherwise: the best guess succeeds half the time at most.
DEFAULT_FLOOR_BITS = 1.0


class Randomness(Protocol):
    """What the draw needs: ``random.SystemRandom()`` outside tests."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class PolicyError(ValueError):
    """The settings or the facts about a candidate are wrong. The message names the key."""


class NoDestination(Exception):
    """No host may take the container. The message says why of each; ``excluded`` has the reasons by host."""

    def __init__(self, message: str, excluded: dict[str, list[str]]) -> None:
        super().__init__(message)
        self.excluded = excluded


@dataclass(frozen=True)
class Settings:
    """How to draw.

    :ivar policy: ``softmax`` over Δ, ``paper`` (∝ max(Δ, 0) over eq. 3.3), or ``uniform`` (needs no profiles).
    :ivar mode: how Δ is read, ``hardened`` or ``paper``; the paper's policy implies the latter.
    :ivar weights: ``equal``, ``fitted``, or a mapping of w_c, w_n, w_s, w_v.
    :ivar beta: the softmax's β; None takes the largest that keeps the floor.
    :ivar min_entropy_bits: the floor, in bits. With fewer hosts than 2^floor the draw is uniform and says so.
    :ivar include: :ivar exclude: JMESPath selectors by term, see ``selection``.
    :ivar headroom: fraction of a host's available memory that has to stay free after the move, in [0, 1).
    """

    policy: str = "softmax"
    mode: str = "hardened"
    weights: str | Mapping[str, float] = "equal"
    beta: float | None = None
    min_entropy_bits: float = DEFAULT_FLOOR_BITS
    include: Mapping[str, str] = field(default_factory=dict)
    exclude: Mapping[str, str] = field(default_factory=dict)
    headroom: float = 0.1

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise PolicyError(f"policy is {self.policy!r}; use one of {', '.join(POLICIES)}")
        if self.mode not in MODES:
            raise PolicyError(f"mode is {self.mode!r}; use one of {', '.join(MODES)}")
        if isinstance(self.weights, Mapping):
            Weights.given(self.weights)
        elif self.weights not in ("equal", "fitted"):
            raise PolicyError(f"weights is {self.weights!r}; use equal, fitted, or a mapping of w_c, w_n, w_s, w_v")
        for name in ("include", "exclude"):
            if not isinstance(getattr(self, name), Mapping):
                raise PolicyError(f"{name} is {getattr(self, name)!r}: it must be a mapping of c, n or s to JMESPath")
        Selection(self.include, self.exclude)
        for name, low, high in (("min_entropy_bits", 0.0, 64.0), ("headroom", 0.0, 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
                raise PolicyError(f"{name} is {value!r}: it must be a number from {low:g} to below {high:g}")
        number = isinstance(self.beta, (int, float)) and not isinstance(self.beta, bool)
        if self.beta is not None and not (number and 0 <= self.beta < float("inf")):
            raise PolicyError(f"beta is {self.beta!r}: it must be a number that is not negative")
        if self.beta is None and self.policy == "softmax" and not self.min_entropy_bits > 0:
            raise PolicyError("min_entropy_bits is 0: without a floor and without beta the choice would be an argmax")

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any] | None) -> Settings:
        """Make settings from plain options.

        :raises PolicyError: an unknown key or a wrong value. :raises WeightError: :raises SelectionError: wrong ones.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(options or {}) - known)
        if unknown:
            raise PolicyError(f"{unknown[0]}: there is no such setting; use {', '.join(sorted(known))}")
        return cls(**dict(options or {}))

    def weigh(self, fleet: Fleet) -> Weights:
        """Return the weights for a fleet."""
        if isinstance(self.weights, str):
            return fitted_weights(fleet) if self.weights == "fitted" else Weights.equal(fleet.has_flaws)
        return Weights.given(self.weights)


@dataclass(frozen=True)
class Choice:
    """A destination and everything it was drawn from.

    :ivar distribution: eligible host → probability, the most likely first; sums to 1.
    :ivar delta: :ivar terms: eligible host → Δ, and → its parts; empty under the policy ``uniform``.
    :ivar excluded: host → reasons, one sentence each.
    :ivar notes: what the operator should know, one sentence each.
    """

    source: str
    host: str
    policy: str
    mode: str
    distribution: dict[str, float]
    delta: dict[str, float]
    terms: dict[str, dict[str, float]]
    weights: dict[str, float]
    beta: float | None
    shannon_bits: float
    min_entropy_bits: float
    floor_bits: float
    floor_kept: bool
    excluded: dict[str, list[str]]
    notes: list[str]

    def plan(self) -> dict[str, Any]:
        """Return everything, for the plan that check mode prints."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps: what was drawn, and not what might have been."""
        return {
            "host": self.host,
            "policy": self.policy,
            "delta": self.delta.get(self.host),
            "terms": self.terms.get(self.host),
            "shannon_bits": self.shannon_bits,
            "min_entropy_bits": self.min_entropy_bits,
        }

    def sentence(self) -> str:
        """Return one line: why this host."""
        share = f"drawn with probability {self.distribution[self.host]:.2f} among {len(self.distribution)} hosts"
        entropy = f"entropy of the choice {self.shannon_bits:.2f} bits, min-entropy {self.min_entropy_bits:.2f}"
        if self.host not in self.delta:
            return f"{self.host}: {share} ({entropy})"
        parts = ", ".join(f"{term.upper()} {value:.2f}" for term, value in self.terms[self.host].items())
        return f"{self.host}: Δ {self.delta[self.host]:.2f} from {self.source} ({parts}), {share} ({entropy})"


def choose_destination(
    source: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    profiles: Mapping[str, Mapping[str, Any]],
    settings: Settings | Mapping[str, Any] | None = None,
    rng: Randomness | None = None,
) -> Choice:
    """Draw the host that takes a container.

    :param source: ``host`` (where the container runs now) and ``container``: name, tenant, labels, and its needs: memory and
        disk in bytes, ports (``["tcp/80"]``, those it has published). What is missing is not checked.
    :param candidates: facts about hosts: name, reachable, refusals (sentences), memory_available and disk_available in bytes,
        containers (name, tenant, labels, ports), cordoned, labels, listening (ports taken). The source may be among them.
    :param profiles: host → profile of ``relocate.mtd.host_profile``; not needed under the policy ``uniform``.
    :param settings: a :class:`Settings` or its options.
    :param rng: tests only; the operating system's entropy otherwise.
    :raises NoDestination: no host may take it.
    :raises PolicyError: wrong settings, or candidates that are none.
    :raises FactError: the source has no profile. (A candidate without one is excluded.)
    :raises WeightError: wrong weights.
    """
    chosen = settings if isinstance(settings, Settings) else Settings.from_mapping(settings)
    origin = source.get("host")
    if not isinstance(origin, str) or not origin:
        raise PolicyError("source.host is missing: name the host on which the container runs")
    known = None if chosen.policy == "uniform" else profiles
    excluded, notes = exclusions(source, candidates, chosen.headroom, known)
    eligible = [str(candidate["name"]) for candidate in candidates if str(candidate["name"]) not in excluded]
    if not eligible:
        raise NoDestination(_nowhere(source, excluded), excluded)
    if chosen.policy == "uniform":
        share, drawn = np.full(len(eligible), 1.0 / len(eligible)), _Drawn()
    else:
        drawn = _differences(origin, eligible, profiles, chosen)
        share = _distribution(drawn, chosen, notes)
    host = eligible[draw(share, rng or random.SystemRandom())]
    order = sorted(range(len(eligible)), key=lambda place: (-share[place], eligible[place]))
    least = min_entropy_bits(share)
    kept = least >= chosen.min_entropy_bits - 1e-9
    if not kept:
        notes.append(_floor_note(len(eligible), least, chosen))
    return Choice(
        source=origin,
        host=host,
        policy=chosen.policy,
        mode=chosen.mode if chosen.policy != "paper" else "paper",
        distribution={eligible[place]: float(share[place]) for place in order},
        delta={eligible[place]: float(drawn.delta[place]) for place in order} if len(drawn.delta) else {},
        terms={eligible[place]: {term: float(part[place]) for term, part in drawn.parts.items()} for place in order}
        if drawn.parts
        else {},
        weights=drawn.weights,
        beta=drawn.beta,
        shannon_bits=shannon_bits(share),
        min_entropy_bits=least,
        floor_bits=float(chosen.min_entropy_bits),
        floor_kept=kept,
        excluded=excluded,
        notes=notes,
    )


@dataclass
class _Drawn:
    """Δ from the source to the eligible hosts, in their order."""

    delta: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    beta: float | None = None


def _differences(
    origin: str, eligible: list[str], profiles: Mapping[str, Mapping[str, Any]], settings: Settings
) -> _Drawn:
    # the whole fleet and not only the eligible hosts: ranges, fitted weights and the paper's scores belong to the fleet
    fleet = Fleet(profiles, Selection(settings.include, settings.exclude))
    fleet.index(origin)
    weights = settings.weigh(fleet)
    mode = "paper" if settings.policy == "paper" else settings.mode
    places = [fleet.index(host) for host in eligible]
    parts = {term: part[places] for term, part in fleet.terms_row(origin, mode).items()}
    return _Drawn(fleet.row(origin, weights, mode)[places], parts, weights.values())


def _distribution(drawn: _Drawn, settings: Settings, notes: list[str]) -> NDArray[np.float64]:
    if settings.policy == "paper":
        if not (drawn.delta > 0).any():
            notes.append("no eligible host has a Δ above 0 (eq. 3.3): the draw is uniform")
        return paper_row(drawn.delta)
    if settings.beta is not None:
        drawn.beta = float(settings.beta)
    elif 2.0**settings.min_entropy_bits > len(drawn.delta):
        drawn.beta = 0.0
    else:
        drawn.beta = beta_for_floor(drawn.delta, settings.min_entropy_bits)
    return softmax_row(drawn.delta, drawn.beta)


def draw(share: NDArray[np.float64], rng: Randomness) -> int:
    """Return an index with the given probabilities, by inverting the cumulative distribution; never one of probability 0."""
    cumulative = np.cumsum(share)
    place = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(place, int(np.flatnonzero(share)[-1]))


def _floor_note(hosts: int, least: float, settings: Settings) -> str:
    count = "1 host is" if hosts == 1 else f"{hosts} hosts are"
    cause = "the draw is uniform"
    if settings.policy == "paper":
        cause = "the policy paper keeps none"
    elif settings.policy == "softmax" and settings.beta is not None:
        cause = f"beta was given as {settings.beta:g}"
    return (
        f"the min-entropy floor of {settings.min_entropy_bits:g} bits is not kept ({least:.2f} bits): "
        f"{count} eligible and {cause}; add hosts or lower the floor"
    )


def _nowhere(source: Mapping[str, Any], excluded: Mapping[str, Sequence[str]]) -> str:
    name = (source.get("container") or {}).get("name") or "the container"
    if not excluded:
        return f"{name} has nowhere to go: there is no host but {source['host']}"
    reasons = "; ".join(f"{host}: {', '.join(reasons)}" for host, reasons in excluded.items())
    return f"{name} has nowhere to go from {source['host']}: {reasons}"
