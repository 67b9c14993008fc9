# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's fleet for the tests: brought up and prepared once, by the same commands that a user gives."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fleet import Fleet, prepared_fleet


@pytest.fixture(scope="session")
def prepared() -> Fleet:
    """Return the lab, up and prepared."""
    if os.geteuid() != 0:
        pytest.fail("the lab's tests need root: NOT RUN", pytrace=False)
    return prepared_fleet()


@pytest.fixture
def fleet(prepared: Fleet) -> Iterator[Fleet]:
    """Return the prepared lab; tenants that the test made are removed afterwards."""
    yield prepared
    prepared.remove_tenants()
