# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of the model's results; the only package that loads matplotlib, so it is imported where a plot is asked for.

It may import all other packages of ``model``. Invariant: a plot shows numbers that were computed before; it computes curves to
draw, never a result.
"""
