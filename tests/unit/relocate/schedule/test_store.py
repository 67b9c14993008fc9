# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store and the lease on SQLite: what is written, what is fenced off, and who takes over when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from relocate.errors import Refusal
from relocate.schedule import lease as leases
from relocate.schedule import tables
from relocate.schedule.lease import Lease
from relocate.schedule.records import Firing, Pause, Tenant
from relocate.schedule.store import FencedError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path}/state/schedule.sqlite", "fleet")


class Watch:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease(store: Store, watch: Watch, holder: str) -> Lease:
    return Lease(store, 6.0, holder, watch, watch, dead=lambda _: False)


def firing(identifier: str, **changes: object) -> Firing:
    values: dict[str, object] = {
        "id": identifier,
        "container": "web",
        "source": "host1",
        "reason": "clock",
        "state": "launched",
        "alerted_at": 10.0,
    }
    return Firing(**(values | changes))  # type: ignore[arg-type]


def test_one_holds_and_the_other_waits_until_it_has_seen_no_sign_of_life(store: Store) -> None:
    watch = Watch()
    one, two = lease(store, watch, "one"), lease(store, watch, "two")
    assert one.attempt() and one.held and one.token == 1 and one.last_alive is None
    for _ in range(10):  # it lives: the other never gets it
        watch.now += 3
        assert one.attempt() and not two.attempt() and not two.held
    alive = watch.now
    watch.now += 5.9
    assert one.held and not two.attempt()
    watch.now += 0.2
    assert not one.held, "who holds stops before anybody else begins"
    assert two.attempt() and two.token == 2 and two.last_alive == alive
    assert not one.attempt() and not one.held


def test_a_lease_that_is_given_back_is_taken_at_once(store: Store) -> None:
    watch = Watch()
    one, two = lease(store, watch, "one"), lease(store, watch, "two")
    assert one.attempt()
    one.release()
    assert not one.held and two.attempt() and two.token == 2


def test_a_holder_of_this_machine_that_is_dead_is_not_waited_for(store: Store) -> None:
    script = (
        "import sys; from relocate.schedule.store import Store; from relocate.schedule.lease import Lease\n"
        "l = Lease(Store.open(sys.argv[1], 'fleet'), 600.0); assert l.attempt(); print(l.holder)"
    )
    url = str(store.engine.url)
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=True)
    holder = done.stdout.strip()
    assert holder.split()[1] != str(os.getpid()) and leases.surely_dead(holder)
    assert not leases.surely_dead(leases.this_process())
    assert not leases.surely_dead("elsewhere/abc 1 2")
    assert Lease(store, 600.0).attempt()


def test_each_fleet_has_a_lease_of_its_own(store: Store) -> None:
    other = Store(store.engine, "other")
    assert Lease(store, 6.0).attempt() and Lease(other, 6.0, "x").attempt()


def test_who_lost_the_lease_writes_no_firing(store: Store) -> None:
    watch = Watch()
    one, two = lease(store, watch, "one"), lease(store, watch, "two")
    assert one.attempt()
    store.record([firing("a", state="waiting")], one.token)
    two.attempt()
    watch.now += 7
    assert two.attempt()
    for attempt in (
        lambda: store.record([firing("b")], one.token),
        lambda: store.launch([firing("a", launched_at=11.0)], one.token),
    ):
        with pytest.raises(FencedError):
            attempt()
    assert [(each.id, each.state) for each in store.unfinished()] == [("a", "waiting")]
    store.launch([firing("a", launched_at=11.0)], two.token)
    assert [(each.id, each.state, each.token) for each in store.unfinished()] == [("a", "launched", 2)]


def test_an_end_is_written_once_and_moves_the_tenant(store: Store) -> None:
    assert Lease(store, 6.0).attempt()
    store.save_tenants([(Tenant("web", "host1", 1.0, {"a": "b"}), "{}", None)], (), 5.0)
    store.record([firing("a")], 1)
    store.end([firing("a", outcome="committed", destination="host2", ended_at=20.0, downtime_ms=80.0)])
    store.end([firing("a", outcome="failed", ended_at=30.0)])
    (kept,) = store.history()
    assert (kept.state, kept.outcome, kept.downtime_ms) == ("ended", "committed", 80.0)
    (tenant,) = store.tenants()
    assert (tenant["host"], tenant["since"], tenant["labels"]) == ("host2", 20.0, {"a": "b"})
    assert store.last_alerts() == {"web": (10.0, 20.0)}
    assert store.totals() == {"web": {"committed": 1}}
    assert store.unfinished() == []


def test_history_is_of_the_latest_and_pruned_from_the_oldest(store: Store) -> None:
    assert Lease(store, 6.0).attempt()
    store.record([firing(f"f{i}", alerted_at=float(i), container=f"c{i % 2}") for i in range(10)], 1)
    store.end([firing(f"f{i}", outcome="committed", ended_at=float(i)) for i in range(9)])
    assert [each.id for each in store.history(limit=3)] == ["f7", "f8", "f9"]
    assert [each.id for each in store.history(container="c1", since=4.0)] == ["f5", "f7", "f9"]
    assert store.prune(5.0) == 5
    assert [each.id for each in store.history()] == ["f5", "f6", "f7", "f8", "f9"]


def test_tenants_that_are_gone_are_removed(store: Store) -> None:
    rows = [(Tenant(f"c{i}", "host1", 1.0, {}), "{}", None) for i in range(1200)]
    store.save_tenants(rows, (), 5.0)
    store.save_tenants(rows[:1], [f"c{i}" for i in range(2, 1200)], 6.0)
    assert [each["container"] for each in store.tenants()] == ["c0", "c1"]


def test_pauses_are_set_once_and_taken_back(store: Store) -> None:
    drain = Pause("host", "host1", True, 1.0, "disk")
    assert store.set_pause(Pause("host", "host1", False, 1.0, None))
    assert not store.set_pause(Pause("host", "host1", False, 2.0, None))
    assert store.set_pause(drain) and store.pauses() == [drain]
    assert store.clear_pause("host", "host1") and not store.clear_pause("host", "host1")


def test_nothing_of_the_future_has_a_column() -> None:
    names = {column.name for table in tables.metadata.tables.values() for column in table.columns}
    assert not {name for name in names if "due" in name or "next" in name}


def test_the_file_is_private_and_durable(store: Store, tmp_path: Path) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "the store's URL cannot be used"),
        ("postgresql+nodriver://h/x", "the store's URL cannot be used"),
        ("postgresql+psycopg://relocate:secret@127.0.0.1:1/x?connect_timeout=2", "cannot be used"),
        ("sqlite:////proc/none/x.sqlite", "the store sqlite:////proc/none/x.sqlite cannot be made"),
    ],
)
def test_a_store_that_cannot_be_had_is_refused_in_a_sentence(url: str, said: str) -> None:
    with pytest.raises(Refusal) as refused:
        Store.open(url, "fleet")
    assert said in str(refused.value) and "secret" not in str(refused.value)


def test_a_store_of_another_version_is_refused(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.update(tables.version).values(number=99))
    with pytest.raises(Refusal, match="has version 99"):
        Store.open(str(store.engine.url), "fleet")


def test_the_store_is_private_wherever_it_is(tmp_path: Path) -> None:
    """A directory that others may enter keeps nothing from them."""
    tmp_path.chmod(0o755)
    mask = os.umask(0o022)
    try:
        store = Store.open(f"sqlite:///{tmp_path}/open.sqlite", "fleet")
        assert lease(store, Watch(), "x").attempt()
    finally:
        os.umask(mask)
    assert (tmp_path / "open.sqlite").exists()
    assert not any(path.stat().st_mode & 0o077 for path in tmp_path.glob("open.sqlite*"))
