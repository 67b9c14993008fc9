# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edge has written down of containers that were restored elsewhere while their hosts were dead."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _paths


def kept() -> list[dict[str, Any]]:
    """Return all fences, by their containers' names, each with C(name), C(dead), C(to) and C(places)."""
    found = []
    for name in sorted(os.listdir(_paths.FENCES)) if os.path.isdir(_paths.FENCES) else []:
        if name.endswith(".json"):
            with open(os.path.join(_paths.FENCES, name), encoding="utf-8") as file:
                found.append(json.load(file))
    return found


def shut(container: str) -> list[str]:
    """Return the addresses of the hosts at which the edge has shut a container's ports."""
    return [address for fence in kept() if fence["name"] == container for address in fence["dead"]]
