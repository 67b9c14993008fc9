# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.service_fence): asked of the host, where a restricted login is."""

from __future__ import annotations

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.requests import RequestAction


class ActionModule(RequestAction):
    """Runs the module."""
