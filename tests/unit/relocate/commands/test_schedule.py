# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on a store in a directory: what they print, and how they refuse. And the alarm."""

from __future__ import annotations

import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from ansible_collections.relocate.mtd.plugins.plugin_utils._clocks.clocks import make_clock
from typer.testing import CliRunner

from relocate import cli
from relocate.errors import Refusal
from relocate.schedule import alarm, dryrun, tables, views
from relocate.schedule.config import parse
from relocate.schedule.lease import Lease
from relocate.schedule.limits import Opened
from relocate.schedule.records import Firing, Tenant
from relocate.schedule.settings import Alerts
from relocate.schedule.store import Store
from relocate.schedule.tenants import clock_json

CLOCK = make_clock({"kind": "poisson", "rate": 0.1})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "schedule.yml"
    file.write_text(f'store: {{url: "sqlite:///{tmp_path}/schedule.sqlite"}}\nclock: {{kind: poisson, rate: 0.1}}\n')
    return file


@pytest.fixture
def store(config: Path) -> Store:
    """A store with a past of one container: sixty honest stays."""
    store = Store.open(parse(config.read_text()).store.address, "default")
    assert Lease(store, 6.0).attempt()
    words = clock_json(CLOCK)
    store.save_tenants([(Tenant("web", "host2", time.time() - 90, {}), words, "its labels are odd")], (), time.time())
    now = time.time() - 100_000
    firings = []
    for number, stay in enumerate(CLOCK.stays(np.random.default_rng(3), 60)):
        now += stay
        ms = round(stay * 1000, 3)
        firings.append(Firing(f"f{number:02}", "web", "host1", "clock", "launched", now, ms, ms, clock=words))
    store.record(firings, 1)
    for firing in firings:
        firing.outcome, firing.destination, firing.ended_at = "committed", "host2", firing.alerted_at + 2
        firing.downtime_ms, firing.exposure_latency_ms = 81.2, 1500.0
    store.end(firings)
    return store


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.build(), [str(each) for each in arguments])


def test_status_shows_what_is_and_not_what_comes(store: Store, config: Path) -> None:
    document = json.loads(run("status", "--config", str(config), "--json").stdout)
    (tenant,) = document["tenants"]
    assert (tenant["container"], tenant["host"], tenant["state"], tenant["hops"]) == ("web", "host2", "staying", 60)
    assert tenant["last_outcome"] == "committed"
    shown = run("status", "--config", str(config)).stdout
    assert "web" in shown and "poisson, mean 10.0 s" in shown and "its labels are odd" in shown
    assert not {key for key in [*document, *tenant] if "due" in key or "next" in key}


def test_history_and_audit(store: Store, config: Path) -> None:
    found = json.loads(run("history", "--config", str(config), "--json", "-n", "3").stdout)
    assert [firing["id"] for firing in found] == ["f57", "f58", "f59"]
    assert found[0]["alerted_at"].endswith("+00:00")
    assert "1.50 s" in run("history", "--config", str(config)).stdout
    audit = run("history", "--config", str(config), "--audit")
    assert audit.exit_code == 0 and audit.stdout.startswith("PASS: 60 stays of 1 container")
    (document,) = json.loads(run("history", "--config", str(config), "--audit", "--json").stdout)
    assert document["verdict"] == "pass"


def test_an_audit_of_a_dishonest_record_fails(store: Store, config: Path) -> None:
    words = clock_json(CLOCK)
    base = time.time() - 50_000
    rows = [
        Firing(f"p{n}", "db", "h", "clock", "ended", base + 10 * n, 10_000.0, 10_000.0, clock=words) for n in range(60)
    ]
    store.record(rows, 1)
    done = run("history", "--config", str(config), "--audit", "--container", "db")
    assert done.exit_code == 1 and done.stdout.startswith("FAIL")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["status"], 1, "no scheduler has run with this configuration yet"),
        (["history", "--audit"], 1, "no scheduler has run with this configuration yet"),
        (["schedule", "--seed", "3"], 2, "--seed is for --dry-run alone"),
        (["schedule", "--once", "--dry-run"], 2, "exclude one another"),
        (["pause", "--host", "a", "--container", "b"], 2, "exclude each other"),
        (["pause", "--drain"], 2, "--drain needs --host"),
    ],
)
def test_refusals(config: Path, arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments, "--config", str(config))
    assert isinstance(done.exception, Refusal) and done.exception.status == status
    assert said in str(done.exception)


def test_a_pause_that_no_scheduler_would_keep_to_is_refused(config: Path, tmp_path: Path) -> None:
    done = run("pause", "--config", str(config))
    assert isinstance(done.exception, Refusal) and "no scheduler has run with this configuration" in str(done.exception)
    assert not (tmp_path / "schedule.sqlite").exists()
    Store.open(parse(config.read_text()).store.address, "default").close()  # a store that no scheduler has used
    done = run("pause", "--config", str(config))
    assert isinstance(done.exception, Refusal) and "there is nothing to pause" in str(done.exception)


def test_a_pause_says_that_no_scheduler_runs(store: Store, config: Path) -> None:
    with store.writing() as connection:
        connection.execute(sa.update(tables.lease).values(alive_at=time.time() - 60))
    shown = run("pause", "--config", str(config)).stdout
    assert "everything is now paused; no scheduler runs at the moment" in shown


def test_pause_and_resume(store: Store, config: Path) -> None:
    assert "container web is now paused" in run("pause", "--container", "web", "--config", str(config)).stdout
    assert "was already paused" in run("pause", "--container", "web", "--config", str(config)).stdout
    assert "everything is now paused" in run("pause", "--why", "a fire", "--config", str(config)).stdout
    assert "a fire" in run("status", "--config", str(config)).stdout
    assert "everything goes on" in run("resume", "--config", str(config)).stdout
    assert "everything was not paused" in run("resume", "--config", str(config)).stdout


def test_check_reads_the_configuration_and_leaves(config: Path) -> None:
    assert "nothing is wrong with it" in run("schedule", "--check", "--config", str(config)).stdout


def test_a_dry_run_is_marked_and_repeatable() -> None:
    tenants = [Tenant("web", "host1", 0.0, {}), Tenant("db", "host2", 0.0, {"relocate.mtd/clock-rate": "x"})]
    configuration = parse("clock: {kind: poisson, rate: 0.1}\n")
    one, same, other = (dryrun.drawn(configuration, tenants, seed, 10, 1000.0) for seed in (4, 4, 5))
    assert "NOT the moments" in one["warning"] and "test seed 4" in one["warning"]
    assert one == same and one["alerts"] != other["alerts"] and len(one["alerts"]) == 10
    assert [each["problem"] is None for each in one["tenants"]] == [False, True]
    assert dryrun.drawn(parse("clock: {kind: static}\n"), tenants, 1, 5, 0.0)["alerts"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (4.25, "4.2 s"), (200, "3 min 20 s"), (3600 * 5 + 720, "5 h 12 min"), (86400 * 3 + 14400, "3 d 4 h")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert views.duration(seconds) == words


def test_the_alarm_reaches_a_webhook_and_a_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    got: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        kept = tmp_path / "kept.json"
        settings = Alerts(webhook=f"http://127.0.0.1:{server.server_port}/", command=["tee", str(kept)])
        for thread in alarm.raise_alarm(settings, "fleet", Opened("host1", 3, 300.0), 0.0):
            thread.join()
        server.shutdown()
    assert got == [json.loads(kept.read_text())] and got[0]["host"] == "host1"
    assert "3 relocations in a row failed on host1" in got[0]["message"]


def test_an_alarm_that_cannot_be_told_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    settings = Alerts(webhook="http://127.0.0.1:9/", command=["/nonexistent/program"], timeout=2.0)
    for thread in alarm.raise_alarm(settings, "fleet", Opened("host1", 3, 300.0), 0.0):
        thread.join()
