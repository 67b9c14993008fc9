# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door: what hosts, labels and users say, checked before anything uses it, and made fit to be shown.

C(strangers) knows names, ids and texts, C(reports) whole answers of hosts. They import nothing of the other rooms but
C(module_utils). Invariant: a function here returns what has the form, or raises Odd with half a sentence that can be shown.
"""
