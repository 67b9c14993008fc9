# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests have: no limit of hypothesis that a busy machine would miss."""

from __future__ import annotations

from hypothesis import settings

from tests.unit import fuzzing

assert fuzzing.fuzzed  # it has registered the profiles
settings.load_profile("relocate")
