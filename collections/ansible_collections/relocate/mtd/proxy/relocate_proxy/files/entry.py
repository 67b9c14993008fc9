# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the source may say on the data channel, looked at before anything is made of it: it may be somebody else's by now."""

from __future__ import annotations

import stat
from typing import Any

from ..protocol.messages import TEXT, Fields, Kind, is_count, is_text, missing
from ..protocol.words import shown

NAME_LIMIT = 1 << 17  # characters of a path: many directories deep
IDS = 1 << 32  # the largest is no id
SECONDS = 1 << 62  # a file's time may be set to any; in nanoseconds it needs more than 64 bits
FORMATS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


def is_file_name(value: Any) -> bool:
    """Return whether a value is a name or path of a file: any bytes but NUL."""
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LIMIT or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_time(value: Any) -> bool:
    return type(value) is int and -SECONDS * 10**9 < value < SECONDS * 10**9


def _is_id(value: Any) -> bool:
    return is_count(value) and value < IDS - 1


def _is_attribute(name: Any, value: Any) -> bool:
    """Return whether an extended attribute may be set. Those of overlayfs say what lies elsewhere in the host's file system."""
    if not is_file_name(name) or len(name) > 255 or name.startswith(("trusted.overlay.", "user.overlay.")):
        return False
    return isinstance(value, str) and len(value) % 2 == 0 and not set(value) - set("0123456789abcdef")


FILE_NAME = Kind("file name", is_file_name)
FLAG = Kind("flag", lambda value: type(value) is bool)
SIZE = Kind("size", is_count)
RAW = Kind("bytes", lambda value: isinstance(value, (bytes, bytearray)))
#: Which tree: none, or a mount point.
TREE = Kind("tree", lambda value: value == "" or is_file_name(value))
#: What the container said: stream and text of each.
WORDS = Kind("words", lambda value: isinstance(value, list) and all(map(_is_word, value)))
MODE = Kind("mode", lambda value: is_count(value) and value < 1 << 16 and stat.S_IFMT(value) in FORMATS)
ID = Kind("id", _is_id)
TIME = Kind("time", _is_time)
ATTRIBUTES = Kind(
    "attributes", lambda value: isinstance(value, dict) and all(_is_attribute(*each) for each in value.items())
)

#: Of an entry, unless it is a whiteout, which has a path alone.
ENTRY_FIELDS: Fields = {"path": FILE_NAME, "mode": MODE, "uid": ID, "gid": ID, "mtime_ns": TIME, "xattrs": ATTRIBUTES}
ENTRY_OPTIONAL: Fields = {"opaque": FLAG, "target": FILE_NAME, "link": FILE_NAME, "size": SIZE, "device": SIZE}


def _is_word(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_text(each, 1 << 24) for each in value)


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("whiteout") is True:
        return is_file_name(value.get("path"))
    if missing(value, ENTRY_FIELDS, ENTRY_OPTIONAL) or "whiteout" in value:
        return False
    return not stat.S_ISLNK(value["mode"]) or "target" in value or "link" in value


def _is_patch(value: Any) -> bool:
    return _is_entry(value) and stat.S_ISREG(value.get("mode", 0)) and "size" in value and "link" not in value


ENTRY = Kind("entry", _is_entry)
#: Of a regular file that is there already.
PATCH = Kind("entry", _is_patch)

#: Fields that must be in a message of the data channel, and those that may be; ``raw`` are the bytes that follow it.
CARGO: dict[str, tuple[Fields, Fields]] = {
    "entry": ({"entry": ENTRY}, {"tree": TREE}),
    "patch": ({"entry": PATCH}, {"tree": TREE}),
    "data": ({"raw": RAW, "at": SIZE}, {}),
    "flush": ({}, {}),
    "remove": ({"path": FILE_NAME}, {"tree": TREE}),
    "log": ({"raw": RAW, "rotated": TEXT}, {}),
    "words": ({"words": WORDS}, {}),
    "own": ({"name": FILE_NAME}, {"raw": RAW, "changed": FLAG}),
    "image": ({"name": FILE_NAME}, {"raw": RAW, "round": SIZE}),
    "blob": ({"size": SIZE}, {}),
    "piece": ({"raw": RAW}, {}),
    "probe": ({}, {"raw": RAW}),
    "end": ({}, {}),
}


def check(message: dict) -> dict:
    """Return a message of the data channel. :raises ValueError: it is none, or has something in it that it must not have."""
    kind = message["kind"]
    if kind not in CARGO:
        raise ValueError(f"the source sent {shown(kind)}, which this host does not know: run prepare.yml again")
    if name := missing(message, *CARGO[kind]):
        raise ValueError(f"the source's message '{kind}' has no proper '{name}': run prepare.yml again")
    return message
