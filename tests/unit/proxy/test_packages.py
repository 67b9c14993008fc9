# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The direction of the proxy's imports: a package knows those below it, and none above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import relocate_proxy

PROGRAM = Path(relocate_proxy.__file__).parent
#: ``parts > restore, memory > files > network > protocol > host``. The two of one floor do not know each other.
FLOORS = (("host",), ("protocol",), ("network",), ("files",), ("restore", "memory"), ("parts",))
FLOOR = {package: number for number, packages in enumerate(FLOORS) for package in packages}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and package of everything that a file of the program imports from the program."""
    own = path.relative_to(PROGRAM).parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        assert not (node.module or "").startswith("relocate_proxy"), f"{path}:{node.lineno}: import by a relative name"
        if node.level == 1 and path.parent != PROGRAM:
            yield node.lineno, own
        elif node.level:
            names = [node.module.partition(".")[0]] if node.module else [name.name for name in node.names]
            yield from ((node.lineno, name) for name in names)


def test_every_package_has_its_floor() -> None:
    """A new one says where it belongs."""
    assert {path.parent.name for path in PROGRAM.glob("*/__init__.py")} == set(FLOOR)


@pytest.mark.parametrize("package", sorted(FLOOR))
def test_a_package_imports_only_from_below(package: str) -> None:
    """So that a reader can begin at the bottom, and a change at the top breaks nothing below."""
    upwards = [
        f"{path.relative_to(PROGRAM)}:{line} imports {other}"
        for path in sorted((PROGRAM / package).glob("*.py"))
        for line, other in imports(path)
        if other != package and FLOOR.get(other, len(FLOORS)) >= FLOOR[package]
    ]
    assert not upwards


@pytest.mark.parametrize("package", sorted(FLOOR))
def test_a_package_says_what_is_in_it(package: str) -> None:
    """What is inside, what it may import, which invariants hold."""
    text = ast.get_docstring(ast.parse((PROGRAM / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert "mport" in text and (package == "host" or "Invariants:" in text)
