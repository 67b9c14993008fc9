# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scheduler does with an alert, told the time by its caller: decide, write down, launch, take in the end.

It starts no thread and waits for nothing, so that tests drive it through years in a moment. The order of every launch is the
same: write the intent in a transaction that only the lease's holder can commit, and only then call the launcher. Where a firing
is on its way is in ``firings``, whose clock is whose in ``tenants``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.alert import exposure_ms
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.together import MODES

from relocate.schedule.discovery import Roster, Survey
from relocate.schedule.firings import Firings, Phase
from relocate.schedule.launchers.base import Move
from relocate.schedule.ledger_writer import Ledger, alert_of
from relocate.schedule.limits import HOST_FAILURES, Asked, Kind, Limits, Opened, Pauses
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Firing, Pause, iso
from relocate.schedule.settings import Configuration
from relocate.schedule.store import Store
from relocate.schedule.tenants import Tenants, by_hand
from relocate.schedule.timetable import Timetable

LOG = logging.getLogger("relocate.schedule")
#: How much of the record is read at the start, for back-offs and breakers.
REMEMBERED = 500


@dataclass
class Engine:
    """One fleet's scheduler while it holds the lease. ``dispatch`` is called for every move whose intent is written."""

    configuration: Configuration
    store: Store
    ledger: Ledger
    dispatch: Callable[[Firing, Move], None]
    warn: Callable[[Opened, float], None]
    meter: Metrics
    token: int = 0
    timetable: Timetable = field(default_factory=Timetable)
    fleet: Roster = field(default_factory=Roster)

    def __post_init__(self) -> None:
        self.limits = Limits(self.configuration.limits)
        self.firings = Firings()
        self.tenants = Tenants(self.configuration, self.store, self.meter, self.timetable, self.fleet)
        self._drained: dict[str, float] = {}
        self.use(self.configuration)

    def use(self, configuration: Configuration) -> None:
        """Take another configuration; clocks that it changes are drawn anew, the others go on."""
        self.configuration = configuration
        self.limits.use(configuration.limits)
        self.tenants.use(configuration)

    # -- taking over ------------------------------------------------------------------------------------------------

    def begin(self, seen: Survey, token: int, now: float, alive: float | None) -> None:
        """Take over: requeue what waited, remember what failed, and start the clocks.

        :param alive: the last moment at which a scheduler surely watched; None if there was none before.
        """
        self.token = token
        for firing in self.store.unfinished():
            if firing.state == "waiting":
                self.firings.put(Phase.WAITING, firing)
            else:
                self.firings.put(Phase.IN_DOUBT, firing)
                self.ledger.expect(firing.id)
        for firing in self.store.history(limit=REMEMBERED):
            if firing.launched_at is not None and firing.ended_at is not None and firing.outcome:
                asked = Asked(firing.container, firing.source, "")
                self.limits.remember(asked, firing.launched_at, firing.outcome, firing.destination, firing.ended_at)
        self.tenants.take_over(seen, self.firings.containers(Phase.IN_DOUBT), now, alive)
        for firing in self.firings.of(Phase.IN_DOUBT):  # nothing else happens to them until it is known how they ended
            self.limits.started(self._asked(firing), firing.launched_at or now)

    def survey(self, seen: Survey, now: float) -> None:
        """Take in what the hosts say: new tenants get a clock, those that are gone lose it."""
        changed, gone = self.tenants.learn(seen, self.firings.containers(Phase.MOVING, Phase.IN_DOUBT), now)
        self.limits.forget(gone)
        for firing in self.firings.of(Phase.WAITING):
            if firing.container in gone:
                self._end(firing, "skipped", "gone", now)
                self.firings.put(Phase.ENDED, firing)
        if changed or gone:
            self.tenants.save(changed, gone, now)

    def reload(self, now: float) -> None:
        """Give every tenant the clock that the present configuration has for it."""
        self.tenants.reload(now)

    # -- alerts -----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Act on every alert up to ``now``, and on what waited.

        Raises FencedError when the lease is lost, SQLAlchemyError when the store is away: then nothing was launched, nothing is
        lost, and the next tick tries again.
        """
        self.firings.put(Phase.ALERTED, *self.tenants.due(now))
        self.firings.put(Phase.ALERTED, *self._drains(now))
        self.act(now)

    def act(self, now: float) -> None:
        """Decide on what waited and on what is new; write it down; launch."""
        self._act_on_waiting(now)
        fresh = self.firings.of(Phase.ALERTED)
        if not fresh:
            return
        launched: list[Firing] = []
        queued = self.firings.containers(Phase.WAITING)
        for firing in fresh:
            if self._overlaps(firing, queued, now):
                continue
            if self._decide(firing, now):
                launched.append(firing)
            elif firing.state == "waiting":
                queued.add(firing.container)
        try:
            self.store.record(fresh, self.token)
        except Exception:
            self._withdraw(fresh, launched)
            raise
        self.firings.drop(firing for firing in fresh if firing.state == "ended")
        self.firings.put(Phase.WAITING, *(firing for firing in fresh if firing.state == "waiting"))
        self.firings.put(Phase.MOVING, *launched)
        for firing in launched:
            self._launch(firing)

    def _act_on_waiting(self, now: float) -> None:
        launched, dropped = [], []
        for firing in self.firings.of(Phase.WAITING):
            if self._decide(firing, now):
                launched.append(firing)
            elif firing.state == "ended":
                dropped.append(firing)
        if not launched and not dropped:
            return
        try:
            self.store.launch(launched, self.token)
        except Exception:
            self._withdraw([*launched, *dropped], launched)
            raise
        self.firings.put(Phase.ENDED, *dropped)
        self.firings.put(Phase.MOVING, *launched)
        for firing in launched:
            self._launch(firing)

    def _withdraw(self, firings: Iterable[Firing], launched: Iterable[Firing]) -> None:
        """The record could not be written: everything is as if it had not been decided."""
        for firing in launched:
            self.limits.withdrawn(firing.container)
        for firing in firings:
            firing.state, firing.outcome, firing.msg = "waiting", None, None
            firing.launched_at = firing.ended_at = None

    def once(self, now: float) -> None:
        """Act on the clocks that have run out already, or else on the one that would come first. Raises what tick raises."""
        overdue = self.tenants.due(now)
        if overdue:
            self.firings.put(Phase.ALERTED, *overdue)
        elif (first := self.tenants.first()) is not None:
            self.firings.put(Phase.ALERTED, by_hand(first, "once", now))
        self.act(now)

    def shift(self, seconds: float) -> None:
        """The time of day was set: clocks run on as if it had not been."""
        self.tenants.shift(seconds)

    def _asked(self, firing: Firing) -> Asked:
        together = self.fleet.with_followers([firing.container])
        return Asked(firing.container, firing.source, self.fleet.edge, firing.reason != "clock", together)

    def _overlaps(self, firing: Firing, queued: Collection[str], now: float) -> bool:
        """Apply the overlap policy to a new firing whose container is still busy with an earlier one."""
        waits = firing.container in queued
        policy = self.configuration.limits.overlap
        busy = waits or self.limits.moving(firing.container)
        if busy and (policy == "skip" or (policy == "coalesce" and waits)):
            self._end(firing, "skipped", policy, now)
            return True
        return False

    def _decide(self, firing: Firing, now: float) -> bool:
        """Judge a firing: True if it starts now, and then it counts as under way."""
        tenant = self.tenants.known().get(firing.container)
        if tenant is not None and not self.limits.moving(firing.container):
            firing.source = tenant.host  # it may have moved while it waited
        judgement = self.limits.judge(self._asked(firing), now)
        if judgement.kind is Kind.DROP:
            self._end(firing, "skipped", judgement.reason, now)
            return False
        if judgement.kind is Kind.WAIT:
            if firing.clamp == "none":
                firing.clamp = judgement.reason
            return False
        firing.state, firing.launched_at = "launched", now
        self.limits.started(self._asked(firing), now)
        return True

    def _end(self, firing: Firing, outcome: str, why: str, now: float) -> None:
        firing.state, firing.outcome, firing.msg, firing.ended_at = "ended", outcome, why, now

    def _launch(self, firing: Firing) -> None:
        self.ledger.expect(firing.id)
        self.meter.in_flight(self.firings.count(Phase.MOVING))
        variables: dict[str, Any] = {
            **self.configuration.variables,
            "container": firing.container,
            "reason": firing.reason,
            "mode": self.configuration.mode,
            "relocation_id": firing.id,
            "relocation_alert": alert_of(firing),
        }
        if self.configuration.strategy:
            variables["relocate_strategy"] = self.configuration.strategy
        if self.configuration.prefer:
            variables["relocate_prefer"] = self.configuration.prefer
        tenant = self.tenants.known().get(firing.container)
        if tenant is not None and tenant.leader:
            variables["relocate_with_project"] = True
            if variables["mode"] not in ("auto", *MODES):
                variables["mode"] = "auto"  # what the fleet's mode is for containers that move alone
        if self.tenants.contested(firing.container):  # AWX need not let through what is hardly ever sent
            variables["source"] = firing.source
        if self.configuration.destination:
            variables["relocate_policy"] = self.configuration.destination
        LOG.info("%s is to leave %s", firing.container, firing.source, extra=firing.said())
        move = Move(firing.id, firing.container, firing.source, firing.reason, firing.alerted_at, variables)
        self.dispatch(firing, move)

    def _drains(self, now: float) -> list[Firing]:
        """Return a firing for every tenant that is still on a host that is to be drained."""
        found = []
        waiting = self.firings.containers(Phase.WAITING)
        for tenant in self.tenants.on(self.limits.pauses.draining):
            name = tenant.container
            if name in self.limits.pauses.containers or name in waiting or self.limits.moving(name):
                continue
            if now < self._drained.get(name, 0.0):
                continue
            self._drained[name] = now + self.configuration.limits.backoff.first
            found.append(by_hand(tenant, "drain", now))
        return found

    # -- ends -------------------------------------------------------------------------------------------------------

    def finished(self, firing: Firing, result: dict[str, Any], now: float) -> None:
        """A launcher has come back with a result, or reconciliation has found one."""
        outcome = str(result.get("outcome"))
        if outcome == "in-doubt":
            self.firings.put(Phase.IN_DOUBT, firing)
            LOG.warning("the move of %s is in doubt", firing.container, extra=firing.said())
            return
        self.firings.put(Phase.ENDED, firing)
        self.meter.in_flight(self.firings.count(Phase.MOVING))
        firing.destination = (result.get("destination") or {}).get("host")
        firing.downtime_ms = result.get("downtime_ms")
        firing.exposure_latency_ms = exposure_ms(str(iso(firing.alerted_at)), result.get("frozen_at"))
        msg = "" if result.get("msg") is None else str(result["msg"])
        self._end(firing, outcome, msg, now)
        if outcome == "committed" and firing.destination:
            self.fleet.arrived(firing.container, firing.destination, now)
        elif outcome in HOST_FAILURES:
            self.meter.failure(firing.source)
        self._report(firing, result)
        if not result.get("pretended"):  # what was never moved has no place in a ledger that is measured
            self.firings.keep_result(firing, result)
        for opened in self.limits.finished(firing.container, outcome, firing.destination, now):
            self.warn(opened, now)

    def _report(self, firing: Firing, result: dict[str, Any]) -> None:
        self.meter.hop({**result, "exposure_latency_ms": firing.exposure_latency_ms})
        level = logging.INFO if firing.outcome == "committed" else logging.WARNING
        said = f", {firing.msg}" if firing.msg and firing.outcome != "committed" else ""
        LOG.log(level, "the move of %s: %s%s", firing.container, firing.outcome, said, extra=firing.said())

    def flush(self, now: float) -> None:
        """Write the ends that have come in: into the ledger, then into the store, so that a crash between is found again.

        Raises SQLAlchemyError when the store is away; the next call tries again.
        """
        if results := self.firings.take_results():
            try:
                self.ledger.ensure(results, now)
            except OSError as error:
                LOG.error("the ledger could not be written: %s", error)
        if ended := self.firings.of(Phase.ENDED):
            self.store.end(ended, lambda firing: self.fleet.with_followers([firing.container]))
            for firing in ended:
                self.ledger.forget(firing.id)
            self.firings.drop(ended)

    def pause(self, pauses: Collection[Pause]) -> None:
        """Take in what operators have paused."""
        self.limits.pauses = Pauses(
            any(each.scope == "all" for each in pauses),
            frozenset(each.name for each in pauses if each.scope == "host"),
            frozenset(each.name for each in pauses if each.scope == "container"),
            frozenset(each.name for each in pauses if each.scope == "host" and each.drain),
        )
