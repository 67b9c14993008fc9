# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RELOCATE: moving-target defence for containers.

The package is the speaker: clock, simulator, planner, lab and reports. The verbs (what is done to one host) live in the
Ansible collection ``relocate.mtd``, the sentences (playbooks, roles, inventories) beside it in the project.
"""

__version__ = "0.1.0"
