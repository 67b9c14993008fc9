# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test that did not run is told, and in CI it is a failure."""

from __future__ import annotations

import os

import pytest

from tests.not_run import ACCEPTED, NotRun
from tests.paths import ROOT

pytest_plugins = ["pytester"]

FILE = """
import pytest

def test_runs():
    pass

@pytest.mark.needs("sh", "no-such-program")
def test_lacks_a_program():
    raise AssertionError("it must not be begun")

@pytest.mark.parametrize("size", [1, 2])
def test_lacks_a_kernel(size):
    pytest.skip("NOT RUN: this kernel has no such thing")

@pytest.fixture
def costly():
    raise AssertionError("it must not be made")

@pytest.mark.kernel
def test_lacks_root(costly):
    raise AssertionError("it must not be begun")

@pytest.mark.xfail
def test_is_known_to_fail():
    raise AssertionError
"""
MARKS = "[pytest]\nmarkers =\n    kernel: root\n    needs: programs\n"


@pytest.fixture
def as_nobody(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a place for a run of tests by somebody who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    pytester.makeini(MARKS)
    return pytester


def test_at_a_desk_it_is_told_and_passes(as_nobody: pytest.Pytester) -> None:
    """Each reason once, with its tests."""
    as_nobody.makepyfile(test_it=FILE)
    run = as_nobody.runpytest_inprocess(plugins=[NotRun(in_ci=False)])
    assert run.ret == pytest.ExitCode.OK
    run.assert_outcomes(passed=1, skipped=4, xfailed=1)
    run.stdout.fnmatch_lines(
        [
            "*= NOT RUN =*",
            "needs no-such-program: install it:",
            "    test_it.py::test_lacks_a_program",
            "this kernel has no such thing:",
            "    test_it.py (2 tests)",
            "needs root, *:",
            "    test_it.py::test_lacks_root",
        ]
    )
    run.stdout.no_fnmatch_line("*fails the run*")


def test_in_ci_it_fails_the_run(as_nobody: pytest.Pytester) -> None:
    """All but what is accepted, for the reason that is accepted."""
    as_nobody.makepyfile(test_it=FILE)
    accepted = {"test_it.py::test_lacks_a_kernel": "no such thing", "test_it.py::test_lacks_root": "another reason"}
    run = as_nobody.runpytest_inprocess(plugins=[NotRun(in_ci=True, accepted=accepted)])
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    told = [line.rpartition("::")[2] for line in run.outlines if line.startswith("fails the run")]
    assert told == ["test_lacks_a_program", "test_lacks_root"]


def test_in_ci_what_is_accepted_passes(as_nobody: pytest.Pytester) -> None:
    """And is told all the same."""
    as_nobody.makepyfile(test_it="import pytest\n\ndef test_one():\n    pytest.skip('no tbf here')\n")
    run = as_nobody.runpytest_inprocess(plugins=[NotRun(in_ci=True, accepted={"test_it.py::test_one": "tbf"})])
    assert run.ret == pytest.ExitCode.OK
    run.stdout.fnmatch_lines(["*= NOT RUN =*", "no tbf here:", "    test_it.py::test_one"])


def test_in_ci_a_file_that_is_skipped_as_a_whole_fails_the_run(as_nobody: pytest.Pytester) -> None:
    """No test was collected from it, so nothing else would tell."""
    as_nobody.makepyfile(test_it="import pytest\n\npytest.importorskip('no_such_library')\n")
    run = as_nobody.runpytest_inprocess(plugins=[NotRun(in_ci=True)])
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    run.stdout.fnmatch_lines(["*= NOT RUN =*", "fails the run, since this is CI: test_it.py"])


def test_what_ci_accepts_is_there() -> None:
    """A test that was renamed or mended leaves the list."""
    for test, reason in ACCEPTED.items():
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text and reason in text
