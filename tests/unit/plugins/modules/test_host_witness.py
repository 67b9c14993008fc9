# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signs of life a host gives to another one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from ansible_collections.relocate.mtd.plugins.modules.host_witness import knock

HERE = "127.0.0.1"


def closed() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server((HERE, 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def deaf() -> Iterator[int]:
    """Return a port that answers nothing, like a host that is gone: the queue of who listens there is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HERE, 0), backlog=0))
        port = server.getsockname()[1]
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((HERE, port))
        yield port


def test_an_open_port_and_a_refusal_are_signs_of_life(deaf: int) -> None:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        assert knock(HERE, [port], 5) == f"it accepts connections to port {port}"
        assert knock(HERE, [deaf, port], 5) == f"it accepts connections to port {port}"
    port = closed()
    assert knock(HERE, [port], 5) == f"it refuses connections to port {port}"
    assert knock(HERE, [deaf, port], 5) == f"it refuses connections to port {port}"


def test_silence_is_none(deaf: int) -> None:
    assert knock(HERE, [deaf], 0.3) == ""
