# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of this host are CRIU: it goes on without whoever started it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

NAME = "criu"


def pids() -> Iterator[int]:
    """Yield the processes that are named so now. Each may have ended before it is looked at again."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            named_so = read_text(f"/proc/{entry}/comm") == f"{NAME}\n"
        except OSError:  # it has ended meanwhile
            continue
        if named_so:
            yield int(entry)
