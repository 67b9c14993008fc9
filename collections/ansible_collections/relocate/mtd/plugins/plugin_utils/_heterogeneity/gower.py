# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One term of Δ (C, N or S) as columns of features, and Gower's coefficient over them.

Gower (Biometrics 27, 1971): d_ij = Σ_f ω_f δ_ijf d_ijf / Σ_f ω_f δ_ijf, where δ_ijf is 0 if the feature is unknown on
either side and 1 otherwise. What d_ijf is follows from the type of the fact:

=================  ==========================================================================================
string, boolean    0 if equal, else 1
number             |x_i − x_j| / range over the fleet
list of strings    Jaccard distance 1 − |A∩B| / |A∪B| (two empty lists: 0)
mapping of strings weighted Jaccard distance over (key, value) pairs; for ``packages`` the bare name weighs half
=================  ==========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.sets import Vocabulary, WeightedSets
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import quoted
from numpy.typing import NDArray

#: What a package's name weighs beside its version when two hosts have it in different versions.
NAME_WEIGHT = {"packages": 0.5}

#: The largest number that can be a fact; a float holds it, and so does the difference of two.
LARGEST = 1e300

#: Above this many values a nominal feature is compared directly, and not as one column per value.
_ONE_HOT_LIMIT = 64


class FactError(ValueError):
    """A fact is missing, of the wrong type or not a number. The message names the host and the key."""


def fact_kind(host: str, key: str, value: object) -> str:
    """Return the kind of a fact: what its distance is measured by. :raises FactError: it is of none; names host and key."""
    if value is None:
        return "unknown"
    if isinstance(value, (str, bool)):
        return "nominal"
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise FactError(f"{host}: the fact {key} is {value}, not a number: profile the host again")
        if abs(value) > LARGEST:
            raise FactError(f"{host}: the fact {key} is {quoted(value)}, too large a number: profile the host again")
        return "number"
    if isinstance(value, Mapping):
        wrong = [name for name, content in value.items() if not isinstance(content, (str, int, bool))]
        if wrong:
            raise FactError(
                f"{host}: the fact {key}.{wrong[0]} has to be a string, not {type(value[wrong[0]]).__name__}"
            )
        return "pairs"
    if isinstance(value, Sequence):
        if not all(isinstance(content, (str, int)) for content in value):
            raise FactError(f"{host}: the fact {key} has to be a list of strings")
        return "set"
    raise FactError(f"{host}: the fact {key} has the type {type(value).__name__}, which cannot be compared")


class Encoder:
    """Takes the profiles' facts of one term one by one, keeps only numbers, and makes the :class:`Term`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._kinds: dict[str, str] = {}
        self._values: dict[str, list[Any]] = {}
        self._vocabularies: dict[str, Vocabulary] = {}
        self._first_host = ""

    def add(self, host: str, facts: Mapping[str, Any]) -> None:
        """Append one profile.

        :raises FactError: no facts at all, a key that other hosts have is missing (or the reverse), or a wrong type.
        """
        if not self._kinds:
            self._first_host = host
            self._kinds = dict.fromkeys(facts, "unknown")
            self._values = {key: [] for key in facts}
            self._vocabularies = {key: Vocabulary() for key in facts}
        elif facts.keys() != self._kinds.keys():
            self._refuse_other_keys(host, facts)
        if all(value is None for value in facts.values()):
            raise FactError(f"{host}: the term {self.name} has no known fact: profile the host again")
        for key, value in facts.items():
            kind = fact_kind(host, f"{self.name}.{key}", value)
            known = self._kinds[key]
            if "unknown" not in (kind, known) and kind != known:
                raise FactError(
                    f"{host}: the fact {self.name}.{key} is a {kind}, but a {known} on other hosts: "
                    "profile all hosts again"
                )
            if known == "unknown":
                self._kinds[key] = kind
            self._values[key].append(value if kind in ("nominal", "number") else kind != "unknown" or None)
            self._vocabularies[key].add(value.items() if kind == "pairs" else value if kind == "set" else None)

    def _refuse_other_keys(self, host: str, facts: Mapping[str, Any]) -> None:
        missing = [key for key in self._kinds if key not in facts]
        if missing:
            raise FactError(
                f"{host}: the fact {self.name}.{missing[0]} is missing, though {self._first_host} has it: "
                "profile all hosts with the same version of relocate.mtd.host_profile"
            )
        extra = next(key for key in facts if key not in self._kinds)
        raise FactError(
            f"{self._first_host}: the fact {self.name}.{extra} is missing, though {host} has it: "
            "profile all hosts with the same version of relocate.mtd.host_profile"
        )

    def term(self) -> Term:
        """Return the columns."""
        columns: list[_Column] = []
        for key, kind in self._kinds.items():
            values = self._values[key]
            if kind == "nominal":
                columns.append(_Nominal(key, values))
            elif kind == "number":
                columns.append(_Number(key, values))
            elif kind == "pairs":
                columns.append(_Sets(key, values, self._vocabularies[key].versioned_sets(NAME_WEIGHT.get(key, 0.0))))
            elif kind == "set":
                columns.append(_Sets(key, values, self._vocabularies[key].sets()))
        return Term(self.name, columns)


class _Column:
    """One feature of n profiles. ``known``: shape (n,), False where the fact is null."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        self.known = np.array([value is not None for value in values], dtype=bool)

    def row(self, index: int) -> NDArray[np.float64]:
        """Return shape (n,): distance to profile ``index`` in [0, 1]; any number where the fact is unknown."""
        raise NotImplementedError

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the distances between two ranges of profiles."""
        raise NotImplementedError

    def text(self, index: int) -> str:
        """Return the fact as canonical text."""
        raise NotImplementedError


class _Nominal(_Column):
    def __init__(self, name: str, values: list[Any]) -> None:
        super().__init__(name, values)
        numbers: dict[Any, int] = {}
        self.codes = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int32)
        self.values = list(numbers)

    def row(self, index: int) -> NDArray[np.float64]:
        return (self.codes != self.codes[index]).astype(np.float64)

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return (self.codes[rows, None] != self.codes[None, columns]).astype(np.float32)

    def text(self, index: int) -> str:
        return str(self.values[self.codes[index]])


class _Number(_Column):
    def __init__(self, name: str, values: list[Any]) -> None:
        super().__init__(name, values)
        numbers = np.array([0.0 if value is None else float(value) for value in values])
        known = numbers[self.known]
        span = float(known.max() - known.min()) if known.size else 0.0
        self._raw = values
        self.scaled = numbers / span if span else np.zeros_like(numbers)

    def row(self, index: int) -> NDArray[np.float64]:
        return np.abs(self.scaled - self.scaled[index])

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return np.abs(self.scaled[rows, None] - self.scaled[None, columns]).astype(np.float32)

    def text(self, index: int) -> str:
        return repr(self._raw[index])


class _Sets(_Column):
    def __init__(self, name: str, values: list[Any], sets: WeightedSets) -> None:
        super().__init__(name, values)
        self.sets = sets

    def row(self, index: int) -> NDArray[np.float64]:
        shared = self.sets.shared_row(index)
        union = self.sets.size + self.sets.size[index] - shared
        return 1.0 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0)

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        size = self.sets.size.astype(np.float32)
        shared = self.sets.shared_block(rows, columns)
        union = size[rows, None] + size[None, columns]
        union -= shared
        np.subtract(union, shared, out=shared)
        # two empty sets: 0 divided by next to nothing is the 0 that two alike sets get
        np.maximum(union, np.finfo(np.float32).tiny, out=union)
        return np.divide(shared, union, out=shared)

    def text(self, index: int) -> str:
        return self.sets.text(index) if self.known[index] else "None"


class Term:
    """Gower's coefficient over the columns of one term; every feature weighs the same (ω_f = 1)."""

    def __init__(self, name: str, columns: list[_Column]) -> None:
        self.name = name
        self.columns = columns
        known = np.stack([column.known for column in columns], axis=1)
        #: shape (n, features) as numbers, or None where every fact of every host is known
        self._known: NDArray[np.float32] | None = None if known.all() else known.astype(np.float32)
        self._one_hot = self._make_one_hot()

    def _make_one_hot(self) -> tuple[set[str], NDArray[np.float32]]:
        """Return which nominal features are counted by a matrix product, and its matrix of shape (n, values)."""
        names: set[str] = set()
        parts: list[NDArray[np.float32]] = [np.zeros((len(self.columns[0].known), 0), dtype=np.float32)]
        for column in self.columns:
            if isinstance(column, _Nominal) and len(column.values) <= _ONE_HOT_LIMIT:
                names.add(column.name)
                parts.append((column.codes[:, None] == np.arange(len(column.values))).astype(np.float32))
        return names, np.concatenate(parts, axis=1)

    def row(self, index: int) -> NDArray[np.float64]:
        """Return shape (n,): the distance in [0, 1] of every profile to profile ``index``.

        Where two profiles have no known fact in common there is no evidence of a difference, and the distance is 0.
        """
        total = np.zeros(len(self.columns[0].known))
        known = np.zeros_like(total)
        for column in self.columns:
            both = column.known & column.known[index]
            total += np.where(both, column.row(index), 0.0)
            known += both
        result = np.divide(total, known, out=np.zeros_like(total), where=known > 0)
        result[index] = 0.0
        return result

    def block(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the distances between two ranges of profiles; wrong where a profile meets itself (it is 0 there)."""
        known = self._known
        if known is None:
            names, matrix = self._one_hot
            total = np.float32(len(names)) - matrix[rows] @ matrix[columns].T
            for column in self.columns:
                if column.name not in names:
                    total += column.block(rows, columns)
            total /= np.float32(len(self.columns))
            return total
        total = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
        for column in self.columns:
            distance = column.block(rows, columns)
            distance *= column.known[rows, None]
            distance *= column.known[None, columns]
            total += distance
        both = known[rows] @ known[columns].T
        return np.divide(total, both, out=np.zeros_like(total), where=both > 0)

    def text(self, index: int) -> str:
        """Return one profile's facts as canonical text (for a stable name)."""
        return "\n".join(
            f"{column.name}: {column.text(index)}" for column in sorted(self.columns, key=lambda c: c.name)
        )

    def fact(self, key: str, index: int) -> str | None:
        """Return one nominal fact, or None where there is no such feature or it is unknown."""
        for column in self.columns:
            if column.name == key and isinstance(column, _Nominal) and column.known[index]:
                return column.text(index)
        return None
