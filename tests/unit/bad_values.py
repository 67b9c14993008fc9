# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong for nearly everything that can be set: the values that each option, key and variable is tried with."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

TEXTS: list[Any] = [
    "", " ", "x", "-", "--", "\n", "\t", "\0", "\x1b[31m", "\u202e", "\ud800", "é" * 300, "x" * 100_000, "9" * 5000, "1e400",
    "nan", "inf", "-1", "0", "1:30", "030", "2026-13-45", "9999-12-31", "{{ lookup('pipe', 'id') }}", "{% for x in y %}",
    "$(id)", "../../etc/passwd", "/dev/zero", "%s%n", "null", "true", "[", "'", '"', "\\", "😀", "sqlite:", "http://[",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, -0.0, 1e-300, 1e-12, 1e15, 1e300, -1e300, 0.999999999,
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, [], {}, [[]], [None], {"": 1}, {"a": {"b": []}}, [1, "x", None], [[[[[1]]]]], {"kind": []},
]  # fmt: skip
#: Characters of a text that is used, and of one that is a container's own.
LIMIT, OWN_LIMIT = 4096, 1 << 17


def harmless(value: Any, own: bool, remark: bool) -> bool:
    """Return whether work may begin with a value: the rule of these tests, which knows no form.

    :param own: a text that belongs to somebody, and is not looked into. :param remark: one that people read.
    """
    if isinstance(value, dict):
        return all(harmless(name, own, remark) and harmless(each, own, remark) for name, each in value.items())
    if isinstance(value, list):
        return all(harmless(each, own, remark) for each in value)
    if isinstance(value, (bool, type(None))):
        return True
    if isinstance(value, (int, float)):
        return math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63
    with contextlib.suppress(UnicodeEncodeError):
        size = len(value.encode())
        if own:
            return size <= OWN_LIMIT
        whole = value.isprintable() and size <= LIMIT
        return whole and (remark or not any(each in value for each in ("{{", "{%", "..", "$(", "'", '"', "\\", "[")))
    return False


def places(spec: dict[str, Any], at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every option, of what is in its lists, of suboptions, and of one that there is not."""
    yield (*at, "no_such_option")
    for name, option in spec.items():
        yield (*at, name)
        inner = option.get("options")
        if option.get("type") == "list":
            yield (*at, name, 0)
        if inner:
            yield from places(inner, (*at, name, 0) if option["type"] == "list" else (*at, name))
        elif option.get("type") == "dict":
            yield (*at, name, "x")


def changed(base: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the parameters with a value at a place."""
    parameters = copy.deepcopy(base)
    inside: Any = parameters
    for part, following in itertools.pairwise(place):
        fresh: Any = [{}] if following == 0 else {}
        if isinstance(part, int):
            inside = inside[part]
            continue
        if not isinstance(inside.get(part), type(fresh)) or not inside[part]:
            inside[part] = fresh
        inside = inside[part]
    inside[place[-1]] = value
    return parameters
