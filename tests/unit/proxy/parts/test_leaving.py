# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a new container is healthy, what is said when it is not, and how the old one and the new one are told what to do."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from relocate_proxy.host import paths
from relocate_proxy.parts import base, endings, leaving, restarted, source
from relocate_proxy.parts.leaving import Unhealthy, await_health
from relocate_proxy.parts.recreated_destination import RecreatedDestination
from relocate_proxy.parts.recreated_source import RecreatedSource
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State

from ..fakes import ScriptedListener, note_records
from .test_docker_parts import Edge, bundle

RUNS: dict[str, Any] = {"Running": True, "Status": "running", "ExitCode": 0}


def inspected(*ports: int, state: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    """Return what Docker says of a container on this machine that publishes these ports."""
    bound = {f"{port}/tcp": [{"HostPort": "1"}] for port in ports}
    return {
        "Name": "/web",
        "State": {**RUNS, **(state or {})},
        "Config": config,
        "HostConfig": {"RestartPolicy": {"Name": "always"}},
        "NetworkSettings": {"Ports": {**bound, "9/tcp": None, "53/udp": [{}]}, "Networks": {"b": {"IPAddress": "127.0.0.1"}}},
    }  # fmt: skip


class Docker:
    """An engine that shows one container, look by look; the last one stays. What it is asked for is noted."""

    def __init__(self, *looks: dict[str, Any] | None) -> None:
        self.looks, self.did = list(looks), list[str]()
        self.changes: list[list[str]] = []

    def container(self, _: str) -> dict[str, Any] | None:
        """Show it."""
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def start(self, name: str) -> None:
        """Start it."""
        self.did.append(f"start {name}")

    def remove(self, name: str) -> None:
        """Remove it."""
        self.did.append(f"remove {name}")

    def parts(self) -> set[str]:
        """Say that containerd answers."""
        return {"containerd"}

    def request(self, method: str, path: str, **options: Any) -> None:
        """Do something else."""
        self.did.append(f"{method} {path} {options.get('body') or options.get('timeout')}")


def health(status: str, *said: str) -> dict[str, Any]:
    """Return the state of a container with a health check."""
    return {"Health": {"Status": status, "Log": [{"Output": each} for each in said]}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(leaving, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(leaving, "CONNECT_SECONDS", 0.2)


def test_a_health_check_is_believed() -> None:
    """Not a port, which may be open long before."""
    docker: Any = Docker(inspected(1, state=health("starting")), inspected(1, state=health("healthy")), None)
    await_health(docker, "c1")
    assert docker.looks == [None]


def test_a_port_has_to_accept_a_connection() -> None:
    """Those of TCP that are published, each of them; not those that are only exposed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        await_health(Docker(inspected(port)), "c1")  # type: ignore[arg-type]
    with pytest.raises(Unhealthy, match=f"not healthy within 0 s: nothing accepts connections at its port {port}"):
        await_health(Docker(inspected(port)), "c1", 0.0)  # type: ignore[arg-type]


def test_one_without_either_has_to_run_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "SETTLED_SECONDS", 1e9)
    with pytest.raises(Unhealthy, match="it has just been started"):
        await_health(Docker(inspected()), "c1", 0.01)  # type: ignore[arg-type]
    monkeypatch.setattr(leaving, "SETTLED_SECONDS", 0.01)
    await_health(Docker(inspected()), "c1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (None, "has ended and removed itself"),
        (inspected(state={"Running": False, "Status": "exited", "ExitCode": 3}), r"does not run \(exited, exit code 3\)"),
        (inspected(state={"Paused": True, "Status": "paused"}), r"does not run \(paused"),
        (inspected(state=health("unhealthy", "first", "no \x1b database")), r"health check fails: 'no \\x1b database'"),
        (inspected(state=health("unhealthy")), "health check fails: it says nothing"),
    ],
)  # fmt: skip
def test_what_is_said_of_one_that_is_not_well(look: dict[str, Any] | None, says: str) -> None:
    with pytest.raises(Unhealthy, match=says):
        await_health(Docker(look), "c1")  # type: ignore[arg-type]


def test_a_container_that_has_ended_has_no_visits() -> None:
    docker: Any = Docker(None)
    assert leaving.visits(docker, "c1") == 0


# -- the parts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch, host: Path) -> list[str]:
    """Return the lines of journals, in order, and what is told to the edge."""
    calls: list[str] = []
    note_records(monkeypatch, calls)
    monkeypatch.setattr(base, "Listener", lambda *_: ScriptedListener([]))
    monkeypatch.setattr(endings, "tasks_of", lambda _: [])
    return calls


SPECIFICATION = {"id": "r1", "listen": "", "credentials": {}, "mode": "recreate"}


def old(did: list[str], docker: Any) -> RecreatedSource:
    """Return the source of a container that runs."""
    made: RecreatedSource = object.__new__(RecreatedSource)
    base.Part.__init__(made, SPECIFICATION, Journal.at("r1", "source"))
    made.docker, made.edge = docker, Edge(did)
    made.container = SimpleNamespace(id="c1", name="web", freezer=source.freezer.Freezer("/cg", 1), volumes=list)
    made.container.inspect = docker.looks[0]
    made._lock = source.lock(bundle())
    made.veth, made.policy, made.bytes, made.data = None, {"Name": "always"}, {}, None
    made.freeze, made.pages, made.prepared, made.watches, made.binds = source.Freeze(), None, None, None, None
    made.peers = SimpleNamespace(close=lambda: None)
    made.record(State.STAGING)
    docker.did = did
    did.clear()
    return made


def test_the_old_one_is_stopped_by_docker(did: list[str]) -> None:
    """With its own patience, and by no policy started again; what it was before the word stays as it is."""
    made = old(did, Docker(inspected(StopTimeout=40)))
    assert made.renounce()
    made.on_settle({})
    assert did == ["record voted", "say settled"] and not made.renounce()
    did.clear()
    made.on_drain({})
    made.on_finish({})
    update = "POST /containers/c1/update {'RestartPolicy': {'Name': 'no', 'MaximumRetryCount': 0}}"
    assert did == [
        "say drained", "record committed", update, "POST /containers/c1/stop 100.0", "remove c1", "record done", "say finished",
    ]  # fmt: skip


def test_the_old_one_was_never_touched(did: list[str]) -> None:
    """Also by whoever settles it later."""
    old(did, Docker(inspected())).roll_back("x")
    assert did == ["record rolled-back", "say rolled_back"]


def test_the_old_one_was_changed_meanwhile(did: list[str]) -> None:
    """The new one is what it was."""
    made = old(did, Docker(inspected()))
    made.docker.looks = [{**inspected(), "HostConfig": {"RestartPolicy": {"Name": "always"}, "Memory": 64 << 20}}]
    with pytest.raises(RuntimeError, match=r"web was changed while it was being moved \(HostConfig.Memory\)"):
        made.on_settle({})
    assert did == []
    made.roll_back("x")


def test_there_is_nothing_to_replace_where_the_old_one_has_ended(did: list[str]) -> None:
    made = old(did, Docker(inspected(state={"Running": False, "Status": "exited"})))
    with pytest.raises(Unhealthy):
        made.on_settle({})
    assert did == []
    os.close(made._lock)


@pytest.mark.parametrize("state", [State.VOTED, State.COMMITTED])
def test_a_source_that_is_started_again_counts_and_stops(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """It has its journal alone."""
    docker = Docker(inspected())
    docker.did = did
    monkeypatch.setattr(restarted, "DockerClient", lambda: docker)
    Journal.at("r1", "source").record(state, container_id="c1", mode="recreate", restart_policy={"Name": "no"})
    made = restarted.RestartedSource(SPECIFICATION, Journal.at("r1", "source"))
    made.edge = Edge(did)
    did.clear()
    made.on_drain({})
    made.on_finish({})
    assert [each for each in did if not each.startswith("record")] == [
        "say drained", "POST /containers/c1/stop 70.0", "remove c1", "say finished",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [DockerError(404, "gone"), DockerError(500, "no")])
def test_a_container_that_removes_itself_when_it_is_stopped(error: DockerError) -> None:
    docker: Any = Docker(inspected())

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    docker.request = refuse
    stop = endings.stop_container
    if error.status == 404:
        stop(docker, "c1", {})
    else:
        with pytest.raises(DockerError, match="no"):
            stop(docker, "c1", {})
    docker.looks = [None]
    stop(docker, "c1", {"Name": "always"})


def new(did: list[str], docker: Any) -> RecreatedDestination:
    """Return the destination of a container that has been created."""
    made: RecreatedDestination = object.__new__(RecreatedDestination)
    base.Part.__init__(made, SPECIFICATION, Journal.at("r1", "destination"))
    made.docker, made.edge, made.container_id, made._deciding = docker, Edge(did), "c1", threading.Lock()
    made._start, made.gate, made._given_up, made.addresses = None, None, False, Addresses("")
    made.journal.record(
        State.STAGING, container="web", container_id="c1", mode="recreate", restart_policy={"Name": "always"}
    )
    docker.did = did
    did.clear()
    return made


def test_the_new_one_is_voted_for_when_it_is_well(did: list[str]) -> None:
    """And gets its policy with the verdict: it must be restarted while the old one drains, too."""
    made = new(did, Docker(inspected()))
    made.on_start({})
    assert did == ["start c1", "record gated", "say gated", "record prepared", "say prepared"]
    assert made.addresses == Addresses("127.0.0.1") and made.bound
    did.clear()
    made.on_commit({})
    policy = "POST /containers/c1/update {'RestartPolicy': {'Name': 'always'}}"
    assert did == ["record committed", policy, "say accepted", "say running"]


def test_a_new_one_says_which_addresses_it_has(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal has them for whoever removes it after a crash, and the edge for the result."""
    said: dict[str, dict[str, Any]] = {}
    shown = inspected()
    shown["NetworkSettings"]["Networks"]["b"]["GlobalIPv6Address"] = "::1"
    made = new(did, Docker(shown))
    monkeypatch.setattr(made, "say", lambda kind, **fields: said.update({kind: fields}))
    made.on_start({})
    assert said["gated"] == {"container_id": "c1", "address": "127.0.0.1", "address6": "::1"}
    assert (made.journal.facts["address"], made.journal.facts["address6"]) == ("127.0.0.1", "::1")


def test_a_new_one_that_has_ended_before_the_verdict_is_not_taken(did: list[str]) -> None:
    made = new(did, Docker(inspected(), inspected(), inspected(state={"Running": False, "Status": "exited"})))
    made.on_start({})
    did.clear()
    with pytest.raises(Unhealthy):
        made.on_commit({})
    assert did == [] and made.journal.state is State.PREPARED


def test_a_new_one_that_is_not_well_is_removed(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = new(did, Docker(inspected(), inspected(state=health("unhealthy"))))
    with pytest.raises(Unhealthy):
        made.on_start({})
    monkeypatch.setattr(endings, "Conntrack", lambda: type("Table", (), {"entries": list, "close": lambda _: None})())
    made.roll_back("it is not well")
    assert did[-3:] == ["remove c1", "record rolled-back", "say rolled_back"]
    assert not Path(paths.session("r1")).exists()
