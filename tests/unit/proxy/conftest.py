# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the proxy program importable, and gives it a directory of its own instead of the host's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import PROXY
from tests.proxy_host import host_directory

from . import pycriu_standin

sys.path.insert(0, str(PROXY))


# The one module that needs pycriu gets the stand-in; who looks for pycriu afterwards finds what this machine has.
with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "pycriu", pycriu_standin.module())
    importlib.import_module("relocate_proxy.memory.criu_sockets")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a directory that stands for the host's /run/relocate and journals. Its path is short: sockets lie in it."""
    with host_directory(monkeypatch) as directory:
        yield directory
