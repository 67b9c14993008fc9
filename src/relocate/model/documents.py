"""Read a YAML file into a pydantic model; every refusal names the file, the line, the key and the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from relocate.errors import Refusal

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]


def read_text(path: Path) -> str:
    """Return the text of a file; Refusal with status 2 where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refusal(f"{path} does not exist: give the path of a file.", 2) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path} cannot be read: {error}.", 2) from None


def load(path: Path, model: type[Model]) -> Model:
    """Return the validated contents of ``path``. Raises Refusal with one line per mistake."""
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise Refusal(f"{where}: not YAML: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(data, dict):
        raise Refusal(f"{path}: a mapping of keys is needed, and the file holds {_kind(data)}.")
    lines: dict[Place, int] = {}
    _lines(node, (), lines)
    try:
        return model.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise Refusal("\n".join(_sentence(path, lines, mistake) for mistake in error.errors())) from None


def _kind(data: Any) -> str:
    return "nothing" if data is None else f"a {type(data).__name__}"


def _lines(node: yaml.Node | None, place: Place, found: dict[Place, int]) -> None:
    """Note the line of every key and item below ``node``."""
    if node is None:
        return
    found.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found[(*place, key.value)] = key.start_mark.line + 1
            _lines(value, (*place, key.value), found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _lines(value, (*place, index), found)


def _sentence(path: Path, lines: dict[Place, int], mistake: Any) -> str:
    place: Place = tuple(mistake["loc"])
    known = place
    while known and known not in lines:
        known = known[:-1]
    where = f"{path}:{lines.get(known, 1)}"
    key = ".".join(str(part) for part in place)
    value = mistake["input"]
    if mistake["type"] == "value_error":  # ours: already a sentence
        text = str(mistake["ctx"]["error"])
        return f"{where}: {text}" if not key or text.startswith(key.split(".")[0]) else f"{where}: {key}: {text}"
    if mistake["type"] == "extra_forbidden":
        return f"{where}: {key} is not a key of this file; remove it or mend its spelling."
    if mistake["type"] == "missing":
        return f"{where}: {key} is missing."
    limit = mistake["msg"].replace("Input should be", "it must be")
    return f"{where}: {key} is {value!r}: {limit}."
