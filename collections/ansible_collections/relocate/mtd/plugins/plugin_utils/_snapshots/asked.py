# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the actions of snapshots share, and what is made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _forms, _homes
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.sealing import NoKey, StoreKey
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.store import DAYS, KEEP, Store, Unusable

STORE_OPTIONS: dict[str, dict[str, Any]] = {"store": {"type": "path"}, "key": {"type": "path"}}
STORE_FORMS = dict.fromkeys(STORE_OPTIONS, _forms.path)
RETENTION_OPTIONS: dict[str, dict[str, Any]] = {
    "keep": {"type": "int", "default": KEEP},
    "days": {"type": "float", "default": DAYS},
}
#: What a move is asked for and a snapshot is not: both look for the container in the same way.
NO_MOVE: dict[str, Any] = {
    "destination": None, "mode": "auto", "prefer": "safety", "downtime_limit_ms": 300.0, "ledger": None,
    "strategy": "live",
}  # fmt: skip
RETENTION_FORMS = {"keep": _forms.whole(1, 1_000_000), "days": _forms.number(0, 36500)}


def open_store(arguments: dict[str, Any]) -> Store:
    """Return the store that is meant.

    :raises Unusable: its key lies in it; :raises NoKey: there is no usable key.
    """
    directory = Path(arguments["store"] or _homes.state() / "snapshots")
    key = Path(arguments["key"] or _homes.configuration() / "snapshots.key")
    if directory.resolve() in key.resolve().parents:
        raise Unusable(f"the key {key} lies in the store {directory}, where it protects nothing: keep it elsewhere")
    return Store(directory, StoreKey.read(key))


def check_retention(arguments: dict[str, Any]) -> None:
    """Check what is to be kept. :raises Unusable: it makes no sense."""
    keep, days = arguments["keep"], arguments["days"]
    if keep < 1:
        raise Unusable(f"keep is {keep}: at least one snapshot is kept")
    if not (math.isfinite(days) and 0 < days < 36500):
        raise Unusable(f"days is {days:g}: give a number of days above 0 and below 36500")


__all__ = [
    "NO_MOVE",
    "RETENTION_FORMS",
    "RETENTION_OPTIONS",
    "STORE_FORMS",
    "STORE_OPTIONS",
    "NoKey",
    "Unusable",
    "check_retention",
    "open_store",
]
