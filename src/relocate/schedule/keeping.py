# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When snapshots are made, and what is done when a host is lost. Told the time by its caller; it starts no thread.

One thing is done at a time, and restores come first. That a host which does not answer is dead is not decided here: the restore
asks the edges and other hosts, and is refused if one of them hears it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from relocate.schedule.discovery import Survey
from relocate.schedule.launchers.base import LaunchError
from relocate.schedule.launchers.keeping import Keeper, NothingKept, StillAlive
from relocate.schedule.limits import Pauses
from relocate.schedule.metrics import Metrics
from relocate.schedule.records import Tenant
from relocate.schedule.settings import Configuration

LOG = logging.getLogger("relocate.schedule")
#: Within so many seconds after it is first seen, a tenant has its first snapshot.
FIRST_SECONDS = 60.0
#: Between two attempts of what failed.
FIRST_WAIT, LONGEST_WAIT = 30.0, 3600.0


@dataclass(frozen=True)
class Job:
    """One thing to be done now. ``host`` is where the container is, or was; ``dead`` are the hosts that do not answer."""

    kind: Literal["snapshot", "list", "restore"]
    container: str = ""
    host: str = ""
    dead: tuple[str, ...] = ()
    keep: int | None = None
    days: float | None = None


@dataclass(frozen=True)
class Result:
    """What came of a job: a document, or the sentence why nothing did.

    ``alive`` is a host that is not dead after all; ``nothing`` says that the hosts are dead and there is nothing to restore.
    """

    document: Mapping[str, Any]
    problem: str = ""
    alive: str = ""
    nothing: bool = False


@dataclass(frozen=True)
class Fate:
    """What became of a tenant whose host was lost: ``restored`` on ``destination``, or ``lost`` with its host."""

    container: str
    host: str
    outcome: Literal["restored", "lost"]
    message: str
    destination: str | None = None
    snapshot: str | None = None
    at: str | None = None


def carry_out(keeper: Keeper, job: Job, policy: dict[str, Any]) -> Result:
    """Do a job; blocks until it has ended."""
    try:
        if job.kind == "snapshot":
            return Result(keeper.snapshot(job.container, job.keep, job.days))
        if job.kind == "list":
            return Result(keeper.kept())
        return Result(keeper.restore(job.container, job.dead, policy))
    except StillAlive as alive:
        return Result({}, str(alive), alive.host)
    except NothingKept as nothing:
        return Result({}, str(nothing), nothing=True)
    except LaunchError as error:
        return Result({}, str(error))
    except Exception as error:  # the service must live on
        LOG.exception("the %s of %s failed", job.kind, job.container or "the store")
        return Result({}, f"{type(error).__name__}: {error}")


#: A host that is lost, and one of its containers; "" for the host itself. All that is known of it ends with the loss.
_About = tuple[str, str]
#: In place of a host that is lost: the store of snapshots.
_STORE: _About = ("", "")
#: What was said last of a container that has been given up.
_GONE = "gone"


class _Waits:
    """When what has failed may be tried again: later and later."""

    def __init__(self) -> None:
        self._waits: dict[_About, tuple[float, float]] = {}

    def over(self, about: _About, now: float) -> bool:
        return self._waits.get(about, (0.0, 0.0))[0] <= now

    def failed(self, about: _About, now: float) -> None:
        wait = min(2 * self._waits[about][1], LONGEST_WAIT) if about in self._waits else FIRST_WAIT
        self._waits[about] = (now + wait, wait)

    def forget(self, about: _About) -> None:
        self._waits.pop(about, None)

    def forget_host(self, host: str) -> None:
        self._waits = {about: wait for about, wait in self._waits.items() if about[0] != host}


class Keeping:
    """The state of one fleet's snapshots and losses. ``tell`` is called once for each tenant whose fate is known."""

    def __init__(self, configuration: Configuration, meter: Metrics, tell: Callable[[Fate, float], None]) -> None:
        self._meter = meter
        self._tell = tell
        self._due: dict[str, float] = {}
        self._silent: dict[str, float] = {}  # since when a host has not been reached
        self._lost: set[str] = set()  # hosts of which that was said
        self._dead: set[str] = set()  # those of them that nobody hears
        self._kept: dict[str, str] | None = None  # what the store has, asked when a host was lost
        self._waits = _Waits()
        self._said: dict[_About, str] = {}  # the last sentence: each is said once
        self.use(configuration)

    def use(self, configuration: Configuration) -> None:
        """Take another configuration."""
        self._configuration = configuration

    # -- what the surveys see -----------------------------------------------------------------------------------------

    def survey(self, seen: Survey, now: float) -> list[str]:
        """Take in a survey; return the hosts that have come back: what they bring may have been restored meanwhile."""
        for host in sorted(seen.unreachable):  # the sentences about several come in this order
            self._silent.setdefault(host, now)
        back = [host for host in self._silent if host in seen.answered]
        for host in [host for host in self._silent if host in seen.answered or host not in seen.silent]:
            del self._silent[host]  # it has come back, or was taken out of the inventory
            self._lost.discard(host)
            self._dead.discard(host)
            # another loss is another matter: by then there may be a snapshot of what was given up at this one
            self._said = {about: sentence for about, sentence in self._said.items() if about[0] != host}
            self._waits.forget_host(host)
        for host in back:
            LOG.warning("%s answers again", host, extra={"host": host})
        if not self._lost:
            self._kept = None
        self._meter.lost_hosts(len(self._lost))
        return back

    def look_after(self, now: float) -> float | None:
        """Return in how many seconds a host that does not answer is to be asked again; None if the usual time will do."""
        after = self._configuration.lost_hosts.after
        waiting = [since for host, since in self._silent.items() if host not in self._lost]
        if after is None or not waiting:
            return None
        return max(min(after / 3, min(waiting) + after - now), 1.0)

    def _find_lost(self, now: float) -> None:
        after = self._configuration.lost_hosts.after
        for host, since in self._silent.items():
            if after is not None and host not in self._lost and now - since >= after:
                self._lost.add(host)
                self._kept = None  # the store has more by now
                LOG.error("%s has not answered for %.0f s", host, now - since, extra={"host": host})
                self._meter.lost_hosts(len(self._lost))

    # -- what is to be done -------------------------------------------------------------------------------------------

    def job(self, tenants: Mapping[str, Tenant], busy: Callable[[str], bool], pauses: Pauses, now: float) -> Job | None:
        """Return what is to be done now, if anything.

        :param busy: says whether a container is being moved, or nobody knows how its last move ended.
        """
        self._find_lost(now)
        for name in [name for name in self._due if name not in tenants]:
            del self._due[name]
        return self._rescue(tenants, busy, pauses, now) or self._snapshot(tenants, busy, now)

    def _rescue(
        self, tenants: Mapping[str, Tenant], busy: Callable[[str], bool], pauses: Pauses, now: float
    ) -> Job | None:
        left = self._lost - pauses.hosts  # somebody works at a host that is paused
        if pauses.everything or not left:
            return None
        stranded = [each for each in tenants.values() if each.host in left and each.container not in pauses.containers]
        stranded = [each for each in stranded if not busy(each.container)]
        if stranded and self._kept is None:
            return Job("list") if self._waits.over(_STORE, now) else None
        kept = self._kept or {}
        for tenant in sorted(stranded, key=lambda each: (each.container not in kept, each.container)):
            name, host = tenant.container, tenant.host
            waited = all(self._waits.over(about, now) for about in ((host, ""), (host, name)))
            if name not in kept and host in self._dead:
                self._give_up(name, host, "it has no snapshot", now)
            elif waited and self._said.get((host, name)) != _GONE:
                return Job("restore", name, host, tuple(sorted(self._lost)))
        return None

    def _give_up(self, name: str, host: str, why: str, now: float) -> None:
        if self._said.get((host, name)) == _GONE:
            return
        self._said[host, name] = _GONE
        message = f"{name} is lost with {host} until that host is back: {why}"
        self._tell(Fate(name, host, "lost", message), now)

    def _snapshot(self, tenants: Mapping[str, Tenant], busy: Callable[[str], bool], now: float) -> Job | None:
        for name, tenant in tenants.items():
            wanted = self._configuration.snapshots_for(tenant.labels)
            if wanted.every is None:
                self._due.pop(name, None)
                continue
            due = self._due.setdefault(name, now + random.uniform(0.0, min(FIRST_SECONDS, wanted.every)))
            if due <= now and tenant.host not in self._silent and not busy(name):
                return Job("snapshot", name, tenant.host, keep=wanted.keep, days=wanted.days)
        return None

    # -- what came of it ----------------------------------------------------------------------------------------------

    def done(self, job: Job, result: Result, tenants: Mapping[str, Tenant], now: float) -> str | None:
        """Take in what came of a job; return the host that a container was restored on."""
        if job.kind == "snapshot":
            self._snapshot_done(job, result, tenants, now)
        elif job.kind == "list":
            self._listed(result, now)
        else:
            return self._restored(job, result, now)
        return None

    def _snapshot_done(self, job: Job, result: Result, tenants: Mapping[str, Tenant], now: float) -> None:
        name = job.container
        self._meter.snapshot("failed" if result.problem else "made")
        if result.problem:
            LOG.warning("there is no snapshot of %s: %s", name, result.problem, extra={"container": name})
        else:
            LOG.info("a snapshot of %s was made", name, extra={"container": name})
        tenant = tenants.get(name)
        every = self._configuration.snapshots_for(tenant.labels).every if tenant else None
        if every is not None:
            begun = self._due.get(name, now)
            self._due[name] = begun + every * max(1.0, (now - begun) // every + 1)

    def _listed(self, result: Result, now: float) -> None:
        if result.problem:
            self._waits.failed(_STORE, now)
            LOG.error("nobody is restored, the store of snapshots cannot be read: %s", result.problem)
            return
        self._waits.forget(_STORE)
        self._kept = dict(result.document)

    def _restored(self, job: Job, result: Result, now: float) -> str | None:
        name = job.container
        if result.nothing or not result.problem:
            self._dead.add(job.host)
            self._waits.forget((job.host, name))
        if result.nothing:
            self._give_up(name, job.host, result.problem, now)
            return None
        if not result.problem:
            self._said.pop((job.host, name), None)
            destination, at = str(result.document.get("host")), str(result.document.get("at"))
            message = f"{name}, lost with {job.host}, was restored on {destination} as it was at {at}"
            snapshot = str(result.document.get("snapshot"))
            self._tell(Fate(name, job.host, "restored", message, destination, snapshot, at), now)
            return destination
        about = (result.alive, "") if result.alive else (job.host, name)  # a host that lives has all of its tenants
        for each in {about, (job.host, name)}:
            self._waits.failed(each, now)
        if self._said.get(about) != result.problem:
            self._said[about] = result.problem
            LOG.error("%s is not restored: %s", name, result.problem, extra={"container": name, "host": job.host})
        return None
