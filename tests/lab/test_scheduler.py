# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler on real hosts: clocks that run out, a crash amid a move, a standby, an operator who pauses it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from direct import Direct, Heart
from fleet import BIN, NO_LIMIT, ROOT, VIRTUAL, Fleet
from waiting import until

from relocate.demo.watching import Client

pytestmark = pytest.mark.lab

#: With six times as much to do as there are cores, a lost host's tenant is back after 180 s; nobody waits for the rest.
PATIENCE = 480.0
CONFIG = """\
store: {{url: "{url}"}}
inventory: inventories/lab
clock: {{kind: truncated-poisson, rate: 0.2, ceiling: 12}}
limits: {{in_flight: 2, in_flight_per_host: 2}}
variables: {variables}
discovery: {{every: 10}}
lease: {{ttl: 3, beat: 0.5}}
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Return the URL of a database server of our own: the distribution's, on a unix socket in a directory of its own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
        subprocess.run([*install, "postgresql"], check=True)
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    directory = Path(tempfile.mkdtemp(prefix="relocate-pg-"))
    shutil.chown(directory, "postgres")
    directory.chmod(0o755)

    def run(program: str, *arguments: str) -> None:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        command += [str(programs[-1].with_name(program)), *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    data = str(directory / "data")
    run("initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {directory} -c listen_addresses=''"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(directory / "log"), "-w", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={directory}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory)


class Running:
    """``relocate schedule`` as a process, with its log. It ends with the test's own process, however that ends."""

    metric: Callable[[str], float]  #: where its configuration has metrics

    def __init__(self, config: Path, log: Path) -> None:
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(BIN / "relocate"), "schedule", "--config", str(config)],
                cwd=ROOT,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "RELOCATE_LEDGER": str(config.with_name("ledger.jsonl"))},
            )

    def said(self, words: str) -> bool:
        return words in self.log.read_text()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for what comes while it runs."""
        until(condition, what, seconds=PATIENCE, vain=self._end, words=self.log.read_text)

    def _end(self) -> str:
        return "" if self.process.poll() is None else f"the scheduler has ended with {self.process.returncode}"

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def schedulers() -> Iterator[list[Running]]:
    """Collect the schedulers that a test starts; none outlives it."""
    started: list[Running] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def configured(directory: Path, url: str) -> Path:
    file = directory / "schedule.yml"
    file.write_text(CONFIG.format(url=url, variables=json.dumps({"relocate_downtime_limit_ms": float(NO_LIMIT)})))
    return file


def document(fleet: Fleet, command: str, config: Path, *options: str) -> Any:
    return json.loads(fleet.run("relocate", command, "--config", str(config), "--json", *options).stdout)


def ended(fleet: Fleet, config: Path, identifier: str) -> bool:
    history = document(fleet, "history", config, "--limit", "1000")
    return any(firing["id"] == identifier and firing["state"] == "ended" for firing in history)


def test_a_standby_finishes_what_a_killed_scheduler_began(
    fleet: Fleet, tmp_path: Path, postgresql: str, schedulers: list[Running]
) -> None:
    """With PostgreSQL as the store, and clients that must not notice."""
    names = ("walker", "runner")
    for number, name in enumerate(names, start=1):
        fleet.tenant(name, "counter", f"host{number}", f"710{number} 8", 7100 + number)
    config = configured(tmp_path, postgresql)
    clients = [Client("counter", VIRTUAL, 7100 + n, fleet.client_namespace).start() for n in (1, 2)]
    try:
        first = Running(config, tmp_path / "first.log")
        schedulers.append(first)
        first.until(lambda: first.said("is to leave"), "the first move")
        second = Running(config, tmp_path / "second.log")
        schedulers.append(second)
        second.until(lambda: second.said("stands by"), "the standby")
        first.until(lambda: first.said("committed") and first.said("is to leave"), "a hop")
        first.process.kill()
        second.until(lambda: second.said("this scheduler has the lease"), "the take-over")
        begun = [firing["id"] for firing in document(fleet, "history", config) if firing["state"] == "launched"]
        second.until(lambda: second.log.read_text().count("committed") >= 2, "hops after it")
        second.until(lambda: all(ended(fleet, config, each) for each in begun), "the end of what the first began")
        assert second.end() == 0, second.log.read_text()
    finally:
        summaries = [client.stop() for client in clients]
    assert [summary["error"] for summary in summaries] == [None, None]

    history = document(fleet, "history", config, "--limit", "1000")
    launched = [firing for firing in history if firing["launched_at"]]
    assert not [firing for firing in history if firing["state"] == "launched"], "every move has an end"
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(firing["id"] for firing in launched), "once each"
    hops = [line for line in lines if line["outcome"] == "committed" and "timings_ns" in line]
    assert hops and all(line["exposure_latency_ms"] > 0 and line["stay_ms"] > 0 for line in hops)
    places = {tenant["container"]: [tenant["host"]] for tenant in document(fleet, "status", config)["tenants"]}
    assert places == {name: fleet.where(name) for name in names}, "one copy of each, where the record says"
    shown = fleet.run("relocate", "history", "--config", str(config), "--audit", check=False)
    assert "truncated-poisson clock (rate 0.2, ceiling 12)" in shown.stdout and not shown.stderr


def test_a_running_scheduler_settles_what_nobody_works_on(
    fleet: Fleet, tmp_path: Path, schedulers: list[Running]
) -> None:
    """Frozen, with no process left; or down, because its host was started anew when its restart policy was put aside."""
    fleet.tenant("walker", "counter", "host1", "7101 8", 7101)
    direct, heart = Direct.of(fleet, "walker", "host1", "host2"), Heart(fleet, 7101)
    config = configured(tmp_path, f"sqlite:///{tmp_path}/schedule.sqlite")
    config.write_text(config.read_text().replace("truncated-poisson, rate: 0.2, ceiling: 12", "static"))
    running = Running(config, tmp_path / "schedule.log")
    schedulers.append(running)
    policy = "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' walker"
    fleet.on("host1", "docker update --restart always walker")
    try:
        running.until(lambda: running.said("have a clock"), "the clocks")
        direct.order("host1", part="source", state="freezing", moment="after", do="kill-guardian")
        direct.move("host1", "host2")
        running.until(lambda: direct.running() == ["host1"], "the thaw")
        heart.assert_beats()
        running.until(lambda: not direct.leftovers(), "the end")
    finally:
        heart.end()

    running.process.send_signal(signal.SIGSTOP)  # else it may have settled it before all is as it should be
    try:
        direct.order("host1", part="source", state="staged", moment="after", do="kill-guardian")
        direct.move("host1", "host2")
        assert fleet.on("host1", policy) == "no"
        fleet.on("host1", "service docker restart")
        fleet.await_on("host1", "docker version", "dockerd")
        assert direct.running() == [], (
            "Docker has started it, or it has outlived its daemon: nothing is to be shown here"
        )
    finally:
        running.process.send_signal(signal.SIGCONT)
    running.until(lambda: direct.running() == ["host1"] and fleet.on("host1", policy) == "always", "its start")
    running.until(lambda: running.log.read_text().count("recovery settled relocation") >= 2, "its report")
    assert running.end() == 0


def test_an_operator_pauses_cordons_and_moves_by_hand(fleet: Fleet, tmp_path: Path) -> None:
    config = configured(tmp_path, f"sqlite:///{tmp_path}/schedule.sqlite")
    environment = {"RELOCATE_LEDGER": str(tmp_path / "ledger.jsonl")}

    def relocate(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return fleet.run("relocate", *arguments, "--config", str(config), check=check, **environment)

    early = relocate("pause", "--why", "a test", check=False)
    assert early.returncode == 1 and "no scheduler has run with this configuration yet" in early.stderr
    relocate("schedule", "--once", check=False)  # there is nothing to move
    fleet.tenant("walker", "counter", "host1", "7100 8", 7100)
    assert "everything is now paused" in relocate("pause", "--why", "a test").stdout
    assert relocate("schedule", "--once", check=False).returncode == 1
    assert fleet.where("walker") == ["host1"]
    assert "everything goes on" in relocate("resume").stdout

    assert "host host2 is now paused" in relocate("pause", "--host", "host2").stdout
    fleet.on("host2", "test -e /var/lib/relocate/cordoned")
    (hop,) = json.loads(relocate("schedule", "--once", "--json").stdout)
    assert (hop["outcome"], hop["source"], hop["destination"]) == ("committed", "host1", "host3")
    assert fleet.where("walker") == ["host3"]
    assert "host host2 goes on" in relocate("resume", "--host", "host2").stdout
    fleet.on("host2", "! test -e /var/lib/relocate/cordoned")
    refused = relocate("pause", "--host", "nowhere", check=False)
    assert refused.returncode == 1 and "there is no Docker host 'nowhere' in the inventory" in refused.stderr
