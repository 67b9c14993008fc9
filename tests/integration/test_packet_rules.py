# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's table in a real nftables: what one relocation puts into it and takes out again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _edge_table as definition
from relocate_proxy.host import paths, syscalls
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.network.flows import EGRESS, INGRESS, Flow
from relocate_proxy.network.nft import Nft, NftError
from relocate_proxy.network.packet_rules import Bystander, PacketRules, Signpost, tables
from relocate_proxy.protocol.addresses import Addresses

from .addresses import FOUR, SIX, Plan
from .namespaces import Network

pytestmark = pytest.mark.kernel
OLD, NEW = Addresses(FOUR.old, SIX.old), Addresses(FOUR.new, SIX.new)
MARK = definition.queue_mark(5200)


class Course(NamedTuple):
    """A move, and of which family each thing is that packets of it go to."""

    tcp: Plan  # its service over TCP, with the clients of that
    udp: Plan
    own: Plan  # what it has connected to

    @property
    def services(self) -> list[dict[str, Any]]:
        """The plan's."""
        ports = (("tcp", self.tcp, 7000, 7001, 7000), ("udp", self.udp, 53, 5353, 53))
        return [
            {
                "protocol": protocol,
                "virtual_address": plan.virtual,
                "virtual_port": virtual,
                "host_port": host,
                "container_port": container,
            }
            for protocol, plan, virtual, host, container in ports
        ]

    @property
    def out(self) -> Flow:
        """The container's own connection."""
        plan = self.own
        return Flow(
            EGRESS,
            "tcp",
            Endpoint(plan.inside, 51000),
            Endpoint(plan.client, 80),
            Endpoint(plan.old, 45000),
            Endpoint(plan.virtual, 45001),
        )

    @property
    def into(self) -> Flow:
        """A client's."""
        plan = self.tcp
        return Flow(
            INGRESS,
            "tcp",
            Endpoint(plan.inside, 7000),
            Endpoint(plan.client, 4),
            Endpoint(plan.old, 7001),
            Endpoint(plan.virtual, 7000),
        )

    @property
    def virtual(self) -> set[tuple]:
        """What the outside world knows of all that."""
        return {
            ("tcp", self.tcp.virtual, 7000),
            ("udp", self.udp.virtual, 53),
            ("tcp", self.own.virtual, 45001),
        }

    def at(self, host: Addresses) -> set[tuple]:
        """Return where all that is at a host."""
        return {
            ("tcp", host.like(self.tcp.virtual), 7001),
            ("udp", host.like(self.udp.virtual), 5353),
            ("tcp", host.like(self.own.virtual), 45000),
        }


class Place:
    """A namespace with the edge's tables: two services of ours, one of somebody else."""

    def __init__(self, network: Network, course: Course) -> None:
        self.path = network.path
        self.course, self.services, self.out, self.into = course, course.services, course.out, course.into
        #: The service over TCP, for nft, and the table that has it.
        self.key, self.table = f"tcp . {course.tcp.virtual} . 7000", course.tcp.table
        owned = [
            definition.Service(
                "counter",
                s["protocol"],
                s["virtual_address"],
                s["virtual_port"],
                OLD.like(s["virtual_address"]),
                s["host_port"],
            )
            for s in self.services
        ]
        self.other = definition.Service("web", "tcp", course.tcp.virtual, 80, course.tcp.old, 8080)
        #: The tables' heads: one of IPv6 is there only if it is needed.
        self.heads = [FOUR.table, *([SIX.table] if SIX in course else [])]
        for plan, kind in ((FOUR, definition.IP4), (SIX, definition.IP6)):
            if kind.head in self.heads:
                settings = definition.Gateway("eth1", plan.network(plan.old), plan.virtual)
                here = [each for each in (*owned, self.other) if definition.family(each.virtual_address) is kind]
                self.run(definition.table_text(kind, settings, False, here))
        self.gateway = self.make()

    def inside(self, work: Callable[[], object]) -> None:
        """Do something in the namespace."""
        syscalls.in_network(self.path, work)

    def run(self, commands: str) -> None:
        """Have nft do something in the namespace."""
        self.inside(lambda: Nft().run(commands))

    def run_in_each(self, command: str) -> None:
        """Have nft do something with each table, whose head comes in place of ``@``."""
        self.run("".join(f"{command.replace('@', head)}\n" for head in self.heads))

    def make(self, left: list[Flow] | None = None) -> PacketRules:
        """Return a relocation's gateway."""
        return syscalls.in_network(self.path, lambda: PacketRules("counter", self.services, OLD, NEW, left))

    def document(self) -> dict:
        """Return the tables."""
        return {"nftables": syscalls.in_network(self.path, lambda: tables(Nft()))}

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


@pytest.fixture(
    params=[Course(FOUR, FOUR, FOUR), Course(SIX, SIX, SIX), Course(FOUR, SIX, SIX)], ids=["IPv4", "IPv6", "both"]
)
def place(network: Callable[[], Network], request: pytest.FixtureRequest) -> Place:
    """Return an edge, on which a move is of one family or of both."""
    return Place(network(), request.param)


def test_the_course_of_a_move(place: Place) -> None:
    """Barrier for new TCP connections, then everything to the services and the answers to its own; then nothing."""
    place.gateway.raise_barrier()
    assert place.marks("barrier") == {("tcp", place.course.tcp.virtual, 7000): MARK} and place.marks("held") == {}
    place.gateway.hold([place.out, place.into])
    assert place.marks("held") == dict.fromkeys(place.course.virtual, MARK)
    copy = place.course.at(NEW)
    assert place.shut() == copy, "it may be there before anybody tells the edge that the original is frozen"
    place.gateway.shut([place.out, place.into])
    place.gateway.shut([place.out])
    old = place.course.at(OLD)
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
        found = {(each.protocol, each.host_address, each.host_port) for each in ours}
        assert found == {each for each in place.course.at(host) if each[2] != 45000}


def test_undoing_what_was_never_done_is_no_error(place: Place) -> None:
    """A rollback does not ask how far the move had come."""
    for _ in range(2):
        place.gateway.reopen()
        assert place.gateway.release() == 0
    assert place.empty()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_dead_relocations_traces_are_removed_one_by_one(place: Place, protocol: str) -> None:
    """All of them, some of them, none: whatever the dead one had come to. A living one's are left alone."""
    out = replace(place.out, protocol=protocol)  # the container's own connection, or its connected UDP socket
    place.gateway.raise_barrier()
    place.gateway.hold([out])
    place.gateway.shut([out])
    place.gateway.route(NEW, born=False)
    place.gateway.close()
    theirs = ("tcp", place.other.virtual_address, 80), definition.queue_mark(5201)
    place.run(f"add element {place.table} held {{ {place.other.key} : {theirs[1]:#x} }}")
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
    place.gateway.hold([place.out])
    place.gateway.route(NEW, born=False)
    place.gateway.close()
    next_process = place.make([place.out])
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
    place.gateway.hold([place.out])
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
    """One of the tables is enough. A move that has begun is brought to its end all the same."""
    place.gateway.close()
    old = place.heads[-1]
    place.run(f"flush chain {old} early\ndelete chain {old} early\ndelete set {old} unborn")
    with pytest.raises(RuntimeError, match=r"older version \(no early, unborn\): run prepare\.yml again"):
        place.make()
    next_process = place.make([place.out])
    next_process.reopen()
    next_process.route(OLD)
    next_process.release()
    next_process.close()
    place.run_in_each("delete table @")
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
    place.gateway.hold([place.out])
    place.gateway.shut([place.out])
    place.gateway.route(NEW)
    before = definition.services(place.document())
    shut = place.shut()
    place.gateway.persist()
    assert [path.name for path in (tmp_path / "edge").iterdir()] == ["table.nft"]
    text = (tmp_path / "edge" / "table.nft").read_text()
    place.run_in_each("delete table @")
    place.run(text)
    assert definition.services(place.document()) == before
    assert place.shut() == shut and shut and not any(map(place.keys, ("held", "barrier", "unborn")))
    ours = {service.host_address for service in before if service.name == "counter"}
    assert ours == {each[1] for each in place.course.at(NEW)}


def test_an_edge_that_is_started_anew_before_the_commit_lets_nothing_pass_until_recovery(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the frozen original nor the copy may acknowledge what the other never sees."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    place.gateway.hold([place.out])
    place.gateway.route(NEW, born=False)
    place.gateway.persist()
    text = (tmp_path / "edge" / "table.nft").read_text()
    place.run_in_each("delete table @")
    place.run(text)
    assert place.shut() == place.course.virtual | place.course.at(NEW)
    later = place.make([place.out, place.into])
    later.route(OLD)
    later.release()
    later.reopen()
    later.persist()
    assert place.empty() and "add element" not in (tmp_path / "edge" / "table.nft").read_text()


def test_a_refused_transaction_changes_nothing_and_says_why(place: Place) -> None:
    """One bad line, and the good one before it is not applied either, be it another table's."""
    good, bad = place.course.tcp, place.course.udp
    with pytest.raises(NftError, match="No such file or directory"):
        place.run(
            f"add element {good.table} shut {{ tcp . {good.old} . 1 }}\n"
            f"delete element {bad.table} held {{ tcp . {bad.old} . 2 }}\n"
        )
    assert place.empty()


def test_an_edge_that_stands_by_lets_nothing_pass_and_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its guard covers the services, the container's own connections and both places; it goes with the relocation's end."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    bystander = Bystander("counter", place.services, OLD, NEW)
    place.inside(lambda: bystander.guard([place.out, place.into]))
    assert place.shut() == place.course.virtual | place.course.at(OLD) | place.course.at(NEW)
    place.inside(lambda: bystander.guard([place.out]))
    place.inside(lambda: bystander.lift([place.out, place.into]))
    place.inside(lambda: bystander.lift([place.out, place.into]))
    assert place.empty()


def test_whoever_takes_over_lifts_the_guard(place: Place) -> None:
    """It knows the flows from the journal."""
    place.inside(lambda: Bystander("counter", place.services, OLD, NEW).guard([place.out, place.into]))
    gateway = place.make([place.out, place.into])
    gateway.release()
    assert place.shut() == place.course.at(OLD), "packets pass, and the old place is silent yet"
    gateway.reopen()
    assert place.empty()


def test_an_edge_that_stands_by_knows_the_new_place_at_its_next_boot(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's services stay as they are."""
    monkeypatch.setattr(paths, "EDGE_TABLE", str(tmp_path / "edge" / "table.nft"))
    bystander = Bystander("counter", place.services, OLD, NEW)
    place.inside(lambda: bystander.guard([place.out]))
    place.inside(lambda: bystander.route(NEW))
    place.inside(lambda: bystander.lift([place.out]))
    counter = {(protocol, port): ("counter", host) for protocol, host, port in place.course.at(NEW)}
    assert led(place) == {
        ("tcp", 7000): counter["tcp", 7001],
        ("udp", 53): counter["udp", 5353],
        ("tcp", 80): ("web", place.other.host_address),
    }
    kept = (tmp_path / "edge" / "table.nft").read_text()
    assert (
        f"{NEW.like(place.course.tcp.virtual)} . 7001" in kept and "add element" not in kept
    )  # its guard does not outlive it


def led(place: Place) -> dict[tuple[str, int], tuple[str, str]]:
    """Return who has each service, and where it leads."""
    return {
        (each.protocol, each.virtual_port): (each.name, each.host_address)
        for each in definition.services(place.document())
    }


def all_steps(gateway: PacketRules, host: Addresses) -> None:
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


@pytest.mark.parametrize("host", [OLD, NEW], ids=["back", "there"])
@pytest.mark.parametrize(
    ("owner", "to", "words"),
    [
        (None, None, "is not published at the edge any more"),
        ("web", "old", "belongs to web now"),
        ("counter", "stranger", "leads to {}, which had no part in this move"),
    ],
    ids=["removed", "another's", "led elsewhere"],
)
@pytest.mark.parametrize("first", [True, False], ids=["living", "recovered"])
def test_a_service_that_is_the_containers_no_more(
    place: Place, host: Addresses, owner: str | None, to: str | None, words: str, first: bool
) -> None:
    """Is neither published again nor led away; the others are led, and it is said. Only one who settles has time to look."""
    tcp = place.course.tcp
    place.run(f"delete element {place.table} services {{ {place.key} }}")
    left = None
    if owner and to:
        left = (owner, getattr(tcp, to))
        place.run(f'add element {place.table} services {{ {place.key} comment "{owner}" : {left[1]} . 7001 }}')
        words = words.format(left[1])
    gateway = place.make(None if first else [place.out, place.into])
    if first:
        place.inside(lambda: gateway.raise_barrier())
        place.inside(lambda: gateway.hold([place.out, place.into]))
        place.inside(lambda: gateway.shut([place.out, place.into]))
    place.inside(lambda: all_steps(gateway, host))
    found = led(place)
    assert found.pop(("tcp", 80)) == ("web", tcp.old)
    assert found.pop(("udp", 53)) == ("counter", host.like(place.course.udp.virtual))
    if first and left is not None:  # the plan is seconds old
        return
    assert found.get(("tcp", 7000)) == left
    virtual = f"{definition.bracketed(tcp.virtual)}:7000/tcp"
    assert len(gateway.astray) == 1 and words in gateway.astray[0] and virtual in gateway.astray[0]
    assert place.empty()


def test_a_table_that_was_made_anew_in_the_middle_of_a_move(place: Place) -> None:
    """What it does not hold any more need not be removed; what is still there and cannot be is an error."""
    gateway = place.gateway
    place.inside(gateway.raise_barrier)
    place.inside(lambda: gateway.hold([place.out, place.into]))
    place.inside(lambda: gateway.shut([place.out, place.into]))
    place.inside(lambda: gateway.route(NEW, born=False))
    place.run_in_each("flush set @ shut\nflush set @ unborn")
    place.run(f"delete element {place.table} held {{ {place.key} }}")
    place.inside(lambda: all_steps(gateway, OLD))
    assert place.empty() and led(place)["tcp", 7000] == ("counter", place.course.tcp.old)


def test_what_cannot_be_removed_is_not_said_to_be(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets would be held for good."""
    gateway = place.gateway
    place.inside(lambda: gateway.hold([place.into]))
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
    place.run_in_each("delete table @")
    gateway = place.make([place.out, place.into])
    place.inside(lambda: all_steps(gateway, NEW))
    new = place.course.tcp.new
    assert led(place)["tcp", 7000] == ("counter", new) and gateway.astray == []
    assert f"{new} . 7001" in boot.read_text()


def test_an_edge_that_is_none_any_more_leaves_nothing_to_do(place: Place, boot: Path) -> None:
    """No table, and none for the next boot. It is settled, and it is said what leads nowhere; a new move is refused."""
    place.run_in_each("delete table @")
    gateway = place.make([place.out, place.into])
    place.inside(lambda: all_steps(gateway, NEW))
    assert not boot.exists() and len(gateway.astray) == 2
    with pytest.raises(RuntimeError, match=r"run prepare\.yml"):
        place.make()


def test_the_other_edges_table_is_led_as_far_as_it_is_the_containers(place: Place) -> None:
    """The same for an edge that follows, and for a move that holds nothing."""
    place.run(f"delete element {place.table} services {{ {place.key} }}")
    udp, web = place.course.udp, {("tcp", 80): ("web", place.course.tcp.old)}
    place.inside(lambda: Bystander("counter", place.services, OLD, NEW).route(NEW))
    assert led(place) == {("udp", 53): ("counter", udp.new), **web}
    signpost = syscalls.in_network(place.path, lambda: Signpost("counter", place.services, OLD, NEW))
    place.inside(lambda: signpost.route(OLD))
    assert led(place) == {("udp", 53): ("counter", udp.old), **web} and len(signpost.astray) == 1


def test_a_context_that_is_gone_has_closed_its_socket(network: Callable[[], Network]) -> None:
    """Each has one. With a number from 1024 on libnftables ends the whole process: it waits by ``select``."""

    def work() -> None:
        for _ in range(20):
            Nft().query("list tables")

    before = len(list(Path("/proc/self/fd").iterdir()))
    syscalls.in_network(network().path, work)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20
