# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every state of every part, before and after its fsync, killed (alone, and with its guardian) and failing: on real hosts.

Takes the better part of an hour, for a part whose peer never comes waits 45 s. ``tests/lab/test_faults.py`` has one failure for
each state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from direct import Direct, Heart
from fleet import prepared_fleet
from rehearsal import Fault, every_fault, instead_of_criu, rehearse

pytestmark = pytest.mark.soak

NAME, PORT = "walker", 7100


@pytest.fixture(scope="module")
def direct() -> Iterator[Direct]:
    """Return a counter that can be moved quickly, on one of two hosts with different versions of Docker."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: NOT RUN", pytrace=False)
    fleet = prepared_fleet()
    fleet.tenant(NAME, "counter", "host1", f"{PORT} 8", PORT)
    try:
        yield Direct.of(fleet, NAME, "host1", "host3")
    finally:
        fleet.remove_tenants()


@pytest.fixture(scope="module")
def heart(direct: Direct) -> Iterator[Heart]:
    """Return one connection that must outlive all of it."""
    beating = Heart(direct.fleet, PORT)
    yield beating
    beating.end()


@pytest.mark.parametrize("fault", every_fault("kill", "kill-guardian", "fail"), ids=str)
def test_one_copy_runs_whatever_fails(direct: Direct, heart: Heart, fault: Fault) -> None:
    """Rolled back before the commit, completed after it, and the same connection goes on."""
    rehearse(direct, heart, fault)


@pytest.mark.parametrize("number", range(1, 7))
def test_every_fault_that_criu_can_inject_into_itself(direct: Direct, heart: Heart, number: int) -> None:
    """CRIU_FAULT of every CRIU on both hosts: some numbers hit the dump, some the restore, and some are survived."""
    (here,) = direct.running()
    there = next(host for host in direct.hosts if host != here)
    script = f"export CRIU_FAULT={number}"
    with instead_of_criu(direct.fleet, here, script), instead_of_criu(direct.fleet, there, script):
        result = direct.move(here, there)
        heart.assert_beats()
        direct.wait_until_quiet()
    assert result is not None
    assert result["outcome"] in ("committed", "rolled-back"), result
    assert direct.running() == [there if result["outcome"] == "committed" else here]
    assert not direct.leftovers()
