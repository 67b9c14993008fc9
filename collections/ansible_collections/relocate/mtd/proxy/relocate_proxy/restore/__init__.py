# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a plain ``docker start`` becomes a restore: the keeper of one container, and the destination's end of its gate.

May import ``host`` and ``protocol``. Invariants: not one instruction of the copy runs before its keeper has heard "commit".
Whatever ends the keeper ends the copy with it, unless it has heard that word.
"""
