# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the tables beside this file is one run of one module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Ended, Script

TABLES = sorted(Path(__file__).parent.glob("*.yaml"))


def _rows() -> list[Any]:
    rows = []
    for table in TABLES:
        document = yaml.safe_load(table.read_text(encoding="utf-8"))
        for row in document["rows"]:
            rows.append(
                pytest.param(document["module"], row, document.get("files", {}), id=f"{table.stem}-{row['id']}")
            )
    return rows


def _assert_within(expected: Any, found: Any, script: Script, where: str = "result") -> None:
    """Assert that ``found`` has all that is expected; dictionaries may have more."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for key, value in expected.items():
            assert key in found, f"{where}.{key}"
            _assert_within(value, found[key], script, f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            _assert_within(one, other, script, f"{where}[{number}]")
    elif isinstance(expected, str):
        assert found == script.fill(expected), where
    else:
        assert found == expected, where


@pytest.mark.parametrize(("module", "row", "files"), _rows())
def test_row(
    module: str, row: dict[str, Any], files: dict[str, str], run_module: Callable[..., Ended], tmp_path: Path
) -> None:
    """The module runs the row's commands, ends as the row says, and leaves the row's files."""
    script = Script(row.get("commands", []), tmp_path)
    given = row.get("given", [])  # names of files, or of one the content that it has
    for name in given:
        content = files[given[name] if isinstance(given, dict) else name]
        (tmp_path / name).write_text(content, encoding="utf-8")
    parameters = {
        key: script.fill(value) if isinstance(value, str) else value for key, value in row["parameters"].items()
    }
    ended = run_module(module, parameters, script, row.get("check", False))
    assert ended.failed == ("failure" in row), ended.result
    if "failure" in row:
        assert ended.result["msg"] == script.fill(row["failure"])
        return
    _assert_within(row["result"], ended.result, script)
    for name, present in row.get("leaves", {}).items():
        assert (tmp_path / name).exists() == present, name


def test_there_are_tables() -> None:
    """A glob that finds nothing must not pass."""
    assert {table.stem for table in TABLES} >= {
        "nat_service",
        "edge_gateway",
        "service_fence",
        "nat_service_info",
        "docker0_address",
        "criu_dump",
        "criu_restore",
    }
