# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's way to the other parts: what it says of one that is not there."""

from __future__ import annotations

import socket

import pytest
from relocate_proxy.protocol.peers import Peers


def test_a_part_that_does_not_listen_any_more_is_named_with_what_to_do() -> None:
    """A controller that is too slow finds that the parts have given up: the errno alone told nobody so."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        address = once.getsockname()
    with pytest.raises(
        ConnectionError, match=r"^the source's proxy does not answer \(Connection refused\): .* try again"
    ):
        Peers("r1", {}, {"source": address})
    assert Peers("r1", {}, {"source": address}, needed=False).channels == {}
