# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection promise, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of a module that changes a host and can say beforehand what it would change."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what was changed, or in C(check_mode) would be changed, when in diff mode.
    support: full
  idempotent:
    description: A second run in the same conditions changes nothing and says so.
    support: full
  platform:
    description: Operating systems the target may run.
    platforms: linux
    support: full
"""

    # A module that only looks
    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status prediction without modifying the target.
    support: full
    details: The module changes nothing in either mode.
  diff_mode:
    description: Returns what was changed, or in C(check_mode) would be changed, when in diff mode.
    support: N/A
    details: The module changes nothing.
  idempotent:
    description: A second run in the same conditions changes nothing and says so.
    support: full
  platform:
    description: Operating systems the target may run.
    platforms: linux
    support: full
"""

    # A module that acts on every run, as a ping does
    ACTION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what was changed, or in C(check_mode) would be changed, when in diff mode.
    support: none
  idempotent:
    description: A second run in the same conditions changes nothing and says so.
    support: none
    details: The module acts on every run.
  platform:
    description: Operating systems the target may run.
    platforms: linux
    support: full
"""
