# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every run of tests reports at its end, of whichever directory."""

from __future__ import annotations

import os

import pytest

from .file_times import FileTimes
from .not_run import NotRun


def pytest_configure(config: pytest.Config) -> None:
    """Have the time per file and the tests that did not run reported."""
    config.pluginmanager.register(FileTimes())
    config.pluginmanager.register(NotRun(in_ci=os.environ.get("CI", "") not in ("", "0", "false")))
