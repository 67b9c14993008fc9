# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a container moves: which hosts are eligible, the policy that draws among them, what it makes of a fleet.

It may import C(_heterogeneity). Invariant: a host that is not eligible has the probability 0, whatever the policy.
"""
