# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CRIU is to bind unix sockets to, in images as it writes them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host import paths
from relocate_proxy.memory import unix_images
from relocate_proxy.memory.criu_image import framed, messages
from relocate_proxy.memory.unix_images import DIRECTORY, FLAGS, GONE, INODE, NAME, STATE, TYPE, UNIX
from relocate_proxy.protocol.protobuf import Fields, decode, encode

LISTENS, ESTABLISHED, CLOSED = 10, 1, 7
HEAD = b"\x43\x13\x32\x56\x07\x02\x56\x57"


def entry(inode: int, name: bytes, state: int = LISTENS, kind: int = socket.SOCK_STREAM, **more: Any) -> Fields:
    """Return a socket as CRIU has dumped it; a path ends with NUL, as the kernel has it."""
    name = name + b"\0" if name[:1] != b"\0" and name else name
    fields: Fields = {1: inode, INODE: inode, TYPE: kind, STATE: state, FLAGS: 0, NAME: name}
    return {**fields, **{int(key[1:]): value for key, value in more.items()}}


def told(inode: int, path: str, straight: bool = False) -> dict[str, Any]:
    """Return what is said of a socket."""
    return {"inode": inode, "path": path, "straight": straight}


def rewritten(directory: Path, entries: list[Fields], *about: dict[str, Any]) -> tuple[list[Fields], list[bytes]]:
    """Rewrite an image; return its sockets, and the addresses that are written beside it."""
    image = HEAD + framed(encode({1: 1, 2: 3, 3: b"a file \x82\x01"}))
    image += b"".join(framed(encode({1: 5, 2: number, UNIX: encode(each)})) for number, each in enumerate(entries))
    (directory / "files.img").write_bytes(image)
    unix_images.rewrite(str(directory), list(about))
    after = [decode(message) for _, message in messages((directory / "files.img").read_bytes())]
    assert after[0] == {1: 1, 2: 3, 3: b"a file \x82\x01"} and [each[2] for each in after[1:]] == [*range(len(entries))]
    listing = directory / paths.ADDRESSES
    data = listing.read_bytes() if listing.exists() else b""
    records = [data[at : at + unix_images.RECORD] for at in range(0, len(data), unix_images.RECORD)]
    sockets = [decode(bytes(each[UNIX])) for each in after[1:]]  # type: ignore[arg-type]
    return sockets, [each[4 : 4 + int.from_bytes(each[:4], "little")] for each in records]


def test_what_leads_to_its_file_stays_as_it_is(tmp_path: Path) -> None:
    """By an absolute address, or a relative one as CRIU has understood it; and what has no path, or is outside."""
    entries = [
        entry(1, b"/run/a"),
        entry(2, b"./b", _14=b"/run"),
        entry(3, b"c/d", _14=b"/"),
        entry(4, b"\0abstract"),
        entry(5, b""),
        entry(6, b"/dev/log", _6=1),
    ]
    about = (told(1, "/run/a", straight=True), told(2, "/run/b"), told(3, "/c/d"))
    before = [{**each} for each in entries]
    assert rewritten(tmp_path, entries, *about) == (before, [])


@pytest.mark.parametrize(
    ("address", "path", "more"),
    [
        (b"/run/s.1", "/run/s", {}),
        (b"s.1", "/run/s", {"_14": b"/"}),
        (b"s", "/else/s", {"_14": b"/run"}),
        (b"/" + b"x" * 107, "/" + "x" * 107, {}),
        (b"/run/first", "/run/link", {"_15": 1}),
        (b"/\xff", os.fsdecode(b"/\xfe"), {}),
    ],
    ids=["renamed", "relative and renamed", "relative and moved", "of 108 bytes", "by a link", "no UTF-8"],
)
def test_what_does_not_lead_to_its_file_is_bound_by_a_name_of_ours(
    tmp_path: Path, address: bytes, path: str, more: dict[str, Any]
) -> None:
    """In the directory of the file."""
    straight = len(address) == 108
    [found], addresses = rewritten(tmp_path, [entry(1, address, **more)], told(1, path, straight))
    assert addresses == [address]
    assert found[NAME] == b".relocate-socket-0\0" and found[GONE] == 0
    assert found[DIRECTORY] == os.fsencode(Path(path).parent) and found[INODE] == 1


def test_one_without_a_file_is_bound_where_nobody_looks(tmp_path: Path) -> None:
    """CRIU removes it again; two of one address are two."""
    entries = [entry(1, b"/run/s", _15=1), entry(2, b"/run/s", CLOSED, socket.SOCK_DGRAM, _15=1), entry(3, b"/run/s")]
    found, addresses = rewritten(tmp_path, entries, told(1, ""), told(2, ""), told(3, "/run/s", straight=True))
    assert [each[NAME] for each in found] == [b".relocate-socket-0\0", b".relocate-socket-1\0", b"/run/s\0"]
    assert [each.get(DIRECTORY) for each in found] == [b"/dev", b"/dev", None]
    assert [each.get(GONE) for each in found] == [1, 1, None] and addresses == [b"/run/s"] * 2


def test_connections_have_no_name_that_criu_would_remove(tmp_path: Path) -> None:
    """It binds them to nothing. Datagrams that have a peer are bound all the same."""
    entries = [entry(1, b"/run/s", ESTABLISHED, _15=1), entry(2, b"/run/d", ESTABLISHED, socket.SOCK_DGRAM)]
    found, addresses = rewritten(tmp_path, entries, told(2, "/run/d", straight=True))
    assert found[0][NAME] == b"" and found[0][GONE] == 0
    assert found[1] == entries[1] and addresses == []


def test_one_that_no_process_has_ends_the_move(tmp_path: Path) -> None:
    """Nothing was told of its file."""
    with pytest.raises(RuntimeError, match=r"bound to /run/s is on its way .* try again"):
        rewritten(tmp_path, [entry(1, b"/run/s")])
