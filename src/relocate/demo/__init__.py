# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration: tenants in the lab, clients that never stop asking, and moves under their feet.

It may import ``schedule``. Invariant: ``client`` is a program of its own and imports the standard library only.
"""
