# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of the command: which may import which. The table is the rule; the code is held against it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.paths import COLLECTION, ROOT

SOURCE = ROOT / "src" / "relocate"

#: Package -> the packages of the command that it may import. (All may import ``relocate`` itself: its version and errors.)
MAY_IMPORT: dict[str, set[str]] = {
    "": {"commands"},  # cli.py, by name
    "lab": set(),
    "move": {"lab"},
    "model": set(),
    "model.laws": {"model"},
    "model.simulate": {"model.laws"},
    "model.clock_plan": {"model", "model.laws", "model.simulate"},
    "model.plots": {"model.laws", "model.simulate", "model.clock_plan"},
    "fleet": {"model.plots"},
    "schedule.launchers": {"lab", "move"},
    "schedule": {"lab", "move", "model.laws", "schedule.launchers"},
    "demo": {"schedule"},
    "commands": {
        *("lab", "move", "fleet", "demo", "schedule"),
        *("model", "model.laws", "model.simulate", "model.clock_plan", "model.plots"),
    },
}


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).parent.parts)


def imported(path: Path) -> set[str]:
    """Return the modules of the command that a file imports, wherever in it, ``from a import b`` as both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return {name.removeprefix("relocate.") for name in names if name.startswith("relocate.")}


def home(name: str) -> str | None:
    """Return the package that a dotted name lies in; None for a bare package, and for what is no module, such as a class."""
    path = SOURCE.joinpath(*name.split("."))
    if (path / "__init__.py").exists():
        return name if name in FACADES else None
    return package_of(path.with_suffix(".py")) if path.with_suffix(".py").exists() else None


FILES = sorted(SOURCE.rglob("*.py"))
#: Packages whose ``__init__`` holds more than a paragraph.
FACADES = {"schedule.launchers"}


def test_every_package_is_in_the_table() -> None:
    assert {package_of(path) for path in FILES} == set(MAY_IMPORT)


def test_no_package_may_import_one_that_may_import_it() -> None:
    order: list[str] = []
    left = dict(MAY_IMPORT)
    while left:
        ready = [name for name, below in left.items() if not below - set(order)]
        assert ready, f"a circle among {sorted(left)}"
        order += ready
        for name in ready:
            del left[name]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_keep_the_direction(package: str) -> None:
    crossed = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in FILES
        if package_of(path) == package
        for name in imported(path)
        if (target := home(name)) is not None and target not in {package, "", *MAY_IMPORT[package]}
    }
    assert not crossed


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {""}))
def test_an_init_says_what_is_inside_and_what_it_may_import(package: str) -> None:
    text = ast.get_docstring(ast.parse((SOURCE.joinpath(*package.split(".")) / "__init__.py").read_text()))
    assert text and "may import" in text.replace("\n", " ")


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_the_table_allows_nothing_that_nobody_uses(package: str) -> None:
    used = {home(name) for path in FILES if package_of(path) == package for name in imported(path)}
    assert MAY_IMPORT[package] - {"commands"} <= used


# -- the collection's shared code ---------------------------------------------------------------------------------------

UTILS = COLLECTION / "plugins" / "plugin_utils"
#: Package of ``plugin_utils`` -> those that it may import.
UTILS_MAY_IMPORT: dict[str, set[str]] = {
    "_trust": set(),
    "_clocks": set(),
    "_addresses": set(),
    "_heterogeneity": {"_trust"},
    "_placement": {"_heterogeneity"},
    "_move": {"_trust", "_placement", "_heterogeneity"},
    "_snapshots": {"_trust", "_move"},
}


@pytest.mark.parametrize("folder", ["plugin_utils", "module_utils"])
def test_what_plugins_share_is_private_and_says_so(folder: str) -> None:
    """``_`` means private to the collection and this project, for every file and package of these two."""
    public = [path.name for path in (UTILS.parent / folder).iterdir() if not path.name.startswith("_")]
    assert not public


@pytest.mark.parametrize("package", sorted(UTILS_MAY_IMPORT))
def test_shared_packages_keep_the_direction(package: str) -> None:
    home = "ansible_collections.relocate.mtd.plugins."
    for path in (UTILS / package).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(home):
                continue
            kind, _, below = (node.module or "").removeprefix(home).partition(".")
            assert kind in ("plugin_utils", "module_utils"), f"{path.name} imports {node.module}"
            if kind == "plugin_utils":
                assert below.partition(".")[0] in {package, *UTILS_MAY_IMPORT[package]}, f"{path.name}: {node.module}"


def test_every_shared_package_is_in_the_table() -> None:
    assert {path.parent.name for path in UTILS.glob("*/*.py")} == set(UTILS_MAY_IMPORT)
