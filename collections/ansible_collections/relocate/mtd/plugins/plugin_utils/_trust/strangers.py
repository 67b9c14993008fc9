# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from strangers: the forms that names, ids and the like must have, and how any foreign text is shown.

A host may be in an attacker's hands, and so may a label or a name that a program hands on. What they say is checked here, once,
before anything uses it; C(reports.py) checks whole documents with it. The forms
that hosts know as well are in C(module_utils/_forms.py).
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._forms import (  # noqa: F401 - the controller's rooms find them here
    HALF,
    HOST,
    IDENTIFIER,
    IMAGE,
    NAME,
    NAME_LIMIT,
    WHOLE,
    quoted,
    shown,
)

CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}")
DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,128}")
#: What begins a template of Jinja's; every place at which one begins, for they may overlap.
TEMPLATE = re.compile(r"\{(?=[{%#])")
#: How deep and how large a document of a host may be, and its numbers: what a 64-bit counter holds.
DEPTH, VALUES, TEXT_LIMIT = 24, 500_000, 1 << 20


class Odd(ValueError):
    """Something is not what it has to be; the message is one sentence, safe to show."""


def _formed(value: Any, form: re.Pattern[str], limit: int) -> bool:
    return isinstance(value, str) and len(value) <= limit and form.fullmatch(value) is not None


def container_name(value: Any) -> str:
    """Return a container's name. :raises Odd: it is none."""
    if not _formed(value, NAME, NAME_LIMIT):
        raise Odd(
            f"{quoted(value)} is no container's name: one begins with a letter or a digit and has letters, digits, "
            "'_', '.' and '-'"
        )
    return str(value)


def is_container_name(value: Any) -> bool:
    """Return whether a value can be a container's name."""
    return _formed(value, NAME, NAME_LIMIT)


def host_name(value: Any) -> str:
    """Return a host's name, which still has to be looked up in the inventory. :raises Odd: no inventory has such a name."""
    if not _formed(value, HOST, NAME_LIMIT):
        raise Odd(f"{quoted(value)} is no host's name: name one host of the inventory")
    return str(value)


def identifier(value: Any) -> str:
    """Return a relocation's id. :raises Odd: it is none."""
    if not _formed(value, IDENTIFIER, 128):
        raise Odd(f"{quoted(value)} is no relocation's id: one has letters, digits, '_' and '-', at most 128")
    return str(value)


def address(value: Any) -> str:
    """Return an IPv4 or IPv6 address. :raises Odd: it is none."""
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else _no_address(value)
    except ValueError:
        return _no_address(value)


def _no_address(value: Any) -> str:
    raise Odd(f"{quoted(value)} is no IP address")


def plain_text(value: Any, limit: int = TEXT_LIMIT) -> str:
    """Return text that can be encoded and is not too long. :raises Odd: it is none."""
    if not isinstance(value, str):
        raise Odd(f"{quoted(value)} is no text")
    if len(value) > limit:
        raise Odd(f"a text of {len(value)} characters is too long")
    if not value.isascii() and HALF.search(value):
        raise Odd(f"{quoted(value)} has half a surrogate pair, which is no character")
    return value


def document(value: Any) -> Any:
    """Return a JSON document that is no deeper, no larger and holds no larger numbers than any use needs.

    :raises Odd: it is none. Walked without recursion: a deep document must not exhaust the stack that judges it.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        seen += 1
        if depth > DEPTH:
            raise Odd(f"the document is nested more than {DEPTH} levels deep")
        if seen > VALUES:
            raise Odd(f"the document has more than {VALUES} values")
        if isinstance(each, str):
            plain_text(each)
        elif isinstance(each, dict):
            for key in each:
                plain_text(key)
            waiting += [(content, depth + 1) for content in each.values()]
        elif isinstance(each, (list, tuple)):
            waiting += [(content, depth + 1) for content in each]
        elif isinstance(each, int):
            if not -WHOLE <= each < WHOLE:
                raise Odd("a number is beyond all measure")
        elif isinstance(each, float):
            if not math.isfinite(each):
                raise Odd(f"{each} is no number")
        elif each is not None:
            raise Odd(f"the document holds a {type(each).__name__}")
    return value
