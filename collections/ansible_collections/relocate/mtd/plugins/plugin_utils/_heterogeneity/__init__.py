# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How different two hosts are: profiles, the distances between them, weights, and the entropies of a fleet.

Imports nothing else of the collection. Invariant: a difference lies between 0 and 1, and profiles are text from strangers:
compared, never evaluated.
"""
