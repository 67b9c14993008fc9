# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How different two hosts are: eq. 3.3 of the paper and its hardened reading, for fleets of any size.

Identical profiles are stored once; a row is computed when it is asked for, and no N² matrix exists unless
:meth:`Fleet.matrix` is called (reports and benchmarks do).

``hardened``  Δ_sd = w_c C_sd + w_n N_sd + w_s S_sd + w_v V_sd, each part a distance in [0, 1] (see ``_gower``), and
              V_sd = 1 − |V_s ∩ V_d|_w / |V_s|_w the share of the source's known vulnerabilities, weighted by severity,
              that the destination does not have. V is not symmetric.
``paper``     Δ_sd = w_c (C_d − C_s) + w_n (N_d − N_s) + w_s (S_d − S_s) with one number per host and term: the
              profile's ``scores``, or else the mean distance of the host to the fleet in that term. Signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.entropy import (
    BETA_LIMIT,
    FloatArray,
    beta_for_floor,
    effective_number,
    entropy_rate_bits,
    min_entropy_bits,
    paper_row,
    shannon_bits,
    softmax_row,
    stationary,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.gower import Encoder, FactError, Term
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.selection import (
    TERMS,
    Selection,
    SelectionError,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.sets import Vocabulary, WeightedSets
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.weights import Weights
from numpy.typing import NDArray

__all__ = [
    "BETA_LIMIT",
    "FactError",
    "Fleet",
    "Selection",
    "SelectionError",
    "Weights",
    "beta_for_floor",
    "effective_number",
    "entropy_rate_bits",
    "min_entropy_bits",
    "paper_row",
    "shannon_bits",
    "softmax_row",
    "stationary",
]

#: Modes of Δ.
MODES = ("hardened", "paper")

#: Side of the blocks in which the matrix is computed: large enough for the matrix product, small beside the matrix.
_BLOCK = 2048


def _fingerprint(value: Any) -> Any:
    """Return a number (or a scalar) that is the same for the same facts in the same order.

    Python's keyed 64-bit hash: two profiles of 10 000 collide by chance once in 10¹¹ fleets. A host that wanted to
    pass for another could as well send the other's facts.
    """
    if isinstance(value, Mapping):
        contents = tuple(value.values())
        try:
            return hash((tuple(value), contents))
        except TypeError:
            return hash((tuple(value), *map(_fingerprint, contents)))
    if isinstance(value, (list, tuple)):
        try:
            return hash(tuple(value))
        except TypeError:
            return hash(tuple(map(_fingerprint, value)))
    return value


def _unordered(value: Any) -> Any:
    """Return the same for the same facts in any order (a list of facts is a set)."""
    if isinstance(value, Mapping):
        try:
            return hash(frozenset(value.items()))
        except TypeError:
            return hash(frozenset((key, _unordered(content)) for key, content in value.items()))
    if isinstance(value, (list, tuple)):
        return hash(frozenset(map(_unordered, value)))
    return value


class Fleet:
    """The profiles of N hosts, de-duplicated to K distinct ones.

    :ivar hosts: N names, in the order given.
    :ivar class_of: shape (N,), each host's distinct profile.
    :ivar counts: shape (K,), how many hosts have it.
    """

    def __init__(
        self,
        profiles: Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, Mapping[str, Any]]],
        selection: Selection | None = None,
    ) -> None:
        """Read the profiles, each once: an iterator may drop them behind it.

        A profile has the keys ``c``, ``n``, ``s`` (mappings of facts, see ``relocate.mtd.host_profile``) and, if
        wanted, ``v`` (vulnerability → weight) and ``scores`` (``c``, ``n``, ``s`` → number, for ``paper`` mode).

        :raises FactError: a term or fact is missing or wrong; names the host and the key.
        :raises SelectionError: a selector does not fit the facts.
        :raises ValueError: no profile at all.
        """
        pairs = profiles.items() if isinstance(profiles, Mapping) else profiles
        selection = selection or Selection()
        encoders = {term: Encoder(term) for term in TERMS}
        flaws = Vocabulary()
        severity: dict[object, float] = {}
        by_order: dict[Any, int] = {}
        by_content: dict[Any, int] = {}
        self.hosts: list[str] = []
        self._with_flaws: list[bool] = []
        scores: list[Mapping[str, Any]] = []
        class_of: list[int] = []
        for host, profile in pairs:
            self.hosts.append(host)
            parts = [profile.get(term) for term in (*TERMS, "v", "scores")]
            key = _fingerprint(parts)
            number = by_order.get(key)
            if number is None:
                facts = {term: self._facts(host, term, profile, selection) for term in TERMS}
                content = _unordered({**facts, "v": parts[3], "scores": parts[4]})
                number = by_content.get(content)
                if number is None:
                    number = by_content[content] = len(scores)
                    for term in TERMS:
                        encoders[term].add(host, facts[term])
                    self._add_flaws(host, profile.get("v"), flaws, severity)
                    scores.append(profile.get("scores") or {})
                by_order[key] = number
            class_of.append(number)
        if not self.hosts:
            raise ValueError("the fleet has no host: give at least one profile")
        self.class_of = np.array(class_of, dtype=np.int64)
        self.counts = np.bincount(self.class_of)
        self.terms: dict[str, Term] = {term: encoders[term].term() for term in TERMS}
        self._flaws: WeightedSets | None = flaws.sets(severity) if any(self._with_flaws) else None
        self._given_scores = scores
        self._scores: FloatArray | None = None
        self._index = {host: place for place, host in enumerate(self.hosts)}
        if len(self._index) != len(self.hosts):
            twice = next(host for place, host in enumerate(self.hosts) if self._index[host] != place)
            raise ValueError(f"{twice}: the host is given twice")

    @staticmethod
    def _facts(host: str, term: str, profile: Mapping[str, Any], selection: Selection) -> Mapping[str, Any]:
        facts = profile.get(term)
        if not isinstance(facts, Mapping) or not facts:
            raise FactError(
                f"{host}: the profile has no facts under the key {term}: "
                "run relocate.mtd.host_profile on it (playbooks/profile.yml)"
            )
        return selection.apply(host, term, facts) if selection else facts

    def _add_flaws(
        self, host: str, found: Mapping[str, float] | None, flaws: Vocabulary, severity: dict[object, float]
    ) -> None:
        for name, weight in (found or {}).items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
                raise FactError(f"{host}: the fact v.{name} is {weight!r}: a severity is a number that is not negative")
            # scanners disagree about severities: take the highest, so that a flaw weighs the same on every host
            severity[name] = max(severity.get(name, 0.0), float(weight))
        flaws.add(found)
        self._with_flaws.append(found is not None)

    def index(self, host: str) -> int:
        """Return a host's place in ``hosts``.

        :raises FactError: the host has no profile.
        """
        try:
            return self._index[host]
        except KeyError:
            raise FactError(f"{host}: the host has no profile: run relocate.mtd.host_profile on it") from None

    # ------------------------------------------------------------------ parts of Δ, between the K distinct profiles

    def require(self, weights: Weights) -> None:
        """Refuse weights that need reports some host does not have.

        :raises FactError: names the first host without a vulnerability report.
        """
        if weights.v and not all(self._with_flaws):
            number = self._with_flaws.index(False)
            host = self.hosts[int(np.flatnonzero(self.class_of == number)[0])]
            raise FactError(
                f"{host}: w_v is {weights.v:g} and the host has no vulnerability report (the key v): "
                "put a Trivy or Grype report into the vulnerabilities directory, or set w_v to 0"
            )

    @property
    def has_flaws(self) -> bool:
        """Whether every host has a vulnerability report."""
        return all(self._with_flaws)

    def parts(self, number: int) -> dict[str, FloatArray]:
        """Return the hardened parts of Δ from distinct profile ``number`` to all, each of shape (K,) and in [0, 1]."""
        parts = {term: self.terms[term].row(number) for term in TERMS}
        if self._flaws is not None:
            size = self._flaws.size[number]
            shared = self._flaws.shared_row(number)
            # a source without known flaws has none to reuse anywhere: no host is better than another
            parts["v"] = 1.0 - shared / size if size > 0 else np.zeros(len(shared))
        return parts

    def scores(self) -> FloatArray:
        """Return shape (K, 3): the numbers C, N and S of eq. 3.3.

        :raises FactError: only some hosts bring ``scores``, or one is missing or not a number.
        """
        if self._scores is None:
            given = [bool(scores) for scores in self._given_scores]
            if any(given):
                self._scores = np.array(
                    [[self._score(number, term) for term in TERMS] for number in range(len(given))], dtype=np.float64
                )
            else:
                others = max(len(self.hosts) - 1, 1)
                self._scores = np.empty((len(given), len(TERMS)))
                for number in range(len(given)):
                    for column, term in enumerate(TERMS):
                        self._scores[number, column] = self.terms[term].row(number) @ self.counts / others
        return self._scores

    def _score(self, number: int, term: str) -> float:
        value = self._given_scores[number].get(term)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            host = self.hosts[int(np.flatnonzero(self.class_of == number)[0])]
            raise FactError(
                f"{host}: paper mode needs the number scores.{term}, not {value!r}: "
                "give scores for all hosts or for none"
            )
        return float(value)

    def signed_parts(self, number: int) -> dict[str, FloatArray]:
        """Return the differences C_d − C_s, N_d − N_s, S_d − S_s of eq. 3.3, each of shape (K,)."""
        scores = self.scores()
        return {term: scores[:, column] - scores[number, column] for column, term in enumerate(TERMS)}

    def class_terms(self, number: int, mode: str = "hardened") -> dict[str, FloatArray]:
        """Return the parts of Δ in the given mode, between distinct profiles."""
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; use one of {', '.join(MODES)}")
        return self.signed_parts(number) if mode == "paper" else self.parts(number)

    # ------------------------------------------------------------------ Δ between hosts

    def terms_row(self, host: str, mode: str = "hardened") -> dict[str, FloatArray]:
        """Return the parts of Δ from ``host`` to every host, each of shape (N,)."""
        number = int(self.class_of[self.index(host)])
        return {term: part[self.class_of] for term, part in self.class_terms(number, mode).items()}

    def row(self, host: str, weights: Weights, mode: str = "hardened") -> FloatArray:
        """Return Δ from ``host`` to every host, shape (N,), dimensionless; 0 to itself.

        :raises FactError: the host has no profile, or the weights need facts that are missing.
        """
        return self.class_row(int(self.class_of[self.index(host)]), weights, mode)[self.class_of]

    def class_row(self, number: int, weights: Weights, mode: str = "hardened") -> FloatArray:
        """Return Δ from distinct profile ``number`` to all of them, shape (K,)."""
        if mode == "hardened":
            self.require(weights)
        return weights.combine(self.class_terms(number, mode))

    def class_matrix(self, weights: Weights, mode: str = "hardened") -> NDArray[np.float32]:
        """Return Δ between the distinct profiles, shape (K, K), row = source."""
        size = len(self.counts)
        if mode == "paper":
            return np.stack([self.class_row(number, weights, mode) for number in range(size)]).astype(np.float32)
        self.require(weights)
        matrix = np.zeros((size, size), dtype=np.float32)
        for start in range(0, size, _BLOCK):
            rows = slice(start, min(start + _BLOCK, size))
            for begin in range(start, size, _BLOCK):
                columns = slice(begin, min(begin + _BLOCK, size))
                tile = matrix[rows, columns]
                for term in TERMS:
                    weight = np.float32(weights.of(term))
                    if weight:
                        tile += self.terms[term].block(rows, columns) * weight
                # C, N and S are symmetric, V is not
                matrix[columns, rows] = tile.T
                if weights.v and self._flaws is not None:
                    shared = self._flaws.shared_block(rows, columns)
                    tile += self._unshared(self._flaws.size[rows], shared, weights.v)
                    if begin != start:
                        matrix[columns, rows] += self._unshared(self._flaws.size[columns], shared.T, weights.v)
        np.fill_diagonal(matrix, 0.0)
        return matrix

    @staticmethod
    def _unshared(size: FloatArray, shared: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
        """Return w_v V from sources with flaws of the weights ``size``, out of the weights they share with others."""
        share = np.ones_like(shared)
        np.divide(shared, size[:, None], out=share, where=size[:, None] > 0)
        return (np.float32(1.0) - share) * np.float32(weight)

    def matrix(self, weights: Weights, mode: str = "hardened") -> NDArray[np.float32]:
        """Return Δ between all hosts, shape (N, N), row = source: for reports and tests, never at run time."""
        distinct = self.class_matrix(weights, mode)
        if len(self.counts) == len(self.hosts):
            return distinct
        return np.take(np.take(distinct, self.class_of, axis=1), self.class_of, axis=0)

    # ------------------------------------------------------------------ configurations

    def shannon_bits(self) -> float:
        """Return the Shannon entropy of the fleet's configurations, −Σ_k (n_k/N) log₂ (n_k/N), in bits."""
        return shannon_bits(self.counts / len(self.hosts))

    def class_names(self) -> list[str]:
        """Return K stable names: distribution, Docker's major version and eight digits of a SHA-256 of the facts."""
        names = []
        for number in range(len(self.counts)):
            text = "\n".join(f"[{term}]\n{self.terms[term].text(number)}" for term in TERMS)
            if self._flaws is not None:
                text += "\n[v]\n" + self._flaws.text(number)
            if self._given_scores[number]:
                text += f"\n[scores]\n{sorted(self._given_scores[number].items())}"
            digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
            parts = [self.terms["c"].fact(key, number) for key in ("distribution", "distribution_version")]
            docker = self.terms["c"].fact("docker", number)
            if docker:
                parts.append("docker" + docker.partition(".")[0])
            words = [re.sub(r"[^a-z0-9]+", "", part.lower())[:16] for part in parts if part]
            names.append("_".join([*filter(None, words), digest]))
        return names
