# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a container moves: the random clocks, the laws they draw from, and what may be known of one from outside.

Imports nothing else of the collection. Invariant: a clock's next alert is drawn from the operating system's randomness and
told to nobody before it is due.
"""
