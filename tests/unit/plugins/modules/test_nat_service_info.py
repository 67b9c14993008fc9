# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edge tells of itself beside its services."""

from __future__ import annotations

import socket
from pathlib import Path

from ansible_collections.relocate.mtd.plugins.modules import nat_service_info


def test_conntrackd_runs_if_somebody_listens(tmp_path: Path) -> None:
    """Its socket alone proves nothing: one that was killed leaves it behind."""
    path = str(tmp_path / "ctl")
    assert not nat_service_info.answers(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        assert nat_service_info.answers(path)
    assert not nat_service_info.answers(path)
