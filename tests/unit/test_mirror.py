# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of these tests are the folders of what they test."""

from __future__ import annotations

from tests.paths import COLLECTION, PROXY, ROOT, TESTS

UNIT = TESTS / "unit"
#: A folder here → where what it tests lies. What is tests' own, such as the benches' arithmetic, is tested in ``tests``.
PLACES = {
    "extensions": [COLLECTION / "extensions"],
    "inventories": [ROOT / "inventories"],
    "plugins": [COLLECTION / "plugins", ROOT / "plugins"],
    "proxy": [PROXY / "relocate_proxy"],
    "relocate": [ROOT / "src" / "relocate"],
    "roles": [ROOT / "roles"],
    "tests": [TESTS],
}


def test_the_folders_of_tests_are_those_of_the_tree() -> None:
    folders = {file.parent.relative_to(UNIT) for file in UNIT.rglob("test_*.py")} - {UNIT.relative_to(UNIT)}
    assert {folder.parts[0] for folder in folders} <= set(PLACES)
    astray = [
        str(folder)
        for folder in folders
        if not any(place.joinpath(*folder.parts[1:]).is_dir() for place in PLACES[folder.parts[0]])
    ]
    assert not astray, "a test lies in a folder of the name of what it tests"


def test_every_folder_is_a_package() -> None:
    """Otherwise two files of one name in two folders are one module."""
    folders = {file.parent for file in UNIT.rglob("test_*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
