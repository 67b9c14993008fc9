# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests against the real kernel, as root, in network namespaces, mounts and cgroups that they make and remove themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.paths import PROXY
from tests.proxy_host import host_directory

from .addresses import FOUR, SIX, Plan
from .namespaces import Network

sys.path.insert(0, str(PROXY))


@pytest.fixture(params=[FOUR, SIX], ids=["IPv4", "IPv6"])
def plan(request: pytest.FixtureRequest) -> Plan:
    """Return the addresses of a fleet: of either family in turn."""
    found: Plan = request.param
    return found


@pytest.fixture
def network() -> Iterator[Callable[[], Network]]:
    """Return a function that makes a network namespace; they are removed afterwards."""
    made: list[Network] = []

    def make() -> Network:
        made.append(Network())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a directory that stands for the host's /run/relocate and journals."""
    with host_directory(monkeypatch) as directory:
        yield directory
