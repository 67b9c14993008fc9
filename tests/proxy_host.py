# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory in place of what the proxy keeps on a host: for tests that run parts of it on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def host_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a directory that stands for /run/relocate and the journals. Its path is short: sockets lie in it."""
    from relocate_proxy.host import paths
    from relocate_proxy.protocol import journal

    with tempfile.TemporaryDirectory(prefix="mtd-") as name:
        directory = Path(name)
        for attribute, below in (
            ("RUN", ""),
            ("EXPECTED", "expected"),
            ("GATES", "gates"),
            ("SESSIONS", "sessions"),
            ("PARTS", "parts"),
            ("JOURNALS", "journal"),
        ):
            monkeypatch.setattr(paths, attribute, str(directory / below).rstrip("/"))
        for function in (journal.Journal.at.__func__, journal.unfinished):
            monkeypatch.setattr(function, "__defaults__", (str(directory / "journal"),))
        yield directory
