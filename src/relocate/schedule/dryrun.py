# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clocks would do, drawn from a test seed: to look at a configuration, never at the future."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from relocate.schedule.records import Tenant
from relocate.schedule.settings import Configuration
from relocate.schedule.timetable import Entry, Timetable

WARNING = (
    "Drawn from the test seed {seed}: NOT the moments at which anything will be moved. "
    "The scheduler draws from the operating system's entropy and tells nobody."
)


def drawn(configuration: Configuration, tenants: Iterable[Tenant], seed: int, count: int, now: float) -> dict[str, Any]:
    """Return the first ``count`` alerts of freshly started clocks: ``warning``, ``tenants`` and ``alerts``.

    An alert is given as seconds from the start, with its container, stay and what changed it.
    """
    limits = configuration.limits
    table = Timetable(np.random.default_rng(seed), min_stay=limits.min_stay, calendar=limits.calendar())
    found = list(tenants)
    clocks = {tenant.container: configuration.clock_for(tenant.labels) for tenant in found}
    table.enter([Entry(tenant.container, clocks[tenant.container][0], now) for tenant in found], now)
    alerts: list[dict[str, Any]] = []
    last: dict[str, float] = {}
    while len(alerts) < count:
        alert = table.first()
        if alert is None:
            break
        stay = alert.due - last.get(alert.name, now)
        last[alert.name] = alert.due
        alerts.append({"at": alert.due - now, "container": alert.name, "stay": stay, "clamp": alert.clamp})
    return {
        "warning": WARNING.format(seed=seed),
        "seed": seed,
        "tenants": [
            {
                "container": tenant.container,
                "host": tenant.host,
                "clock": {"kind": clocks[tenant.container][0].kind, **clocks[tenant.container][0].parameters()},
                "mean_stay": clocks[tenant.container][0].mean,
                "problem": clocks[tenant.container][1],
            }
            for tenant in sorted(found, key=lambda each: each.container)
        ],
        "alerts": alerts,
    }
