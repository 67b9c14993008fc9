"""What the scheduler does with an alert: a state machine over clocks, limits and the record, told the time by its caller.

It starts no thread and waits for nothing, so that tests drive it through years in a moment. The order of every launch is the
same: write the intent in a transaction that only the lease's holder can commit, and only then call the launcher.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.alert import exposure_ms

from relocate.schedule.discovery import Fleet, Survey
from relocate.schedule.launchers.base import Move
from relocate.schedule.ledger_writer import Ledger, alert_of
from relocate.schedule.limits import HOST_FAILURES, Asked, Kind, Limits, Opened, Pauses, Verdict
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Firing, Pause, Tenant, iso, new_id
from relocate.schedule.settings import Configuration
from relocate.schedule.store import Store
from relocate.schedule.timetable import Alert, Entry, Timetable

LOG = logging.getLogger("relocate.schedule")
#: A container that started this long after its last move ended has been started by somebody else.
SLACK = 5.0
#: How much of the record is read at the start, for back-offs and breakers.
REMEMBERED = 500


def clock_words(clock: Clock) -> str:
    """Return a clock as JSON, the form in which the record and the audit name it."""
    return json.dumps({"kind": clock.kind, **clock.parameters()}, sort_keys=True)


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
    fleet: Fleet = field(default_factory=Fleet)

    def __post_init__(self) -> None:
        self.limits = Limits(self.configuration.limits)
        self.waiting: list[Firing] = []
        self.flying: dict[str, Firing] = {}
        self.doubts: dict[str, Firing] = {}
        self._backlog: list[Firing] = []  # alerts that are not written down yet
        self._ended: list[Firing] = []  # ends that are not written down yet
        self._results: list[tuple[Firing, dict[str, Any]]] = []  # the same for the ledger
        self._noticed: dict[str, float] = {}
        self._drained: dict[str, float] = {}
        self._words: dict[Clock, str] = {}
        self._problems: dict[str, str | None] = {}
        self.use(self.configuration)

    def use(self, configuration: Configuration) -> None:
        """Take another configuration; clocks that it changes are drawn anew, the others go on."""
        self.configuration = configuration
        self.limits.use(configuration.limits)
        self.timetable.limit(configuration.limits.min_stay, configuration.limits.calendar())

    # -- taking over ------------------------------------------------------------------------------------------------

    def begin(self, seen: Survey, token: int, now: float, alive: float | None) -> None:
        """Take over: requeue what waited, remember what failed, and start the clocks.

        :param alive: the last moment at which a scheduler surely watched; None if there was none before.
        """
        self.token = token
        for firing in self.store.unfinished():
            if firing.state == "waiting":
                self.waiting.append(firing)
            else:
                self.doubts[firing.id] = firing
                self.ledger.expect(firing.id)
        for firing in self.store.history(limit=REMEMBERED):
            if firing.launched_at is not None and firing.ended_at is not None and firing.outcome:
                asked = Asked(firing.container, firing.source, "")
                self.limits.remember(asked, firing.launched_at, firing.outcome, firing.destination, firing.ended_at)
        for row in self.store.tenants():  # a host that does not answer keeps its tenants over a restart, too
            if row["host"] not in seen.answered and row["container"] not in seen.tenants:
                seen.tenants[row["container"]] = Tenant(row["container"], row["host"], row["since"], row["labels"])
        changed, _ = self.fleet.learn(seen, ())
        last = self.store.last_alerts()
        entries, joined = [], []
        for tenant in changed:
            alerted, ended = last.get(tenant.container, (None, None))
            known = alerted is not None and tenant.since <= max(ended or alerted, alerted) + SLACK
            pending = any(firing.container == tenant.container for firing in self.doubts.values())
            if alerted is not None and alive is not None and (known or pending):
                entries.append(Entry(tenant.container, self._clock(tenant), alerted))
                self._noticed[tenant.container] = alerted
            else:
                joined.append(Entry(tenant.container, self._clock(tenant), tenant.since))
        for firing in self.doubts.values():  # nothing else happens to them until it is known how they ended
            self.limits.started(self._asked(firing), firing.launched_at or now)
        self.timetable.enter(entries, now, alive)
        self.timetable.enter(joined, now)
        self._save(changed, None, now)

    def survey(self, seen: Survey, now: float) -> None:
        """Take in what the hosts say: new tenants get a clock, those that are gone lose it."""
        moving = {*self.flying, *(firing.container for firing in self.doubts.values())}
        before = {name: tenant.since for name, tenant in self.fleet.tenants.items()}
        changed, gone = self.fleet.learn(seen, moving)
        entries = []
        for tenant in changed:
            name, clock = tenant.container, self._clock(tenant)
            if name not in self.timetable or tenant.since > before.get(name, tenant.since) + SLACK:
                self._noticed.pop(name, None)
                entries.append(Entry(name, clock, tenant.since))
            elif clock != self.timetable.clock(name):
                entries.append(Entry(name, clock, self._noticed.get(name, tenant.since)))
        self.timetable.enter(entries, now)
        self.timetable.leave(gone)
        self.limits.forget(gone)
        for name in gone:
            self._noticed.pop(name, None)
            LOG.info("the container %s is gone", name, extra={"container": name})
        for firing in [each for each in self.waiting if each.container in gone]:
            self._swallow(firing, "gone", now)
        if changed or gone:
            self._save(changed, gone, now)

    def reload(self, now: float) -> None:
        """Give every tenant the clock that the present configuration has for it."""
        entries = []
        for tenant in self.fleet.tenants.values():
            clock = self._clock(tenant)
            if tenant.container in self.timetable and clock != self.timetable.clock(tenant.container):
                entries.append(Entry(tenant.container, clock, self._noticed.get(tenant.container, tenant.since)))
        self.timetable.enter(entries, now)
        self._save(self.fleet.tenants.values(), (), now)

    def _clock(self, tenant: Tenant) -> Clock:
        clock, problem = self.configuration.clock_for(tenant.labels)
        if problem and self._problems.get(tenant.container) != problem:
            LOG.warning("%s: %s", tenant.container, problem, extra={"container": tenant.container})
        self._problems[tenant.container] = problem
        return clock

    def _save(self, changed: Iterable[Tenant], gone: Iterable[str] | None, now: float) -> None:
        rows = [
            (tenant, self._clock_words(self.timetable.clock(tenant.container)), self._problems.get(tenant.container))
            for tenant in changed
            if tenant.container in self.timetable
        ]
        self.store.save_tenants(rows, gone, now)

    def _clock_words(self, clock: Clock) -> str:
        if clock not in self._words:
            self._words[clock] = clock_words(clock)
        return self._words[clock]

    # -- alerts -----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Act on every alert up to ``now``, and on what waited.

        Raises FencedError when the lease is lost, SQLAlchemyError when the store is away: then nothing was launched, nothing is
        lost, and the next tick tries again.
        """
        self._backlog += [self._alerted(alert, now) for alert in self.timetable.due(now)]
        self._backlog += self._drains(now)
        self.act(now)

    def act(self, now: float) -> None:
        """Decide on what waited and on what is new; write it down; launch."""
        self._act_on_waiting(now)
        fresh, self._backlog = self._backlog, []
        if not fresh:
            return
        launched: list[Firing] = []
        queued = {firing.container for firing in self.waiting}
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
            self._backlog = fresh
            raise
        self.waiting += [firing for firing in fresh if firing.state == "waiting"]
        for firing in launched:
            self._launch(firing)

    def _act_on_waiting(self, now: float) -> None:
        launched, dropped = [], []
        for firing in self.waiting:
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
        self.waiting = [firing for firing in self.waiting if firing.state == "waiting"]
        self._ended += dropped
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
        overdue = self.timetable.due(now)
        if overdue:
            self._backlog += [self._alerted(alert, now) for alert in overdue]
        elif (first := self.timetable.first()) is not None:
            self._backlog.append(self.by_hand(self.fleet.tenants[first.name], "once", now))
        self.act(now)

    def shift(self, seconds: float) -> None:
        """The time of day was set: clocks run on as if it had not been."""
        self.timetable.shift(seconds)
        self._noticed = {name: moment + seconds for name, moment in self._noticed.items()}

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
            clock=self._clock_words(self.timetable.clock(alert.name)),
        )

    def _asked(self, firing: Firing) -> Asked:
        return Asked(firing.container, firing.source, self.fleet.edge, firing.reason != "clock")

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
        tenant = self.fleet.tenants.get(firing.container)
        if tenant is not None and not self.limits.moving(firing.container):
            firing.source = tenant.host  # it may have moved while it waited
        verdict: Verdict = self.limits.judge(self._asked(firing), now)
        if verdict.kind is Kind.DROP:
            self._end(firing, "skipped", verdict.reason, now)
            return False
        if verdict.kind is Kind.WAIT:
            if firing.clamp == "none":
                firing.clamp = verdict.reason
            return False
        firing.state, firing.launched_at = "launched", now
        self.limits.started(self._asked(firing), now)
        return True

    def _end(self, firing: Firing, outcome: str, why: str, now: float) -> None:
        firing.state, firing.outcome, firing.msg, firing.ended_at = "ended", outcome, why, now

    def _swallow(self, firing: Firing, why: str, now: float) -> None:
        self.waiting.remove(firing)
        self._end(firing, "skipped", why, now)
        self._ended.append(firing)

    def _launch(self, firing: Firing) -> None:
        self.flying[firing.container] = firing
        self.ledger.expect(firing.id)
        self.meter.in_flight(len(self.flying))
        variables: dict[str, Any] = {
            **self.configuration.variables,
            "container": firing.container,
            "reason": firing.reason,
            "mode": self.configuration.mode,
            "relocation_id": firing.id,
            "relocation_alert": alert_of(firing),
        }
        if self.configuration.destination:
            variables["relocate_policy"] = self.configuration.destination
        LOG.info("%s is to leave %s", firing.container, firing.source, extra=firing.said())
        move = Move(firing.id, firing.container, firing.source, firing.reason, firing.alerted_at, variables)
        self.dispatch(firing, move)

    def _drains(self, now: float) -> list[Firing]:
        """Return a firing for every tenant that is still on a host that is to be drained."""
        found = []
        for tenant in self.fleet.tenants.values() if self.limits.pauses.draining else ():
            name = tenant.container
            if tenant.host not in self.limits.pauses.draining or name in self.limits.pauses.containers:
                continue
            waiting = any(firing.container == name for firing in self.waiting)
            if waiting or self.limits.moving(name) or now < self._drained.get(name, 0.0):
                continue
            self._drained[name] = now + self.configuration.limits.backoff.first
            found.append(self.by_hand(tenant, "drain", now))
        return found

    @staticmethod
    def by_hand(tenant: Tenant, reason: str, now: float) -> Firing:
        """Return a firing that no clock asked for."""
        return Firing(new_id(now), tenant.container, tenant.host, reason, "waiting", now)

    # -- ends -------------------------------------------------------------------------------------------------------

    def finished(self, firing: Firing, result: dict[str, Any], now: float) -> None:
        """A launcher has come back with a result, or reconciliation has found one."""
        outcome = str(result.get("outcome"))
        if outcome == "in-doubt":
            self.flying.pop(firing.container, None)
            self.doubts[firing.id] = firing
            LOG.warning("the move of %s is in doubt", firing.container, extra=firing.said())
            return
        self.flying.pop(firing.container, None)
        self.doubts.pop(firing.id, None)
        self.meter.in_flight(len(self.flying))
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
        self._ended.append(firing)
        if not result.get("pretended"):  # what was never moved has no place in a ledger that is measured
            self._results.append((firing, result))
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
        if self._results:
            try:
                self.ledger.ensure(self._results, now)
            except OSError as error:
                LOG.error("the ledger could not be written: %s", error)
            self._results = []
        if self._ended:
            self.store.end(self._ended)
            for firing in self._ended:
                self.ledger.forget(firing.id)
            self._ended = []

    def pause(self, pauses: Collection[Pause]) -> None:
        """Take in what operators have paused."""
        self.limits.pauses = Pauses(
            any(each.scope == "all" for each in pauses),
            frozenset(each.name for each in pauses if each.scope == "host"),
            frozenset(each.name for each in pauses if each.scope == "container"),
            frozenset(each.name for each in pauses if each.scope == "host" and each.drain),
        )
