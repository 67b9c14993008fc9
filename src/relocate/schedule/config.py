"""The scheduler's configuration: one YAML file, every key with a default, every mistake named with its file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from relocate.errors import Refusal
from relocate.schedule.settings import Configuration

__all__ = ["Configuration", "default_file", "load", "parse"]


def default_file() -> Path | None:
    """Return the file that is read when none is named: /etc/relocate/schedule.yml, if it is there."""
    path = Path("/etc/relocate/schedule.yml")
    return path if path.is_file() else None


def load(path: Path | None) -> Configuration:
    """Return the configuration of a file; the defaults for None.

    Raises Refusal with status 2 for a file that cannot be read or is wrong; the message has one line for each mistake.
    """
    if path is None:
        return Configuration()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Refusal(f"The configuration {path} cannot be read: {reason}.", 2) from None
    return parse(text, str(path))


def parse(text: str, name: str = "configuration") -> Configuration:
    """Return the configuration in ``text``; ``name`` stands for the file in messages. Raises Refusal with status 2."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Refusal(f"{name}, line {mark.line + 1 if mark else 1}: this is no YAML: {error.problem}.", 2) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Refusal(f"{name}: this is no YAML: {' '.join(str(error).split())}.", 2) from None
    if document is None:
        return Configuration()
    if not isinstance(document, dict):
        raise Refusal(f"{name}, line 1: a mapping of sections was expected, such as 'clock:'.", 2)
    if twice := _repeated(node):
        raise Refusal(f"{name}, line {twice[1]}: {twice[0]} is there twice, and only the last would count.", 2)
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        raise Refusal("\n".join(_sentences(error, node, name)), 2) from None


def _repeated(node: Any, path: str = "") -> tuple[str, int] | None:
    """Return the path and line of the first key that a mapping has twice, which YAML forbids and PyYAML allows."""
    if isinstance(node, yaml.SequenceNode):
        return next((found for value in node.value if (found := _repeated(value, path))), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    seen: set[str] = set()
    for key, value in node.value:
        name = f"{path}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else path
        if name in seen:
            return name, key.start_mark.line + 1
        seen.add(name)
        if found := _repeated(value, name):
            return found
    return None


def _place(node: Any, location: tuple[int | str, ...]) -> tuple[list[str], int]:
    """Return the keys of ``location`` that the file has, and the line of the last of them (from 1).

    pydantic puts names of union members into a location; those are no keys and are passed over.
    """
    keys: list[str] = []
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    keys, line, node = [*keys, str(part)], key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            keys, line = [*keys[:-1], f"{keys[-1] if keys else ''}[{part}]"], node.start_mark.line + 1
    return keys, line


def _sentences(error: ValidationError, node: Any, name: str) -> list[str]:
    said = []
    for each in error.errors():
        location = each["loc"]
        message = each["msg"].removeprefix("Value error, ").rstrip(".")
        # A clock's own sentences begin with the key that is wrong: its line is nearer than that of the section.
        if (inner := re.match(r"clock\.(\w+) ", message)) and location and location[-1] == "clock":
            location = (*location, inner[1])
        keys, line = _place(node, location)
        path = ".".join(keys) or "the file"
        if each["type"] == "extra_forbidden":
            message = "there is no such key; see docs/scheduler.md for those there are"
        elif each["type"] == "missing":
            path, message = ".".join(str(part) for part in location), "it is missing"
        said.append(f"{name}, line {line}: {path}: {message}.")
    return list(dict.fromkeys(said))
