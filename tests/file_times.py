# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each file's tests took, at the end of every run: a file that has grown slow is seen on the day it does."""

from __future__ import annotations

import time
from collections import Counter

import pytest

ROWS = 25  # more is not read
WORTH_SAYING = 0.5  # seconds


class FileTimes:
    """Adds up what tests take, with what their fixtures take, file by file."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()
        self._begin = time.monotonic()
        self.collection = 0.0

    def pytest_collection_finish(self) -> None:
        """Note how long it took to import the files."""
        self.collection = time.monotonic() - self._begin

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test to its file's time."""
        file = report.nodeid.partition("::")[0]
        self.seconds[file] += report.duration
        self.tests[file] += report.when == "setup"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the slowest files, and what the others take together."""
        if not self.seconds:
            return
        rows = [(file, taken) for file, taken in self.seconds.most_common(ROWS) if taken >= WORTH_SAYING]
        others = self.seconds.keys() - {file for file, _ in rows}
        terminalreporter.section("time per file")
        terminalreporter.write_line(" seconds  tests")
        for file, taken in rows:
            terminalreporter.write_line(f"{taken:8.1f} {self.tests[file]:6d}  {file}")
        if others:
            taken = sum(self.seconds[file] for file in others)
            tests = sum(self.tests[file] for file in others)
            terminalreporter.write_line(
                f"{taken:8.1f} {tests:6d}  {len(others)} other file{'' if len(others) == 1 else 's'}"
            )
        if self.collection:  # with -n the workers collect
            terminalreporter.write_line(f"{self.collection:8.1f}         collecting them all")
