# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the configuration says, section by section. Times are in seconds, rates per second, entropies in bits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong, quoted
from ansible_collections.relocate.mtd.plugins.module_utils._modes import ASKABLE
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import Clock, ClockError, make_clock
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement import policy
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.variables import INVENTORY
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from relocate.reading import shown
from relocate.schedule.calendar import Blackout, Calendar, Window
from relocate.schedule.launchers.settings import LauncherSettings, RunnerSettings
from relocate.state import state_directory

#: What a fleet's clock is when nothing is said: four hops an hour on average, and never more than an hour at one place.
DEFAULT_CLOCK: dict[str, Any] = {"kind": "truncated-poisson", "rate": 1 / 900, "ceiling": 3600.0}


#: Shorter mean stays are refused: no relocation is as quick, and the scheduler would do nothing but draw.
SHORTEST_MEAN = 0.05
MONTH = 31 * 86400.0


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return clock settings of one level over those of the level above: naming a kind begins anew."""
    return dict(over) if "kind" in over else {**base, **over}


def clock_of(settings: Mapping[str, Any]) -> Clock:
    """Return the clock. Raises ClockError, also for one whose stays are all 0: it would fire without end."""
    clock = make_clock(settings)
    if clock.mean == 0:
        raise ClockError("clock.threshold makes every stay 0, so the container would never stop moving: raise it.")
    if clock.mean < SHORTEST_MEAN:
        raise ClockError(
            f"clock.kind is {clock.kind}, and its stays are {clock.mean:g} s in the mean: no move is that quick, and "
            f"{SHORTEST_MEAN:g} s are the limit; make it slower."
        )
    return clock


class Section(BaseModel):
    """What all sections have in common: no unknown key, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Section):
    """Where the state is kept."""

    url: str = Field("", description="SQLAlchemy's URL; SQLite in the state directory if empty")
    keep_days: float = Field(400, gt=0, le=36500, description="days after which a firing is forgotten by the store")

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        kind = url.partition(":")[0]
        if url and kind not in ("sqlite", "postgresql", "postgresql+psycopg"):
            raise ValueError(f"the store {shown(kind)} is unknown: use sqlite:///FILE or postgresql://…")
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        try:
            usable = not url or (make_url(url).database or "") not in ("", ":memory:")
        except (ArgumentError, ValueError):
            usable = False
        if not usable:
            raise ValueError(f"url names no store of {kind}: give sqlite:///FILE or postgresql://USER@HOST/NAME")
        return url

    @property
    def address(self) -> str:
        """The URL, the default filled in."""
        return self.url or f"sqlite:///{state_directory() / 'schedule.sqlite'}"


class SnapshotSettings(Section):
    """How often a container's snapshot is made, and how many are kept; the inventory's where nothing is said."""

    every: float | None = Field(None, ge=10, le=MONTH, description="no snapshots without it")
    keep: int | None = Field(None, ge=1, le=100_000)
    days: float | None = Field(None, gt=0, lt=36500)


class LostHosts(Section):
    """What is done for the containers of a host that does not answer."""

    after: float | None = Field(None, ge=10, le=MONTH, description="nothing is restored by itself without it")


class Group(Section):
    """What differs for the containers of a group."""

    clock: dict[str, Any] = Field(default_factory=dict)
    snapshots: SnapshotSettings | None = Field(None, description="in place of the fleet's")


class Labels(Section):
    """Which labels of containers count."""

    clock: bool = Field(
        True, description="honour relocate.mtd/clock-KEY; switch off where tenants write their own labels"
    )
    group: str = Field("relocate.mtd/tenant", description="the label whose value names the group")


class BackOff(Section):
    """After a failed move, a container is left alone: the first time this long, then twice as long, and so on."""

    first: float = Field(30.0, ge=0, le=MONTH)
    most: float = Field(3600.0, ge=0, le=MONTH)


class Breaker(Section):
    """After so many failures in a row on one host, none of its containers is moved for a while; then one is tried."""

    failures: int = Field(3, ge=1, le=1_000_000)
    cool_down: float = Field(300.0, gt=0, le=MONTH)
    most: float = Field(3600.0, gt=0, le=MONTH)


class LimitSettings(Section):
    """What the clocks may not exceed."""

    in_flight: int = Field(2, ge=1, le=1000)
    in_flight_per_host: int = Field(1, ge=1, le=1000)
    in_flight_per_edge: int = Field(2, ge=1, le=1000)
    hops_per_hour: float | None = Field(None, ge=1e-6, le=1e6, description="of one container")
    min_stay: float = Field(0.0, ge=0, le=MONTH)
    overlap: Literal["skip", "queue", "coalesce"] = "coalesce"
    timezone: str = "UTC"
    windows: list[Window] = Field(default_factory=list)
    blackouts: list[Blackout] = Field(default_factory=list)
    backoff: BackOff = BackOff()
    breaker: Breaker = Breaker()

    @model_validator(mode="after")
    def _calendar_is_possible(self) -> LimitSettings:
        self.calendar()
        return self

    def calendar(self) -> Calendar:
        """Return when moves may be made."""
        return Calendar(self.timezone, self.windows, self.blackouts)


class Lease(Section):
    """One scheduler at a time: how often it says that it lives, and when another takes over."""

    ttl: float = Field(4.0, ge=1.0, le=600)
    beat: float = Field(1.0, ge=0.05)

    @model_validator(mode="after")
    def _beats_in_time(self) -> Lease:
        if self.beat * 2 > self.ttl:
            raise ValueError(f"beat is {self.beat:g} and ttl {self.ttl:g}: one missed beat would end the lease")
        return self


class Metrics(Section):
    """Where Prometheus reads."""

    listen: str | None = Field(None, description="HOST:PORT; none without it")

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, listen: str | None) -> str | None:
        host, _, port = (listen or "x:1").rpartition(":")
        named = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]", host)
        if listen == "" or not named or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise ValueError(f"listen is {shown(listen)}: give HOST:PORT, such as 127.0.0.1:9469 or [::1]:9469")
        return listen


class Log(Section):
    """How the log is written."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Alerts(Section):
    """Whom to tell when a host's breaker opens."""

    webhook: str | None = Field(None, pattern=r"^https?://", description="gets the alert as a JSON document by POST")
    command: list[str] = Field(default_factory=list, description="gets the same document on its standard input")
    timeout: float = Field(10.0, ge=0.1, le=600)


class Discovery(Section):
    """How often the hosts are asked which tenants they have."""

    every: float = Field(60.0, ge=0.5, le=86400)


class Configuration(Section):
    """The whole file."""

    fleet: str = Field("default", pattern=r"^[\w.-]{1,64}$", description="the lease's name: one scheduler for each")
    inventory: str | None = None
    store: StoreSettings = StoreSettings()
    clock: dict[str, Any] = Field(default_factory=lambda: dict(DEFAULT_CLOCK))
    groups: dict[str, Group] = Field(default_factory=dict)
    labels: Labels = Labels()
    destination: dict[str, Any] = Field(default_factory=dict)
    mode: str = "auto"
    strategy: Literal["auto", "live", "recreate"] | None = Field(
        None, description="auto: what a container's label says, else live; the inventory's without it"
    )
    prefer: Literal["safety", "pause"] | None = Field(
        None, description="what mode auto looks at first; the inventory's without it"
    )
    variables: dict[str, Any] = Field(default_factory=dict, description="further variables for relocate.yml")
    limits: LimitSettings = LimitSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    lost_hosts: LostHosts = LostHosts()
    discovery: Discovery = Discovery()
    launcher: LauncherSettings = RunnerSettings()
    lease: Lease = Lease()
    alerts: Alerts = Alerts()
    metrics: Metrics = Metrics()
    log: Log = Log()
    _clocks: dict[str, Clock] = PrivateAttr(default_factory=dict)
    stop_timeout: float = Field(300.0, ge=0, le=86400, description="how long SIGTERM waits for what is in flight")

    @field_validator("clock")
    @classmethod
    def _fleet_clock(cls, clock: dict[str, Any]) -> dict[str, Any]:
        # Like a group over the fleet, a file's clock refines the default one until it names a kind.
        complete = merged(DEFAULT_CLOCK, clock)
        clock_of(complete)
        return complete

    @field_validator("destination")
    @classmethod
    def _destination(cls, destination: dict[str, Any]) -> dict[str, Any]:
        policy.Settings.from_mapping(destination)
        return destination

    @field_validator("mode")
    @classmethod
    def _mode(cls, mode: str) -> str:
        if mode not in ASKABLE:
            raise ValueError(f"mode is {shown(mode)}: it must be one of {', '.join(ASKABLE)}")
        return mode

    @field_validator("variables")
    @classmethod
    def _variables(cls, variables: dict[str, Any]) -> dict[str, Any]:
        for key in variables:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise ValueError(f"{shown(key)} is no name of an Ansible variable: use letters, digits and underscores")
        for key, form in INVENTORY.items():
            try:
                if key in variables:
                    form(variables[key])
            except Wrong as wrong:
                raise ValueError(f"{key} is {quoted(variables[key])}: it {wrong}") from None
        return variables

    @model_validator(mode="after")
    def _group_clocks(self) -> Configuration:
        for name, group in self.groups.items():
            try:
                clock_of(merged(self.clock, group.clock))
            except ClockError as error:
                raise ValueError(f"groups.{name}: {error}") from None
        return self

    @model_validator(mode="after")
    def _snapshots_are_made_here(self) -> Configuration:
        if self.keeps_snapshots and self.launcher.kind != "runner":
            raise ValueError(
                f"launcher.kind is {self.launcher.kind}, but snapshots are made and restored where their store is: use the "
                "runner, or leave snapshots and lost_hosts out"
            )
        return self

    @property
    def keeps_snapshots(self) -> bool:
        """Whether snapshots are to be made, or restored."""
        every = [self.snapshots.every, *(each.snapshots.every for each in self.groups.values() if each.snapshots)]
        return self.lost_hosts.after is not None or any(each is not None for each in every)

    def snapshots_for(self, labels: Mapping[str, str]) -> SnapshotSettings:
        """Return how snapshots of a container with these labels are made."""
        group = self.groups.get(labels.get(self.labels.group, ""))
        return group.snapshots if group is not None and group.snapshots is not None else self.snapshots

    def clock_for(self, labels: Mapping[str, str]) -> tuple[Clock, str | None]:
        """Return the clock of a container with these labels, and what is wrong with the labels (None: nothing).

        The label's settings stand over the group's, those over the fleet's. Labels that make no clock are passed over: they are
        written by whoever starts containers, and must not stop the service.
        """
        name = labels.get(self.labels.group, "")
        name = name if name in self.groups else ""
        settings = merged(self.clock, self.groups[name].clock) if name else self.clock
        if name not in self._clocks:  # a fleet has many containers and few clocks
            self._clocks[name] = clock_of(settings)
        wanted = _from_labels(labels) if self.labels.clock else {}
        if not wanted:
            return self._clocks[name], None
        try:
            return clock_of(merged(settings, wanted)), None
        except ClockError as error:
            return self._clocks[name], f"its labels are passed over: {error}"


def _from_labels(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the clock settings in ``relocate.mtd/clock-KEY`` labels; what is no number stays text, for the clock to refuse."""
    found: dict[str, Any] = {}
    prefix = "relocate.mtd/clock-"
    for label, text in labels.items():
        if not label.startswith(prefix):
            continue
        key = label.removeprefix(prefix)
        try:
            found[key] = text if key == "kind" else float(text)
        except ValueError:
            found[key] = text
    return found
