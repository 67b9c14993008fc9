# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as a person looks at it: differences between hosts, configurations, entropies, the expected next hop.

It may import the style of ``model.plots``, and the collection's numbers, which it shows and never computes anew.
"""
