# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests against the real kernel, as root, in network namespaces, mounts and cgroups that they make and remove themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "collections/ansible_collections/relocate/mtd/proxy"))


@pytest.fixture(autouse=True)
def root_only() -> None:
    """Say aloud that a test was not run; never pass it."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: it needs root for network namespaces, mounts and cgroups of its own")


class Network:
    """A network namespace that lives as long as a sleeping process in it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep 300"], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has its namespace now
        self.pid = self._process.pid
        self.path = f"/proc/{self.pid}/ns/net"
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str) -> str:
        """Run a command inside and return what it printed."""
        done = subprocess.run(["nsenter", f"--net={self.path}", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Remove the namespace."""
        self._process.kill()
        self._process.communicate()


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
