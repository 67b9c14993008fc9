# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What source and destination do at the verdict, in which order, and what the program does around them."""

from __future__ import annotations

import copy
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Freezer
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from relocate_proxy import guardian
from relocate_proxy.files.disk import Disk
from relocate_proxy.host import limits, paths
from relocate_proxy.host.docker import remove_container
from relocate_proxy.memory.dump import Freeze
from relocate_proxy.memory.lazy_pages import PagesLost
from relocate_proxy.memory.rounds import PreCopy, Round
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.network.flows import INGRESS, Flow
from relocate_proxy.parts import base, destination, edge, endings, restarted, source
from relocate_proxy.parts.destination import Destination
from relocate_proxy.parts.source import AlreadyMoving, Source
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State
from relocate_proxy.restore.keeper_client import GateFailed, KeeperClient, KeeperGone

from ..fakes import ScriptedChannel, ScriptedListener, note_records
from ..tables import FakeTable


class Docker:
    """An engine that notes what it is asked."""

    def __init__(self, did: list[str], policy: str = "no") -> None:
        self.did = did
        self.inspected: dict[str, Any] = {
            "Name": "/web",
            "State": {"Running": True, "Status": "running", "Pid": os.getpid()},
            "Config": {},
            "HostConfig": {"RestartPolicy": {"Name": policy}, "Memory": 0},
            "NetworkSettings": {"Networks": {"bridge": {}}},
        }

    def container(self, name: str) -> dict[str, Any]:
        """Say that it runs, and how it is set."""
        return copy.deepcopy(self.inspected)

    def parts(self) -> set[str]:
        """Say that containerd answers."""
        return {"Engine", "containerd"}

    def remove(self, name: str) -> None:
        """Remove a container."""
        self.did.append(f"remove {name}")

    def request(self, method: str, path: str, **options: Any) -> None:
        """Do something else; a container can be given another restart policy."""
        self.did.append(f"{method} {path} {options.get('body')}")
        self.inspected["HostConfig"] |= options.get("body") or {}


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch, host: Path) -> list[str]:
    """Return what is done, in order; journal lines among it."""
    calls: list[str] = []
    note_records(monkeypatch, calls)
    monkeypatch.setattr(os, "nice", lambda _: 0)  # the tests need not hurry
    monkeypatch.setattr(freezer, "thaw", lambda at: calls.append("thaw"))
    monkeypatch.setattr(endings, "kill_frozen", lambda at, veth: calls.append(f"kill behind {veth}"))
    monkeypatch.setattr(KeeperClient, "forget", staticmethod(lambda _: calls.append("forget")))
    monkeypatch.setattr(base, "Listener", lambda *_: ScriptedListener([]))
    return calls


class Edge(ScriptedChannel):
    """The edge, whose messages are noted among what is done."""

    def __init__(self, did: list[str]) -> None:
        super().__init__("edge")
        self.did = did

    def send(self, kind: str, raw: bytes = b"", **fields: Any) -> None:
        """Note what the edge hears."""
        self.did.append(f"say {kind}")


def bundle() -> str:
    """Return the OCI bundle of a container on this host."""
    place = Path(paths.RUN) / "bundle"
    place.mkdir(exist_ok=True)
    (place / "config.json").touch()
    return str(place)


def on_source(did: list[str], policy: str = "always") -> Source:
    """Return a source whose container is frozen."""
    made: Source = object.__new__(Source)
    base.Part.__init__(made, {"id": "r1", "listen": "", "credentials": {}}, Journal.at("r1", "source"))
    made.docker = Docker(did, policy)
    inspect = made.docker.container("c1")
    made.container = SimpleNamespace(
        id="c1", name="web", freezer=Freezer("/cg", 1), volumes=list, inspect=inspect, pid=os.getpid()
    )
    made.volumes, made.outside, made.binds = [], [], None
    made._lock = source.lock(bundle())
    made.veth, made.policy, made.bytes, made.data = "veth1", {"Name": policy}, {}, None
    made.edge, made.freeze, made.pages, made.prepared = Edge(did), Freeze(), None, None
    made.watches, made.trees, made.limits = None, [], []
    made.peers = SimpleNamespace(close=lambda: None)
    made.sockets = SimpleNamespace(insist_on_peers=lambda pids: None)
    made.record(State.STAGING)
    did.clear()
    return made


def test_a_source_that_hears_commit(did: list[str]) -> None:
    """On the disk first; then killed while cut off, removed, wiped; the edge hears of it when all is done."""
    on_source(did).on_finish({})
    assert did == ["record committed", "kill behind veth1", "remove c1", "record done", "say finished"]
    os.close(source.lock(bundle()))  # free for the next move


@pytest.mark.parametrize("mode", ["stop-and-copy", "pre-copy"])
def test_memory_goes_ahead_when_all_else_is_ready(did: list[str], monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """In pre-copy only; the dump, which is prepared after it, builds on the last round, and the edge hears what is left."""

    class Rounds(PreCopy):
        def run(self) -> None:
            did.append("rounds")
            self.rounds = [Round(64 << 20, 9.0), Round(2 << 20, 1.0)]

    heard: list[dict] = []
    made = on_source(did)
    made.specification = replace(made.specification, mode=mode)
    made.data = ScriptedChannel("destination", [{"kind": "primed"}])
    made.images = made.work = paths.RUN
    made.plain_cgroups, made.conntrack, made.addresses = True, None, Addresses("172.20.1.2")
    made.container.pid, made.container.descriptors = 4711, lambda: "[]"
    made.container.connections, made.container.memory_bytes = list, lambda: 64 << 20
    made.container.published, made.container.listening = dict, set
    made.container.dump_command = lambda *arguments: [str(arguments[3])]
    made.container.find_watches = lambda: SimpleNamespace(lonely_files=list, paths={})
    monkeypatch.setattr(made, "say", lambda kind, **fields: heard.append({"kind": kind, **fields}))
    monkeypatch.setattr(source, "PreCopy", Rounds)
    monkeypatch.setattr(source, "PreparedDump", lambda command, *_: did.append(f"prepare {command}"))
    monkeypatch.setattr(source, "measure_link", lambda _: 0.5)
    monkeypatch.setattr(limits, "find", lambda *_: [])
    looks: list[int] = []
    monkeypatch.setattr(made, "insist_unchanged", lambda _: looks.append(len(did)))
    made.on_arm({"address": "172.20.2.2", "address6": "fd00:20:2::2"})
    assert made.new_addresses == Addresses("172.20.2.2", "fd00:20:2::2"), "what its sockets are given in the image"
    assert len(looks) == 2 and looks[0] == 0 and looks[1] == len(did), "before its policy goes, and at last"
    common = {"kind": "armed", "flows": [], "memory_bytes": 64 << 20, "link_ms_per_mib": 0.5}
    if mode == "pre-copy":
        assert did[-3:] == ["record staged", "rounds", "prepare ['round-2']"]
        rounds = [{"bytes": 64 << 20, "stopped_ms": 9.0}, {"bytes": 2 << 20, "stopped_ms": 1.0}]
        assert heard == [{**common, "rounds": rounds, "left_bytes": 2 << 20}]
        assert made.bytes == {"memory": 66 << 20}
    else:
        assert did[-2:] == ["record staged", "prepare ['None']"] and heard == [common]


class Written:
    """A volume that is written while it is sent: each round sends what was written in the one before it.

    :param share: how fast it is written, beside how fast it is sent. :param first: seconds that the first copy took.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float, first: float) -> None:
        self.now, self.last, self.share, self.rounds = 0.0, first, share, 0
        monkeypatch.setattr(source.time, "monotonic", lambda: self.now)

    def send_changes(self) -> int:
        self.last *= self.share
        self.now += self.last
        self.rounds += 1
        return 1


@pytest.mark.parametrize(
    ("share", "most_ms", "rounds"), [(0.5, 50, 12), (0.1, 1, 12), (1.0, 50_000, 2), (0.75, 50_000, 2)]
)
def test_a_source_catches_up_with_what_is_written_as_long_as_that_gets_faster(
    did: list[str], monkeypatch: pytest.MonkeyPatch, share: float, most_ms: float, rounds: int
) -> None:
    """2 GiB take 50 s on a busy machine; what is written half as fast as that must not wait for the freeze."""
    made, volume = on_source(did, "no"), Written(monkeypatch, share, 50.0)
    made.outside, made.bytes = [volume], {"volumes": 0}  # type: ignore[list-item]
    made.data = ScriptedChannel("destination", [{"kind": "probed"}] * 20)  # type: ignore[assignment]
    assert made._catch_up() <= most_ms
    assert volume.rounds <= rounds and made.bytes["volumes"] == volume.rounds


@pytest.mark.parametrize("policy", ["always", "no"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"HostConfig": {"Memory": 64 << 20}}, r"HostConfig\.Memory"),
        ({"Name": "/other"}, "Name"),
        ({"NetworkSettings": {"Networks": {"bridge": {}, "other": {}}}}, r"Networks\.other"),
        ({"HostConfig": {"RestartPolicy": {"Name": "on-failure"}}}, r"HostConfig\.RestartPolicy"),
    ],
)
def test_a_container_that_was_changed_meanwhile_stays(did: list[str], policy: str, change: Any, says: str) -> None:
    """The copy would be what it was. It keeps the restart policy that somebody has given it, or its own."""
    sentence = rf"the container web was changed while it was being moved \({says}\): try again"
    for aside in (False, True):
        made = on_source(did, policy)
        made.insist_unchanged(made.docker.container("c1"))
        if aside:
            made._forbid_restart()
            made.insist_unchanged(made.docker.container("c1"))
        for key, value in change.items():
            made.docker.inspected[key] = {**made.docker.inspected[key], **value} if key == "HostConfig" else value
        with pytest.raises(RuntimeError, match=sentence):
            made.insist_unchanged(made.docker.container("c1"))
        made.roll_back("x")
        given = change.get("HostConfig", {}).get("RestartPolicy", {}).get("Name", policy)
        assert made.docker.inspected["HostConfig"]["RestartPolicy"]["Name"] == given


def test_a_container_that_is_gone_is_not_moved(did: list[str]) -> None:
    with pytest.raises(RuntimeError, match="the container web was removed while it was being moved"):
        on_source(did).insist_unchanged(None)


@pytest.mark.parametrize("policy", ["always", "no"])
def test_a_source_that_is_given_back_runs_before_anything_else(did: list[str], policy: str) -> None:
    """Every moment until the thaw is the clients'. That all is done is said when it is on the disk."""
    on_source(did, policy).roll_back("x")
    given_back = (
        [f"POST /containers/c1/update {{'RestartPolicy': {{'Name': '{policy}'}}}}"] if policy == "always" else []
    )
    assert did == ["thaw", *given_back, "record rolled-back", "say rolled_back"]


UNSETTLED: dict[str, tuple[Any, Any, str]] = {
    "half_open": (2, 0, "2 connections wait for the container to accept them, and would be cut: try"),
    "undelivered": (
        1,
        0,
        "the last words of 1 closed connections are still on their way to slow peers, and would be lost: try",
    ),
    "unread_netlink": (768, 0, "has not read yet what the kernel has told it"),
    "visitors": ([4711], [], "a command of docker exec or a health check runs in the container: try again"),
}


@pytest.mark.parametrize("what", UNSETTLED)
def test_what_criu_does_not_see_keeps_the_container(did: list[str], monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A client would hear a reset, or nothing; a process would stay behind: nothing is frozen before that has passed."""
    monkeypatch.setattr(source, "SETTLE_SECONDS", 0.01)
    made = on_source(did)
    there, gone, says = UNSETTLED[what]
    made.container = SimpleNamespace(**{name: lambda none=none: none for name, (_, none, _) in UNSETTLED.items()})
    setattr(made.container, what, lambda: there)
    with pytest.raises(RuntimeError, match=says):
        made.on_settle({})
    left = [there, gone]
    setattr(made.container, what, lambda: left.pop(0))
    made.on_settle({})
    assert did == ["say settled"]


def test_what_has_passed_while_the_source_had_to_wait_is_seen(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host it may be stopped between two looks for longer than it waits at all."""
    made, now = on_source(did), [100.0]
    monkeypatch.setattr(source.time, "monotonic", lambda: now[0])
    made.container = SimpleNamespace(**{name: lambda none=none: none for name, (_, none, _) in UNSETTLED.items()})

    def half_open() -> int:
        now[0] += 10 * source.SETTLE_SECONDS
        return 1 if now[0] < 100.0 + 11 * source.SETTLE_SECONDS else 0

    made.container.half_open = half_open
    made.on_settle({})
    assert did == ["say settled"]


@pytest.mark.parametrize("reads", [True, False])
def test_datagrams_that_have_arrived_are_read_before_the_freeze(
    did: list[str], monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """CRIU does not carry them. A container that does not read is not waited for: datagrams may be lost."""
    made = on_source(did)
    left = [300, 300, 0]
    made.container.unread_datagrams = lambda: left.pop(0) if reads else 300
    made.container.unread_netlink = lambda: 0
    monkeypatch.setattr(freezer, "freeze_for_dump", lambda _: did.append(f"freeze with {len(left)}"))
    made._carry = lambda: None
    made.on_freeze({})
    assert did[:2] == ["record freezing", f"freeze with {0 if reads else 3}"]


@pytest.mark.parametrize("reads", [True, False])
def test_changes_that_a_watcher_has_not_read(did: list[str], monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
    """CRIU would drop them: the program is given a moment, and then the move is given up."""
    made = on_source(did)
    left = [16, 16, 0, 0]
    made.container.unread_datagrams = made.container.unread_netlink = lambda: 0
    made.watches = SimpleNamespace(unread=lambda: left.pop(0) if reads else 16, close=lambda: did.append("close"))
    monkeypatch.setattr(freezer, "freeze_for_dump", lambda _: did.append("freeze"))
    made._carry = lambda: None
    if reads:
        made.on_freeze({})
        assert did[:3] == ["record freezing", "freeze", "say frozen"]
    else:
        with pytest.raises(RuntimeError, match="has not read yet what has changed in the files that it watches"):
            made.on_freeze({})
        assert did == ["record freezing", "freeze"], "thawed by the rollback"


def test_a_criu_that_does_not_let_go_is_made_to(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would freeze the container again when nobody is left to thaw it."""
    made = on_source(did)
    monkeypatch.setattr(made.freeze, "call_off", lambda: False)
    monkeypatch.setattr(source, "end_strays", lambda session: did.append("end strays"))
    made.roll_back("x")
    assert did[:2] == ["end strays", "thaw"]


def test_a_container_is_moved_once_at_a_time(did: list[str]) -> None:
    """The kernel gives the lock back with the process."""
    held = source.lock(bundle())
    with pytest.raises(AlreadyMoving, match="the container is being relocated already; wait for that move to end"):
        source.lock(bundle())
    os.close(held)
    os.close(source.lock(bundle()))


@pytest.mark.parametrize(("status", "passes"), [(404, True), (409, True), (500, False)])
def test_a_container_that_removes_itself_is_removed(status: int, passes: bool) -> None:
    """Docker was quicker; a real refusal is none."""

    def refuse(_: str) -> None:
        raise DockerError(status, "no")

    docker: Any = SimpleNamespace(remove=refuse, parts=lambda: {"containerd"})
    if passes:
        remove_container(docker, "c1")
    else:
        with pytest.raises(DockerError):
            remove_container(docker, "c1")


def test_nothing_is_removed_while_containerd_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker 28 would keep the ports of a container whose end it has not heard of. An engine without one is not waited for."""
    said: list[set[str]] = [{"Engine"}, {"Engine"}, {"Engine", "containerd"}]
    removed: list[int] = []
    docker: Any = SimpleNamespace(remove=lambda _: removed.append(len(said)), parts=lambda: said.pop(0))
    remove_container(docker, "c1")
    assert removed == [0]
    monkeypatch.setattr("relocate_proxy.host.docker.CONTAINERD_SECONDS", 0.2)
    docker.parts = lambda: {"Engine"}
    remove_container(docker, "c1")
    assert len(removed) == 2


def on_destination(did: list[str], answer: str | Exception = "running", state: State = State.PREPARED) -> Destination:
    """Return a destination whose copy is restored and waits."""
    made: Destination = object.__new__(Destination)
    base.Part.__init__(made, {"id": "r1", "listen": "", "credentials": {}}, Journal.at("r1", "destination"))
    made.journal.record(state, container="web", container_id="c2", restart_policy={"Name": "always"})
    did.clear()

    def expect(event: str, _: float) -> dict:
        if isinstance(answer, Exception):
            raise answer
        return {"event": event, "limits": []}

    made.docker, made.edge = Docker(did), Edge(did)
    made.gate = SimpleNamespace(
        say=lambda what, **_: did.append(f"gate {what}"), expect=expect, ask=lambda: {"shim": True}
    )
    made.container_id, made.addresses, made.placed, made._start, made.pages = (
        "c2",
        Addresses("172.20.2.2"),
        [],
        None,
        None,
    )
    made.work, made.document = str(made.directory), {"restart_policy": {"Name": "always"}}
    vars(made)["_settle_tasks"] = lambda: None  # there are none
    made._disk = Disk()
    made.shown, made.pid, made._given_up, made._deciding = {}, 7, False, threading.Lock()
    return made


NETWORKS: dict[str, dict[str, Any]] = {
    "shop": {
        "Containers": {
            "c2": {"IPv4Address": "172.20.2.2/24", "IPv6Address": "fd00:20:2::2/64"},
            "c1": {"IPv4Address": "172.20.2.1/24"},
        }
    },
    "zoo": {"Containers": {"c2": {"IPv4Address": "172.21.2.2/24", "IPv6Address": ""}}},
    "zoo2": {"Containers": {"c2": {"IPv4Address": "172.23.2.2/24", "IPv6Address": ""}}},
    "inner": {"Containers": {"c2": {"IPv4Address": "172.22.2.2/24", "IPv6Address": ""}}, "Internal": True},
    "six": {"Containers": {"c2": {"IPv4Address": "", "IPv6Address": "fd00:20:6::2/64"}}},
    "none": {"Containers": None},
}
SHOP = Addresses("172.20.2.2", "fd00:20:2::2")


def plugged(did: list[str], networks: list[str], endpoints: dict[str, Any], **specification: Any) -> Any:
    """Return a destination whose copy is on some networks. :param endpoints: what was asked for, by network."""
    made = on_destination(did, state=State.GATED)
    made.document["create"] = {"NetworkingConfig": {"EndpointsConfig": endpoints}}
    made.specification = replace(made.specification, **specification)

    def request(_: str, path: str) -> Any:
        name = path.removeprefix("/networks").lstrip("/")
        return NETWORKS[name] if name else [{"Id": each, "Name": each} for each in networks]

    vars(made.docker)["request"] = request
    return made


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        (["zoo", "none", "shop"], SHOP),  # Docker goes by their names
        (["zoo", "none"], Addresses("172.21.2.2")),
        (["inner", "shop"], SHOP),  # nothing leads outside from the other one
        (["inner"], Addresses("172.22.2.2")),
    ],
)
def test_a_copy_that_waits_has_the_addresses_that_its_network_tells(
    did: list[str], networks: list[str], found: Addresses
) -> None:
    """Both are of one network: those of the container's own settings are, too."""
    assert plugged(did, networks, {})._plugged_addresses() == found


def test_the_network_with_the_highest_priority_leads_outside(did: list[str]) -> None:
    """Of those of the same kind: one of both families comes before it. What the source says may be no number."""
    made = plugged(did, ["zoo", "inner", "six", "zoo2"], {"zoo2": {"GwPriority": 1}, "zoo": {"GwPriority": "much"}})
    assert made._plugged_addresses() == Addresses("172.23.2.2")
    assert made.others == ["172.21.2.2", "172.22.2.2", "fd00:20:6::2"]
    made = plugged(did, ["shop", "zoo2"], {"zoo2": {"GwPriority": 1}})
    assert made._plugged_addresses() == SHOP


@pytest.mark.parametrize("keeps", [{"kept_addresses": ("172.20.2.2",)}, {"together": {"addresses": ["172.20.2.2"]}}])
def test_a_copy_that_keeps_its_addresses_has_them_all(did: list[str], keeps: dict[str, Any]) -> None:
    asked = {"shop": {"IPAMConfig": {"IPv4Address": "172.20.2.2", "IPv6Address": "fd00:20:2::2"}}, "zoo": {}}
    assert plugged(did, ["shop", "zoo"], asked, **keeps)._plugged_addresses() == SHOP
    other = {"shop": {"IPAMConfig": {"IPv4Address": "172.20.2.2", "IPv6Address": "fd00:20:2::3"}}}
    with pytest.raises(
        LookupError, match="has not given the container the address that it keeps in the network 'shop'"
    ):
        plugged(did, ["shop", "zoo"], other, **keeps)._plugged_addresses()
    assert plugged(did, ["shop", "zoo"], other)._plugged_addresses() == SHOP, "the next one is as good"
    six = {"six": {"IPAMConfig": {"IPv6Address": "fd00:20:6::2"}}}
    assert plugged(did, ["six", "shop"], six, **keeps)._plugged_addresses() == SHOP


def test_a_destination_places_connections_at_its_addresses_of_their_family(did: list[str]) -> None:
    """Its own, and the copy's. Of a project the containers keep theirs."""
    made = on_destination(did)
    made.specification = replace(made.specification, listen="10.77.0.12", listen6="fd00:77::12")
    made.addresses = Addresses("172.20.2.2", "fd00:20:2::2")
    flows = [
        Flow(INGRESS, "tcp", Endpoint("172.20.1.2", 7000), Endpoint("10.88.0.2", 40000), Endpoint("10.77.0.11", 7001)),
        Flow(INGRESS, "tcp", Endpoint("fd00:20:1::2", 7000), Endpoint("2001:db8::2", 1), Endpoint("fd00:77::11", 7001)),
    ]
    hosts = [Endpoint("10.77.0.12", 7001), Endpoint("fd00:77::12", 7001)]
    own, kept = ["172.20.2.2", "fd00:20:2::2"], ["172.20.1.2", "fd00:20:1::2"]
    for together, inside in (({}, own), ({"addresses": kept}, kept)):
        made.conntrack, made.placed = FakeTable(), []  # type: ignore[assignment]
        made.specification = replace(made.specification, together=together)
        made.on_place({"flows": [flow.document() for flow in flows]})
        assert [each.host for each in made.placed] == hosts
        assert [each.local for each in made.placed] == [Endpoint(address, 7000) for address in inside]


def test_a_destination_that_hears_commit(did: list[str]) -> None:
    """On the disk before the copy runs; said again, the copy is not run twice."""
    made = on_destination(did)
    made.on_commit({})
    assert did == ["record committed", "gate commit", "say accepted", "say running", "record committed"]
    assert made.journal.facts["ran"], "written down when nobody waits for it any more"
    made.on_commit({})
    assert did[5:] == ["say accepted", "say running"]


def test_a_disk_that_is_full_after_the_commit_does_not_undo_it(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy runs: the edge must not hear that anything failed."""
    made = on_destination(did)

    def refuse(state: State, **facts: object) -> None:
        if "ran" in facts:
            raise OSError(28, "No space left on device")
        Journal.record(made.journal, state, **facts)

    monkeypatch.setattr(made.journal, "record", refuse)
    made.on_commit({})
    assert did[-1] == "say running"


def test_a_copy_that_died_is_told_in_crius_words(did: list[str]) -> None:
    """The edge takes the move back on that."""
    made = on_destination(did, GateFailed("status 1"))
    Path(made.work, "restore.log").write_text(
        "(00.1) fine\n(00.2) Error (criu/tcp.c:1): no such thing\n(00.3) Error: later\n"
    )
    with pytest.raises(
        RuntimeError, match=r"^the copy died while it was being resumed: Error \(criu/tcp\.c:1\): no such thing$"
    ):
        made.on_commit({})


@pytest.mark.parametrize(("status", "said"), [("running", ["say running", "record committed"]), ("exited", [])])
def test_a_keeper_that_is_gone_is_no_proof_of_death(
    did: list[str], capsys: pytest.CaptureFixture[str], status: str, said: list[str]
) -> None:
    """The copy may have run: saying that it failed would thaw the source, and two would run. Docker knows whether it runs."""
    made = on_destination(did, KeeperGone("gone"))
    made.docker.container = lambda _: {"State": {"Running": status == "running", "Pid": os.getpid()}}
    made.on_commit({})
    assert did == ["record committed", "gate commit", "say accepted", *said]
    assert ("it may have run" in capsys.readouterr().out) == (not said)  # in its log


@pytest.mark.parametrize("error", [BrokenPipeError(), KeeperGone("gone")])
def test_a_keeper_that_was_gone_before_is_proof(did: list[str], error: Exception) -> None:
    """It never heard of the commit: CRIU has taken the copy with it, and nothing was accepted."""
    made = on_destination(did)

    def fail(*_: str) -> dict:
        raise error

    made.gate = SimpleNamespace(say=fail, ask=fail)
    with pytest.raises(RuntimeError, match="the keeper of the restored copy is gone, and the copy with it"):
        made.on_commit({})
    assert did == []
    made.gate = SimpleNamespace(say=fail, ask=lambda: {"shim": True})  # killed in between
    if isinstance(error, OSError):
        with pytest.raises(RuntimeError, match="the keeper of the restored copy is gone, and the copy with it"):
            made.on_commit({})
        assert did == ["record committed"]


@pytest.mark.parametrize("state", [State.RESTORING, State.PREPARED])
def test_a_copy_whose_shim_is_dead_must_not_run(did: list[str], state: State) -> None:
    """containerd ends it as soon as it has noticed. Nothing is accepted, and the source has its container still."""
    made = on_destination(did, "prepared", state)
    made.gate.print = lambda _: None
    made.gate.ask = lambda: {"shim": False}  # type: ignore[method-assign,union-attr]
    step = (lambda: made._restore([])) if state is State.RESTORING else (lambda: made.on_commit({}))
    with pytest.raises(RuntimeError, match="the containerd-shim of the copy was killed, and containerd ends the copy"):
        step()
    assert made.journal.state is state and "gate commit" not in did


@pytest.mark.parametrize(
    ("goes_on", "error", "reason"),
    [
        (False, "", ""),
        (False, "Remote end closed connection", "Remote end closed connection"),
        (True, "", "it has not answered within 20 s"),
    ],
)
def test_nothing_is_frozen_before_docker_takes_the_copy_for_running(
    did: list[str], goes_on: bool, error: str, reason: str
) -> None:
    """A ``dockerd`` that is killed later finds the copy among its containers. One that was killed before does not."""
    made = on_destination(did, "primed", State.GATED)
    made.images, primed = "/i", {"event": "primed", "command": ["runc", "restore"]}
    vars(made)["_expect"] = lambda *_: primed
    made._start = SimpleNamespace(join=lambda _: did.append("join"), is_alive=lambda: goes_on)  # type: ignore[assignment]
    made._start_error = error
    if reason:
        with pytest.raises(RuntimeError, match=f"Docker has given up the start of the copy: {reason}"):
            made._prime()
    else:
        made._prime()
    assert did == ["record restoring", "gate prime", "join"]


def test_a_destination_at_the_end(did: list[str]) -> None:
    """An ordinary container again, with the policy it came with."""
    on_destination(did, state=State.COMMITTED).on_finish({})
    assert did[0] == "forget" and "'Name': 'always'" in did[1] and did[2:] == ["record done", "say finished"]


def test_a_destination_whose_copy_has_ended_says_how(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was moved, and did not live long."""
    monkeypatch.setattr(endings, "tasks_of", lambda _: [])
    made = on_destination(did, state=State.COMMITTED)
    said: list[dict] = []
    vars(made)["say"] = lambda _, **fields: said.append(fields)
    made.journal.record(State.COMMITTED, restart_policy={"Name": "no"})
    made.docker.container = lambda _: {"State": {"Running": False, "ExitCode": 139}}
    made.on_finish({})
    assert said[0]["exit_code"] == 139


@pytest.mark.parametrize("policy", ["always", "no"])
def test_a_copy_that_docker_does_not_know_is_not_started_a_second_time(
    did: list[str], monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """``dockerd`` was killed while CRIU resumed the tasks. The journal stays open, and the operator is told."""
    made = on_destination(did, state=State.COMMITTED)
    made.journal.record(State.COMMITTED, restart_policy={"Name": policy})
    did.clear()
    made.docker.container = lambda _: {"State": {"Running": False, "Status": "created"}}
    monkeypatch.setattr(endings, "tasks_of", lambda container: [4711] if container == "c2" else [])
    with pytest.raises(DockerError, match=r"the copy runs, but Docker was killed .* \(kill -9 4711\)"):
        made.on_finish({})
    assert did == ["forget"] and made.journal.state is State.COMMITTED


def test_a_destination_that_has_given_up_does_not_give_its_word(did: list[str]) -> None:
    """The edge was lost while CRIU restored: a journal with "prepared" after "rolled back" would be a lie."""
    made = on_destination(did, "prepared", State.RESTORING)
    made.gate.print = lambda _: None
    assert made.renounce()
    with pytest.raises(RuntimeError, match="the move was called off"):
        made._restore([])
    assert made.journal.state is State.RESTORING


def test_a_destination_that_has_given_its_word_does_not_give_up(did: list[str]) -> None:
    """It waits for the verdict."""
    made = on_destination(did, "prepared", State.RESTORING)
    made.gate.print = lambda _: None
    made._restore([])
    assert not made.renounce() and made.journal.state is State.PREPARED


def test_a_destination_gives_its_word_only_for_what_is_on_the_disk(did: list[str], tmp_path: Path) -> None:
    """Volumes are written out while CRIU restores. A disk that has refused would have lost what a database was told is safe."""
    made = on_destination(did, "prepared", State.RESTORING)
    made.gate.print = lambda _: None

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with (tmp_path / "file").open("w") as file:
        made._disk.take(file.fileno(), refuse)
    with pytest.raises(OSError, match="Input/output error"):
        made._restore([])
    assert made.journal.state is State.RESTORING


@pytest.mark.parametrize("step", ["_prime", "_restore"])
def test_a_keeper_that_has_given_up_is_heard_to_the_end(did: list[str], step: str) -> None:
    """It listens no more, but has said why: a broken pipe tells nobody anything."""
    made = on_destination(did, GateFailed("the containerd-shim of the copy was killed"), State.RESTORING)
    made.images = "/i"

    def fail(*_: Any, **__: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    made.gate.say = made.gate.print = fail
    with pytest.raises(RuntimeError, match="the containerd-shim of the copy was killed"):
        getattr(made, step)(*([[]] if step == "_restore" else []))


def test_a_destination_gives_its_word_only_for_memory_that_another_could_go_on_with(did: list[str]) -> None:
    """The page process was killed before it had written down all that the copy lacks: that copy could never be saved."""
    made = on_destination(did, "prepared", State.RESTORING)
    made.gate.print = lambda _: None

    def lost() -> None:
        did.append("await restored")
        raise PagesLost("it is gone")

    made.pages = SimpleNamespace(begin=lambda *_: None, await_restored=lost)  # type: ignore[assignment]
    with pytest.raises(PagesLost, match="it is gone"):
        made._restore([])
    assert made.journal.state is State.RESTORING and did[-1] == "await restored"


def test_a_destination_that_throws_its_copy_away(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is cancelled before the container is removed: removing one that starts would block."""
    monkeypatch.setattr(endings, "cancel_gate", lambda container, reason: did.append(f"cancel {container}: {reason}"))
    on_destination(did).roll_back("x")
    assert did == ["cancel c2: x", "forget", "remove c2", "record rolled-back", "say rolled_back"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"shim": True}, ""),
        ({"shim": False}, "the containerd-shim of the copy was killed"),
        (KeeperGone("gone"), "the keeper of the restored copy is gone, and the copy with it: gone"),
        (TimeoutError("silent"), "the keeper of the restored copy is gone, and the copy with it: silent"),
    ],
)
def test_a_destination_that_was_started_again_asks_the_keeper_before_it_lets_the_copy_run(
    did: list[str], monkeypatch: pytest.MonkeyPatch, answer: dict | Exception, problem: str
) -> None:
    """Nothing is accepted of a copy that is gone, or is about to go."""

    class Keeper:
        def __init__(self, _: str) -> None:
            did.append("connect")

        def attach(self, _: float) -> None:
            did.append("attach")

        def ask(self) -> dict:
            if isinstance(answer, Exception):
                raise answer
            return answer

        def close(self) -> None:
            did.append("close")

    monkeypatch.setattr(endings, "KeeperClient", Keeper)
    monkeypatch.setattr(restarted, "DockerClient", lambda: Docker(did))
    monkeypatch.setattr(endings, "let_copy_run", lambda *_: True)
    Journal.at("r1", "destination").record(State.PREPARED, container_id="c2", mode="stop-and-copy")
    did.clear()
    made = restarted.RestartedDestination(
        {"id": "r1", "listen": "", "credentials": {}}, Journal.at("r1", "destination")
    )
    made.edge = Edge(did)
    if problem:
        with pytest.raises(RuntimeError, match=problem):
            made.on_commit({})
        assert did == ["connect", "attach", "close"] and made.journal.state is State.PREPARED
        return
    made.on_commit({})
    assert did[3:] == ["record committed", "say accepted", "say running", "record committed"]
    made.on_commit({})
    assert did[7:] == ["say accepted", "say running"]


# -- around them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["source", "destination"])
@pytest.mark.parametrize(
    ("state", "resumed"), [(State.DONE, False), (State.ROLLED_BACK, False), (State.PREPARED, True)]
)
def test_a_part_that_has_ended_is_not_resumed(
    did: list[str], monkeypatch: pytest.MonkeyPatch, name: str, state: State, resumed: bool
) -> None:
    """Killed between its last line and its end: a second end would undo the first."""
    Journal.at("r1", name).record(state)
    calls: list[str] = []
    monkeypatch.setattr(restarted, "resume", lambda *_: calls.append("resumed"))
    assert guardian.run_part(name, {"id": "r1"}, os.open(os.devnull, os.O_WRONLY)) == 0
    assert bool(calls) is resumed


@pytest.mark.parametrize(("state", "status"), [(None, 1), (State.ROLLED_BACK, 1), (State.VOTED, 2)])
def test_only_a_part_in_the_middle_is_started_again(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State | None, status: int
) -> None:
    """One that refused to begin says why, in one sentence."""
    if state:
        Journal.at("r1", "source").record(state)

    def fail(*_: object) -> None:
        raise LookupError("the container web is not running on this host")

    monkeypatch.setattr(guardian, "_run_listener", fail)
    read, write = os.pipe()
    assert guardian.run_part("source", {"id": "r1"}, write) == status
    with os.fdopen(read) as line:
        assert line.read() == '{"error": "the container web is not running on this host"}\n'


@pytest.mark.parametrize("plain", [True, False])
def test_what_criu_is_told_beside_what_runc_says(did: list[str], monkeypatch: pytest.MonkeyPatch, plain: bool) -> None:
    """One option a line; a path may have blanks."""
    made = on_destination(did)
    monkeypatch.setattr(Destination, "_make_empty", staticmethod(lambda: None))
    made._write_restore_options({"/dev": "/run/a b/0"}, plain)
    told = Path(made.directory, "restore.conf").read_text().splitlines()
    assert told[:3] == ["network-lock skip", "verbosity=1", 'external "mnt[/dev]:/run/a b/0"']
    assert told[3:] == (["manage-cgroups=ignore"] if plain else [])


def test_an_image_without_cgroups_has_its_head(tmp_path: Path) -> None:
    """CRIU wants the file; where it dumped none there is none."""
    (tmp_path / "cgroup.img").write_bytes(b"magic001" + b"x" * 900)
    source.forget_cgroups(str(tmp_path))
    assert (tmp_path / "cgroup.img").read_bytes() == b"magic001"
    (tmp_path / "cgroup.img").unlink()
    source.forget_cgroups(str(tmp_path))
    assert not (tmp_path / "cgroup.img").exists()


@pytest.mark.parametrize("offered", [True, False])
def test_an_image_that_is_not_there(did: list[str], monkeypatch: pytest.MonkeyPatch, offered: bool) -> None:
    """It is pulled where the very same is offered. Else it is asked for, once; under a digest it cannot be had at all."""
    made = on_destination(did)
    made.document = {"image": "web:1", "image_id": "sha256:1", "image_layers": ["a"], "image_digests": ["sha256:2"]}
    images: dict[str, Any] = {}
    docker: Any = made.docker
    docker.image, docker.registered = images.get, lambda _: "sha256:2" if offered else "sha256:3"
    docker.pull = lambda name: images.update({name: {"RootFS": {"Layers": ["a"]}}})
    made._image_asked = False
    assert made._has_image(made.document) is offered
    if offered:
        return
    made._lack_image()
    assert did == ["say lacks_image"]
    with pytest.raises(LookupError, match="no repository offers it"):
        made._lack_image()
    made._image_asked, made.document["image"] = False, "web@sha256:2"
    with pytest.raises(LookupError, match="no repository offers it"):
        made._lack_image()
    images["web:1"] = {"RootFS": {"Layers": ["b"]}}
    with pytest.raises(LookupError, match="is another one on this host"):
        made._has_image({**made.document, "image": "web:1"})


@pytest.mark.parametrize(
    ("sends", "remedy"), [(True, "try again, and the source sends its own"), (False, "push the container's own again")]
)
def test_an_image_whose_tag_was_given_to_another_before_the_pull(
    did: list[str], monkeypatch: pytest.MonkeyPatch, sends: bool, remedy: str
) -> None:
    """The repository offered the source's a moment ago. The move ends before anything is made, and the name is free again."""
    monkeypatch.setattr(destination.creation, "check", lambda *_, **__: None)
    made = on_destination(did, state=State.STAGING)
    monkeypatch.setattr(type(made), "sent_images", sends)
    images: dict[str, Any] = {}
    docker: Any = made.docker
    docker.image, docker.registered = images.get, lambda _: "sha256:2"
    docker.pull = lambda name: images.update({name: {"RootFS": {"Layers": ["b"]}}})
    docker.untag = images.pop
    described = {"image": "web:1", "image_id": "sha256:1", "image_layers": ["a"], "image_digests": ["sha256:2"]}
    with pytest.raises(LookupError, match=f"has another image under the name web:1 than .* was made from: {remedy}$"):
        made.on_create({"document": described})
    assert did == [] and images == {}, "neither made nor said that it was"


LINKS = {"eth0": "172.20.2.2", "eth1": "172.21.2.2"}
TURNED = {"eth0": "172.21.2.2", "eth1": "172.20.2.2"}


def in_order(
    did: list[str],
    monkeypatch: pytest.MonkeyPatch,
    *orders: dict[str, str],
    remove: bool = False,
    version: str = "28.5.2",
) -> Any:
    """Return a destination that keeps two addresses. :param orders: of its links, at each start. :param version: of Docker."""
    made = on_destination(did, state=State.STAGING)
    vars(made.docker)["info"] = lambda: {"ServerVersion": version}
    asked = {name: {"IPAMConfig": {"IPv4Address": LINKS[name]}} for name in LINKS}
    made.document["create"] = {
        "NetworkingConfig": {"EndpointsConfig": asked},
        "HostConfig": {"AutoRemove": remove},
    }
    made.document["links"] = {**LINKS, "eth2": "172.17.0.2"}  # on Docker's own bridge it is whatever Docker gives
    given = iter(orders)
    monkeypatch.setattr(destination.links, "places", lambda _: {**next(given), "eth2": "172.17.0.9"})

    def start() -> None:
        did.append("start")
        made.gate = SimpleNamespace(close=lambda: did.append("hang up"))
        made._start = SimpleNamespace(is_alive=lambda: False)

    vars(made).update(_start_to_gate=start, _cancel=lambda _: did.append("cancel"))
    return made


def test_a_copy_is_started_until_its_links_are_in_the_order_of_the_source(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_order(did, monkeypatch, TURNED, TURNED, LINKS)._start_with_links()
    assert did == [*["start", "cancel", "hang up"] * 2, "start"]


def test_a_copy_whose_links_stay_in_another_order_is_given_up(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        LookupError, match=r"\(eth0 172.20.2.2, eth1 172.21.2.2\), which is a matter of chance: try again$"
    ):
        in_order(did, monkeypatch, *[TURNED] * destination.STARTS)._start_with_links()
    assert did.count("start") == destination.STARTS
    did.clear()
    with pytest.raises(LookupError, match=r"try again$"):  # Docker would remove it with its volumes
        in_order(did, monkeypatch, TURNED, remove=True)._start_with_links()
    assert did == ["start"]
    did.clear()
    with pytest.raises(LookupError, match=r"and never will: choose a host with Docker 28$"):
        in_order(did, monkeypatch, TURNED, version="27.5.1")._start_with_links()
    assert did == ["start"]


@pytest.mark.parametrize(("version", "chance"), [("26.1.5", False), ("27.5.1", False), ("28.0.0", True), ("dev", True)])
def test_docker_gives_links_by_chance_from_28_on(version: str, chance: bool) -> None:
    assert destination.links.by_chance(version) == chance


# -- waits have their ends ----------------------------------------------------------------------------------------------


def test_a_destination_that_waits_for_the_log_hears_that_the_move_is_called_off(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is dead, say: what is to be undone is undone now, and not when the log has not come for five minutes."""
    made = on_destination(did, state=State.STAGING)
    made._log_stored = threading.Event()
    vars(made.edge)["waiting"] = lambda: True
    with pytest.raises(RuntimeError, match="called off"):
        made.on_start({})
    vars(made.edge)["waiting"] = lambda: False
    made._broken = "the source closed the channel"
    with pytest.raises(RuntimeError, match="closed the channel"):
        made.on_start({})
    made._broken = ""
    monkeypatch.setattr(destination, "STAGE_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match="did not arrive"):
        made.on_start({})
    assert did == [], "nothing was started"


def test_a_destination_waits_no_longer_for_a_copy_to_run_than_its_edge_does(did: list[str]) -> None:
    """While it waits it hears no edge: and this one, and its process with it, would outlive the move for minutes."""
    made = on_destination(did)
    waited: list[float] = []
    assert made.gate is not None
    vars(made.gate)["expect"] = lambda _, seconds: waited.append(seconds) or {}
    made.on_commit({})
    assert waited == [endings.RUNNING_SECONDS] and endings.RUNNING_SECONDS <= edge.FINISH_SECONDS
