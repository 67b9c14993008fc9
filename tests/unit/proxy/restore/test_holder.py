# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placeholder's network: its settings are the container's, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from relocate_proxy.restore import holder


def test_the_network_has_the_containers_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of other namespaces are CRIU's, and no name leads out of the network's."""
    monkeypatch.setattr(holder, "SYSCTLS", str(tmp_path))
    for name in ("net/core", "net/ipv4", "net/ipv4/conf/eth0.1", "kernel"):
        (tmp_path / name).mkdir(parents=True)
    asked = {
        "net.core.somaxconn": "777",
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net/ipv4/conf/eth0.1/forwarding": "1",
        "kernel.msgmax": "1",
        "net/../kernel/panic": "1",
    }
    holder._write_network(asked)
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "net/core/somaxconn": "777",
        "net/ipv4/ip_unprivileged_port_start": "0",
        "net/ipv4/conf/eth0.1/forwarding": "1",
    }
