# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real Docker hosts on this machine, in network namespaces of their own. The work is roles/lab's: this calls it.

It may import nothing else of the command. Invariant: the lab's name and folders are worked out in ``paths`` alone.
"""
