# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a clock: the cheapest clock and placement for a goal, behind ``relocate plan``. (What ``relocate move --check``
shows is the plan of a move, a value of the collection's.)

``spec`` is the user's file, ``planner`` searches, ``planned`` is the answer. It may import ``simulate`` and ``laws``.
Invariant: an answer reaches the goal in closed form, or there is a refusal that says what would help.
"""
