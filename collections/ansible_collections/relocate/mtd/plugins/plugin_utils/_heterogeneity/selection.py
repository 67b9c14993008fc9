# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which facts count: a JMESPath expression per term that includes, and one that excludes.

``include`` is evaluated against the term's document and has to yield a mapping of feature names to values::

    include: {c: "{kernel: kernel, runc: runc}"}

``exclude`` has to yield a list of names: a feature (``images``) or one element of a feature, after the first dot
(``packages.linux-libc-dev``, ``listening.tcp/9100``)::

    exclude: {s: "['images']", c: "keys(@)[?starts_with(@, 'cpu')]"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

#: The terms of Δ that come from a host's profile.
TERMS = ("c", "n", "s")


class SelectionError(ValueError):
    """A selector is no JMESPath, or does not yield what it has to. The message names the term and the expression."""


class Selection:
    """The compiled selectors of all terms."""

    def __init__(self, include: Mapping[str, str] | None = None, exclude: Mapping[str, str] | None = None) -> None:
        self._include = self._compile("include", include)
        self._exclude = self._compile("exclude", exclude)

    @staticmethod
    def _compile(word: str, expressions: Mapping[str, str] | None) -> dict[str, tuple[str, Any]]:
        compiled = {}
        for term, text in (expressions or {}).items():
            if term not in TERMS:
                raise SelectionError(f"{word}.{term}: there is no such term; use one of {', '.join(TERMS)}")
            try:
                compiled[str(term)] = (str(text), jmespath.compile(str(text)))
            except JMESPathError as error:
                reason = str(error).splitlines()[0]
                raise SelectionError(f"{word}.{term}: {str(text)!r} is no JMESPath expression: {reason}") from error
        return compiled

    def __bool__(self) -> bool:
        return bool(self._include or self._exclude)

    def apply(self, host: str, term: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the facts of one term that count.

        :raises SelectionError: the expression fails on this host, or yields something of the wrong type or nothing.
        """
        if term in self._include:
            text, expression = self._include[term]
            chosen = self._search(host, f"include.{term}", text, expression, facts)
            if not isinstance(chosen, Mapping):
                raise SelectionError(
                    f"{host}: include.{term}: {text!r} has to yield a mapping of names to facts, not {_name(chosen)}"
                )
            facts = chosen
        if term in self._exclude:
            text, expression = self._exclude[term]
            names = self._search(host, f"exclude.{term}", text, expression, facts)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise SelectionError(
                    f"{host}: exclude.{term}: {text!r} has to yield a list of names, not {_name(names)}"
                )
            facts = _without(facts, names)
        if not facts:
            raise SelectionError(f"{host}: the selectors of the term {term} leave no fact: widen them")
        return facts

    @staticmethod
    def _search(host: str, key: str, text: str, expression: Any, facts: Mapping[str, Any]) -> Any:
        try:
            return expression.search(facts)
        except JMESPathError as error:
            raise SelectionError(f"{host}: {key}: {text!r} fails: {str(error).splitlines()[0]}") from error


def _name(value: object) -> str:
    return {"NoneType": "nothing", "dict": "a mapping", "str": "a string"}.get(
        type(value).__name__, type(value).__name__
    )


def _without(facts: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    kept = {key: value for key, value in facts.items() if key not in names}
    inner: dict[str, set[str]] = {}
    for name in names:
        key, dot, element = name.partition(".")
        if dot and name not in facts:
            inner.setdefault(key, set()).add(element)
    for key, elements in inner.items():
        value = kept.get(key)
        if isinstance(value, Mapping):
            kept[key] = {name: content for name, content in value.items() if name not in elements}
        elif isinstance(value, list):
            kept[key] = [content for content in value if content not in elements]
    return kept
