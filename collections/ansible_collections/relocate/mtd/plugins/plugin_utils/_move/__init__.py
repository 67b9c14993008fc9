# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One move, as the controller sees it: asking the hosts, deciding, starting the parts, wording what came of it.

C(container_relocate) calls these four in that order. They may import the rest of C(plugin_utils) and C(module_utils), and no
plugin. Invariant: nothing is touched before the plan is complete; C(asking) reads, C(deciding) and C(wording) only compute,
C(starting) alone acts.
"""
