# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message of the two tables, right and wrong, in frames that are whole, cut off, too large, repeated or out of turn.

The messages are made from the tables: a new one is tried without a line here, and a new kind of field without a strategy fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relocate_proxy.files import entry
from relocate_proxy.files.cargo import Receiver
from relocate_proxy.files.log_cargo import LogReceiver
from relocate_proxy.files.own_cargo import OwnReceiver
from relocate_proxy.files.tree_cargo import TreeReceiver
from relocate_proxy.files.trees import LayerProblem
from relocate_proxy.memory.image_cargo import ImageReceiver
from relocate_proxy.network.flows import Flow
from relocate_proxy.parts import base
from relocate_proxy.protocol import messages
from relocate_proxy.protocol.channel import HEADER, MAX_MESSAGE, MAX_RAW, Channel, ChannelLost
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.messages import MESSAGES, Fields, Kind, check
from relocate_proxy.protocol.peers import PartFailed, Peers
from relocate_proxy.protocol.states import State

from tests.unit.fuzzing import JSON, fuzzed, fuzzed_each, outcome

from .fakes import ScriptedChannel, ScriptedListener

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, messages.COUNT_LIMIT - 1)
ADDRESSES = st.ip_addresses().map(str)
ENDS = st.fixed_dictionaries({"address": ADDRESSES, "port": st.integers(0, 65535)})
FLOWS = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["ingress", "egress", "inner"]),
        "protocol": st.sampled_from(["tcp", "udp"]),
        **dict.fromkeys(("local", "remote", "host"), ENDS),
    },
    optional={"virtual": st.none() | ENDS},
)
#: Names that lead out of a directory, and others. "way" is a symbolic link to a directory elsewhere: see ``Place``.
NAMES = st.sampled_from(
    [
        *("a", "b", "a/b", "a/b/c", "way", "way/x", "way/../x", "../outside", "../../outside/x", "/outside", ".", ".."),
        *("a/..", "a/../..", "./a", "a//b", "a/", "\udcff", "é", "a\nb", "x" * 300, "{{ x }}", "secret"),
        *("parent", "round-1", "pages-1.img", ".x", "hosts", "docker-init"),
    ]
)
MODES = st.builds(int.__or__, st.sampled_from(entry.FORMATS), st.integers(0, 0o7777))
ENTRIES = st.fixed_dictionaries({"path": NAMES, "whiteout": st.just(True)}) | st.fixed_dictionaries(
    {
        "path": NAMES,
        "mode": MODES,
        "uid": st.integers(0, 2**32 - 2),
        "gid": st.integers(0, 2**32 - 2),
        "mtime_ns": st.integers(-(2**70), 2**70),
        "xattrs": st.dictionaries(
            st.sampled_from(["user.x", "security.capability", "trusted.x", "x", "system.posix_acl_access"]),
            st.binary(max_size=9).map(bytes.hex),
            max_size=2,
        ),
        "target": NAMES,
    },
    optional={
        "opaque": st.booleans(),
        "link": NAMES,
        "size": st.integers(0, 1 << 40),
        "device": st.integers(0, 2**63 - 1),
    },
)
PATCHES = ENTRIES.filter(lambda each: "whiteout" not in each).map(
    lambda each: {**{name: each[name] for name in entry.ENTRY_FIELDS}, "mode": 0o100644, "size": 4096}
)


def sendable(document: dict[str, Any]) -> bool:
    """Return whether JSON can say this: it has no word for infinity, and a channel takes none."""
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        return False
    return True


#: A strategy for every kind of field.
KINDS: dict[Kind, st.SearchStrategy[Any]] = {
    messages.TEXT: TEXTS,
    messages.ADDRESS: ADDRESSES,
    messages.COUNT: COUNTS,
    messages.NUMBER: COUNTS | st.floats(0, 1e18),
    messages.FLAG: st.booleans(),
    messages.DOCUMENT: st.dictionaries(TEXTS, JSON, max_size=3).filter(sendable),
    messages.PLACE: st.tuples(ADDRESSES, st.integers(0, 65535)).map(list),
    messages.PLACE_OR_NONE: st.none() | st.tuples(ADDRESSES, st.integers(0, 65535)).map(list),
    messages.FLOWS: st.lists(FLOWS, max_size=3),
    messages.COUNTS: st.dictionaries(TEXTS, COUNTS, max_size=3),
    messages.TIMINGS: st.dictionaries(TEXTS, st.none() | COUNTS, max_size=3),
    messages.COMMANDS: st.lists(st.lists(TEXTS, max_size=3), max_size=3),
    messages.ROUNDS: st.lists(st.dictionaries(TEXTS, COUNTS, max_size=2), max_size=3),
    entry.ENTRY: ENTRIES,
    entry.PATCH: PATCHES,
    entry.TREE: st.sampled_from(["", "/dev/shm", "/nowhere", "x"]),
    entry.RAW: st.binary(max_size=40),
    entry.SIZE: st.sampled_from([0, 1, 2, 3, 4096, 1 << 40, 2**63 - 1]),
    entry.FILE_NAME: NAMES,
    entry.FLAG: st.booleans(),
    entry.WORDS: st.lists(st.tuples(st.sampled_from(["stdout", "stderr", ""]), TEXTS).map(list), max_size=3),
}
BETWEEN_PARTS = sorted(MESSAGES)
ON_DATA = sorted(entry.CARGO)


def made(kind: str, fields: Fields, optional: Fields) -> st.SearchStrategy[dict[str, Any]]:
    """Return right messages of a kind."""
    given = {name: KINDS[each] for name, each in fields.items()}
    may = {name: KINDS[each] for name, each in optional.items()}
    return st.fixed_dictionaries({"kind": st.just(kind), **given}, optional=may)


def between_parts(key: tuple[str, str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return right messages of a line of the table."""
    return made(key[0], MESSAGES[key].fields, MESSAGES[key].optional)


ANY_MESSAGE = st.sampled_from(BETWEEN_PARTS).flatmap(between_parts)
ODD_CARGO = st.fixed_dictionaries(
    {"kind": st.sampled_from(ON_DATA)},
    optional=dict.fromkeys(sorted({each for two in entry.CARGO.values() for one in two for each in one}), JSON),
)
TO_THE_EDGE = [key for key in BETWEEN_PARTS if MESSAGES[key].receiver == "edge"]
ANY_CARGO = st.sampled_from(ON_DATA).flatmap(lambda kind: made(kind, *entry.CARGO[kind]))


ODD_BODIES = [b"[" * 90_000, b'{"kind":' * 50_000, b"9" * 100_000, b'{"kind":"x","raw":"y"}', b'{"kind":"x","n":NaN}']


class Line:
    """A TLS connection whose other end says some bytes, a few at a time, and then hangs up."""

    def __init__(self, data: bytes, pieces: int = 7) -> None:
        self._data, self._pieces = data, pieces

    def recv_into(self, buffer: memoryview) -> int:
        """Give what fits, and not all of it."""
        piece, self._data = self._data[: min(len(buffer), self._pieces)], self._data[min(len(buffer), self._pieces) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def getpeercert(self) -> dict[str, Any]:
        """Be the source."""
        return {"subject": ((("commonName", "source.r1"),),)}

    def setsockopt(self, *_: object) -> None:
        """Take every option."""

    setblocking = setsockopt


def channel(data: bytes, pieces: int = 7) -> Channel:
    """Return a channel on which some bytes come."""
    tls: Any = Line(data, pieces)
    return Channel(tls)


def frame(message: dict[str, Any], raw: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    body = json.dumps(message).encode()
    return HEADER.pack(len(body), len(raw)) + body + raw


# -- frames -------------------------------------------------------------------------------------------------------------


@fuzzed
@given(ANY_MESSAGE, st.binary(max_size=50), st.integers(1, 99))
def test_a_frame_arrives_whole_however_it_is_cut(message: dict[str, Any], raw: bytes, pieces: int) -> None:
    found = channel(frame(message, raw) * 2, pieces)
    for _ in range(2):
        assert found.receive() == {**message, **({"raw": raw} if raw else {})}
    with pytest.raises(ChannelLost):
        found.receive()


@fuzzed
@given(
    st.binary(max_size=200)
    | st.builds(lambda message, cut: frame(message, b"raw")[:cut], ANY_MESSAGE, st.integers(0, 400))
    | st.builds(
        lambda length, extra, rest: HEADER.pack(length, extra) + rest,
        st.integers(0, 2**32 - 1),
        st.sampled_from([0, 1, MAX_RAW, MAX_RAW + 1, 2**64 - 1]),
        st.binary(max_size=60),
    )
    | JSON.map(lambda value: (lambda body: HEADER.pack(len(body), 0) + body)(json.dumps(value).encode()))
    | st.sampled_from(
        [b"[" * 90_000, b'{"kind":' * 50_000, b"9" * 100_000, b'{"kind":"x","raw":"y"}', b'{"kind":"x","n":NaN}']
    ).map(lambda body: HEADER.pack(len(body), 0) + body)
)
def test_what_is_no_frame_is_a_lost_channel(data: bytes) -> None:
    """And no memory is taken for what is only announced."""
    message = outcome(lambda data: channel(data, 1 << 16).receive(), data, ChannelLost)
    assert message is None or isinstance(message["kind"], str)


def test_what_would_not_be_taken_is_not_sent() -> None:
    """So that the reason is told, and not that the other end hung up."""
    for fields, raw in (({"x": "x" * MAX_MESSAGE}, b""), ({}, bytes(MAX_RAW + 1))):
        with pytest.raises(ValueError, match=r"the message 'armed' would have .* are taken: close connections"):
            channel(b"").send("armed", raw, **fields)


# -- messages -----------------------------------------------------------------------------------------------------------


def test_every_kind_of_field_has_a_strategy() -> None:
    """And every kind that is declared is in a table."""
    tables = [(each.fields, each.optional) for each in MESSAGES.values()] + list(entry.CARGO.values())
    used = {kind for fields, optional in tables for kind in (*fields.values(), *optional.values())}
    assert used == set(KINDS)


@fuzzed_each
@given(st.data())
@pytest.mark.parametrize("key", BETWEEN_PARTS, ids="-".join)
def test_a_message_is_taken_when_it_is_right_and_refused_when_it_is_not(
    key: tuple[str, str], data: st.DataObject
) -> None:
    """Every field, put wrong: by anything that its kind does not have, or by nothing."""
    line = MESSAGES[key]
    right = data.draw(between_parts(key))
    assert check(line.sender, line.receiver, right) == right
    for name, kind in {**line.fields, **line.optional}.items():
        wrong = data.draw(JSON.filter(lambda value, kind=kind: not kind.fits(value)))
        for spoilt in ({**right, name: wrong}, {each: right[each] for each in right if each != name}):
            if name in spoilt or name in line.fields:
                with pytest.raises(
                    ValueError, match=f"the {line.sender}'s message '{key[0]}' has no proper '{name}'; run"
                ):
                    check(line.sender, line.receiver, spoilt)


@fuzzed
@given(JSON | ANY_MESSAGE, st.permutations(["source", "destination", "edge"]))
def test_what_is_none_of_the_table_is_refused(message: Any, parts: list[str]) -> None:
    outcome(lambda message: check(parts[0], parts[1], message), message, ValueError)


@fuzzed
@given(st.dictionaries(st.sampled_from(["direction", "protocol", "local", "remote", "host", "virtual"]), JSON) | FLOWS)
def test_a_connection_is_read_or_refused(document: dict[str, Any]) -> None:
    flow = outcome(Flow.read, document, ValueError)
    assert flow is None or Flow.read(flow.document()) == flow


class Mailbox(Peers):
    """The edge's mailbox, with what came already in it."""

    def __init__(self, script: list[dict[str, Any]]) -> None:
        super().__init__("r1", {}, {})
        for part in ("source", "destination"):
            line: Any = ScriptedChannel(part, [dict(each) for each in script])
            self.channels[part] = line
            self._read(part, line)


@fuzzed
@given(st.lists(ANY_MESSAGE, max_size=6), st.sampled_from(TO_THE_EDGE))
def test_the_edge_hears_what_it_waits_for(script: list[dict[str, Any]], wanted: tuple[str, str]) -> None:
    """Or that it will not come, whatever came before, twice, or from the other one."""
    kind, part = wanted
    found = outcome(lambda part: Mailbox(script).expect(part, kind, 0.0), part, PartFailed, ChannelLost, TimeoutError)
    assert found is None or found["kind"] == kind


class Obedient(base.Part):
    """A part that notes what it is told."""

    name = "source"

    def roll_back(self, reason: str) -> None:
        """Note it, as all others do."""
        self.close(State.ROLLED_BACK, reason=reason)


@pytest.mark.parametrize("state", [None, State.STAGED, State.VOTED])
@fuzzed
@given(script=st.lists(ANY_MESSAGE | st.fixed_dictionaries({"kind": st.text()}), max_size=5))
def test_a_part_comes_to_an_end_whatever_the_edge_says(
    state: State | None, script: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It rolls back alone before its vote, and after it never."""
    with pytest.MonkeyPatch.context() as patch:
        directory = str(tmp_path_factory.mktemp("part"))
        patch.setattr(base.paths, "SESSIONS", directory + "/sessions")
        patch.setattr(base, "Listener", lambda *_: ScriptedListener([ScriptedChannel("edge", script)]))
        journal = Journal.at("r1", "source", directory)
        if state:
            journal.record(state)
        part = Obedient({"id": "r1", "listen": "", "credentials": {}}, journal)
        part.serve()
    told = any(
        each["kind"] == "roll_back" and not messages.missing(each, {}, {"reason": messages.TEXT}) for each in script
    )
    assert journal.state is (State.ROLLED_BACK if state is not State.VOTED or told else State.VOTED)


# -- the data channel ---------------------------------------------------------------------------------------------------


class Place:
    """A destination's directories, beside something that is not its business, and a link in each that leads there."""

    def __init__(self, directory: Path) -> None:
        self.root, self.images, self.docker, self.outside = (
            directory / name for name in ("root", "images", "docker", "outside")
        )
        for each in (self.root, self.images, self.docker, self.outside):
            each.mkdir()
        (self.outside / "secret").write_text("secret")
        for each in (self.root, self.images, self.docker):
            (each / "way").symlink_to(self.outside)
            (each / "secret").symlink_to(self.outside / "secret")
        for name in ("hosts", "resolv.conf", "hostname"):
            (self.docker / name).write_text("x")
        self.directory = directory
        self.log = LogReceiver(str(self.docker / "json.log"))
        self.trees = TreeReceiver()

    def receive(self, script: list[dict[str, Any]], mounted: bool) -> None:
        """Take what the source says until it hangs up, phase by phase."""
        line: Any = ScriptedChannel("source", [dict(each) for each in script])
        cargo = [self.log, self.trees, OwnReceiver(str(self.docker)), ImageReceiver(str(self.images))]
        receiver = Receiver(line, cargo)
        if mounted:
            self.trees.mounted(str(self.root))
        while line.script:
            receiver.receive()

    def unharmed(self) -> bool:
        """Return whether nothing outside has changed."""
        kept = sorted(each.name for each in self.directory.iterdir()) == ["docker", "images", "outside", "root"]
        inside = [(each.name, each.read_text()) for each in self.outside.iterdir()]
        return kept and inside == [("secret", "secret")]


@fuzzed
@given(
    script=st.lists(
        ANY_CARGO
        | st.fixed_dictionaries(
            {"kind": st.sampled_from(ON_DATA)},
            optional={
                "entry": JSON,
                "path": JSON,
                "at": JSON,
                "tree": JSON,
                "rotated": JSON,
                "words": JSON,
                "name": JSON,
                "raw": JSON,
                "round": JSON,
                "changed": JSON,
            },
        ),
        max_size=8,
    ),
    mounted=st.booleans(),
)
def test_whatever_the_source_sends_stays_inside(
    script: list[dict[str, Any]], mounted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files, links, devices, logs and images: nothing beside the copy's own directories is made, changed or read."""
    place = Place(tmp_path_factory.mktemp("place"))
    outcome(lambda script: place.receive(script, mounted), script, ValueError, LayerProblem, ChannelLost, OSError)
    assert place.unharmed()


@fuzzed_each
@given(st.data())
@pytest.mark.parametrize("kind", ON_DATA)
def test_cargo_that_is_not_as_it_should_be_is_refused(kind: str, data: st.DataObject) -> None:
    """Every field, put wrong."""
    fields, optional = entry.CARGO[kind]
    right = data.draw(made(kind, fields, optional))
    assert entry.check(right) == right
    for name, each in {**fields, **optional}.items():
        wrong = data.draw(JSON.filter(lambda value, each=each: not each.fits(value)))
        with pytest.raises(ValueError, match=f"the source's message '{kind}' has no proper '{name}': run"):
            entry.check({**right, name: wrong})


@fuzzed_each
@given(st.data())
@pytest.mark.parametrize("name", sorted({**entry.ENTRY_FIELDS, **entry.ENTRY_OPTIONAL}))
def test_an_entry_that_is_not_as_it_should_be_is_refused(name: str, data: st.DataObject) -> None:
    right = data.draw(ENTRIES.filter(lambda each: "whiteout" not in each))
    wrong = data.draw(JSON.filter(lambda value: not {**entry.ENTRY_FIELDS, **entry.ENTRY_OPTIONAL}[name].fits(value)))
    assert entry.ENTRY.fits(right) and not entry.ENTRY.fits({**right, name: wrong})


def test_what_overlayfs_reads_is_not_the_sources_to_write() -> None:
    """Such an attribute would lead to another place of the host's file system."""
    for name in ("trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.redirect"):
        assert not entry.ATTRIBUTES.fits({name: "79"})
    assert entry.ATTRIBUTES.fits({"security.capability": "0100"})
