# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sequence diagram of docs/cutover.md against the program: the same messages, between the same parts, in the same order."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
import relocate_proxy

PROGRAM = Path(relocate_proxy.__file__).parent
PAGE = next(above for above in PROGRAM.parents if (above / "docs").is_dir() and (above / "pyproject.toml").is_file())
PARTS = {"S": "source", "D": "destination"}
#: The edge's methods that talk, in the order in which a move that succeeds passes through them.
WAY = ("stage", "cutover", "_release", "_drain", "finish")
#: Messages of a move that fails: the page names them in its text.
FAILING = {"roll_back", "rolled_back", "failed"}

Message = tuple[str, str, str]


def drawn() -> list[Message]:
    """Return the diagram's arrows from and to the edge: ``(part, "told" or "said", message)``."""
    page = (PAGE / "docs" / "cutover.md").read_text(encoding="utf-8")
    diagram = page.partition("```mermaid\n")[2].partition("```")[0]
    assert ";" not in diagram, "for Mermaid a semicolon ends a statement: the page would show an error instead"
    arrows = re.findall(r"^\s*([ESD])-?->>([ESD]): (\S+)", diagram, re.MULTILINE)
    found = []
    for sender, receiver, message in arrows:
        if sender == "E" and receiver in PARTS:
            found.append((PARTS[receiver], "told", message))
        elif receiver == "E" and sender in PARTS:
            found.append((PARTS[sender], "said", message))
    return found


@functools.cache
def _classes() -> dict[str, list[ast.ClassDef]]:
    """Return the program's classes by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for file in PROGRAM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def _words(call: ast.Call) -> list[str]:
    return [
        argument.value
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _calls(node: ast.AST) -> list[tuple[str, ast.Call]]:
    """Return the calls of named methods in a piece of code, in the order of its text."""
    found = [
        (call.func.attr, call)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    ]
    return sorted(found, key=lambda entry: (entry[1].lineno, entry[1].col_offset))


def exchanged() -> list[Message]:
    """Return what the edge tells and expects in a move that succeeds, read from its source text."""
    (edge,) = _classes()["Edge"]
    methods = {node.name: node for node in edge.body if isinstance(node, ast.FunctionDef)}
    found = []
    for method in WAY:
        for name, call in _calls(methods[method]):
            words = _words(call)
            if name == "tell":
                found.append((words[0], "told", words[1]))
            elif name == "expect":
                found.append((words[0], "said", words[1]))
            elif name == "_insist":
                if not any(keyword.arg == "told" for keyword in call.keywords):
                    found.append((words[0], "told", words[1]))
                found.append((words[0], "said", words[2]))
    return found


def _handled(part: str) -> set[str]:
    """Return the messages for which a part has a handler."""
    classes = [node for name in ("Part", part.capitalize()) for node in _classes()[name]]
    return {
        node.name.removeprefix("on_")
        for each in classes
        for node in each.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("on_")
    }


@functools.cache
def _said() -> set[str]:
    """Return every message that anybody says to the edge."""
    calls = [call for file in PROGRAM.rglob("*.py") for call in _calls(ast.parse(file.read_text(encoding="utf-8")))]
    return {_words(call)[0] for name, call in calls if name in ("say", "say_if_heard") and _words(call)}


def test_the_diagram_shows_the_edges_messages_in_their_order() -> None:
    """It is what people read to understand a journal or a packet: it must be what the edge does."""
    assert drawn() == exchanged()


@pytest.mark.parametrize("part", PARTS.values())
def test_a_part_handles_what_it_is_told_in_the_diagram(part: str) -> None:
    """No message is drawn that nobody obeys, and no handler is left out."""
    told = {message for receiver, direction, message in drawn() if (receiver, direction) == (part, "told")}
    assert told == _handled(part) - FAILING


def test_what_the_diagram_has_a_part_say_is_said() -> None:
    """The edge would wait in vain for any other answer."""
    assert {message for _, direction, message in drawn() if direction == "said"} <= _said()


def test_the_page_names_the_messages_of_a_move_that_fails() -> None:
    """They are not in the diagram, which shows a move that succeeds."""
    page = (PAGE / "docs" / "cutover.md").read_text(encoding="utf-8")
    assert all(f"`{message}`" in page for message in FAILING)
    assert _said() | _handled("source") >= FAILING
