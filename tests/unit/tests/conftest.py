# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benches' and the soak tests' own modules are no package: they are found by path."""

import sys

from tests.paths import TESTS

for folder in ("bench", "lab", "soak"):
    sys.path.append(str(TESTS / folder))
