# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler: one clock for each container, and what it takes to act on it for years.

``service`` holds the threads, ``engine`` decides without any, ``store`` remembers, ``launchers`` carry out. It may import
``move``, ``lab`` and the mathematics of ``model.laws``. Invariant: an intent is written before it is launched, by the lease's
holder only.
"""
