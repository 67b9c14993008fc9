# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of a container's processes."""

from __future__ import annotations

import os
import socket

from ansible_collections.relocate.mtd.plugins.module_utils import _host


def test_established_connections_are_counted() -> None:
    """Both ends of one are in this network namespace; a listener is none, and a process that is gone has none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = _host._connections(os.getpid())
        calls = [socket.create_connection(listener.getsockname()) for _ in range(40)]
        answers = [listener.accept()[0] for _ in calls]
        found = _host._connections(os.getpid())
        for end in [*calls, *answers]:
            end.close()
    assert found >= before + 40, "others on this machine come and go, but not by the dozen"
    assert _host._connections(2**22 + 1) == 0
