# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator: its file (``spec``), its trials, where a container goes, the exact values beside it, the paper's figures.

It may import ``laws``. ``exact`` is here, not there, because it answers for a simulation file. Invariants: every draw comes
from the file's seed, and an estimate always comes with its interval.
"""
