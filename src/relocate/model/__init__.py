# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What relocation buys: formulas, the simulator, the paper's figures and the planner of clocks.

The packages stand on each other: ``plots`` on ``clock_plan``, ``clock_plan`` on ``simulate``, ``simulate`` on ``laws``. The two
files here read what is given, ``documents`` a user's file and ``measured`` the ledger, and may import none of the packages.
Nothing below here knows the scheduler, a playbook or a host. Invariant: the same input and seed give the same numbers.
"""
