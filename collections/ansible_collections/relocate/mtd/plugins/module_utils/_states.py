# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of states by which the controller decides. All states, and what is true in each: the proxy's ``states``."""

from __future__ import annotations

#: The verdict has been given, and it was commit.
AFTER_COMMIT = ("committed", "draining", "released", "done")

#: What recovery tells of a committed copy whose memory was lost on the way.
LOST = "lost"

#: What a destination answers recovery whose copy was restored, and died before it is known to have run: with its host, for one.
DEAD = "dead"
