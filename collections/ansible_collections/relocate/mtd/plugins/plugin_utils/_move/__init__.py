# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One move, as the controller sees it: asking the hosts, deciding, starting the parts, wording what came of it.

C(container_relocate) calls C(asking), C(deciding), C(starting) and C(wording) in that order; the others are what these four
work with: the plan, the prediction, past moves (C(ledger)), connections, keys. They may import C(_placement),
C(_heterogeneity) and C(module_utils). Invariant: nothing is touched before the plan is complete; C(starting) alone acts.
"""
