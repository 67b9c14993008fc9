# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories that hold memory and keys."""

from __future__ import annotations

import os
from pathlib import Path

from relocate_proxy.host import paths


def test_a_private_directory_is_private_from_the_top(tmp_path: Path) -> None:
    """Not even the names of relocations are anybody's; what is there already stays as it is."""
    old = os.umask(0)
    try:
        made = Path(paths.private_directory(str(tmp_path / "run/sessions/r1")))
        again = Path(paths.private_directory(str(made)))
    finally:
        os.umask(old)
    assert again == made
    for each in (made, made.parent, made.parent.parent):
        assert each.stat().st_mode & 0o777 == 0o700
