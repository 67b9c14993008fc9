# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection's plugins share on the controller, and the project's C(relocate) command with them.

C(_) before a name means: private to this collection and this project; no stable interface for anybody else. All of it is.
The packages stand on each other: C(_move) on C(_placement), C(_placement) on C(_heterogeneity). C(_clocks) and C(_addresses)
stand alone. They may import C(module_utils), and no plugin.
"""
