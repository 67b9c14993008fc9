# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom unix sockets are to name, in images as CRIU writes them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host import paths
from relocate_proxy.host.unix_peers import Foreign
from relocate_proxy.memory import peer_images
from relocate_proxy.memory.criu_image import framed, messages
from relocate_proxy.memory.peer_images import CONNECTS, HEAD, LISTENS, PAIRED, RECORD
from relocate_proxy.memory.unix_images import FLAGS, INODE, STATE, TYPE, UNIX
from relocate_proxy.protocol.protobuf import Fields, decode, encode

LISTEN, ESTABLISHED, CLOSED = 10, 1, 7
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
HEADING = b"\x43\x13\x32\x56\x07\x02\x56\x57"


def entry(inode: int, state: int, peer: int = 0, kind: int = STREAM, flags: int = 0) -> Fields:
    """Return a socket as CRIU has dumped it."""
    return {1: inode, INODE: inode, TYPE: kind, STATE: state, 5: 2, FLAGS: flags, 7: 5, 8: peer, 11: b""}


def told(number: int, uid: int = 0, address: bytes = b"") -> dict[str, Any]:
    """Return what is told of a socket."""
    return {"number": number, "uid": uid, "gid": uid, "groups": [uid], "address": address, "backlog": None}


def rewritten(
    directory: Path, entries: list[Fields], about: dict[int, dict[str, Any]], *more: Any
) -> tuple[list[int], list[tuple[int, ...]], int]:
    """Rewrite an image; return the types of its sockets, the numbers, others, ways and kinds in the list, and the holder's."""
    image = HEADING + framed(encode({1: 1, 2: 3, 3: b"a file \x82\x01"}))
    image += b"".join(framed(encode({1: 5, 2: number, UNIX: encode(each)})) for number, each in enumerate(entries))
    (directory / "files.img").write_bytes(image)
    connecting, numbers = more or (lambda inode: None, ())
    peer_images.rewrite(str(directory), about, connecting, numbers)
    after = [decode(message) for _, message in messages((directory / "files.img").read_bytes())]
    assert after[0] == {1: 1, 2: 3, 3: b"a file \x82\x01"} and [each[2] for each in after[1:]] == [*range(len(entries))]
    sockets = [decode(bytes(each[UNIX])) for each in after[1:]]  # type: ignore[arg-type]
    kinds = [int(each[TYPE]) for each in sockets]
    if not (directory / paths.PEERS).exists():
        return kinds, [], 0
    data = (directory / paths.PEERS).read_bytes()
    count, holder = HEAD.unpack_from(data)
    assert len(data) == HEAD.size + count * RECORD.size
    records = [RECORD.unpack_from(data, HEAD.size + place * RECORD.size) for place in range(count)]
    return kinds, [(*each[:5], *each[68:]) for each in records], holder


def placed(place: int, kind: int = STREAM) -> int:
    """Return the type that an image has of a socket with a place in the list."""
    return 1 << 30 | place << 4 | kind


def record(number: int, uid: int, partner: int, how: int, address: bytes = b"", kind: int = STREAM) -> tuple[Any, ...]:
    """Return what the list has of a socket with one group."""
    return (number, uid, uid, 1, uid, partner, how, kind, len(address), address.ljust(108, b"\0"))


def test_every_socket_that_names_somebody_has_a_place(tmp_path: Path) -> None:
    """Both ends of a connection, who listens, and a connection whose other end is gone; by their inodes."""
    entries = [
        entry(9, LISTEN),
        entry(8, ESTABLISHED, 7),
        entry(7, ESTABLISHED, 8),
        entry(6, CLOSED),
        entry(5, ESTABLISHED),
        entry(4, ESTABLISHED, 99, flags=1),
    ]
    about = {9: told(1, 0, b"/s"), 8: told(3, 1000, b"/s"), 7: told(1), 5: told(4)}
    kinds, records, holder = rewritten(tmp_path, entries, about, lambda inode: None, {32000, 31999})
    assert kinds == [placed(0), placed(1), placed(2), STREAM, placed(3), STREAM]
    assert records == [
        record(1, 0, -1, LISTENS, b"/s"),
        record(3, 1000, 2, PAIRED, b"/s"),
        record(1, 0, 1, PAIRED),
        record(4, 0, -1, PAIRED),
    ]
    assert holder == 31998 and about[9]["backlog"] == 5 and about[8]["backlog"] is None


def test_a_peer_that_is_no_process_of_the_container_gets_a_number_that_nobody_has(tmp_path: Path) -> None:
    """Who listens names process 0 again, which the destination sees to."""
    entries = [entry(9, LISTEN), entry(8, ESTABLISHED, 7), entry(7, ESTABLISHED, 8)]
    about = {9: told(0), 8: told(3, 1, b"/s"), 7: told(0)}
    _, records, holder = rewritten(tmp_path, entries, about)
    assert [each[0] for each in records] == [0, 3, holder - 1] and holder == peer_images.HIGHEST


def test_datagrams_name_somebody_as_a_nameless_pair_only(tmp_path: Path) -> None:
    """CRIU compares their type, where there is an address."""
    entries = [entry(number, ESTABLISHED, peer, DATAGRAM) for number, peer in ((1, 2), (2, 1), (3, 4), (4, 3), (5, 5))]
    about = {1: told(7), 2: told(7), 3: told(7, 0, b"/s"), 4: told(7), 5: told(7)}
    kinds, _, _ = rewritten(tmp_path, entries[:4], about)
    assert kinds == [placed(0, DATAGRAM), placed(1, DATAGRAM), DATAGRAM, DATAGRAM]


def test_one_that_waits_to_be_accepted_is_connected_by_whom_it_belongs_to(tmp_path: Path) -> None:
    """What it says itself is who listens."""
    entries = [entry(9, LISTEN), entry(8, ESTABLISHED, 9)]
    about = {9: told(1, 0, b"/s"), 8: told(1)}
    _, records, _ = rewritten(tmp_path, entries, about, lambda inode: told(inode * 2, 1000), ())
    assert records[1] == record(16, 1000, -1, CONNECTS)
    with pytest.raises(Foreign, match=r"waits to be accepted, and who has connected it is not known.*try again"):
        rewritten(tmp_path, entries, about)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({8: told(3), 7: told(4)}, "name different processes, and neither has an address"),
        ({8: told(3, 5), 7: told(3)}, "name different processes, and neither has an address"),
        ({8: told(3)}, "on its way from one program to another: try again"),
    ],
    ids=["process", "user", "unknown"],
)
def test_what_cannot_be_made_anew(tmp_path: Path, about: dict[int, dict[str, Any]], says: str) -> None:
    """It is said in one sentence, and the move is rolled back."""
    with pytest.raises(Foreign, match=says):
        rewritten(tmp_path, [entry(8, ESTABLISHED, 7), entry(7, ESTABLISHED, 8)], about)


def test_without_connections_there_is_no_list(tmp_path: Path) -> None:
    """And the image stays as it is."""
    assert rewritten(tmp_path, [entry(6, CLOSED)], {}) == ([STREAM], [], 0)


def test_it_is_told_which_sockets_an_image_has(tmp_path: Path) -> None:
    """What was told of another one would be looked for in vain at the destination."""
    (tmp_path / "files.img").write_bytes(HEADING + framed(encode({1: 5, 2: 1, UNIX: encode(entry(3, CLOSED))})))
    assert [*peer_images.rewrite(str(tmp_path), {9: told(1)}, lambda _: None, ())] == [3]
