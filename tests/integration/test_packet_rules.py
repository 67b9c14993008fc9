# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's table in a real nftables: what one relocation puts into it and takes out again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as definition
from relocate_proxy.host import paths, syscalls
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.network.flows import EGRESS, INGRESS, Flow
from relocate_proxy.network.nft import Nft, NftError
from relocate_proxy.network.packet_rules import Bystander, PacketRules, Signpost

from .namespaces import Network

pytestmark = pytest.mark.kernel
OLD, NEW, VIRTUAL = "10.77.0.11", "10.77.0.12", "10.88.0.100"
SERVICES: list[dict[str, Any]] = [
    {"protocol": "tcp", "virtual_address": VIRTUAL, "virtual_port": 7000, "host_port": 7001, "container_port": 7000},
    {"protocol": "udp", "virtual_address": VIRTUAL, "virtual_port": 53, "host_port": 5353, "container_port": 53},
]
OUT = Flow(
    EGRESS,
    "tcp",
    Endpoint("172.20.1.2", 51000),
    Endpoint("10.88.0.2", 80),
    Endpoint(OLD, 45000),
    Endpoint(VIRTUAL, 45001),
)
IN = Flow(
    INGRESS, "tcp", Endpoint("172.20.1.2", 7000), Endpoint("10.88.0.2", 4), Endpoint(OLD, 7001), Endpoint(VIRTUAL, 7000)
)
MARK = definition.queue_mark(5200)


class Place:
    """A namespace with the edge's table: two services of ours, one of somebody else."""

    def __init__(self, network: Network) -> None:
        self.path = network.path
        owned = [
            definition.Service("counter", s["protocol"], VIRTUAL, s["virtual_port"], OLD, s["host_port"])
            for s in SERVICES
        ]
        self.other = definition.Service("web", "tcp", VIRTUAL, 80, OLD, 8080)
        settings = definition.Gateway("eth1", "10.77.0.0/24", VIRTUAL)
        self.inside(lambda: Nft().run(definition.table_text(settings, False, [*owned, self.other])))
        self.gateway = self.make()

    def inside(self, work: Callable[[], object]) -> None:
        """Do something in the namespace."""
        syscalls.in_network(self.path, work)

    def make(self, left: list[Flow] | None = None) -> PacketRules:
        """Return a relocation's gateway."""
        return syscalls.in_network(self.path, lambda: PacketRules("counter", SERVICES, OLD, NEW, left))

    def document(self) -> dict:
        """Return the table."""
        return {"nftables": syscalls.in_network(self.path, lambda: Nft().query("list table ip relocate"))}

    def marks(self, name: str) -> dict[tuple, int]:
        """Return a map's elements."""
        return {tuple(key["concat"]): value for key, value in definition.elements(self.document(), name)}

    def keys(self, name: str) -> set[tuple]:
        """Return a set's elements."""
        return {tuple(key["concat"]) for key in definition.elements(self.document(), name)}

    def shut(self) -> set[tuple]:
        """Return what is shut out."""
        return self.keys("shut")

    def empty(self) -> bool:
        """Whether nothing of a relocation is left."""
        return not any(definition.elements(self.document(), name) for name in definition.VOLATILE)


@pytest.fixture
def place(network: Callable[[], Network]) -> Place:
    """Return an edge."""
    return Place(network())


def test_the_course_of_a_move(place: Place) -> None:
    """Barrier for new TCP connections, then everything to the services and the answers to its own; then nothing."""
    place.gateway.raise_barrier()
    assert place.marks("barrier") == {("tcp", VIRTUAL, 7000): MARK} and place.marks("held") == {}
    place.gateway.hold([OUT, IN])
    assert place.marks("held") == {
        ("tcp", VIRTUAL, 7000): MARK, ("udp", VIRTUAL, 53): MARK, ("tcp", VIRTUAL, 45001): MARK,
    }  # fmt: skip
    copy = {("tcp", NEW, 7001), ("udp", NEW, 5353), ("tcp", NEW, 45000)}
    assert place.shut() == copy, "it may be there before anybody tells the edge that the original is frozen"
    place.gateway.shut([OUT, IN])
    place.gateway.shut([OUT])
    old = {("tcp", OLD, 7001), ("udp", OLD, 5353), ("tcp", OLD, 45000)}
    assert place.shut() == old | copy, "the old place has said all"
    place.gateway.route(NEW, born=False)
    place.gateway.let_copy_speak()
    assert place.shut() == old
    assert place.keys("unborn") == set(place.marks("held")) | copy, "whatever is held, and what the copy says itself"
    assert place.gateway.release(born=False) == 0
    assert place.marks("held") == place.marks("barrier") == {} and place.shut() == old
    assert place.keys("unborn") == copy, "its kernel has nothing to say until its tasks run"
    place.gateway.let_copy_live()
    assert place.shut() and not place.keys("unborn")
    place.gateway.reopen()
    assert place.empty()
    place.gateway.close()


def test_the_flip_keeps_the_owner_and_leaves_others_alone(place: Place) -> None:
    """There and back; once more is no error."""
    for host in (NEW, NEW, OLD, NEW):
        place.gateway.route(host)
        services = {service.virtual: service for service in definition.services(place.document())}
        assert services[place.other.virtual] == place.other
        ours = [service for service in services.values() if service.name == "counter"]
        assert {(each.host_address, each.host_port) for each in ours} == {(host, 7001), (host, 5353)}


def test_undoing_what_was_never_done_is_no_error(place: Place) -> None:
    """A rollback does not ask how far the move had come."""
    for _ in range(2):
        place.gateway.reopen()
        assert place.gateway.release() == 0
    assert place.empty()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_dead_relocations_traces_are_removed_one_by_one(place: Place, protocol: str) -> None:
    """All of them, some of them, none: whatever the dead one had come to. A living one's are left alone."""
    out = replace(OUT, protocol=protocol)  # the container's own connection, or its connected UDP socket
    place.gateway.raise_barrier()
    place.gateway.hold([out])
    place.gateway.shut([out])
    place.gateway.route(NEW, born=False)
    place.gateway.close()
    theirs = ("tcp", VIRTUAL, 80), definition.queue_mark(5201)
    place.inside(lambda: Nft().run(f"add element ip relocate held {{ tcp . {VIRTUAL} . 80 : {theirs[1]:#x} }}"))
    for _ in range(2):
        next_process = place.make([out])
        assert next_process.queue.number != 5201, "a packet queue of another relocation"
        next_process.reopen()
        next_process.route(OLD)
        next_process.release()
        next_process.close()
        assert place.marks("held") == dict([theirs])
        assert place.marks("barrier") == {} and place.shut() == place.keys("unborn") == set()


def test_the_next_process_keeps_what_it_does_not_release(place: Place) -> None:
    """The map leads back, or the verdict is repeated: until then nothing reaches a copy that may not run."""
    place.gateway.hold([OUT])
    place.gateway.route(NEW, born=False)
    place.gateway.close()
    next_process = place.make([OUT])
    assert len(place.keys("unborn")) == 6
    next_process.route(NEW)
    assert len(place.keys("unborn")) == 6
    next_process.release(born=False)
    assert len(place.keys("unborn")) == 3
    next_process.let_copy_live()
    assert place.empty()
    next_process.close()


def test_a_move_that_is_taken_back_takes_what_it_kept_away_with_the_flip(place: Place) -> None:
    """One transaction: the map leads to the source, and all may pass."""
    place.gateway.hold([OUT])
    place.gateway.route(NEW, born=False)
    place.gateway.route(OLD)
    assert place.keys("unborn") == set() and len(place.marks("held")) == 3
    place.gateway.release()
    assert place.empty()


def test_the_queue_of_a_dead_relocation_is_nobody_elses(place: Place) -> None:
    """Its packets still go there until it is recovered: a stranger would pass them on, or hold them."""
    place.gateway.hold([])
    place.gateway.close()
    other = syscalls.in_network(place.path, lambda: PacketRules("web", [], OLD, NEW))
    assert other.queue.number == 5201
    other.close()


def test_a_table_of_an_older_version_is_told_before_anything_is_held(place: Place) -> None:
    """A move that has begun is brought to its end all the same."""
    place.gateway.close()
    place.inside(lambda: Nft().run("flush chain ip relocate early\ndelete chain ip relocate early"))
    place.inside(lambda: Nft().run("delete set ip relocate unborn"))
    with pytest.raises(RuntimeError, match=r"older version \(no early, unborn\): run prepare\.yml again"):
        place.make()
    next_process = place.make([OUT])
    next_process.reopen()
    next_process.route(OLD)
    next_process.release()
    next_process.close()
    place.inside(lambda: Nft().run("delete table ip relocate"))
    with pytest.raises(RuntimeError, match=r"cannot be read .*: run prepare\.yml again"):
        place.make()


def test_two_relocations_have_two_marks(place: Place) -> None:
    """Their packets go to two queues."""
    other = place.make()
    place.gateway.hold([])
    assert set(place.marks("held").values()) == {MARK}
    assert other.queue.number == 5201 and other._mark == hex(MARK + 1)
    other.close()


def test_what_is_kept_for_the_next_boot(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The services as they are now, loadable, and of the relocation only that its old place is shut."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    place.gateway.hold([OUT])
    place.gateway.shut([OUT])
    place.gateway.route(NEW)
    before = definition.services(place.document())
    shut = place.shut()
    place.gateway.persist()
    assert [path.name for path in (tmp_path / "edge").iterdir()] == ["table.nft"]
    text = (tmp_path / "edge" / "table.nft").read_text()
    place.inside(lambda: Nft().run("delete table ip relocate"))
    place.inside(lambda: Nft().run(text))
    assert definition.services(place.document()) == before
    assert place.shut() == shut and shut and not any(map(place.keys, ("held", "barrier", "unborn")))
    assert {service.host_address for service in before if service.name == "counter"} == {NEW}


def test_an_edge_that_is_started_anew_before_the_commit_lets_nothing_pass_until_recovery(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the frozen original nor the copy may acknowledge what the other never sees."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    place.gateway.hold([OUT])
    place.gateway.route(NEW, born=False)
    place.gateway.persist()
    text = (tmp_path / "edge" / "table.nft").read_text()
    place.inside(lambda: Nft().run("delete table ip relocate"))
    place.inside(lambda: Nft().run(text))
    assert {("tcp", VIRTUAL, 7000), ("udp", VIRTUAL, 53), ("tcp", VIRTUAL, 45001)} <= place.shut()
    assert {each[1] for each in place.shut()} == {VIRTUAL, NEW}
    later = place.make([OUT, IN])
    later.route(OLD)
    later.release()
    later.reopen()
    later.persist()
    assert place.empty() and "add element" not in (tmp_path / "edge" / "table.nft").read_text()


def test_a_refused_transaction_changes_nothing_and_says_why(place: Place) -> None:
    """One bad line, and the good one before it is not applied either."""
    with pytest.raises(NftError, match="No such file or directory"):
        place.inside(
            lambda: Nft().run(
                f"add element ip relocate shut {{ tcp . {OLD} . 1 }}\ndelete element ip relocate held {{ tcp . {OLD} . 2 }}\n"
            )
        )
    assert place.empty()


def test_an_edge_that_stands_by_lets_nothing_pass_and_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its guard covers the services, the container's own connections and both places; it goes with the relocation's end."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    bystander = Bystander("counter", SERVICES, OLD, NEW)
    place.inside(lambda: bystander.guard([OUT, IN]))
    virtual = {("tcp", VIRTUAL, 7000), ("udp", VIRTUAL, 53), ("tcp", VIRTUAL, 45001)}
    places = {(*each, port) for host in (OLD, NEW) for each, port in ((("tcp", host), 7001), (("udp", host), 5353))}
    assert place.shut() == virtual | places | {("tcp", OLD, 45000), ("tcp", NEW, 45000)}
    place.inside(lambda: bystander.guard([OUT]))
    place.inside(lambda: bystander.lift([OUT, IN]))
    place.inside(lambda: bystander.lift([OUT, IN]))
    assert place.empty()


def test_whoever_takes_over_lifts_the_guard(place: Place) -> None:
    """It knows the flows from the journal."""
    place.inside(lambda: Bystander("counter", SERVICES, OLD, NEW).guard([OUT, IN]))
    gateway = place.make([OUT, IN])
    gateway.release()
    assert {each[1] for each in place.shut()} == {OLD}, "packets pass, and the old place is silent yet"
    gateway.reopen()
    assert place.empty()


def test_an_edge_that_stands_by_knows_the_new_place_at_its_next_boot(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's services stay as they are."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    bystander = Bystander("counter", SERVICES, OLD, NEW)
    place.inside(lambda: bystander.guard([OUT]))
    place.inside(lambda: bystander.route(NEW))
    place.inside(lambda: bystander.lift([OUT]))
    hosts = {each.name: each.host_address for each in definition.services(place.document())}
    assert hosts == {"counter": NEW, "web": OLD}
    kept = (tmp_path / "edge" / "table.nft").read_text()
    assert f"{NEW} . 7001" in kept and "add element" not in kept  # its guard does not outlive it


SERVICE = f"tcp . {VIRTUAL} . 7000"


def led(place: Place) -> dict[tuple[str, int], tuple[str, str]]:
    """Return who has each service, and where it leads."""
    return {
        (each.protocol, each.virtual_port): (each.name, each.host_address)
        for each in definition.services(place.document())
    }


def all_steps(gateway: PacketRules, host: str) -> None:
    """Do what ends a relocation, for either verdict, twice: to settle what is settled changes nothing."""
    for _ in range(2):
        gateway.route(host)
        gateway.release()
        gateway.reopen()
        gateway.persist()


@pytest.fixture(autouse=True)
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the edge has what it loads at boot."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge/table.nft"))
    return tmp_path / "edge/table.nft"


@pytest.mark.parametrize("host", [OLD, NEW])
@pytest.mark.parametrize(
    ("done", "left", "words"),
    [
        (f"delete element ip relocate services {{ {SERVICE} }}", None, "is not published at the edge any more"),
        (
            f"delete element ip relocate services {{ {SERVICE} }}\n"
            f'add element ip relocate services {{ {SERVICE} comment "web" : {OLD} . 99 }}',
            ("web", OLD),
            "belongs to web now",
        ),
        (
            f"delete element ip relocate services {{ {SERVICE} }}\n"
            f'add element ip relocate services {{ {SERVICE} comment "counter" : 10.77.0.99 . 7001 }}',
            ("counter", "10.77.0.99"),
            "leads to 10.77.0.99, which had no part in this move",
        ),
    ],
    ids=["removed", "another's", "led elsewhere"],
)
@pytest.mark.parametrize("first", [True, False], ids=["living", "recovered"])
def test_a_service_that_is_the_containers_no_more(
    place: Place, host: str, done: str, left: tuple[str, str] | None, words: str, first: bool
) -> None:
    """Is neither published again nor led away; the others are led, and it is said. Only one who settles has time to look."""
    place.inside(lambda: Nft().run(done))
    gateway = place.make(None if first else [OUT, IN])
    if first:
        place.inside(lambda: gateway.raise_barrier())
        place.inside(lambda: gateway.hold([OUT, IN]))
        place.inside(lambda: gateway.shut([OUT, IN]))
    place.inside(lambda: all_steps(gateway, host))
    found = led(place)
    assert found.pop(("tcp", 80)) == ("web", OLD)
    assert found.pop(("udp", 53)) == ("counter", host)
    if first and left is not None:  # the plan is seconds old
        return
    assert found.get(("tcp", 7000)) == left
    assert len(gateway.astray) == 1 and words in gateway.astray[0] and f"{VIRTUAL}:7000/tcp" in gateway.astray[0]
    assert place.empty()


def test_a_table_that_was_made_anew_in_the_middle_of_a_move(place: Place) -> None:
    """What it does not hold any more need not be removed; what is still there and cannot be is an error."""
    gateway = place.gateway
    place.inside(gateway.raise_barrier)
    place.inside(lambda: gateway.hold([OUT, IN]))
    place.inside(lambda: gateway.shut([OUT, IN]))
    place.inside(lambda: gateway.route(NEW, born=False))
    place.inside(lambda: Nft().run("".join(f"flush set ip relocate {name}\n" for name in ("shut", "unborn"))))
    place.inside(lambda: Nft().run(f"delete element ip relocate held {{ {SERVICE} }}"))
    place.inside(lambda: all_steps(gateway, OLD))
    assert place.empty() and led(place)["tcp", 7000] == ("counter", OLD)


def test_what_cannot_be_removed_is_not_said_to_be(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets would be held for good."""
    gateway = place.gateway
    place.inside(lambda: gateway.hold([IN]))
    run = Nft.run

    def refuse(self: Nft, commands: str) -> str:
        if commands.startswith("delete element"):
            raise NftError("Resource busy")
        return run(self, commands)

    monkeypatch.setattr(Nft, "run", refuse)
    with pytest.raises(NftError, match="busy"):
        place.inside(lambda: print(gateway.release()))


def test_a_table_that_is_gone_is_the_one_of_the_next_boot(place: Place, boot: Path) -> None:
    """A firewall's reload has flushed everything: what the edge would load at boot is loaded, and led."""
    place.inside(place.gateway.persist)
    place.inside(lambda: Nft().run("delete table ip relocate"))
    gateway = place.make([OUT, IN])
    place.inside(lambda: all_steps(gateway, NEW))
    assert led(place)["tcp", 7000] == ("counter", NEW) and gateway.astray == []
    assert f"{NEW} . 7001" in boot.read_text()


def test_an_edge_that_is_none_any_more_leaves_nothing_to_do(place: Place, boot: Path) -> None:
    """No table, and none for the next boot. It is settled, and it is said what leads nowhere; a new move is refused."""
    place.inside(lambda: Nft().run("delete table ip relocate"))
    gateway = place.make([OUT, IN])
    place.inside(lambda: all_steps(gateway, NEW))
    assert not boot.exists() and len(gateway.astray) == 2
    with pytest.raises(RuntimeError, match=r"run prepare\.yml"):
        place.make()


def test_the_other_edges_table_is_led_as_far_as_it_is_the_containers(place: Place) -> None:
    """The same for an edge that follows, and for a move that holds nothing."""
    place.inside(lambda: Nft().run(f"delete element ip relocate services {{ {SERVICE} }}"))
    place.inside(lambda: Bystander("counter", SERVICES, OLD, NEW).route(NEW))
    assert led(place) == {("udp", 53): ("counter", NEW), ("tcp", 80): ("web", OLD)}
    signpost = syscalls.in_network(place.path, lambda: Signpost("counter", SERVICES, OLD, NEW))
    place.inside(lambda: signpost.route(OLD))
    assert led(place) == {("udp", 53): ("counter", OLD), ("tcp", 80): ("web", OLD)} and len(signpost.astray) == 1
