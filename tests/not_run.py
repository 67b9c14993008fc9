# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a test that cannot run here: it is listed under NOT RUN, and in CI it fails the run.

A test says what it needs by a mark, ``kernel`` (root) or ``needs("nft", "tc")`` (programs), or it skips with a reason of its
own. A skipped test is no pass. At a desk the list is enough. In CI (``CI=true``) nobody reads the list, so the run fails,
unless the test and its reason are in ``ACCEPTED``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import pytest

#: Test → words of the reason with which CI may leave it out. Kernels only: what can be installed is installed.
ACCEPTED: Mapping[str, str] = {
    "tests/lab/test_budget.py::test_a_link_that_is_too_slow_is_noticed_before_the_freeze": "tc tbf",
    "tests/lab/test_refusals.py::test_a_criu_too_old_for_the_kernel": "serves on this kernel",
    "tests/integration/test_restore_shim.py::test_deferred_pages_are_noted_and_not_shown": "no PAGEMAP_SCAN",
    "tests/integration/test_restore_shim.py::test_address_space_that_was_only_reserved_is_mapped_again": "promises",
}


class NotRun:
    """Leaves out what cannot run here, and gives account of it."""

    def __init__(self, in_ci: bool, accepted: Mapping[str, str] = ACCEPTED) -> None:
        """Fail the run for a test that was left out, if this is CI and the test is not ``accepted``."""
        self.in_ci = in_ci
        self.accepted = accepted
        self.left_out: dict[str, str] = {}

    def is_accepted(self, test: str, reason: str) -> bool:
        """Say whether CI may leave a test out for this reason."""
        words = self.accepted.get(test.partition("[")[0])
        return words is not None and words in reason

    def faults(self) -> list[str]:
        """Return the tests that fail the run because they did not run."""
        return [test for test, reason in self.left_out.items() if self.in_ci and not self.is_accepted(test, reason)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Leave a test out that needs root or a program this machine lacks, before any of its fixtures is made."""
        if item.get_closest_marker("kernel") and os.geteuid() != 0:
            pytest.skip("needs root, for namespaces, mounts and control groups of its own")
        missing = [name for mark in item.iter_markers("needs") for name in mark.args if shutil.which(name) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: install it")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that was skipped as a whole."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.left_out[report.nodeid] = said.removeprefix("Skipped: ").removeprefix("NOT RUN: ")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail a run that would have passed without the tests that count."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and self.faults():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what did not run, by reason."""
        if not self.left_out:
            return
        faults = self.faults()
        terminalreporter.section("NOT RUN", red=bool(faults), yellow=not faults)
        for reason in dict.fromkeys(self.left_out.values()):
            terminalreporter.write_line(f"{reason}:")
            for line in by_file(test for test, other in self.left_out.items() if other == reason):
                terminalreporter.write_line(f"    {line}")
        for test in faults:
            terminalreporter.write_line(f"fails the run, since this is CI: {test}", red=True)


def by_file(tests: Iterable[str]) -> Iterator[str]:
    """Yield a line for each file: its one test, or how many they are."""
    for file, some in groupby(tests, lambda test: test.partition("::")[0]):
        first, *others = some
        yield f"{file} ({1 + len(others)} tests)" if others else first
