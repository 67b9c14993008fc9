# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a cgroup, by the kernel's word."""

from __future__ import annotations

import os
from pathlib import Path

from relocate_proxy.host.cgroups import tasks_of


def test_the_processes_of_a_cgroup_are_found_by_its_name() -> None:
    """Ours, by the path of our own; nobody is in one that does not exist."""
    ours = Path("/proc/self/cgroup").read_text()
    assert os.getpid() in tasks_of(ours)
    assert tasks_of("f" * 64) == []
