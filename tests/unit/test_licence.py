# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Python file begins with the three lines that this one begins with."""

from __future__ import annotations

from pathlib import Path

from tests.paths import ROOT

HEADER = Path(__file__).read_text(encoding="utf-8").splitlines()[:3]
COLLECTION = "collections/ansible_collections/relocate/mtd"
FOLDERS = ("src", "plugins", "roles", "tests", "inventories", f"{COLLECTION}/plugins", f"{COLLECTION}/extensions")


def test_every_python_file_says_its_licence_in_the_same_words() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    without = []
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        while lines and (lines[0].startswith("#!") or "coding:" in lines[0]):
            lines.pop(0)
        if lines and lines[:3] != HEADER:  # an empty file has nothing to license
            without.append(path.relative_to(ROOT).as_posix())
    assert not without, "copy the first three lines of tests/unit/test_licence.py"
