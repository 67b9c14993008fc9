# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's fleet for the tests: brought up and prepared once, by the same commands that a user gives.

``pytest -n 2`` works with two labs: each worker has one of its own, named after it, and takes it down at the end.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from fleet import BIN, ROOT, Fleet, prepared_fleet

#: This process's name among several of ``pytest -n``. All that its tests start finds its lab by this name.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:
    os.environ["RELOCATE_LAB_NAME"] = "-".join(filter(None, (os.environ.get("RELOCATE_LAB_NAME"), WORKER)))


#: The files that take minutes, the longest first ("time per file" at the end of a run). ``--dist loadfile`` gives them out in
#: this order, so that no process begins a long one when the others have nothing left; the rest follow by name.
LONGEST = (
    "test_two_edges",
    "test_relocation",
    "test_lab_lifecycle",
    "test_faults",
    "test_modes",
    "test_lost_host",
    "test_scheduler",
    "test_modules",
    "test_refusals",
    "test_strangers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def prepared() -> Iterator[Fleet]:
    """Return the lab, up and prepared."""
    if os.geteuid() != 0:
        pytest.fail("the lab's tests need root: NOT RUN", pytrace=False)
    yield prepared_fleet()
    if WORKER:
        subprocess.run([BIN / "relocate", "lab", "down"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def fleet(prepared: Fleet) -> Iterator[Fleet]:
    """Return the prepared lab; tenants that the test made are removed afterwards."""
    yield prepared
    prepared.remove_tenants()
