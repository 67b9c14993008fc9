# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tenants and their clocks: who has one, since when it runs, and what it says when it has run out."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers

from relocate.schedule.discovery import Roster, Survey
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Firing, Tenant, new_id
from relocate.schedule.settings import Configuration
from relocate.schedule.store import Store
from relocate.schedule.timetable import Alert, Entry, Timetable

LOG = logging.getLogger("relocate.schedule")
#: A container that started this long after its last move ended has been started by somebody else.
SLACK = 5.0


def clock_json(clock: Clock) -> str:
    """Return a clock as JSON, the form in which the record and the audit name it."""
    return json.dumps({"kind": clock.kind, **clock.parameters()}, sort_keys=True)


def by_hand(tenant: Tenant, reason: str, now: float) -> Firing:
    """Return a firing that no clock asked for."""
    return Firing(new_id(now), tenant.container, tenant.host, reason, "waiting", now)


@dataclass
class Tenants:
    """All tenants of a fleet. ``timetable`` has a clock for each tenant that ``fleet`` knows, and that follows no other."""

    configuration: Configuration
    store: Store
    meter: Metrics
    timetable: Timetable
    fleet: Roster
    _noticed: dict[str, float] = field(default_factory=dict)  # when a container's last alert was acted on
    _written: dict[Clock, str] = field(default_factory=dict)  # clocks as JSON, made once each
    _problems: dict[str, str | None] = field(default_factory=dict)
    _told: dict[str, list[str]] = field(default_factory=dict)  # of contested containers

    def use(self, configuration: Configuration) -> None:
        """Take another configuration; :meth:`reload` gives the clocks that it changes."""
        self.configuration = configuration
        self.timetable.limit(configuration.limits.min_stay, configuration.limits.calendar())

    def take_over(self, seen: Survey, doubtful: Collection[str], now: float, alive: float | None) -> None:
        """Start the clocks of a fleet that another scheduler may have watched.

        :param doubtful: containers of which nobody knows how their last move ended.
        :param alive: the last moment at which a scheduler surely watched; None if there was none before.
        """
        for row in self.store.tenants():  # a host that does not answer keeps its tenants over a restart, too
            if not strangers.is_container_name(row["container"]):
                continue  # kept by a version that believed every name
            if row["container"] in seen.contested:
                # only the host that was known to have it can be believed
                believed = [each for each in seen.contested[row["container"]] if each.host == row["host"]]
                self.fleet.tenants |= {each.container: Tenant(each.container, each.host, 0.0, {}) for each in believed}
            elif row["host"] not in seen.answered and row["container"] not in seen.tenants:
                seen.tenants[row["container"]] = Tenant(row["container"], row["host"], row["since"], row["labels"])
        changed, _ = self.fleet.learn(seen, ())
        self._tell_contested()
        last = self.store.last_alerts()
        entries, joined = [], []
        for tenant in changed:
            if tenant.follows:
                continue
            alerted, ended = last.get(tenant.container, (None, None))
            known = alerted is not None and tenant.since <= max(ended or alerted, alerted) + SLACK
            if alerted is not None and alive is not None and (known or tenant.container in doubtful):
                entries.append(Entry(tenant.container, self._clock(tenant), alerted))
                self._noticed[tenant.container] = alerted
            else:
                joined.append(Entry(tenant.container, self._clock(tenant), tenant.since))
        self.timetable.enter(entries, now, alive)
        self.timetable.enter(joined, now)
        self.save(changed, None, now)

    def learn(self, seen: Survey, moving: Collection[str], now: float) -> tuple[list[Tenant], list[str]]:
        """Take in a survey: new tenants get a clock, those that are gone lose it.

        Returns the tenants that are new or changed, and the names of those that are gone: :meth:`save` writes both down.
        """
        before = {name: tenant.since for name, tenant in self.fleet.tenants.items()}
        changed, gone = self.fleet.learn(seen, moving)
        self._tell_contested()
        entries = []
        for tenant in changed:
            name, clock = tenant.container, self._clock(tenant)
            if tenant.follows:
                self._stop(name)
            elif name not in self.timetable or tenant.since > before.get(name, tenant.since) + SLACK:
                self._noticed.pop(name, None)
                entries.append(Entry(name, clock, tenant.since))
            elif clock != self.timetable.clock(name):
                entries.append(Entry(name, clock, self._noticed.get(name, tenant.since)))
        self.timetable.enter(entries, now)
        for name in gone:
            self._stop(name)
            LOG.info("the container %s is gone", name, extra={"container": name})
        return changed, gone

    def _stop(self, name: str) -> None:
        self.timetable.leave([name])
        self._noticed.pop(name, None)

    def contested(self, container: str) -> bool:
        """Return whether several hosts claim to run a container."""
        return container in self.fleet.contested

    def _tell_contested(self) -> None:
        """Say which containers several hosts claim, once for each change: one of these hosts may be in strange hands."""
        for name, hosts in self.fleet.contested.items():
            if self._told.get(name) != hosts:
                known = self.fleet.tenants.get(name)
                so = (
                    f"{known.host} is known to have it and is believed"
                    if known
                    else "nobody is believed, it gets no clock"
                )
                LOG.warning("%s all claim to run %s: %s", " and ".join(hosts), name, so, extra={"container": name})
        self._told = dict(self.fleet.contested)

    def reload(self, now: float) -> None:
        """Give every tenant the clock that the present configuration has for it."""
        entries = []
        for tenant in self.fleet.tenants.values():
            clock = self._clock(tenant)
            if tenant.container in self.timetable and clock != self.timetable.clock(tenant.container):
                entries.append(Entry(tenant.container, clock, self._noticed.get(tenant.container, tenant.since)))
        self.timetable.enter(entries, now)
        self.save(self.fleet.tenants.values(), (), now)

    def shift(self, seconds: float) -> None:
        """The time of day was set: clocks run on as if it had not been."""
        self.timetable.shift(seconds)
        self._noticed = {name: moment + seconds for name, moment in self._noticed.items()}

    def due(self, now: float) -> list[Firing]:
        """Return a firing for every clock that has run out."""
        return [self._alerted(alert, now) for alert in self.timetable.due(now)]

    def first(self) -> Tenant | None:
        """Return the tenant whose clock would run out first, and start that clock anew."""
        first = self.timetable.first()
        return None if first is None else self.fleet.tenants[first.name]

    def on(self, hosts: Collection[str]) -> list[Tenant]:
        """Return the tenants on some hosts that follow no other."""
        return (
            [each for each in self.fleet.tenants.values() if each.host in hosts and not each.follows] if hosts else []
        )

    def known(self) -> Mapping[str, Tenant]:
        """Return the tenants by container."""
        return self.fleet.tenants

    def _alerted(self, alert: Alert, now: float) -> Firing:
        tenant = self.fleet.tenants[alert.name]
        stay = now - self._noticed.get(alert.name, alert.since)
        self._noticed[alert.name] = now
        self.meter.stay(stay)
        drawn = None if math.isnan(alert.drawn) else round(alert.drawn * 1000, 3)
        return Firing(
            id=new_id(now),
            container=alert.name,
            source=tenant.host,
            reason="clock",
            state="waiting",
            alerted_at=alert.due,
            stay_ms=round(stay * 1000, 3),
            drawn_ms=drawn,
            clamp=alert.clamp,
            clock=self._clock_json(self.timetable.clock(alert.name)),
        )

    def _clock(self, tenant: Tenant) -> Clock:
        whose = self.fleet.tenants.get(tenant.leader, tenant)
        clock, problem = self.configuration.clock_for(whose.labels)
        if problem and self._problems.get(tenant.container) != problem:
            LOG.warning("%s: %s", tenant.container, problem, extra={"container": tenant.container})
        self._problems[tenant.container] = problem
        return clock

    def _clock_of(self, tenant: Tenant) -> Clock | None:
        """Return the clock that moves a tenant now, if one does."""
        name = tenant.leader or tenant.container
        return self.timetable.clock(name) if name in self.timetable else None

    def _clock_json(self, clock: Clock) -> str:
        if clock not in self._written:
            self._written[clock] = clock_json(clock)
        return self._written[clock]

    def save(self, changed: Iterable[Tenant], gone: Iterable[str] | None, now: float) -> None:
        """Write tenants down with their clocks; ``gone`` are forgotten, and with None all that are not named."""
        rows = [
            (tenant, self._clock_json(clock), self._problems.get(tenant.container))
            for tenant in changed
            if (clock := self._clock_of(tenant)) is not None
        ]
        self.store.save_tenants(rows, gone, now)
