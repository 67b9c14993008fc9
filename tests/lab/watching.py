# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that watches a tenant while a test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleet import VIRTUAL, Fleet

from relocate.demo.watching import Client


@contextmanager
def watching(fleet: Fleet, kind: str, port: int) -> Iterator[Client]:
    """A client that asks all the time; when it ends, nothing may have been lost."""
    client = Client(kind, VIRTUAL, port, fleet.client_namespace).start()
    try:
        yield client
    finally:
        summary = client.stop()
    assert summary["error"] is None
    assert summary["requests"] > 100
