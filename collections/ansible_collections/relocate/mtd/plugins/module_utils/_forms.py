# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms that names, paths, numbers and texts must have.

What Docker, the kernel and we ourselves take, each once: modules look at their options with it (C(_module)), the controller at
what hosts answer and at variables. Pure functions. Standard library only, Python 3.9.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

#: What Docker allows as a container's name.
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
NAME_LIMIT = 253
#: A relocation's id: ours, or a UUID. It becomes a part of file names, so no dot and no slash.
IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
#: A name in the inventory: a host name or an address, no pattern of several.
HOST = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.:-]*")
#: An image's name or id. It becomes a part of a path of Docker's API, so it never leads upwards.
IMAGE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_:@-]|[./](?![./])){0,511}")
#: What the kernel takes as the name of an interface, less what has a meaning for nft, ip or a path.
INTERFACE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.:@-]{0,14}")
#: Half a surrogate pair, which no encoding knows.
HALF = re.compile("[\ud800-\udfff]")

WHOLE = 1 << 63  # what a 64-bit counter holds
PATH_BYTES, COMPONENT_BYTES = 4095, 255  # the kernel's limits
WORD_BYTES = 131_071  # the longest word of a command line or an environment that the kernel takes
DEPTH, VALUES, TEXT_LIMIT = 24, 500_000, 1 << 20  # of a document: any use needs less
SHOWN = 80  # characters of a wrong value that a sentence repeats
SENTENCE = 2_000  # characters of a module's sentence


class Wrong(ValueError):
    """A value has not the form; the message is the rest of a sentence that begins with the value, safe to show."""


#: Returns a value that has the form. :raises Wrong: it has not.
Form = Callable[[Any], Any]


def shown(text: Any) -> str:
    """Return text with everything that a terminal or a log would obey written as escapes: control characters, line ends,
    marks that turn the direction of writing, halves of surrogate pairs."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text))


def quoted(value: Any) -> str:
    """Return a wrong value as a sentence may repeat it: what kind it is where it is no text, and never much of it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value) if isinstance(value, float) or abs(value) < WHOLE else "a number beyond all measure"
    if isinstance(value, str):
        return f"'{shown(value[:SHOWN])}{'…' if len(value) > SHOWN else ''}'"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def sentence(text: str) -> str:
    """Return a sentence that may repeat somebody's text, fit to be shown: one line, printable, no longer than is read."""
    line = shown(" ".join(str(text).split()))
    short = re.sub(r"\S{301,}", lambda word: f"{word.group()[:SHOWN]}…", line)
    return short if len(short) <= SENTENCE else f"{short[:SENTENCE]}…"


# -- forms --------------------------------------------------------------------------------------------------------------


def formed(pattern: re.Pattern[str], what: str, limit: int = 512) -> Form:
    """Return the form of a text that a pattern describes. :param what: what it is, with its article."""

    def form(value: Any) -> Any:
        if not isinstance(value, str) or len(value) > limit or not pattern.fullmatch(value):
            raise Wrong(f"is no {what}")
        return value

    return form


container_name = formed(
    NAME, "container's name: one begins with a letter or a digit and has letters, digits, '_', '.' and '-'", NAME_LIMIT
)
relocation_id = formed(IDENTIFIER, "relocation's id: one has letters, digits, '_' and '-', at most 128")
host_name = formed(HOST, "host's name: name one host of the inventory", NAME_LIMIT)
image_name = formed(IMAGE, "image's name: one is REPOSITORY/IMAGE:TAG, an id or a digest")
interface_name = formed(INTERFACE, "interface's name: one has at most 15 letters, digits, '_', '.', ':', '@' and '-'")


def word(value: Any) -> Any:
    """Form of one short word, of which the module itself knows what it has to be: an address, a network."""
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not re.fullmatch(r"[!-~]+", value):
        raise Wrong("is no word of at most 64 characters")
    return value


def address(value: Any) -> Any:
    """Form of an IPv4 address."""
    try:
        ipaddress.IPv4Address(word(value))
    except ValueError:
        raise Wrong("is no IPv4 address") from None
    return value


def either_address(value: Any) -> Any:
    """Form of an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(word(value))
    except ValueError:
        raise Wrong("is no IP address") from None
    return value


def address6(value: Any) -> Any:
    """Form of an IPv6 address that is not of one link alone."""
    try:
        found = ipaddress.IPv6Address(word(value))
    except ValueError:
        raise Wrong("is no IPv6 address") from None
    if found.is_link_local or "%" in value:
        raise Wrong("is an IPv6 address of one link alone")
    if found.ipv4_mapped:
        raise Wrong("is IPv4 written as IPv6")
    return value


def with_prefix(value: Any) -> Any:
    """Form of an IPv4 address with the length of its prefix, C(192.0.2.1/24)."""
    try:
        ipaddress.IPv4Interface(word(value))
    except ValueError:
        raise Wrong("is no IPv4 address with a prefix length, such as 192.0.2.1/24") from None
    return value


def either_with_prefix(value: Any) -> Any:
    """Form of an IPv4 or IPv6 address with the length of its prefix."""
    try:
        ipaddress.ip_interface(word(value))
    except ValueError:
        raise Wrong("is no IP address with a prefix length, such as 192.0.2.1/24 or 2001:db8::1/64") from None
    return value


def with_prefix6(value: Any) -> Any:
    """Form of an IPv6 address with the length of its prefix, C(2001:db8::1/64)."""
    try:
        ipaddress.IPv6Interface(word(value))
    except ValueError:
        raise Wrong("is no IPv6 address with a prefix length, such as 2001:db8::1/64") from None
    return value


def network(value: Any) -> Any:
    """Form of an IPv4 network, C(192.0.2.0/24)."""
    try:
        ipaddress.IPv4Network(word(value))
    except ValueError:
        raise Wrong("is no IPv4 network, such as 192.0.2.0/24") from None
    return value


def network6(value: Any) -> Any:
    """Form of an IPv6 network, C(2001:db8::/64)."""
    try:
        ipaddress.IPv6Network(word(value))
    except ValueError:
        raise Wrong("is no IPv6 network, such as 2001:db8::/64") from None
    return value


def scalar(value: Any) -> Any:
    """Form of a text, a number, true or false, which becomes a text that belongs to a container."""
    if not isinstance(value, (str, int, float)):
        raise Wrong("is no text")
    if not isinstance(value, str):
        document(value)
    free(str(value))
    return value


def remark(value: Any) -> Any:
    """Form of a text that people read: a reason, a place's name. One line, printable, at most 4000 characters."""
    if not isinstance(value, str) or len(value) > 4000 or not value.isprintable():
        raise Wrong("is no text of one line with at most 4000 characters")
    return value


def free(value: Any) -> Any:
    """Form of a text that belongs to a container and may be anything that the kernel can hand to a program."""
    if not isinstance(value, str) or "\0" in value or HALF.search(value) or len(value.encode()) > WORD_BYTES:
        raise Wrong(
            f"cannot be given to a program: that takes text without NUL and halves of characters, at most {WORD_BYTES} bytes"
        )
    return value


def path(value: Any) -> Any:
    """Form of an absolute path that the kernel takes, without ``..``."""
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise Wrong("is no absolute path")
    parts = value.split("/")
    if len(value.encode()) > PATH_BYTES or any(len(part.encode()) > COMPONENT_BYTES for part in parts):
        raise Wrong("is a longer path than the kernel takes")
    if ".." in parts:
        raise Wrong("leads upwards: write the path without '..'")
    return value


def whole(low: int, high: int) -> Form:
    """Return the form of a whole number in a range."""

    def form(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(f"is no whole number from {low} to {high}")
        return value

    return form


def number(low: float, high: float) -> Form:
    """Return the form of a number in a range."""

    def form(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Wrong(f"is no number from {low:g} to {high:g}")
        return value

    return form


port = whole(1, 65535)
size = whole(0, 1 << 60)


def flag(value: Any) -> Any:
    """Form of true and false."""
    if not isinstance(value, bool):
        raise Wrong("is neither true nor false")
    return value


def one_of(*words: str) -> Form:
    """Return the form of one of some words."""

    def form(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise Wrong(f"is not one of {', '.join(words)}")
        return value

    return form


def maybe(form: Form) -> Form:
    """Return the form of a value that may be nothing."""
    return lambda value: None if value is None else form(value)


def _inside(place: str, form: Form, value: Any) -> Any:
    try:
        return form(value)
    except Wrong as wrong:
        said = str(wrong)
        # what is inside has named itself already
        raise Wrong(said if said.startswith("has ") else f"has {place} {quoted(value)}, which {said}") from None


def each(form: Form) -> Form:
    """Return the form of a list."""

    def check(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise Wrong("is no list")
        return [_inside("the entry", form, content) for content in value]

    return check


def mapping(key: Form, content: Form) -> Form:
    """Return the form of a mapping."""

    def check(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Wrong("is no mapping")
        for name, inner in value.items():
            _inside("the key", key, name)
            _inside(f"at {quoted(name)}", content, inner)
        return value

    return check


def record(needed: Mapping[str, Form], known: Optional[Mapping[str, Form]] = None, more: bool = True) -> Form:
    """Return the form of a mapping that has all ``needed`` keys; ``known`` ones are looked at if they are there.

    :param more: it may have others, which are not looked at.
    """
    every = {**needed, **(known or {})}

    def check(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Wrong("is no mapping")
        for name in needed:
            if name not in value:
                raise Wrong(f"has no {name}")
        for name, inner in value.items():
            if name in every:
                _inside(f"the {name}", every[name], inner)
            elif not more:
                raise Wrong(f"has the key {quoted(name)}, which means nothing: use {', '.join(every)}")
        return value

    return check


def document(value: Any) -> Any:
    """Form of a JSON document that is no deeper and no larger than any use needs.

    Walked without recursion: a deep document must not exhaust the stack that judges it.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        inner, depth = waiting.pop()
        seen += 1
        if depth > DEPTH or seen > VALUES:
            raise Wrong(f"is nested more than {DEPTH} levels deep or has more than {VALUES} values")
        if isinstance(inner, Mapping):
            waiting += [(name, depth) for name in inner]
            waiting += [(content, depth + 1) for content in inner.values()]
        elif isinstance(inner, (list, tuple)):
            waiting += [(content, depth + 1) for content in inner]
        elif isinstance(inner, str):
            if len(inner) > TEXT_LIMIT or (not inner.isascii() and HALF.search(inner)):
                raise Wrong(f"holds a text that is longer than {TEXT_LIMIT} characters or has half a character")
        elif isinstance(inner, float) and not math.isfinite(inner):
            raise Wrong(f"holds {inner}, which is no number")
        elif isinstance(inner, int) and not -WHOLE <= inner < WHOLE:
            raise Wrong("holds a number beyond all measure")
    return value


def settings(value: Any) -> Any:
    """Form of a mapping that goes into a JSON file of somebody else's."""
    if not isinstance(value, Mapping):
        raise Wrong("is no mapping")
    return document(value)


def json_text(value: Any) -> Any:
    """Form of a text that holds a JSON object. Its content may be secret and is never repeated."""
    try:
        if not isinstance(value, str) or not isinstance(json.loads(value), dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise Wrong("is no JSON object") from None
    return value


def odd(spec: Mapping[str, Any], forms: Mapping[str, Form], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for every option whose value has not its form. Options without a value have none to look at."""
    for name, form in forms.items():
        value = values.get(name)
        if value is None:
            continue
        try:
            form(value)
        except Wrong as wrong:
            yield f"the option {name}: {'its value' if spec[name].get('no_log') else quoted(value)} {wrong}"
