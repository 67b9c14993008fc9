# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler's memory in a database: every alert before it is acted on, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from relocate.errors import Refusal
from relocate.schedule import tables
from relocate.schedule.records import Firing, Pause, Tenant

_FIRING = [each.name for each in fields(Firing)]
BUSY_SECONDS = 10.0


class FencedError(Exception):
    """Another scheduler holds the lease: nothing was written, and nothing may be fired."""


def _sentence(error: SQLAlchemyError, url: str) -> str:
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    return f"the store {make_url(url).render_as_string(hide_password=True)} cannot be used: {reason}"


class Store:
    """A fleet's rows. Safe for threads. Methods raise SQLAlchemyError when the database is away."""

    def __init__(self, engine: sa.Engine, fleet: str) -> None:
        self.engine = engine
        self.fleet = fleet

    @classmethod
    def open(cls, url: str, fleet: str) -> Store:
        """Connect, and make the tables where there are none. Raises Refusal with the reason."""
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
                path = Path(str(parsed.database))
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(
                    mode=0o600
                )  # SQLite gives its other files the mode of this one; an older store stays as it is
            engine = sa.create_engine(parsed, pool_pre_ping=True)
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine)
            tables.metadata.create_all(engine)
            with engine.begin() as connection:
                number = connection.scalar(sa.select(tables.version.c.number))
                if number is None:
                    connection.execute(sa.insert(tables.version).values(number=tables.VERSION))
        except (ArgumentError, NoSuchModuleError, ImportError):
            raise Refusal(
                "the store's URL cannot be used: give sqlite:///FILE, or postgresql://USER@HOST/NAME with the extra "
                "relocate[postgresql] installed",
                2,
            ) from None
        except SQLAlchemyError as error:
            raise Refusal(_sentence(error, url) + "; see store.url in the configuration") from None
        except OSError as error:
            raise Refusal(f"the store {url} cannot be made: {error.strerror} ({error.filename})") from None
        if number not in (None, tables.VERSION):
            raise Refusal(
                f"the store has version {number} and this program {tables.VERSION}: use a program of that version"
            )
        return cls(engine, fleet)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def writing(self, token: int | None = None) -> Iterator[sa.Connection]:
        """A transaction; with a ``token`` one in which no other scheduler can have taken the lease.

        Raises FencedError, with nothing written, when the lease has another token.
        """
        with self.engine.begin() as connection:
            if token is not None:
                rows = sa.select(tables.lease.c.token).where(tables.lease.c.fleet == self.fleet)
                if connection.scalar(rows.with_for_update(read=True)) != token:
                    raise FencedError
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that writes nothing."""
        with self.engine.connect().execution_options(relocate_reads=True) as connection, connection.begin():
            yield connection

    # -- firings ----------------------------------------------------------------------------------------------------

    def record(self, firings: Sequence[Firing], token: int) -> None:
        """Write alerts, in whatever state, in one transaction. Raises FencedError."""
        if not firings:
            return
        rows = [{**vars(firing), "fleet": self.fleet, "token": token} for firing in firings]
        with self.writing(token) as connection:
            connection.execute(sa.insert(tables.firing), rows)

    def launch(self, firings: Sequence[Firing], token: int) -> None:
        """Write that waiting firings are launched now. Raises FencedError."""
        if not firings:
            return
        change = (
            sa.update(tables.firing)
            .where(tables.firing.c.id == sa.bindparam("key"), tables.firing.c.state == "waiting")
            .values(
                state="launched",
                launched_at=sa.bindparam("moment"),
                source=sa.bindparam("place"),
                clamp=sa.bindparam("why"),
                token=token,
            )
        )
        rows = [{"key": e.id, "moment": e.launched_at, "place": e.source, "why": e.clamp} for e in firings]
        with self.writing(token) as connection:
            connection.execute(change, rows)

    def end(
        self,
        firings: Sequence[Firing],
        moved_by: Callable[[Firing], Iterable[str]] = lambda firing: (firing.container,),
    ) -> None:
        """Write how firings ended, and where the containers are now that were moved by them.

        A firing that has an end keeps it; no lease is needed to tell the truth.
        """
        if not firings:
            return
        known = ("ended_at", "destination", "outcome", "exposure_latency_ms", "downtime_ms", "msg", "clamp")
        change = (
            sa.update(tables.firing)
            .where(tables.firing.c.id == sa.bindparam("key"), tables.firing.c.state != "ended")
            .values(state="ended", **{name: sa.bindparam(f"new_{name}") for name in known})
        )
        rows = [{"key": each.id, **{f"new_{name}": getattr(each, name) for name in known}} for each in firings]
        moved = [each for each in firings if each.outcome == "committed" and each.destination]
        place = tables.tenant.c
        arrival = (
            sa.update(tables.tenant)
            .where(place.fleet == self.fleet, place.container == sa.bindparam("key"))
            .values(host=sa.bindparam("place"), since=sa.bindparam("moment"))
        )
        with self.writing() as connection:
            connection.execute(change, rows)
            if moved:
                arrivals = [
                    {"key": name, "place": each.destination, "moment": each.ended_at}
                    for each in moved
                    for name in moved_by(each)
                ]
                connection.execute(arrival, arrivals)

    def unfinished(self) -> list[Firing]:
        """Return the firings without an end, oldest first."""
        return self._firings(tables.firing.c.state != "ended")

    def history(
        self, *, limit: int | None = None, container: str | None = None, since: float | None = None
    ) -> list[Firing]:
        """Return the latest firings, oldest first."""
        conditions = []
        if container is not None:
            conditions.append(tables.firing.c.container == container)
        if since is not None:
            conditions.append(tables.firing.c.alerted_at >= since)
        return self._firings(*conditions, limit=limit)

    def _firings(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Firing]:
        columns = [tables.firing.c[name] for name in _FIRING]
        rows = (
            sa.select(*columns)
            .where(tables.firing.c.fleet == self.fleet, *conditions)
            .order_by(tables.firing.c.alerted_at.desc(), tables.firing.c.id.desc())
            .limit(limit)
        )
        with self.reading() as connection:
            return [Firing(**row._mapping) for row in reversed(connection.execute(rows).all())]

    def last_alerts(self) -> dict[str, tuple[float, float | None]]:
        """Return when each container's clock last ran out, and when the last of its moves ended (None: none has)."""
        table = tables.firing
        alerted = sa.func.max(table.c.alerted_at).label("alerted")
        rows = (
            sa.select(table.c.container, alerted, sa.func.max(table.c.ended_at).label("ended"))
            .where(table.c.fleet == self.fleet, table.c.reason == "clock")
            .group_by(table.c.container)
        )
        with self.reading() as connection:
            return {row.container: (row.alerted, row.ended) for row in connection.execute(rows)}

    def totals(self) -> dict[str, dict[str, int]]:
        """Return how often each outcome occurred, by container."""
        table = tables.firing
        rows = (
            sa.select(table.c.container, table.c.outcome, sa.func.count().label("number"))
            .where(table.c.fleet == self.fleet, table.c.outcome.is_not(None))
            .group_by(table.c.container, table.c.outcome)
        )
        found: dict[str, dict[str, int]] = {}
        with self.reading() as connection:
            for row in connection.execute(rows):
                found.setdefault(row.container, {})[row.outcome] = row.number
        return found

    def holder(self) -> tuple[str, float] | None:
        """Return who has the lease ("" if it was given back) and its last sign of life; None if nobody ever had it."""
        table = tables.lease
        with self.reading() as connection:
            columns = sa.select(table.c.holder, table.c.alive_at)
            row = connection.execute(columns.where(table.c.fleet == self.fleet)).first()
        return None if row is None else (row.holder, row.alive_at)

    def prune(self, before: float) -> int:
        """Forget the firings that ended before a moment; return how many."""
        condition = (tables.firing.c.fleet == self.fleet) & (tables.firing.c.ended_at < before)
        with self.writing() as connection:
            return connection.execute(sa.delete(tables.firing).where(condition)).rowcount

    # -- tenants ----------------------------------------------------------------------------------------------------

    def save_tenants(
        self, seen: Iterable[tuple[Tenant, str, str | None]], gone: Iterable[str] | None, at: float
    ) -> None:
        """Write tenants as they are now, each with its clock in words and what is wrong with it.

        ``gone`` are removed; None says that all are gone that were not ``seen``.
        """
        rows = [
            {
                "fleet": self.fleet,
                "container": tenant.container,
                "host": tenant.host,
                "since": tenant.since,
                "seen_at": at,
                "labels": json.dumps(tenant.labels),
                "clock": clock,
                "problem": problem,
            }
            for tenant, clock, problem in seen
        ]
        names = [row["container"] for row in rows] + list(gone) if gone is not None else []
        table = tables.tenant
        with self.writing() as connection:
            if gone is None:
                connection.execute(sa.delete(table).where(table.c.fleet == self.fleet))
            for start in range(0, len(names), 500):
                some = table.c.container.in_(names[start : start + 500])
                connection.execute(sa.delete(table).where(table.c.fleet == self.fleet, some))
            if rows:
                connection.execute(sa.insert(table), rows)

    def tenants(self) -> list[dict[str, Any]]:
        """Return the tenants as last seen: container, host, since, seen_at, labels, clock, problem."""
        table = tables.tenant
        rows = sa.select(table).where(table.c.fleet == self.fleet).order_by(table.c.container)
        with self.reading() as connection:
            found = [dict(row._mapping) for row in connection.execute(rows)]
        return [{**row, "labels": json.loads(row["labels"])} for row in found]

    # -- pauses -----------------------------------------------------------------------------------------------------

    def pauses(self) -> list[Pause]:
        """Return what is paused."""
        table = tables.pause
        columns = [table.c[name] for name in ("scope", "name", "drain", "since", "why")]
        rows = sa.select(*columns).where(table.c.fleet == self.fleet).order_by(table.c.scope, table.c.name)
        with self.reading() as connection:
            return [Pause(*row) for row in connection.execute(rows)]

    def set_pause(self, wanted: Pause) -> bool:
        """Pause something; return whether that changed anything."""
        with self.writing() as connection:
            table = tables.pause
            here = self._pause_condition(wanted.scope, wanted.name)
            known = connection.execute(sa.select(table.c.drain).where(here)).first()
            if known is not None and known.drain == wanted.drain:
                return False
            connection.execute(sa.delete(table).where(here))
            connection.execute(sa.insert(table).values(fleet=self.fleet, **asdict(wanted)))
            return True

    def clear_pause(self, scope: str, name: str) -> bool:
        """Resume something; return whether it was paused."""
        with self.writing() as connection:
            condition = self._pause_condition(scope, name)
            return connection.execute(sa.delete(tables.pause).where(condition)).rowcount > 0

    def _pause_condition(self, scope: str, name: str) -> sa.ColumnElement[bool]:
        table = tables.pause
        return sa.and_(table.c.fleet == self.fleet, table.c.scope == scope, table.c.name == name)


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Write-ahead logging, full durability, and transactions that take the write lock when they begin.

    Source: SQLAlchemy's documentation of pysqlite, "Serializable isolation": the driver's own BEGIN comes too late.
    """

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", "journal_mode=WAL", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("relocate_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
