# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small fleets for the tests: hosts a reader can compute with by hand."""

from __future__ import annotations

import copy
from typing import Any

#: Two Debian releases on one machine, as in the lab.
TRIXIE: dict[str, Any] = {
    "version": 1,
    "c": {
        "kernel": "6.18.5",
        "distribution": "debian",
        "distribution_version": "13",
        "architecture": "x86_64",
        "cpu_flags": ["aes", "avx2"],
        "docker": "26.1.5",
        "microcode": None,
    },
    "n": {"subnets": ["10.77.0.0/24"], "firewall": "iptables-nft", "listening": ["tcp/22"]},
    "s": {
        "packages": {"bash": "5.2.37", "docker.io": "26.1.5", "openssh-server": "10.0"},
        "services": ["dockerd", "sshd"],
        "images": [],
    },
}

FORKY: dict[str, Any] = {
    "version": 1,
    "c": {**TRIXIE["c"], "distribution_version": "forky", "docker": "28.5.2"},
    "n": copy.deepcopy(TRIXIE["n"]),
    "s": {
        "packages": {"bash": "5.3.3", "docker.io": "28.5.2", "openssh-server": "10.0", "nftables": "1.1"},
        "services": ["dockerd", "sshd"],
        "images": [],
    },
}


def lab() -> dict[str, dict[str, Any]]:
    """Return host1 and host2 (trixie), host3 (forky); copies that a test may change."""
    return {host: copy.deepcopy(profile) for host, profile in zip(HOSTS, (TRIXIE, TRIXIE, FORKY), strict=True)}


HOSTS = ("host1", "host2", "host3")
