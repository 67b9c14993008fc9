# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery: who decides, what is done on each host for each verdict, and what is left alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _freezer as freezer
from ansible_collections.relocate.mtd.plugins.module_utils._criu import Freezer
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerError
from relocate_proxy.host import paths
from relocate_proxy.host.secrets import wipe
from relocate_proxy.memory import lazy_pages
from relocate_proxy.network.conntrack import Endpoint, Entry
from relocate_proxy.network.netlink import unreadable
from relocate_proxy.parts import drain, endings, recovery
from relocate_proxy.parts.recovery import COMMIT, LOOK, ROLL_BACK, SERVE, InProgress, hold_part, recover, release_part
from relocate_proxy.protocol.addresses import Addresses
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import AFTER_COMMIT, FINAL, State
from relocate_proxy.restore.keeper_client import KeeperClient

from ..tables import FakeTable
from ..world import NEW, NEW6, OLD, OLD6, PLAN

AT = ["/sys/fs/cgroup/freezer/docker/c1", 1]
PLACES = {"source": "host1", "destination": "host2"}  # by that plan
#: Of a container that is reached by IPv6, too.
PLAN6 = {
    **PLAN,
    "source": {**PLAN["source"], "address6": OLD6},
    "destination": {**PLAN["destination"], "address6": NEW6},
    "services": [*PLAN["services"], *({**each, "virtual_address": "2001:db8::100"} for each in PLAN["services"])],
}
FACTS = {
    "container_id": "c1",
    "container": "counter",
    "freezer": AT,
    "veth": "veth1",
    "restart_policy": {"Name": "always"},
}


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch, host: Path) -> list[str]:
    """Return what is done to the host, in order. The container is stopped until something starts it."""
    calls: list[str] = []

    class DockerClient:
        """Docker, as far as recovery asks it."""

        def container(self, name: str) -> dict[str, Any] | None:
            return {"State": {"Running": "copy runs" in calls, "Pid": os.getpid()}}

        def happened(self, name: str, events: tuple[str, ...], since: float) -> bool:
            return "stopped by hand" in calls

        def start(self, name: str) -> None:
            calls.append(f"start {name}")

    def note(text: str) -> Any:
        return lambda *arguments, **_: calls.append(text.format(*arguments))

    monkeypatch.setattr(recovery, "DockerClient", DockerClient)
    monkeypatch.setattr(freezer, "thaw", note("thaw {0.directory}"))
    monkeypatch.setattr(endings, "kill_frozen", note("kill in {0.directory} behind {1}"))
    monkeypatch.setattr(endings, "remove_container", note("remove {1}"))
    monkeypatch.setattr(endings, "set_restart_policy", note("policy {2[Name]} for {1}"))
    monkeypatch.setattr(endings, "tasks_of", lambda _: [])  # the host's own have longer names
    monkeypatch.setattr(endings, "cancel_gate", note("cancel {0}"))
    monkeypatch.setattr(endings, "open_gate", lambda _: calls.append("copy runs"))
    monkeypatch.setattr(KeeperClient, "forget", staticmethod(note("forget {0}")))
    for module in (endings, recovery):
        monkeypatch.setattr(module, "Conntrack", FakeTable)

    class PacketRules:
        """The edge's table."""

        route = staticmethod(note("route to {0.ip4}"))
        persist = staticmethod(note("persist"))
        close = staticmethod(note("unbind"))
        reopen = staticmethod(note("reopen"))
        release = staticmethod(note("release"))
        astray: ClassVar[list[str]] = []

        def __init__(self, *arguments: object) -> None:
            assert arguments[4] == [], "it is told what the dead relocation has held"

    monkeypatch.setattr(recovery, "PacketRules", PacketRules)
    return calls


def begun(part: str, state: State, **facts: object) -> None:
    """Leave a journal behind."""
    Journal.at("r1", part).record(state, **facts)


def settle(part: str, verdict: str | None = None) -> dict:
    """Recover one part."""
    return recover({"relocation": "r1", "part": part, **({"verdict": verdict} if verdict else {})})


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_the_edges_journal_is_the_verdict(did: list[str], state: State) -> None:
    """COMMITTED is in it, or the move is taken back."""
    begun("edge", state, plan=PLAN)
    answer = settle("edge")
    committed = state in AFTER_COMMIT
    assert answer == {
        "changed": True,
        "verdict": COMMIT if committed else ROLL_BACK,
        "outcome": "done" if committed else "rolled-back",
        "places": PLACES,
        **({"ran": True} if state in (State.DRAINING, State.RELEASED) else {}),
    }
    turned = [f"route to {NEW}", "release", "reopen"] if committed else ["reopen", f"route to {OLD}", "release"]
    assert did == [*turned, "persist", "unbind"]
    assert Journal.at("r1", "edge").facts["reason"] == "recovered"


@pytest.mark.parametrize(("state", "addresses"), [(State.COMMITTED, (NEW, NEW6)), (State.ROUTING, (OLD, OLD6))])
def test_an_edge_is_turned_to_both_addresses_of_a_host(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State, addresses: tuple[str, str]
) -> None:
    """The journal's plan has them."""
    hosts: list[Addresses] = []
    monkeypatch.setattr(recovery.PacketRules, "route", staticmethod(hosts.append))
    begun("edge", state, plan=PLAN6)
    settle("edge")
    assert hosts == [Addresses(*addresses)]


def test_a_service_that_is_the_containers_no_more_keeps_nothing_from_being_settled(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever recovers it is told; the name is free for the next move."""
    monkeypatch.setattr(recovery.PacketRules, "astray", ["10.88.0.100:7000/tcp is gone"])
    begun("edge", State.RELEASED, plan=PLAN)
    answer = settle("edge")
    assert answer["outcome"] == "done" and answer["notes"] == ["10.88.0.100:7000/tcp is gone"]
    assert "notes" not in settle("edge"), "it is said when it is done"


@pytest.mark.parametrize(
    ("state", "verdict"), [(State.DONE, COMMIT), (State.ROLLED_BACK, ROLL_BACK), (None, ROLL_BACK)]
)
def test_an_edge_with_nothing_to_do_still_tells_the_verdict(did: list[str], state: State | None, verdict: str) -> None:
    """The other hosts may have been down when it finished. One that never heard of it has not committed."""
    if state:
        begun("edge", state, plan=PLAN)
    answer = settle("edge")
    places = {"places": PLACES} if state else {}
    assert answer == {"changed": False, "verdict": verdict, "outcome": state.value if state else "unknown", **places}
    assert did == []


@pytest.mark.parametrize("state", [State.STAGED, State.FREEZING, State.VOTED])
def test_a_source_that_is_given_back(did: list[str], state: State) -> None:
    """Thawed, its policy restored, started if a reboot had stopped it; its session is wiped."""
    begun("source", state, **FACTS)
    image = Path(paths.private_directory(paths.session("r1"))) / "pages-1.img"
    image.write_text("secret")
    assert settle("source", ROLL_BACK)["outcome"] == "rolled-back"
    assert did == [f"thaw {AT[0]}", "policy always for c1", "start c1"]
    assert not image.parent.exists()


def test_a_container_that_was_stopped_by_hand_stays_stopped(did: list[str]) -> None:
    """Somebody stopped it while it was being moved. Docker's own memory of that says so."""
    begun("source", State.STAGED, **FACTS)
    did.append("stopped by hand")
    settle("source", ROLL_BACK)
    assert "policy always for c1" in did and "start c1" not in did


@pytest.mark.parametrize("verdict", [COMMIT, ROLL_BACK])
def test_an_old_one_whose_new_one_runs_is_stopped(
    did: list[str], monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    """With its own signal, not killed; and left alone if it is to stay."""
    monkeypatch.setattr(endings, "stop_container", lambda _, name, policy: did.append(f"stop {name} {policy['Name']}"))
    begun("source", State.VOTED, **FACTS, mode="recreate")
    settle("source", verdict)
    assert did == (["stop c1 always", "remove c1"] if verdict == COMMIT else [])


@pytest.mark.parametrize("state", [State.DRAINING, State.ROUTING])
def test_an_edge_forgets_the_conversations_with_what_is_removed(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """Else their next datagrams would go on to a container that is not there."""
    virtual, clients = Endpoint("10.88.0.100", 53), [Endpoint("10.88.0.2", port) for port in (5000, 5001)]
    there, here = (
        Entry("udp", client, virtual, Endpoint(host, 54), client)
        for client, host in zip(clients, (NEW, OLD), strict=True)
    )
    table = FakeTable(there, here)
    monkeypatch.setattr(recovery, "Conntrack", lambda: table)
    begun("edge", state, plan={**PLAN, "mode": "recreate"})
    settle("edge")
    assert table.held == [there if state is State.DRAINING else here]


@pytest.mark.parametrize("state", [State.DRAINING, State.ROUTING])
def test_an_edge_forgets_conversations_by_ipv6_as_well(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    virtual, clients = Endpoint("2001:db8::100", 53), [Endpoint("2001:db8::2", port) for port in (5000, 5001)]
    there, here = (
        Entry("udp", client, virtual, Endpoint(host, 54), client)
        for client, host in zip(clients, (NEW6, OLD6), strict=True)
    )
    gone = OLD if state is State.DRAINING else NEW
    other = Endpoint("10.88.0.2", 5000)
    table = FakeTable(there, here, Entry("udp", other, Endpoint("10.88.0.100", 53), Endpoint(gone, 54), other))
    monkeypatch.setattr(recovery, "Conntrack", lambda: table)
    begun("edge", state, plan={**PLAN6, "mode": "recreate"})
    settle("edge")
    assert table.held == [there if state is State.DRAINING else here]


@pytest.mark.parametrize(("state", "gone"), [(State.ROUTING, NEW6), (State.DRAINING, OLD6)])
def test_what_an_operator_can_remove_is_named_by_its_own_family(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State, gone: str
) -> None:
    """conntrack looks for entries of IPv4 unless it is told an address of IPv6."""

    class Unreadable(FakeTable):
        def entries(self) -> Iterator[Entry]:
            raise OSError(errno.ENOBUFS, "No buffer space")

    monkeypatch.setattr(recovery, "Conntrack", Unreadable)
    begun("edge", state, plan={**PLAN6, "mode": "recreate"})
    (note,) = settle("edge")["notes"]
    commands = note.partition("remove them on the edge (")[2].split("; ")
    assert len(commands) == 4 and sum(gone in each for each in commands) == 2
    assert f"conntrack -D -p tcp --reply-src {gone} --reply-port-src 7001" in note


@pytest.mark.parametrize("error", [OSError(errno.ENOBUFS, "No buffer space"), unreadable("a message is too short")])
@pytest.mark.parametrize(
    ("state", "mode", "gone", "outcome"),
    [(State.ROUTING, "stop-and-copy", NEW, "rolled-back"), (State.DRAINING, "recreate", OLD, "done")],
)
def test_a_connection_table_that_cannot_be_read_keeps_nothing_from_being_settled(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State, mode: str, gone: str, outcome: str, error: OSError
) -> None:
    """The other parts wait for the edge, and one may be frozen. What is left there is said, with the way to remove it."""

    class Unreadable(FakeTable):
        def entries(self) -> Iterator[Entry]:
            raise error

    table = Unreadable()
    monkeypatch.setattr(recovery, "Conntrack", lambda: table)
    begun("edge", state, plan={**PLAN, "mode": mode})
    answer = settle("edge")
    assert answer["outcome"] == outcome and Journal.at("r1", "edge").finished and table.closed
    assert did[-2:] == ["persist", "unbind"]
    (note,) = answer["notes"]
    port = PLAN["services"][0]["host_port"]
    assert error.strerror in note and f"conntrack -D -p tcp --reply-src {gone} --reply-port-src {port}" in note
    assert "notes" not in settle("edge")


@pytest.mark.parametrize("state", [State.VOTED, State.COMMITTED])
def test_a_source_whose_copy_runs(did: list[str], state: State) -> None:
    """Killed while frozen and cut off, and removed."""
    begun("source", state, **FACTS)
    assert settle("source", COMMIT) == {"changed": True, "outcome": "done", "verdict": COMMIT}
    assert did == [f"kill in {AT[0]} behind veth1", "remove c1"]


def test_a_container_without_a_policy_is_not_started(did: list[str]) -> None:
    """Docker would not have done it after the reboot either."""
    begun("source", State.STAGED, **{**FACTS, "restart_policy": {"Name": "no"}})
    settle("source", ROLL_BACK)
    assert "start c1" not in did


@pytest.mark.parametrize("state", [State.STAGING, State.GATED, State.RESTORING, State.PREPARED])
def test_a_copy_that_is_not_wanted(did: list[str], state: State) -> None:
    """Its start is cancelled, then it is removed; killed while it was made, it is found by its provisional name."""
    begun("destination", state, container="web", **({} if state is State.STAGING else {"container_id": "c2"}))
    assert settle("destination", ROLL_BACK)["outcome"] == "rolled-back"
    copy = "web.r1" if state is State.STAGING else "c2"
    assert did == [f"cancel {'' if state is State.STAGING else 'c2'}", f"forget {copy}", f"remove {copy}"]


def test_nothing_of_a_copy_is_left_in_the_connection_table(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries were placed for its address; whoever gets that next must not get its packets. Others' entries stay."""
    copy, client, other = Endpoint("172.20.2.2", 7000), Endpoint("10.88.0.2", 4), Endpoint("172.20.2.3", 80)
    table = FakeTable(
        Entry("tcp", client, Endpoint(NEW, 7001), copy, client),
        Entry("udp", copy, client, client, Endpoint(NEW, 45000)),
        Entry("tcp", client, Endpoint(NEW, 8080), other, client),
    )
    monkeypatch.setattr(endings, "Conntrack", lambda: table)
    begun("destination", State.RESTORING, container="web", container_id="c2", address="172.20.2.2")
    settle("destination", ROLL_BACK)
    assert [entry.reply_source for entry in table.held] == [other]


def test_nothing_of_a_copy_is_left_by_either_of_its_addresses(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version's journal has the one alone, and is read as well."""
    copy, copy6 = Endpoint("172.20.2.2", 7000), Endpoint("fd00:20:2::2", 7000)
    client, client6 = Endpoint("10.88.0.2", 4), Endpoint("2001:db8::2", 4)
    entries = [
        Entry("tcp", client, Endpoint(NEW, 7001), copy, client),
        Entry("tcp", client6, Endpoint(NEW6, 7001), copy6, client6),
        Entry("tcp", copy6, client6, client6, Endpoint(NEW6, 45000)),
    ]
    for relocation, address6, left in (("r1", {"address6": copy6.address}, []), ("r2", {}, entries[1:])):
        table = FakeTable(*entries)
        monkeypatch.setattr(endings, "Conntrack", lambda table=table: table)
        facts = {"container": "web", "container_id": "c2", "address": copy.address, **address6}
        Journal.at(relocation, "destination").record(State.RESTORING, **facts)
        recover({"relocation": relocation, "part": "destination", "verdict": ROLL_BACK})
        assert table.held == left


def test_a_connection_table_that_cannot_be_read_keeps_no_copy(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is removed all the same, and the journal stays open: what was not done is done at the next try."""
    tables = iter([OSError("no buffer space"), FakeTable()])

    def opened() -> FakeTable:
        table = next(tables)
        if isinstance(table, OSError):
            raise table
        return table

    monkeypatch.setattr(endings, "Conntrack", opened)
    begun("destination", State.RESTORING, container="web", container_id="c2", address="172.20.2.2")
    with pytest.raises(OSError, match="no buffer space"):
        settle("destination", ROLL_BACK)
    assert did[-1] == "remove c2" and Journal.at("r1", "destination").state is State.RESTORING
    assert settle("destination", ROLL_BACK)["outcome"] == "rolled-back"


def test_a_copy_that_waits_for_the_commit(did: list[str]) -> None:
    """The verdict is written down, its gate is opened, and only when it runs is the part done."""
    begun("destination", State.PREPARED, container_id="c2")
    Path(paths.private_directory(paths.GATES), "c2.sock").touch()
    assert settle("destination", COMMIT)["outcome"] == "done"
    assert did == ["copy runs", "forget c2"]
    assert "committed" in Journal.at("r1", "destination").times


def test_a_committed_copy_that_does_not_run_is_said_aloud(did: list[str]) -> None:
    """The source, which is asked after this, keeps what is frozen there."""
    begun("destination", State.COMMITTED, container_id="c2")
    with pytest.raises(DockerError, match="the copy was committed and is not running: its source must not be removed"):
        settle("destination", COMMIT)
    assert Journal.at("r1", "destination").state is State.COMMITTED


def test_one_that_somebody_has_started_there_is_taken_on(did: list[str]) -> None:
    """The way out that the operators' page names, where the edge knows that the copy has run, and its host does not."""
    begun("destination", State.COMMITTED, container_id="c2")
    did.append("copy runs")
    assert settle("destination", COMMIT)["outcome"] == "done"
    assert Journal.at("r1", "destination").state is State.DONE


@pytest.mark.parametrize("state", [State.PREPARED, State.COMMITTED])
def test_a_copy_that_died_before_it_is_known_to_have_run_is_called_dead(
    did: list[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """With its host, before or after it had heard the verdict. Its source is taken back by the edge's journal."""
    begun("destination", state, **FACTS)
    assert settle("destination", LOOK)["outcome"] == "dead"
    order = {"relocation": "r1", "part": "destination", "verdict": ROLL_BACK, "decided": True}
    assert recover(order)["outcome"] == "rolled-back"
    assert did == ["cancel c1", "forget c1", "remove c1"]


@pytest.mark.parametrize("lives", ["keeper", "tasks", "docker", "removed"])
def test_no_copy_is_called_dead_that_may_run(did: list[str], monkeypatch: pytest.MonkeyPatch, lives: str) -> None:
    begun("destination", State.COMMITTED, **FACTS)
    if lives == "keeper":
        monkeypatch.setattr(endings, "insist_on_copy", lambda _: None)
    elif lives == "tasks":
        monkeypatch.setattr(endings, "tasks_of", lambda _: [7])
    elif lives == "docker":
        did.append("copy runs")
    else:
        monkeypatch.setattr(recovery.DockerClient, "container", lambda *_: None)
    assert settle("destination", LOOK)["outcome"] == "committed"


@pytest.mark.parametrize("facts", [{"ran": True}, {"mode": "recreate"}])
def test_no_copy_is_called_dead_that_ran(did: list[str], facts: dict[str, Any]) -> None:
    begun("destination", State.COMMITTED, **FACTS, **facts)
    assert settle("destination", LOOK)["outcome"] == "committed"


def test_a_copy_that_runs_without_docker_is_called_so(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker was killed in the moment of the commit, and counts it as not started. Its processes must be ended by hand."""
    monkeypatch.setattr(endings, "tasks_of", lambda _: [7973])
    begun("destination", State.COMMITTED, container_id="c2")
    with pytest.raises(DockerError, match=r"the copy runs, but Docker was killed .*kill -9 7973"):
        settle("destination", COMMIT)
    assert Journal.at("r1", "destination").state is State.COMMITTED


@pytest.mark.parametrize(
    ("policy", "code", "started"),
    [
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 137, True),
        ("on-failure", 0, False),
        ("no", 137, False),
    ],
)
def test_a_copy_that_ended_with_its_host_is_adopted(
    did: list[str], monkeypatch: pytest.MonkeyPatch, policy: str, code: int, started: bool
) -> None:
    """The host was started anew between the commit and the end. The copy had run, so that its source never may; Docker, which
    has had no policy for it, did not start it."""
    state = {"Running": False, "ExitCode": code}
    monkeypatch.setattr(recovery.DockerClient, "container", lambda *_: {"State": state})
    begun("destination", State.COMMITTED, container_id="c2", restart_policy={"Name": policy}, ran=True)
    assert settle("destination", COMMIT)["outcome"] == "done"
    assert did == ["forget c2", *([f"policy {policy} for c2"] if policy != "no" else []), *(["start c2"] * started)]


@pytest.mark.parametrize("state", [State.PREPARED, State.COMMITTED])
def test_a_copy_that_only_the_edge_has_heard_of_is_adopted(did: list[str], state: State) -> None:
    """Its host died with it before it had written down that it ran. Its clients have seen what it did."""
    begun("destination", state, **FACTS)
    with pytest.raises(DockerError, match="the copy was committed and is not running"):
        settle("destination", COMMIT)
    order = {"relocation": "r1", "part": "destination", "verdict": COMMIT, "decided": True, "ran": True}
    assert recover(order)["outcome"] == "done"
    assert Journal.at("r1", "destination").facts["ran"]


@pytest.mark.parametrize(
    ("states", "ran"),
    [
        ([State.COMMITTED], False),
        ([State.COMMITTED, State.DONE], False),  # as recovery writes it, by the verdict alone
        ([State.COMMITTED, State.DRAINING], True),
        ([State.COMMITTED, State.RELEASED], True),
        ([State.COMMITTED, State.RELEASED, State.DONE], True),
    ],
)
def test_an_edge_tells_whether_it_has_heard_that_the_copy_runs(did: list[str], states: list[State], ran: bool) -> None:
    for state in states:
        begun("edge", state, plan=PLAN)
    assert bool(settle("edge", LOOK).get("ran")) is ran
    assert bool(settle("edge").get("ran")) is ran


@pytest.mark.parametrize("part", ["source", "destination"])
@pytest.mark.parametrize("state", [State.COMMITTED, State.DRAINING])
def test_a_commit_is_taken_back_by_an_edges_journal_alone(did: list[str], part: str, state: State) -> None:
    """An edge whose journal is lost has not said so: thawing the source would make two of one container."""
    begun(part, state, **FACTS)
    with pytest.raises(
        ValueError, match=f"the {part} has heard that the relocation was committed, and no edge's journal"
    ):
        settle(part, ROLL_BACK)
    assert did == [] and Journal.at("r1", part).state is state
    assert (
        recover({"relocation": "r1", "part": part, "verdict": ROLL_BACK, "decided": True})["outcome"] == "rolled-back"
    )


def test_a_copy_that_criu_holds_is_waited_for(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker takes it for running from before it was restored. CRIU, whose keeper is dead, kills it or has let it go."""
    begun("destination", State.COMMITTED, container_id="c2")
    did.append("copy runs")
    held = [True, True, False]
    monkeypatch.setattr(endings, "_held_by_criu", lambda _: held.pop(0))
    assert settle("destination", COMMIT)["outcome"] == "done" and not held
    assert Journal.at("r1", "destination").facts["ran"]


def test_a_copy_that_criu_has_killed_did_not_run(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid that is gone proves nothing before Docker has heard of it."""
    begun("destination", State.COMMITTED, container_id="c2")
    states = [{"Running": True, "Pid": 2**22 + 1}, {"Running": False, "Pid": 0}]
    monkeypatch.setattr(
        recovery.DockerClient, "container", lambda *_: {"State": states.pop(0) if states[1:] else states[0]}
    )
    with pytest.raises(DockerError, match="the copy was committed and is not running: its source must not be removed"):
        settle("destination", COMMIT)
    assert len(states) == 1


def test_a_copy_whose_keeper_is_dead(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It left its socket behind; the copy runs all the same, and Docker says so."""
    begun("destination", State.COMMITTED, container_id="c2")
    Path(paths.private_directory(paths.GATES), "c2.sock").touch()

    def nobody(_: str) -> None:
        did.append("copy runs")
        raise TimeoutError

    monkeypatch.setattr(endings, "open_gate", nobody)
    assert settle("destination", COMMIT)["outcome"] == "done"


@pytest.mark.parametrize("part", ["source", "destination"])
@pytest.mark.parametrize("verdict", [None, "perhaps"])
def test_the_others_do_not_decide(did: list[str], part: str, verdict: str | None) -> None:
    """Nothing is touched."""
    begun(part, State.VOTED, **FACTS)
    with pytest.raises(ValueError, match=f"the {part} cannot decide alone: the edge's journal has the verdict"):
        settle(part, verdict)
    assert did == [] and Journal.at("r1", part).state is State.VOTED
    assert not list(Path(paths.RUN, "parts").iterdir())


@pytest.mark.parametrize("state", [State.DONE, State.ROLLED_BACK])
@pytest.mark.parametrize("verdict", [COMMIT, ROLL_BACK, None])
def test_what_has_ended_is_not_touched(did: list[str], state: State, verdict: str | None) -> None:
    """Whatever the verdict says."""
    begun("source", state, **FACTS)
    assert settle("source", verdict) == {"changed": False, "outcome": state.value, "verdict": verdict}
    assert did == []


def test_a_living_part_is_left_alone(did: list[str]) -> None:
    """Its process brings it to an end; two hands would be one too many. Afterwards it is free."""
    begun("edge", State.HOLDING, plan=PLAN)
    held = hold_part("r1", "edge")
    with pytest.raises(InProgress, match="relocation r1 is in progress on this host"):
        hold_part("r1", "edge")
    assert settle("edge") == {"changed": False, "outcome": "in-progress", "verdict": None}
    assert did == []
    release_part("r1", "edge", held)
    assert settle("edge")["changed"]


def test_settling_twice_changes_once(did: list[str]) -> None:
    """Every step can be repeated; the second time there is none."""
    begun("source", State.VOTED, **FACTS)
    assert settle("source", COMMIT)["changed"]
    done = did.copy()
    assert not settle("source", COMMIT)["changed"] and did == done


def test_a_step_that_fails_is_repeated(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal still says where it stands: the verdict is known, and not carried out."""
    begun("source", State.VOTED, **FACTS)
    with monkeypatch.context() as broken:
        broken.setattr(endings, "remove_container", lambda *_: (_ for _ in ()).throw(DockerError(500, "busy")))
        with pytest.raises(DockerError):
            settle("source", COMMIT)
    assert Journal.at("r1", "source").state is State.COMMITTED
    assert settle("source", COMMIT)["outcome"] == "done"


def test_the_freezer_survives_the_journal() -> None:
    """JSON has no tuples with names."""
    assert Freezer(*AT).directory == AT[0] and Freezer(*AT).version == 1


def test_a_source_serves_again_what_a_copy_still_lacks(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page processes were killed. Nothing is settled by that, and nothing thawed or removed."""
    begun("source", State.VOTED, **FACTS)
    session = paths.private_directory(paths.session("r1"))
    monkeypatch.setattr(freezer, "members", lambda _: [100, 101])
    monkeypatch.setattr(lazy_pages, "serve_again", lambda session: did.append(f"serve {session}"))
    assert settle("source", SERVE)["outcome"] == "gone", "there is no order: the host was rebooted"
    order = Path(session, lazy_pages.ORDER)
    order.write_text('{"order": {"tasks": {"1": 100, "7": 102}}}')
    assert settle("source", SERVE)["outcome"] == "gone", "the number is another's now"
    assert did == []
    order.write_text('{"order": {"tasks": {"1": 100}}}')
    assert settle("source", SERVE) == {"changed": False, "outcome": "serving", "verdict": None}
    assert did == [f"serve {session}"] and Journal.at("r1", "source").state is State.VOTED

    def lost(_: str) -> None:
        raise lazy_pages.PagesLost("no such process")

    monkeypatch.setattr(lazy_pages, "serve_again", lost)
    assert settle("source", SERVE)["outcome"] == "gone"


def drains(monkeypatch: pytest.MonkeyPatch, did: list[str]) -> None:
    """Leave a copy that waits for its last pages, of which nothing comes."""
    did.append("copy runs")
    begun("destination", State.DRAINING, **FACTS, mode="post-copy", pid=2**22 + 1)
    session = paths.private_directory(paths.session("r1"))
    Path(session, lazy_pages.REPORT).write_text('{"left": 3145728, "connected": false, "problem": ""}')
    monkeypatch.setattr(recovery, "STILL_SECONDS", 0.3)
    monkeypatch.setattr(lazy_pages, "outcome", lambda _: None)
    monkeypatch.setattr(drain, "kill_copy", lambda container, pid: did.append(f"kill {container}"))


def test_a_copy_whose_pages_do_not_come_is_kept(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said how much is missing, why, and that it can be tried again; and it can."""
    drains(monkeypatch, did)
    for _ in range(2):
        with pytest.raises(
            TimeoutError, match=r"3\.0 MiB of the copy's memory are still at its source.*nothing is lost.*run recover"
        ):
            settle("destination", COMMIT)
        assert Journal.at("r1", "destination").state is State.DRAINING and did == ["copy runs"]
    monkeypatch.setattr(lazy_pages, "outcome", lambda _: {"bytes": 1})
    assert settle("destination", COMMIT)["outcome"] == "done"


def test_a_copy_whose_pages_are_gone_is_ended(did: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    drains(monkeypatch, did)
    order = {"relocation": "r1", "part": "destination", "verdict": COMMIT, "gone": "host1 was started anew"}
    assert recover(order)["outcome"] == "lost"
    assert (
        did[:2] == ["copy runs", "kill c1"]
        and Journal.at("r1", "destination").facts["lost"] == "host1 was started anew"
    )


def test_a_copy_that_is_whole_lives_on_though_its_session_is_wiped(
    did: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part was killed between the last page and the last line: nothing in the session tells of the pages any more."""
    monkeypatch.setattr(drain, "kill_copy", lambda container, pid: did.append(f"kill {container}"))
    did.append("copy runs")
    begun("destination", State.DRAINING, **FACTS, mode="post-copy", ran=True)
    Path(paths.private_directory(paths.session("r1")), "pages").write_text('{"bytes": 7}')
    assert drain.settle(Journal.at("r1", "destination"), paths.session("r1"), 1.0) == {"bytes": 7}
    wipe(paths.session("r1"))
    order = {"relocation": "r1", "part": "destination", "verdict": COMMIT, "gone": "host1 was started anew"}
    assert recover(order)["outcome"] == "done"
    assert "kill c1" not in did and "lost" not in Journal.at("r1", "destination").facts
    assert drain.settle(Journal.at("r1", "destination"), paths.session("r1"), 1.0) == {"bytes": 7}, "said again"
