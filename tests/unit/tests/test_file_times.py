# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of slow files: fixtures count, the slowest comes first, and the quick ones are one line."""

from __future__ import annotations

import pytest

from tests.file_times import FileTimes

pytest_plugins = ["pytester"]

#: What each phase of a test takes, by its file: no test has to wait for that.
TOOK = """
import pytest

TOOK = {("test_b", "setup"): 0.2, ("test_b", "teardown"): 0.1, ("test_c", "setup"): 0.4, ("test_c", "call"): 0.1}

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.duration = TOOK.get((item.path.stem, call.when), 0.0)
    return report
"""
TWO = "def test_one(): pass\ndef test_two(): pass"


def test_the_slowest_file_comes_first(pytester: pytest.Pytester) -> None:
    """With what its fixtures took before and after."""
    pytester.makeconftest(TOOK)
    pytester.makepyfile(test_a="def test_a(): pass", test_b=TWO, test_c=TWO, test_d="def test_d(): pass")
    run = pytester.runpytest_inprocess("-q", plugins=[FileTimes()])
    run.assert_outcomes(passed=6)
    run.stdout.re_match_lines(
        [
            r"=+ time per file =+",
            r" seconds  tests",
            r" +1\.0 +2  test_c\.py",
            r" +0\.6 +2  test_b\.py",
            r" +0\.0 +2  2 other files",
            r" +[0-9.]+ +collecting them all",
        ]
    )


def test_where_nothing_ran_there_is_no_table(pytester: pytest.Pytester) -> None:
    """As with ``--collect-only``."""
    pytester.makepyfile("def test_a(): pass")
    run = pytester.runpytest_inprocess("--collect-only", plugins=[FileTimes()])
    run.stdout.no_fnmatch_line("*time per file*")
