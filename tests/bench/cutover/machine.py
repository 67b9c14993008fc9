# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a figure depends on: the machine, and what runs on the lab's hosts."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from .lab import BenchLab


def describe(lab: BenchLab) -> dict[str, object]:
    """Return the machine's description, with its load before the bench began: other work shows in every figure."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    host = lab.on[lab.hosts[0]]
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "model": model[0] if model else platform.machine(),
        "memory_mib": memory >> 20,
        "kernel": platform.release(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "docker": host("docker version -f '{{.Server.Version}}'"),
        "runc": host("runc --version | head -n 1").rpartition(" ")[2],
        "criu": host("criu --version | head -n 1").rpartition(" ")[2],
        "podman": host("podman --version 2>/dev/null || true").rpartition(" ")[2] or None,
    }
