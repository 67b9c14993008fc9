# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mathematics: distributions of attacks and exposure, renewal equations, closed forms, and the numerics below them.

It may import the collection's clocks and ``model.measured``, and no other package of the command. Invariant: functions of
their arguments alone; what is random is drawn elsewhere.
"""
