# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings are sealed by the proxy: it is found here as on its hosts."""

from __future__ import annotations

import sys

from tests.paths import PROXY

sys.path.insert(0, str(PROXY))
