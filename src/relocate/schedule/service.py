# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The long-lived scheduler: one loop that owns the clocks, and threads around it for what takes time.

The loop never waits for a database that is slow to renew the lease, for Ansible, or for a host: heartbeat, chores and launches
have threads of their own and send what they find to the loop's inbox.
"""

from __future__ import annotations

import gc
import logging
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move.ledger import default_path
from sqlalchemy.exc import SQLAlchemyError

from relocate.errors import Refusal
from relocate.schedule import config, launchers, logs
from relocate.schedule.alarm import raise_alarm, tell
from relocate.schedule.chores import Chores, Order, Report
from relocate.schedule.discovery import Surveyor, survey
from relocate.schedule.engine import Engine
from relocate.schedule.firings import Phase
from relocate.schedule.heartbeat import Heartbeat
from relocate.schedule.keeping import Fate, Job, Keeping, Result, carry_out
from relocate.schedule.launchers.base import Launcher, LaunchError, Move
from relocate.schedule.launchers.keeping import Keeper
from relocate.schedule.lease import Lease
from relocate.schedule.ledger_writer import Ledger
from relocate.schedule.limits import Opened
from relocate.schedule.metrics import Metrics
from relocate.schedule.reconcile import Abandoned, resolve, settled_outcomes
from relocate.schedule.records import Firing, iso, new_id
from relocate.schedule.settings import Configuration
from relocate.schedule.steady import Steady
from relocate.schedule.store import FencedError, Store

LOG = logging.getLogger("relocate.schedule")
LOOK_SECONDS = 1.0  # between two looks at what operators have paused, and at the time of day
DOUBT_SECONDS = 5.0  # between two attempts to find out how a move ended, or to begin
PRUNE_SECONDS = 86400.0
LAST_SECONDS = 15.0  # for runs that were cancelled at the very end
FIXED = ("fleet", "inventory", "store", "lease", "metrics")  # sections that a reload cannot change


class Service:
    """A scheduler from its start to its end. ``launcher`` and ``surveyor`` are the configuration's unless they are given."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        file: Path | None = None,
        once: bool = False,
        launcher: Launcher | None = None,
        surveyor: Surveyor | None = None,
        observe: Callable[[Firing, dict[str, Any]], None] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """Raises Refusal for a store, an inventory or an address that cannot be used."""
        self.configuration = configuration
        self._file = file
        self._once = once
        self._observe = observe
        self._launcher = launcher or launchers.make(configuration.launcher, configuration.inventory)
        self._clock = Steady()
        self._wake = threading.Event()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.metrics = Metrics()
        self.store = Store.open(configuration.store.address, configuration.fleet)
        self.lease = Lease(self.store, configuration.lease.ttl)
        self._heart = Heartbeat(self.lease, configuration.lease.beat, self._wake.set)
        self._ledger = Ledger(default_path())
        ask: Surveyor = surveyor or (lambda doubts: survey(configuration.inventory, self._clock.now(), doubts))
        self._chores = Chores(ask, self._launcher, lambda report: self._send(lambda: self._reported(report)))
        self._keeper = keeper or self._make_keeper(configuration)
        self._keeping = Keeping(configuration, self.metrics, self._tell)
        self._job: Job | None = None  # what the keeper is at now
        self._returned = False  # a host has come back, and what it brings is to be cleared away
        self.engine: Engine | None = None
        self._abandoned = Abandoned()
        self._former: list[Engine] = []  # of earlier terms, whose last moves are still under way
        self._term = 0
        self._fired_once = False
        self._cancels: dict[str, threading.Event] = {}
        self._stops = 0
        self._reload = False
        self._deadline = float("inf")
        self._look_at = self._ask_at = 0.0
        self._prune_at = self._clock.now() + PRUNE_SECONDS

    @staticmethod
    def _make_keeper(configuration: Configuration) -> Keeper | None:
        wanted = configuration.keeps_snapshots
        return launchers.keeper(configuration.launcher, configuration.inventory) if wanted else None

    # -- from other threads -------------------------------------------------------------------------------------------

    def _send(self, action: Callable[[], None]) -> None:
        self._inbox.put(action)
        self._wake.set()

    def stop(self) -> None:
        """Ask for the end: draw no more, let what is in flight end. Asked again, cancel what has frozen nothing yet."""
        self._stops += 1
        self._wake.set()

    def reload(self) -> None:
        """Ask for the configuration to be read again."""
        self._reload = True
        self._wake.set()

    def _fly(self, engine: Engine, firing: Firing, move: Move, cancelled: threading.Event) -> None:
        self.metrics.lag(self._clock.now() - move.due_at)
        try:
            result = self._launcher.launch(move, cancelled)
        except LaunchError as error:
            result = {"id": move.id, "container": move.container, "outcome": "failed", "msg": str(error)}
        except Exception as error:  # a launcher's fault must neither end the service nor lose the move
            LOG.exception("the launcher failed with %s", move.container)
            result = {"id": move.id, "container": move.container, "outcome": "in-doubt", "msg": str(error)}
        self._send(lambda: self._landed(engine, firing, result))

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until stopped; return the exit status. Raises Refusal for what makes serving impossible."""
        served = None
        if self.configuration.metrics.listen:
            host, _, port = self.configuration.metrics.listen.rpartition(":")
            served = self.metrics.serve(host.strip("[]"), int(port))
        handlers = self._signals()
        self._heart.start()
        self._chores.start()
        try:
            while not self._done():
                self._turn()
            return 0 if not self._cancels else 1
        finally:
            self._chores.stop()
            self._heart.stop()
            self._give_back()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if served is not None:
                served.close()
            self.store.close()

    def _signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        wanted = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.reload}
        return {number: signal.signal(number, lambda *_, act=act: act()) for number, act in wanted.items()}

    def _done(self) -> bool:
        now = self._clock.now()
        if (
            self._once
            and self._fired_once
            and not self._cancels
            and not (self.engine and self.engine.firings.count(Phase.IN_DOUBT))
        ):
            self._stops = max(self._stops, 1)
        if self._once and not self._term and now > self._heart.started_at + self.lease.ttl + 2 * LOOK_SECONDS:
            raise Refusal(
                f"another scheduler holds the lease of the fleet '{self.configuration.fleet}': "
                "stop it first, or leave the move to it"
            )
        if not self._stops:
            return False
        if self._deadline == float("inf"):
            self._deadline = now + self.configuration.stop_timeout
            if self._cancels:
                LOG.info("stopping; %d moves under way are allowed to finish", len(self._cancels))
        busy = bool(self._cancels) or self._job is not None
        if busy and (self._stops > 1 or now > self._deadline):
            for event in self._cancels.values():
                event.set()
            self._deadline, self._stops = min(self._deadline, now + LAST_SECONDS), 1
        return not busy or now > self._deadline + LAST_SECONDS

    def _turn(self) -> None:
        """Take in what has come, act, and wait for what is next."""
        self._wake.clear()
        try:
            while not self._inbox.empty():
                self._inbox.get()()
            if self._reload:
                self._reload = False
                self._reread()
            now = self._clock.now()
            self._follow_lease()
            if self.engine is not None and not self._stops:
                self._look(now)
                self._act(now)
                self._keep(now)
            self._flush()
        except FencedError:
            LOG.error("another scheduler has taken the lease: nothing is fired here any more")
            self._heart.lose()
            self._step_down()
        except SQLAlchemyError as error:
            LOG.error("the store is away, nothing is fired: %s", " ".join(str(error.args[0]).split()))
            self._wake.wait(LOOK_SECONDS)
            return
        self._wake.wait(self._pause(self._clock.now()))

    def _act(self, now: float) -> None:
        engine = self.engine
        if engine is None or not self.lease.held:
            return
        if not self._once:
            engine.tick(now)
        elif not self._fired_once:
            self._fired_once = True
            engine.once(now)
            if not engine.firings.count(Phase.MOVING):
                LOG.warning("there is nothing to move now")

    def _pause(self, now: float) -> float:
        """Return for how long there is nothing to do."""
        wait = LOOK_SECONDS
        if self.engine is not None and not self._stops and not self._once:
            due = self.engine.timetable.next_due()
            wait = min(wait, max(due - now, 0.0) if due is not None else wait)
        return wait

    def _flush(self) -> None:
        for engine in [*self._former, *([self.engine] if self.engine else [])]:
            engine.flush(self._clock.now())
        self._former = [engine for engine in self._former if engine.firings.count(Phase.MOVING)]

    # -- the lease ----------------------------------------------------------------------------------------------------

    def _follow_lease(self) -> None:
        if not self.lease.held:
            if self._term:
                LOG.error("the lease is lost: nothing is fired here until it is back")
                self._step_down()
        elif self._term != self.lease.token:
            self._step_down()
            self._term = self.lease.token
            LOG.info("this scheduler has the lease", extra={"token": self._term})
            self._ask_at = 0.0
        if self._term and self.engine is None and not self._stops:
            self._inquire(recover=True)

    def _step_down(self) -> None:
        """Forget the clocks; moves under way end in their own time."""
        if self.engine is not None:
            self._former.append(self.engine)
        self.engine, self._term = None, 0

    def _inquire(self, recover: bool) -> None:
        now = self._clock.now()
        if self._chores.busy or now < self._ask_at:
            return
        if self.engine is None:
            doubts = frozenset(firing.id for firing in self.store.unfinished() if firing.state == "launched")
        else:
            doubts = self.engine.firings.ids(Phase.IN_DOUBT)
        self._ask_at = now + (DOUBT_SECONDS if self.engine is None or doubts else self.configuration.discovery.every)
        if self._abandoned.due(now) or self._returned:
            recover = True
        if recover:
            self._abandoned.tried(now)
        self._chores.order(Order(self._term, recover, doubts))

    def _reported(self, report: Report) -> None:
        if report.order.term != self._term or report.survey is None or not self.lease.held:
            return
        now = self._clock.now()
        if report.order.recover and report.said:
            self._returned = False
        if self._keeping.survey(report.survey, now):
            self._returned, self._ask_at = True, now
        elif (soon := self._keeping.look_after(now)) is not None:
            self._ask_at = min(self._ask_at, now + soon)
        if self._abandoned.seen(report.survey.abandoned, now):
            self._ask_at = min(self._ask_at, now + DOUBT_SECONDS)  # a container may stand still for it
        for host, reason in report.survey.silent.items():
            LOG.warning("%s tells nothing: %s", host, reason, extra={"host": host})
        if self.engine is None:
            engine = Engine(self.configuration, self.store, self._ledger, self._dispatch, self._alarm, self.metrics)
            engine.begin(report.survey, self._term, now, self.lease.last_alive)
            engine.pause(self.store.pauses())
            self.engine = engine
            gc.collect()
            gc.freeze()  # clocks live as long as the service: no collection has to look at them again
            LOG.info("%d containers have a clock", len(engine.timetable), extra={"token": self._term})
        else:
            self.engine.survey(report.survey, now)
        settled = settled_outcomes(report.said.get("settled") or [])
        for firing in self.engine.firings.of(Phase.IN_DOUBT):
            result = resolve(
                firing,
                entry=self._ledger.entry(firing.id),
                seen=report.survey,
                settled=settled,
                in_progress=report.said.get("in_progress") or [],
                now=now,
            )
            if result is not None:
                self._landed(self.engine, firing, result)

    # -- moves --------------------------------------------------------------------------------------------------------

    def _dispatch(self, firing: Firing, move: Move) -> None:
        engine = self.engine
        if engine is None:
            return
        cancelled = self._cancels[firing.id] = threading.Event()
        if not self.lease.held:  # it lapsed since the intent was written: another may be deciding about it now
            result = {"id": move.id, "outcome": "in-doubt", "msg": "the lease lapsed before the launch"}
            self._send(lambda: self._landed(engine, firing, result))
            return
        threading.Thread(
            target=self._fly, args=(engine, firing, move, cancelled), name=f"move-{move.id}", daemon=True
        ).start()

    def _landed(self, engine: Engine, firing: Firing, result: dict[str, Any]) -> None:
        self._cancels.pop(firing.id, None)
        engine.finished(firing, result, self._clock.now())
        if result.get("outcome") == "in-doubt":
            self._ask_at = 0.0
        if self._observe is not None:
            self._observe(firing, result)

    def _alarm(self, opened: Opened, now: float) -> None:
        raise_alarm(self.configuration.alerts, self.configuration.fleet, opened, now)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def _keep(self, now: float) -> None:
        """Have the next snapshot made or restored, if the last has ended."""
        engine, keeper = self.engine, self._keeper
        if engine is None or keeper is None or self._job is not None or not self.lease.held or self._once:
            return
        doubtful = engine.fleet.with_followers(engine.firings.containers(Phase.MOVING, Phase.IN_DOUBT))
        job = self._keeping.job(engine.tenants.known(), doubtful.__contains__, engine.limits.pauses, now)
        if job is None:
            return
        self._job = job
        engine.limits.kept = frozenset({job.container} - {""})
        policy = self.configuration.destination

        def work() -> None:
            result = carry_out(keeper, job, policy)
            self._send(lambda: self._kept(engine, job, result))

        threading.Thread(target=work, name=f"{job.kind}-{job.container}", daemon=True).start()

    def _kept(self, engine: Engine, job: Job, result: Result) -> None:
        now = self._clock.now()
        self._job = None
        engine.limits.kept = frozenset()
        host = self._keeping.done(job, result, engine.tenants.known(), now)
        if host is not None:
            engine.fleet.arrived(job.container, host, now)
            self._ask_at = min(self._ask_at, now + LOOK_SECONDS)

    def _tell(self, fate: Fate, now: float) -> None:
        """Say what became of a container whose host was lost: in the log, in the ledger, in the metrics, and as an alert."""
        LOG.error("%s", fate.message, extra={"container": fate.container, "host": fate.host, "outcome": fate.outcome})
        self.metrics.fate(fate.outcome)
        line = {
            "id": new_id(now),
            "container": fate.container,
            "reason": "host-lost",
            "outcome": fate.outcome,
            "source": {"host": fate.host},
            "destination": {"host": fate.destination} if fate.destination else None,
            "snapshot": fate.snapshot,
            "snapshot_at": fate.at,
            "msg": fate.message,
        }
        told = {name: value for name, value in line.items() if value is not None}
        try:
            self._ledger.note(told, now)
        except OSError as error:
            LOG.error("the ledger could not be written: %s", error)
        event = {"event": "host-lost", "fleet": self.configuration.fleet, "host": fate.host, "at": iso(now)}
        event |= {"container": fate.container, "outcome": fate.outcome, "message": fate.message}
        tell(self.configuration.alerts, event)

    # -- now and then -------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        engine = self.engine
        if engine is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if (step := self._clock.correct()) != 0.0:
            LOG.warning("the time of day was set by %+.1f s; the clocks run on", step)
            engine.shift(step)
            self._look_at += step
            self._ask_at += step
        engine.pause(self.store.pauses())
        self._inquire(recover=bool(engine.firings.count(Phase.IN_DOUBT)))
        if now > self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            self.store.prune(now - self.configuration.store.keep_days * 86400)

    def _reread(self) -> None:
        try:
            fresh = config.load(self._file)
            launcher = self._launcher
            if fresh.launcher != self.configuration.launcher:
                launcher = launchers.make(fresh.launcher, self.configuration.inventory)
        except Refusal as refusal:
            LOG.error("the configuration is kept as it was: %s", refusal)
            return
        fixed = [name for name in FIXED if getattr(fresh, name) != getattr(self.configuration, name)]
        if fixed:
            LOG.warning("a restart is needed for what changed in: %s", ", ".join(fixed))
        self.configuration = fresh.model_copy(update={name: getattr(self.configuration, name) for name in FIXED})
        self._launcher = self._chores.launcher = launcher
        self._keeper = self._keeper or self._make_keeper(self.configuration)
        self._keeping.use(self.configuration)
        logs.setup(fresh.log.format, fresh.log.level)
        if self.engine is not None:
            self.engine.use(self.configuration)
            self.engine.reload(self._clock.now())
        LOG.info("the configuration was read again")

    def _give_back(self) -> None:
        """At the end: write what is left to write, and let another take the lease at once."""
        try:
            self._flush()
            if self.lease.held:
                self.lease.release()
        except SQLAlchemyError as error:
            LOG.error("the store is away at the end: %s", " ".join(str(error.args[0]).split()))
