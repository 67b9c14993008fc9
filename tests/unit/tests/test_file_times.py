# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of slow files: fixtures count, the slowest comes first, and the quick ones are one line."""

from __future__ import annotations

import pytest

from tests.file_times import FileTimes

pytest_plugins = ["pytester"]

SLOW = """
import time
import pytest

@pytest.fixture(scope="module")
def costly():
    time.sleep(0.4)
    yield
    time.sleep(0.2)

def test_one(costly): pass
def test_two(costly): pass
"""


def test_the_slowest_file_comes_first(pytester: pytest.Pytester) -> None:
    """With what its fixtures took before and after."""
    slower = SLOW.replace("0.4", "0.8")
    pytester.makepyfile(test_a="def test_a(): pass", test_b=SLOW, test_c=slower, test_d="def test_d(): pass")
    run = pytester.runpytest_inprocess("-q", plugins=[FileTimes()])
    run.assert_outcomes(passed=6)
    run.stdout.re_match_lines(
        [
            r"=+ time per file =+",
            r" seconds  tests",
            r" +(1\.[0-9]) +2  test_c\.py",
            r" +(0\.[6-9]|1\.[0-9]) +2  test_b\.py",
            r" +0\.[0-4] +2  2 other files",
            r" +[0-9.]+ +collecting them all",
        ]
    )


def test_where_nothing_ran_there_is_no_table(pytester: pytest.Pytester) -> None:
    """As with ``--collect-only``."""
    pytester.makepyfile("def test_a(): pass")
    run = pytester.runpytest_inprocess("--collect-only", plugins=[FileTimes()])
    run.stdout.no_fnmatch_line("*time per file*")
