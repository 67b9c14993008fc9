# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every function of the proxy that takes foreign bytes apart: it returns something sound, or raises its own error.

Which functions there are, the source itself says: see ``parsers``. A new one is tried here, or its reason stands in ``LEFT``.
"""

from __future__ import annotations

import ast
import json
import os
import queue
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import relocate_proxy
from hypothesis import example, given
from hypothesis import strategies as st
from relocate_proxy.files import container, creation, log_formats, own_cargo
from relocate_proxy.host import tasks, unix_peers, unix_sockets
from relocate_proxy.memory import criu_image, deferred, filler, lazy_pages, page_server, recall, rounds
from relocate_proxy.network import conntrack, held_queue, netlink, nft
from relocate_proxy.protocol import faults, protobuf
from relocate_proxy.protocol.documents import EdgeSpecification, Plan, Specification
from relocate_proxy.protocol.facts import FACTS
from relocate_proxy.protocol.journal import Damaged, Journal
from relocate_proxy.protocol.states import State
from relocate_proxy.restore import keeper, keeper_client

from tests.unit.fuzzing import JSON, fuzzed, fuzzed_each, outcome

from .world import NEW, OLD, PLAN

PROGRAM = Path(relocate_proxy.__file__).parent
PAGE = os.sysconf("SC_PAGE_SIZE")
BYTES = st.binary(max_size=300)
LINES = st.lists(JSON.map(lambda value: json.dumps(value).encode()) | BYTES, max_size=4).map(b"\n".join)


# -- all of them --------------------------------------------------------------------------------------------------------

#: What takes bytes or texts apart.
MARKS = {
    "loads",
    "load",
    "unpack",
    "unpack_from",
    "iter_unpack",
    "fromhex",
    "inet_ntop",
    "ParseFromString",
    "read_text",
}
#: Tried by the tests of this file, and by what they call.
TRIED = {
    "files.container:_endpoint", "files.container:_mapped_paths", "files.container:peer_in",
    "files.log_formats:Frames.mark", "files.log_formats:_messages", "files.log_formats:_of_line",
    "host.socket_options:_is_option", "host.tasks:read", "host.unix_peers:read",
    "host.unix_sockets:read",
    "memory.criu_image:messages", "memory.deferred:Deferral.noted", "memory.filler:Filler._coming",
    "memory.lazy_pages:_document",
    "memory.page_server:serve", "memory.recall:Record.all", "memory.rounds:stopped_ms", "network.conntrack:_endpoints",
    "network.held_queue:packet_number", "network.netlink:attributes", "network.netlink:messages", "network.nft:listed",
    "protocol.channel:decoded", "protocol.channel:message_from", "protocol.faults:read", "protocol.journal:_entry",
    "restore.keeper:order", "restore.keeper_client:told",
}  # fmt: skip
KERNEL = "the kernel's own words, in a form that it keeps; names in it: test_kernel"
OURS = "written by another process of this very program on this host, for root alone"
RUNC = "written by runc or Docker on this host, for root alone"
LEFT = {
    "__main__:main": "the controller's order, over SSH, as root",
    "guardian:_fork": OURS,
    "files.container:Container._mountinfo": KERNEL,
    "files.container:Container.binds_unix_sockets": KERNEL,
    "files.container:Container.descriptors": RUNC,
    "files.container:Container.plain_cgroups": KERNEL,
    "files.trees:upper_directory": KERNEL,
    "files.watches:_unread": KERNEL,
    "files.writer:Writer.finish": "its entry has been looked at: test_foreign_messages",
    "host.cgroups:_own_cgroup": KERNEL,
    "host.cgroups:tasks_of": KERNEL,
    "host.criu_processes:pids": KERNEL,
    "host.mounts:_mounts": KERNEL,
    "host.socket_options:settle": "its options have been looked at: host.socket_options:_is_option",
    "host.tasks:_read": KERNEL,
    "host.unix_peers:Reader.number": KERNEL,
    "host.unix_peers:Reader.start": KERNEL,
    "host.unix_peers:_insist": KERNEL,
    "host.unix_peers:description": KERNEL,
    "host.unix_sockets:_dress": "its attributes have been looked at: host.unix_sockets:read",
    "host.syscalls:links_down": KERNEL,
    "memory.criu_sockets:_text": "CRIU's own image, on the host where it has made it",
    "memory.criu_sockets:_words": "an address that has been looked at",
    "memory.criu_sockets:rewrite": "CRIU's own image, on the host where it has made it",
    "memory.deferred:_read": KERNEL,
    "memory.filler:Filler._hear_restore": "CRIU's own restore, over a socket in a private directory",
    "memory.lazy_pages:serve_again": OURS,
    "memory.lazy_pages:served_tasks": OURS,
    "memory.page_process:Fetcher.again": OURS,
    "memory.page_process:Fetcher.run": OURS,
    "memory.page_process:_runs": KERNEL,
    "memory.page_process:kill_copy": KERNEL,
    "memory.page_process:main": OURS,
    "memory.page_process:serve": OURS,
    "memory.userfault:Userfault.events": KERNEL,
    "network.links:_places": KERNEL,
    "parts.endings:_held_by_criu": KERNEL,
    "protocol.recording:key_of": "the controller's order, over SSH, as root",
    "restore.keeper:Keeper.__init__": RUNC,
    "restore.keeper:Keeper._accept_criu": KERNEL,
    "request:Border._session": "what a login may ask: test_request",
    "request:main": "what a login may ask: test_request",
    "restore.keeper:start": OURS,
}


def parsers() -> Iterator[str]:
    """Yield MODULE:FUNCTION of every function in the program that calls something of ``MARKS``."""
    for path in PROGRAM.rglob("*.py"):
        module = ".".join(path.relative_to(PROGRAM).with_suffix("").parts)
        waiting: list[tuple[ast.AST, str, str]] = [(ast.parse(path.read_text(encoding="utf-8")), "", "")]
        while waiting:
            node, inside, function = waiting.pop()
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                inside = f"{inside}.{node.name}".strip(".") if not function else inside
                function = inside if isinstance(node, ast.FunctionDef) else ""
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in MARKS and function:
                    yield f"{module}:{function}"
            waiting += [(child, inside, function) for child in ast.iter_child_nodes(node)]


def test_no_parser_is_forgotten() -> None:
    """A function that is gone goes from the lists, too."""
    found = set(parsers())
    assert sorted(found - TRIED - set(LEFT)) == [], "try it here, or say in LEFT why not"
    assert sorted((TRIED | set(LEFT)) - found) == []


# -- the network's ------------------------------------------------------------------------------------------------------

ATTRIBUTES = st.recursive(
    st.builds(netlink.attribute, st.integers(0, 20), st.binary(max_size=20)),
    lambda inner: st.builds(
        lambda kind, parts: netlink.nested(kind, *parts), st.integers(0, 20), st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
TUPLE = st.builds(
    conntrack._tuple,
    st.sampled_from([conntrack.TUPLE_ORIGINAL, conntrack.TUPLE_REPLY]),
    st.sampled_from(["tcp", "udp"]),
    *[st.builds(conntrack.Endpoint, st.ip_addresses(v=4).map(str), st.integers(0, 65535))] * 2,
)
PAYLOADS = st.lists(ATTRIBUTES | TUPLE | BYTES, max_size=4).map(b"".join)
DATAGRAMS = st.lists(
    st.builds(
        lambda length, kind, body: (
            struct.pack("=IHHII", length if length is not None else 16 + len(body), kind, 0, 1, 0) + body
        ),
        st.none() | st.integers(0, 40) | st.just(2**32 - 1),
        st.sampled_from([2, 3, 0x100, 0x300]),
        PAYLOADS,
    )
    | BYTES,
    max_size=4,
).map(b"".join)


@fuzzed
@given(DATAGRAMS)
@example(struct.pack("=IHHII", 0, 0x100, 0, 1, 0))
@example(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -(2**31)))
def test_a_datagram_of_netlink(data: bytes) -> None:
    for _, _, body in outcome(netlink.messages, data, OSError) or []:
        outcome(lambda body: conntrack.entry_of(body[4:]), body, OSError)
        outcome(lambda body: held_queue.packet_number(body[4:]), body)


@fuzzed
@given(PAYLOADS)
def test_an_entry_of_the_connection_table(data: bytes) -> None:
    entry = outcome(lambda data: conntrack.entry_of(memoryview(data)), data, OSError)
    assert entry is None or entry.protocol in conntrack.PROTOCOLS
    assert (outcome(lambda data: held_queue.packet_number(memoryview(data)), data) or 0) < 2**32


@fuzzed
@given(
    JSON.map(json.dumps) | JSON.map(lambda value: json.dumps({"nftables": value})) | st.just("[" * 90_000) | st.text()
)
def test_what_libnftables_lists(text: str) -> None:
    found = outcome(nft.listed, text, nft.NftError)
    assert found is None or all(isinstance(each, dict) for each in found)


@fuzzed
@given(st.text() | st.text("0123456789ABCDEFabcdef:", max_size=50))
def test_an_address_in_the_table_of_sockets(text: str) -> None:
    outcome(container._endpoint, text, ValueError)


@fuzzed
@given(BYTES.map(lambda data: bytes(32) + data))
def test_an_answer_about_a_link(data: bytes) -> None:
    outcome(container.peer_in, data)


# -- the memory's -------------------------------------------------------------------------------------------------------

FIELDS = st.dictionaries(st.integers(1, 20), st.integers(0, 2**64 - 1) | st.binary(max_size=20), max_size=5)
PAGE_MAPS = st.lists(
    st.dictionaries(
        st.sampled_from([deferred.ADDRESS, deferred.FLAGS, deferred.PAGES]),
        st.sampled_from([0, 1, 2, PAGE, 7 * PAGE, 1 << 46, 2**64 - 1, 2**63]) | st.binary(max_size=3),
        max_size=3,
    ).map(protobuf.encode)
    | BYTES,
    max_size=5,
).map(lambda messages: b"criupmap" + b"".join(map(criu_image.framed, [b"", *messages])))


@fuzzed
@given(FIELDS)
def test_a_protobuf_message_is_read_back(fields: protobuf.Fields) -> None:
    assert protobuf.decode(protobuf.encode(fields)) == fields


@fuzzed
@given(BYTES | st.builds(lambda fields, cut: protobuf.encode(fields)[:cut], FIELDS, st.integers(0, 60)))
@example(b"\x08" + b"\xff" * 200_000)
def test_what_is_no_protobuf(data: bytes) -> None:
    """A number without an end would take hours, as long as it is."""
    outcome(protobuf.decode, data, protobuf.BadMessage)


@fuzzed
@given(PAGE_MAPS | BYTES | st.builds(lambda image, cut: image[:cut], PAGE_MAPS, st.integers(0, 80)))
def test_a_page_map_of_the_source(tmp_path_factory: pytest.TempPathFactory, image: bytes) -> None:
    """What the destination reads came from the other host; what the source reads is CRIU's."""
    directory = tmp_path_factory.getbasetemp()
    (directory / "pagemap-1.img").write_bytes(image)
    missing = outcome(lambda _: filler.deferred_pages(str(directory), 1), image, lazy_pages.PagesLost)
    assert missing is None or all(0 <= each.start < each.end <= filler.MOST_ADDRESS for each in missing)
    enter = [deferred.Area(1, PAGE, 3 * PAGE)]
    outcome(lambda _: deferred.enter(str(directory / "pagemap-1.img"), enter), image, protobuf.BadMessage)


@fuzzed
@given(BYTES)
def test_files_of_criu_and_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "file"
    path.write_bytes(data)
    outcome(lambda _: rounds.stopped_ms(str(path)), data, protobuf.BadMessage)
    path.write_bytes(bytes(4096) + data)
    record = recall.Record(str(path))
    outcome(lambda _: record.all(), data, recall.Doubtful)
    os.close(record._fd)


class Remote:
    """A connection on which some bytes come, a few at a time; what is said is kept."""

    def __init__(self, data: bytes) -> None:
        self.data, self.said = data, b""

    def recv(self, count: int) -> bytes:
        """Give some."""
        piece, self.data = self.data[: min(count, 5)], self.data[min(count, 5) :]
        return piece

    def sendall(self, data: bytes | memoryview) -> None:
        """Keep it."""
        self.said += bytes(data)


REQUESTS = st.lists(
    st.builds(
        page_server.IOV.pack,
        st.sampled_from([page_server.GET, page_server.CLOSE, page_server.ADD, page_server.GONE, 0]),
        st.sampled_from([0, 1, 3, 512, 513, 2**64 - 1]),
        st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**63, 2**64 - PAGE]),
        st.integers(0, 2**64 - 1) | st.just(1),
    )
    | BYTES,
    max_size=3,
).map(b"".join)


@fuzzed
@given(REQUESTS)
def test_a_request_for_memory(data: bytes) -> None:
    """Nothing but the container's memory is given, and whoever asks for something else is told so."""
    remote: Any = Remote(data)
    memory = page_server.Memory({1: os.getpid()})
    try:
        outcome(lambda _: page_server.serve(remote, memory), data, page_server.BadRequest, page_server.Gone)
    finally:
        os.close(memory._files[1])
    assert len(remote.said) <= (page_server.CHUNK + 64) * 3


ANSWERS = st.lists(
    st.builds(
        page_server.IOV.pack,
        st.sampled_from([filler.ADDED, page_server.GONE, page_server.CLOSE]),
        st.sampled_from([0, 1, 2, 70_000, 2**64 - 1]),
        st.sampled_from([PAGE, 0]),
        st.sampled_from([1, 2]),
    )
    | BYTES
    | st.just(bytes(PAGE)),
    max_size=4,
).map(b"".join)


@fuzzed_each
@given(ANSWERS)
def test_an_answer_with_memory(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Pages that nobody asked for are not placed, and a length that nobody means takes no memory."""
    record: Any = None
    one = filler.Filler(str(tmp_path_factory.getbasetemp()), record, queue.Queue(), lambda *_: None, lambda _: None)
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    ours.setblocking(False)
    one._remote = ours
    one._selector.register(ours, 1, None)
    one._asked.append(filler.Asked(1, PAGE, 2 * PAGE))

    def hear(_: bytes) -> None:
        while one._remote is not None and one._asked:
            one._hear_source()

    outcome(hear, data, lazy_pages.PagesLost)
    assert one.received <= len(data)
    ours.close()
    one._selector.close()


# -- the protocol's -----------------------------------------------------------------------------------------------------

ID = "20261123-120000-abcdef"
ENTRIES = st.fixed_dictionaries(
    {"state": st.sampled_from([each.value for each in State]) | JSON, "at_ns": st.integers(0, 2**63) | JSON},
    optional={name: JSON for each in FACTS.values() for name in each.__dataclass_fields__},
).map(lambda entry: json.dumps(entry).encode())
RIGHT = st.sampled_from([each for each in State if each not in (State.DONE, State.ROLLED_BACK)]).map(
    lambda state: json.dumps({"state": state.value, "at_ns": 1}).encode()
)


@fuzzed
@given(st.lists(RIGHT, max_size=4), st.lists(ENTRIES | BYTES | st.just(bytes(40)), max_size=3), st.booleans())
def test_a_journal(
    tmp_path_factory: pytest.TempPathFactory, before: list[bytes], behind: list[bytes], whole: bool
) -> None:
    """What was written before counts, or nobody may go on; and what is written next is read."""
    path = tmp_path_factory.getbasetemp() / f"{ID}.source.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in before) + b"\n".join(behind) + b"\n" * whole)
    journal = outcome(lambda _: Journal.at(ID, "source", str(path.parent)), path.read_bytes(), Damaged)
    if journal is None:
        return
    if not behind:
        assert journal.state == (State(json.loads(before[-1])["state"]) if before else None)
    for kind in FACTS.values():
        outcome(kind.of, journal, ValueError)
    journal.record(State.ROLLED_BACK)
    assert Journal.at(ID, "source", str(path.parent)).state is State.ROLLED_BACK


def test_a_line_that_was_lost_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    """It may have been the verdict."""
    lines = [{"state": "prepared", "at_ns": 1}, {"state": "done", "at_ns": 2}]
    path = tmp_path / f"{ID}.edge.jsonl"
    path.write_bytes(b"\n".join([json.dumps(lines[0]).encode(), bytes(20), json.dumps(lines[1]).encode(), b""]))
    with pytest.raises(Damaged, match=r"line 2 of the journal .* cannot be read: see where the container runs"):
        Journal.at(ID, "edge", str(tmp_path))


@fuzzed
@given(
    BYTES
    | st.fixed_dictionaries(
        {
            each: JSON | st.sampled_from(["source", "staged", "before", "kill"])
            for each in ("part", "state", "moment", "do")
        },
        optional={"seconds": JSON | st.just(float("nan")), "more": JSON},
    ).map(lambda order: json.dumps(order).encode())
    | st.just(b"[" * 90_000)
)
def test_an_order_to_fail(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        directory = os.environ.get(
            "PYTEST_DEBUG_TEMPROOT", "/tmp"
        )  # the file must belong to us: a directory of our own below
        place = Path(directory) / f"relocate-faults-{os.getpid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        patch.setattr(faults.paths, "RUN", str(place))
        (place / "faults.json").write_bytes(data)
        (place / "faults.json").chmod(0o600)
        order = outcome(lambda _: faults.read(), data, ValueError)
        (place / "faults.json").unlink()
        place.rmdir()
    assert order is None or (order.part in faults.PARTS and 0 <= order.seconds <= faults.MOST_SECONDS)


SPECIFICATION = {
    "id": "r1",
    "credentials": {},
    "listen": OLD,
    "plan": PLAN,
    "source": [OLD, 1],
    "destination": [NEW, 2],
}


@fuzzed
@given(JSON, st.sampled_from(sorted(SPECIFICATION)), st.sampled_from(sorted(PLAN)))
def test_a_specification(value: Any, key: str, in_plan: str) -> None:
    for document in ({**SPECIFICATION, key: value}, value):
        outcome(Specification.read, document, ValueError)
        outcome(EdgeSpecification.read, document, ValueError)
    outcome(Plan.read, {**PLAN, in_plan: value}, ValueError)


@fuzzed
@given(LINES)
def test_lines_on_the_gate(data: bytes) -> None:
    for line in data.split(b"\n"):
        assert isinstance(outcome(keeper.order, line), dict)
        outcome(keeper_client.told, line, keeper_client.GateFailed)
        outcome(lazy_pages._document, line)


# -- the container's ----------------------------------------------------------------------------------------------------

DESCRIPTION = {
    "name": "web", "image": "a", "image_layers": [], "restart_policy": {}, "masked": ["/proc/acpi"], "plain_cgroups": True,
    "volumes": [{"point": "/data", "name": "data", "labels": {}}, {"point": "/scratch"}],
    "binds": [{"source": "/srv", "point": "/srv", "rule": "shared", "inode": 2, "probe": "p", "secret": "s" * 32}],
    "init": False, "memory": [{"point": "/dev", "source": "tmpfs", "options": "mode=755"}],
    "create": {"Image": "a", "HostConfig": {**creation.OURS, "NetworkMode": "bridge", "Binds": ["data:/data", "/srv:/srv"]}},
}  # fmt: skip
PARTS_OF_A_MOUNT = ["point", "source", "options"]
SETTINGS = [
    "Privileged",
    "Binds",
    "NetworkMode",
    "PidMode",
    "LogConfig",
    "Devices",
    "Links",
    "Runtime",
    "UsernsMode",
    "Mounts",
]


def test_the_description_is_right() -> None:
    """Otherwise the next test would show nothing."""
    creation.check(json.loads(json.dumps(DESCRIPTION)), "web")


@fuzzed
@given(
    JSON,
    JSON,
    st.sampled_from(sorted(DESCRIPTION)),
    st.sampled_from(SETTINGS),
    st.sampled_from(["point", "source", "options"]),
)
def test_a_container_that_another_host_describes(value: Any, other: Any, key: str, setting: str, part: str) -> None:
    host = {**DESCRIPTION["create"]["HostConfig"], setting: value}  # type: ignore[index]
    for changed in (
        {key: value},
        {"create": {"HostConfig": host}},
        {"create": {**DESCRIPTION["create"], "Tty": value, "Volumes": other}},  # type: ignore[dict-item]
        {"memory": [{**DESCRIPTION["memory"][0], part: value}]},  # type: ignore[index]
        {"masked": [value, other]},
        {"binds": [{**DESCRIPTION["binds"][0], part: value}, {"rule": "same", "probe": value}]},  # type: ignore[index]
        {"binds": [{**DESCRIPTION["binds"][0], "rule": "same", "digest": "d", "probe": value, part: other}]},  # type: ignore[index]
        {"volumes": [value, {"point": "/data", "name": other, "labels": {}}]},
        {"volumes": [{"point": value, "name": "data", "labels": other}, {"point": "/a", "name": value, "labels": {}}]},
    ):
        outcome(lambda document: creation.check(document, "web"), {**DESCRIPTION, **changed}, creation.Untrusted)


TASK: dict[str, Any] = {
    "name": "sh",
    "status": {"Uid": "0", tasks.OOM: "-500"},
    "limits": [["0", "unlimited"]],
    tasks.CORE_FILTER: "00000033",
    "threads": {"7": {"affinity": [1], "ioprio": 4, "slack": "1"}},
    "sockets": {"3": [[6, 18, "581b0000"]]},
}


@fuzzed
@given(JSON, st.sampled_from(sorted(TASK)), st.sampled_from(["affinity", "ioprio", "slack"]), st.integers(0, 300))
def test_tasks_that_another_host_describes(value: Any, key: str, of_thread: str, cut: int) -> None:
    """What is let through can be compared: nothing but a difference comes of it."""
    spoilt = [{"1": TASK}, {"1": {**TASK, key: value}}, {"1": {**TASK, "threads": {"7": {of_thread: value}}}}, value]
    spoilt += [{"1": {**TASK, "sockets": each}} for each in ({"3": value}, {"3": [value]}, {"3": [[6, 18, value]]})]
    for text in [json.dumps(each).encode() for each in spoilt] + [json.dumps({"1": TASK}).encode()[:cut]]:
        described = outcome(tasks.read, text, ValueError)
        if described:
            outcome(lambda described: tasks.settle(described, []), described, tasks.Different)
    assert tasks.read(json.dumps({"1": TASK}).encode()) == {"1": TASK}


SOCKET: dict[str, Any] = {
    "pid": 7,
    "fd": 3,
    "address": "/run/s.1",
    "path": "/run/s",
    "names": ["/run/t"],
    "mode": 0o755,
    "uid": 0,
    "gid": 0,
    "mtime_ns": -5,
    "xattrs": {"user.some": "00ff"},
    "parents": {"/run": 5, "/": 7},
}


@fuzzed
@given(JSON, st.sampled_from(sorted(SOCKET)), st.integers(0, 300))
def test_unix_sockets_that_another_host_describes(value: Any, key: str, cut: int) -> None:
    """What is let through can be given to a copy, or not: nothing else comes of it."""
    spoilt = [[{**SOCKET, key: value}], [{**SOCKET, "names": [value]}], [value], value]
    spoilt += [[{**SOCKET, "parents": {"/run": value}}], [{**SOCKET, "xattrs": {"user.some": value}}]]
    for text in [json.dumps(each).encode() for each in spoilt] + [json.dumps([SOCKET]).encode()[:cut]]:
        told = outcome(unix_sockets.read, text, ValueError)
        if told:
            outcome(lambda told: unix_sockets.settle(told, {}, "/nowhere"), told, unix_sockets.Misplaced)
            assert all(os.fsencode(each["address"]) for each in told)
    assert unix_sockets.read(json.dumps([SOCKET]).encode()) == [SOCKET]


PEER = {"pid": 1, "fd": 3, "uid": 0, "gid": 0, "groups": [7], "label": "", "number": 9, "backlog": None}


@fuzzed
@given(JSON, st.sampled_from(sorted(PEER)), st.integers(0, 100))
def test_peers_of_unix_sockets_that_another_host_tells(value: Any, key: str, cut: int) -> None:
    """What is let through is what the copy's sockets name, or not: nothing else comes of it."""
    for each in ([{**PEER, key: value}], [{**PEER, "groups": [value]}], [value], value):
        told = outcome(unix_peers.read, json.dumps(each).encode(), ValueError)
        if told:
            outcome(lambda told: unix_peers.settle(told, {}), told, unix_peers.Foreign)
    outcome(unix_peers.read, json.dumps([PEER]).encode()[:cut], ValueError)
    assert unix_peers.read(json.dumps([PEER]).encode()) == [PEER]


@fuzzed
@given(LINES)
def test_a_log_of_docker(data: bytes) -> None:
    """Nothing that was said is lost, and nothing keeps the move from being made."""
    for stream, text in outcome(log_formats.Lines().said, data) or []:
        assert isinstance(stream, str) and text.encode() is not None


FRAME = st.binary(max_size=30).map(lambda message: (size := struct.pack(">I", len(message))) + message + size)


@fuzzed
@given(st.lists(FRAME | st.binary(max_size=12), max_size=6).map(b"".join))
def test_a_log_of_dockers_other_driver(data: bytes) -> None:
    """A host may have crashed while Docker wrote it: nothing is read beyond it, and nothing keeps the move from being made."""
    frames = log_formats.Frames()
    whole = data[: outcome(frames.whole, data) or 0]
    for stream, text in outcome(frames.said, whole) or []:
        assert isinstance(stream, str) and text.encode() is not None
    if whole:
        assert whole.endswith(outcome(frames.mark, whole) or b"")


@fuzzed
@given(st.text(), st.text())
def test_hosts_files(old: str, made: str) -> None:
    outcome(lambda old: own_cargo.merged_hosts(old, made), old)


@fuzzed
@given(st.lists(st.text(st.characters(exclude_characters="\0\n")), max_size=4))
def test_mapped_files(names: list[str]) -> None:
    """As the kernel writes them, whatever they are called."""
    with pytest.MonkeyPatch.context() as patch:
        text = "".join(f"7f00-7f01 rw-s 00000000 08:01 12                         /{each}\n" for each in names)
        patch.setattr(container._kernel, "read_text", lambda _: text)
        found = outcome(container._mapped_paths, 1)
    assert found == {each.replace("\\012", "\n").lstrip("/") for each in names}
