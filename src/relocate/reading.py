# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of the files that people write: YAML into a pydantic model, CSV into rows.

Every refusal has the form ``FILE:LINE: key: what, limit, remedy`` and the exit status 1; a file that is not there is wrong
usage of the command line, status 2. What is taken of YAML is what every version of it reads alike: mappings, lists, text,
decimal numbers, ``true`` and ``false``, ``null``. What YAML 1.1 and 1.2 read differently (``030``, ``yes``) is refused, not
guessed; ``1:30`` and ``2026-12-24`` are text.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from relocate.errors import Refusal

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]

YAML_BYTES = 256 << 10
CSV_BYTES = 128 << 20  # 2000 x 2000 numbers of full precision fit
DEPTH = 32
MISTAKES = 20  # that are told at once
PIPE_SECONDS = 10.0
SHOWN = 60  # characters of a value that a message repeats

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_OTHER_BASE = re.compile(r"[-+]?0(?:[0-9]+|[xX][0-9a-fA-F_]+|o[0-7_]+|b[01_]+)|[-+]?[0-9]+(?:_[0-9]+)+")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TRUE_ONCE = {form for word in ("yes", "no", "on", "off") for form in (word, word.title(), word.upper())}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


class Document(NamedTuple):
    """What a file holds: plain data (mappings, lists, text, numbers, booleans, None), and the line of every key and item."""

    data: Any
    lines: dict[Place, int]


class _Mistake(Exception):
    """The file is wrong at a line, counted from 1; :func:`parse` puts the file's name in front."""

    def __init__(self, line: int, key: str, what: str) -> None:
        super().__init__(what)
        self.line, self.key = line, key


def shown(value: Any) -> str:
    """Return a value for a message: in quotes if it is text, one short line, and nothing that moves a terminal."""
    if isinstance(value, (dict, list)):
        value = "a mapping" if isinstance(value, dict) else value
        if isinstance(value, str):
            return value
    text = f"{value:g}" if isinstance(value, float) else ascii(value) if _unprintable(str(value)) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]}… ({len(text)} characters)"


def name(key: object) -> str:
    """Return a key for a message: as it is written, or as :func:`shown` where it is long or not printable."""
    text = str(key)
    return shown(text) if len(text) > SHOWN or _unprintable(text) else text


def _unprintable(text: str) -> bool:
    return not text.isprintable()


# ------------------------------------------------------------------------------------------------------------- the text


def read_text(path: Path, limit: int = YAML_BYTES) -> str:
    """Return the text of a file or pipe of at most ``limit`` bytes.

    Raises Refusal: status 2 for a path that is no file which can be read, status 1 for a file that is no text.
    """
    data = _bytes(path, limit)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refusal(
            f"{file_name(path)}:{line}: this is no text in UTF-8: give a text file, or convert it to UTF-8."
        ) from None
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Refusal(
            f"{file_name(path)}:{line}: the control character {found[0]!a} stands here, and a text file has none: remove it."
        )
    return text


def file_name(path: Path) -> str:
    """Return a path for a message: as it is written, or as text in quotes where it is not printable; never much of it."""
    text = ascii(str(path)) if _unprintable(str(path)) else str(path)
    return text if len(text) <= 300 else f"{text[:150]}…{text[-100:]}"


def _bytes(path: Path, limit: int) -> bytes:
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to would hold the command for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Refusal(f"{file_name(path)} does not exist: give the path of a file.", 2) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refusal(f"{file_name(path)} cannot be read: {reason}: give the path of a file that can.", 2) from None
    try:
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise Refusal(f"{file_name(path)} is no file but a directory or device: give the path of a file.", 2)
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            if not select.select([descriptor], [], [], PIPE_SECONDS)[0]:
                raise Refusal(
                    f"{file_name(path)} gave nothing for {PIPE_SECONDS:g} s: write to the pipe, or give a file.", 2
                )
            part = os.read(descriptor, min(1 << 20, limit + 1 - size))
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
    except OSError as error:
        raise Refusal(
            f"{file_name(path)} cannot be read: {error.strerror}: give the path of a file that can.", 2
        ) from None
    finally:
        os.close(descriptor)
    raise Refusal(
        f"{file_name(path)}:1: the file is larger than {limit >> 10} KiB, the limit of such files: make it smaller."
    )


# ----------------------------------------------------------------------------------------------------------------- YAML


def parse(text: str, file: str) -> Document:
    """Return what YAML ``text`` holds; ``file`` stands for it in messages. Raises Refusal."""
    try:
        return _Builder(text).document()
    except _Mistake as mistake:
        key = f"{mistake.key}: " if mistake.key else ""
        raise Refusal(f"{file}:{mistake.line}: {key}{mistake}") from None
    except yaml.YAMLError as error:
        marks: list[Any] = [getattr(error, each, None) for each in ("problem_mark", "context_mark")]
        line = next((mark.line + 1 for mark in marks if mark is not None), 1)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Refusal(f"{file}:{line}: this is no YAML ({name(problem)}): mend this line or the one before.") from None
    except (ValueError, OverflowError):  # PyYAML's own slips, such as chr() of an escape beyond Unicode
        raise Refusal(f"{file}:1: this is no YAML: an escape names no character: mend it.") from None


class _Builder:
    """Builds plain data from PyYAML's events: no tags, no anchors, no depth or number that the reader has not looked at."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._lines: dict[Place, int] = {}

    def document(self) -> Document:
        data: Any = None
        documents = 0
        for event in self._events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Mistake(line, "", "a second document begins here, and only one is read: remove it.")
                data = self._value(next(self._events), ())
        return Document(data, self._lines)

    def _value(self, event: Any, place: Place) -> Any:
        line = event.start_mark.line + 1
        self._lines.setdefault(place, line)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = f"*{event.anchor}" if isinstance(event, yaml.AliasEvent) else f"&{event.anchor}"
            raise _Mistake(
                line, _path(place), f"anchors and aliases ({name(sign)}) are not taken: write the value out."
            )
        if event.tag not in (None, "!"):
            raise _Mistake(line, _path(place), f"tags ({name(event.tag)}) are not taken: write the value without.")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place, line)
        if len(place) >= DEPTH:
            raise _Mistake(line, "", f"this is deeper than {DEPTH} levels, the limit: nest less.")
        return self._list(place) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(place)

    def _list(self, place: Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found))))
        return found

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag not in (None, "!"):
                raise _Mistake(line, _path(place), "a key is no word here, and keys are text: name it.")
            key = _checked_text(event.value, line, _path(place))
            inner = (*place, key)
            if not key or (key == "<<" and event.style is None):
                what = "merges (<<) are not taken: write the keys out." if key else "a key is empty: name it."
                raise _Mistake(line, _path(place), what)
            if key in found:
                was = self._lines[inner]
                raise _Mistake(
                    line, _path(inner), f"it stands in line {was} already, and only one can count: keep one."
                )
            self._lines[inner] = line
            found[key] = self._value(next(self._events), inner)
        return found

    def _scalar(self, event: Any, place: Place, line: int) -> Any:
        text, key = event.value, _path(place)
        if event.style is not None or event.tag == "!":
            return _checked_text(text, line, key)
        if text in _WORDS:
            return _WORDS[text]
        if text in _TRUE_ONCE:
            what = f"{text} is a truth value in old YAML and text in new: write true or false, or put it in quotes."
            raise _Mistake(line, key, what)
        if _NOT_FINITE.fullmatch(text):
            raise _Mistake(line, key, f"it is {text}: numbers are finite here; give one.")
        if _OTHER_BASE.fullmatch(text):
            what = f"it is {shown(text)}, which YAML's versions read as different numbers: write it in plain decimal digits"
            raise _Mistake(line, key, f"{what}, or put it in quotes if it is text.")
        if _INTEGER.fullmatch(text):
            if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
                raise _Mistake(
                    line, key, f"it is a number of {len(text)} digits: whole numbers end at 2^63; give a smaller."
                )
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise _Mistake(line, key, f"it is {shown(text)}: numbers end at 1.8e308; give a smaller.")
            return number
        return _checked_text(text, line, key)


def _checked_text(text: str, line: int, key: str) -> str:
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise _Mistake(line, key, f"the text {shown(text)} has half a character (a lone surrogate): write whole ones.")
    if "\0" in text:
        raise _Mistake(line, key, f"the text {shown(text)} has a NUL character: remove it.")
    return text


def _path(place: Place) -> str:
    """Return a place as people write it: limits.windows[0].from."""
    said = ""
    for part in place:
        said += f"[{part}]" if isinstance(part, int) else f".{name(part)}" if said else name(part)
    return said


# ------------------------------------------------------------------------------------------------------------ the model


def load(path: Path, model: type[Model], *, empty: str = "", keys: str = "", **overrides: Any) -> Model:
    """Return the validated contents of a YAML file; ``overrides`` stand over its keys where they are not None.

    ``empty`` is the remedy for a file without any key, ``keys`` says where the keys are described. The file's directory is the
    validation context's ``folder``. Raises Refusal with one line for each mistake.
    """
    return validate(
        read_text(path), file_name(path), model, empty=empty, keys=keys, folder=path.parent, overrides=overrides
    )


def validate(
    text: str,
    file: str,
    model: type[Model],
    *,
    empty: str = "",
    keys: str = "",
    folder: Path = Path(),
    overrides: dict[str, Any] | None = None,
) -> Model:
    """Return YAML ``text`` as ``model``; see :func:`load`."""
    data, lines = parse(text, file)
    if data is None or data == {}:
        raise Refusal(f"{file}:1: the file is empty: {empty or 'give it the keys that its documentation lists'}.")
    if not isinstance(data, dict):
        raise Refusal(
            f"{file}:{lines[()]}: the file holds {_kind(data)}, and a mapping of keys is needed: write KEY: VALUE."
        )
    data |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        # As JSON and strictly: text becomes a path or a date, and nothing else is taken for what it is not.
        return model.model_validate_json(json.dumps(data), strict=True, context={"folder": folder})
    except ValidationError as error:
        raise Refusal(_sentences(error, file, lines, keys)) from None


def _kind(data: Any) -> str:
    return {"str": "text", "list": "a list"}.get(type(data).__name__, "a single value")


#: What is needed, by pydantic's type of the mistake; ``{…}`` is from its context.
_NEEDED = {
    "int_type": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_type": "a number is needed",
    "bool_type": "true or false is needed",
    "string_type": "text is needed",
    "path_type": "a path is needed",
    "list_type": "a list is needed",
    "tuple_type": "a list is needed",
    "dict_type": "a mapping of keys is needed",
    "model_type": "a mapping of keys is needed",
    "model_attributes_type": "a mapping of keys is needed",
    "date_from_datetime_parsing": "a day such as 2026-12-24 is needed",
    "date_from_datetime_inexact": "a day such as 2026-12-24 is needed",
    "date_parsing": "a day such as 2026-12-24 is needed",
    "date_type": "a day such as 2026-12-24 is needed",
    "datetime_parsing": "a moment such as 2026-12-24T18:00:00 is needed",
    "datetime_from_date_parsing": "a moment such as 2026-12-24T18:00:00 is needed",
    "datetime_type": "a moment such as 2026-12-24T18:00:00 is needed",
    "literal_error": "it must be one of {expected}",
    "greater_than": "it must be above {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "less_than": "it must be below {lt:g}",
    "less_than_equal": "it must be at most {le:g}",
    "too_short": "it needs at least {min_length}",
    "too_long": "it has at most {max_length}",
    "string_too_long": "it has at most {max_length} characters",
    "string_too_short": "it has at least {min_length} characters",
    "string_pattern_mismatch": "it must match {pattern}",
    "finite_number": "a finite number is needed",
}


def _sentences(error: ValidationError, file: str, lines: dict[Place, int], keys: str) -> str:
    """Return one line for each mistake; alternatives of a union are one mistake."""
    found: dict[tuple[int, str, str], list[str]] = {}
    for mistake in error.errors(include_url=False):
        place, line = _known(mistake["loc"], lines)
        key, what, needed = _path(place), "", ""
        if mistake["type"] == "missing":
            key, what = _path((*place, mistake["loc"][-1])), "it is missing, and has no default: give it."
        elif mistake["type"] == "extra_forbidden":
            what = f"there is no such key; remove it or mend its spelling{f' ({keys} lists the keys)' if keys else ''}."
        elif mistake["type"] in ("value_error", "assertion_error"):  # ours: already a sentence
            place, what = _own(one_line(str(mistake["ctx"]["error"])), place, lines)
            key, line = _path(place), _known(place, lines)[1]
        else:
            needed = _NEEDED.get(mistake["type"], "")
            needed = needed.format_map(mistake.get("ctx") or {}) if needed else mistake["msg"].rstrip(".")
            what = f"it is {shown(mistake['input'])}: " if mistake["type"] in _NEEDED else ""
        alternatives = found.setdefault((line, key, what), [])
        if needed and needed not in alternatives:
            alternatives.append(needed)
    said = [
        f"{file}:{line}: {f'{key}: ' if key else ''}{what}{' or '.join(needed)}{'.' if needed else ''}"
        for (line, key, what), needed in found.items()
    ]
    more = len(said) - MISTAKES
    return "\n".join(said[:MISTAKES] + ([f"{file}: and {more} mistakes more."] if more > 0 else []))


def one_line(text: str) -> str:
    """Return a sentence that may repeat what somebody has written: printable, and no longer than anybody reads."""
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return text if len(text) <= 400 else f"{text[:220]} … {text[-160:]}"


def _known(location: Place, lines: dict[Place, int]) -> tuple[Place, int]:
    """Return the part of a location that the file has, and its line. Names of union members are no keys: passed over."""
    place: Place = ()
    for part in location:
        if (*place, part) in lines:
            place = (*place, part)
    return place, lines.get(place, 1)


def _own(text: str, place: Place, lines: dict[Place, int]) -> tuple[Place, str]:
    """Return the place that a sentence of ours is about, which it may name with its first word, and the rest of it."""
    first, _, rest = text.partition(" ")
    words = tuple(first.rstrip(":").split("."))
    candidates = [(*place[:cut], *words) for cut in range(len(place), -1, -1)] if rest else []
    there = [each for each in candidates if each in lines]
    there += [each for each in candidates if len(words) > 1 and each[:-1] in lines]  # the key that is missing
    if there:
        place, text = there[0], rest if first.endswith(":") else f"it {rest}"
    return place, text if text.endswith(".") else f"{text}."


# ------------------------------------------------------------------------------------------------------------------ CSV


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows of a CSV file that are not empty, each with its line. Raises Refusal."""
    text = read_text(path, CSV_BYTES)
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise Refusal(
            f"{file_name(path)}:{reader.line_num}: this is no row of CSV: {error}: mend or remove the line."
        ) from None
