# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clock's alert adds to the result of the relocation that it asked for."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._forms import maybe, number, record, remark

#: What may be known of an alert: when it was (ISO 8601, UTC), the stay that it ended as measured and as the clock drew it
#: (ms), and what the scheduler changed about it (``none`` if nothing).
OPTIONS: dict[str, dict[str, Any]] = {
    "at": {"type": "str", "required": True},
    "stay_ms": {"type": "float"},
    "drawn_ms": {"type": "float"},
    "clamp": {"type": "str"},
}

_MS = maybe(number(0, 1e12))
FORM = record({"at": remark}, {"stay_ms": _MS, "drawn_ms": _MS, "clamp": maybe(remark)})


def exposure_ms(alerted_at: str, frozen_at: Any) -> float | None:
    """Return the time from the alert to the freeze in ms; None where nothing was frozen, or the edge's clock lags behind."""
    try:
        alerted, frozen = (datetime.datetime.fromisoformat(str(at)) for at in (alerted_at, frozen_at))
        latency = (frozen - alerted).total_seconds() * 1000
    except (TypeError, ValueError):
        return None
    return round(latency, 3) if latency >= 0 else None


def annotate(result: Mapping[str, Any], alert: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``result`` with ``alerted_at``, ``exposure_latency_ms`` and what else is known of the alert.

    :param alert: what :data:`OPTIONS` describes; empty where no clock asked for the move.
    """
    if not alert:
        return dict(result)
    known = {name: alert[name] for name in ("stay_ms", "drawn_ms", "clamp") if alert.get(name) is not None}
    latency = exposure_ms(alert["at"], result.get("frozen_at"))
    return {
        **result,
        "alerted_at": alert["at"],
        **known,
        **({} if latency is None else {"exposure_latency_ms": latency}),
    }
