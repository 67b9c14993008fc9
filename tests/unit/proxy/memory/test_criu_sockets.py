# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses in a memory image. ``pycriu`` is a stand-in here (``pycriu_standin``): the lab's tests have the real one."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.network.conntrack import Endpoint
from relocate_proxy.network.flows import Connection
from relocate_proxy.protocol.addresses import Addresses

from .. import pycriu_standin

OLD, NEW = "172.20.1.2", "172.20.2.9"
OLD6, NEW6 = "fd00:20:1::2", "fd00:20:2::9"
#: Of a container without IPv6, and of one with both.
FOUR, BOTH = (Addresses(OLD), Addresses(NEW)), (Addresses(OLD, OLD6), Addresses(NEW, NEW6))


def words(address: str) -> list[int]:
    """Return an address as CRIU stores it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    return list(struct.unpack(f"={len(packed) // 4}I", packed))


def isk(source: str, port: int, destination: str = "", remote: int = 0, **other: Any) -> dict[str, Any]:
    """Return one INETSK entry."""
    destination = destination or ("::" if ":" in source else "0.0.0.0")
    entry = {
        "family": socket.AF_INET6 if ":" in source else socket.AF_INET,
        "proto": socket.IPPROTO_TCP,
        "state": 1 if remote else 10,
        "src_port": port,
        "dst_port": remote,
        "src_addr": words(source),
        "dst_addr": words(destination),
    }
    return {"type": "INETSK", "id": 1, "isk": {**entry, **other}}


def rewrite(
    directory: Path, *entries: dict[str, Any], moved: tuple[Addresses, Addresses] = FOUR
) -> tuple[list[Connection], list[dict[str, Any]]]:
    """Rewrite an image and return the connections and its entries as they are then."""
    from relocate_proxy.memory import criu_sockets

    path = directory / "files.img"
    path.write_bytes(pycriu_standin.pack(entries))
    before = path.stat().st_mtime_ns, path.stat().st_ino
    found = criu_sockets.rewrite(str(directory), *moved)
    after = pycriu_standin.unpack(path.read_bytes())
    if after == list(entries):
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == before, "written without need"
    return found, after


def test_every_socket_bound_to_the_old_address_is_given_the_new_one(tmp_path: Path) -> None:
    """Connected ones, listening ones, and both ends of one that stays inside."""
    entries = [
        isk(OLD, 7000, "10.88.0.2", 40000),
        isk(OLD, 8000),
        isk(OLD, 9000, OLD, 9001),
        isk("0.0.0.0", 7000),
        isk("127.0.0.1", 1, "127.0.0.1", 2),
    ]
    found, after = rewrite(tmp_path, *entries)
    assert [entry["isk"]["src_addr"] for entry in after] == [
        words(address) for address in (NEW, NEW, NEW, "0.0.0.0", "127.0.0.1")
    ]
    assert after[2]["isk"]["dst_addr"] == words(NEW) and after[0]["isk"]["dst_addr"] == words("10.88.0.2")
    assert found == [
        Connection("tcp", Endpoint(OLD, 7000), Endpoint("10.88.0.2", 40000)),
        Connection("tcp", Endpoint(OLD, 9000), Endpoint(OLD, 9001)),
        Connection("tcp", Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)),
    ]


def test_a_dual_stack_socket_shows_ipv4_in_ipv6(tmp_path: Path) -> None:
    """It is rewritten inside its family, and is an IPv4 connection for the tables."""
    found, after = rewrite(tmp_path, isk(f"::ffff:{OLD}", 80, "::ffff:10.88.0.2", 40000))
    assert after[0]["isk"]["src_addr"] == words(f"::ffff:{NEW}")
    assert found == [Connection("tcp", Endpoint(OLD, 80), Endpoint("10.88.0.2", 40000))]


def test_sockets_of_both_families_are_given_the_address_of_theirs(tmp_path: Path) -> None:
    """An IPv6 socket that talks IPv4 has IPv4's. What listens on any address does so at the destination as well."""
    entries = [
        isk(OLD6, 7000, "2001:db8::2", 40000),
        isk(f"::ffff:{OLD}", 7000, "::ffff:10.88.0.2", 40001),
        isk(OLD, 8000),
        isk(OLD6, 9000, OLD6, 9001),
        isk("::", 7000),
    ]
    found, after = rewrite(tmp_path, *entries, moved=BOTH)
    assert [entry["isk"]["src_addr"] for entry in after] == [
        words(address) for address in (NEW6, f"::ffff:{NEW}", NEW, NEW6, "::")
    ]
    assert after[3]["isk"]["dst_addr"] == words(NEW6) and after[0]["isk"]["dst_addr"] == words("2001:db8::2")
    assert found == [
        Connection("tcp", Endpoint(OLD6, 7000), Endpoint("2001:db8::2", 40000)),
        Connection("tcp", Endpoint(OLD, 7000), Endpoint("10.88.0.2", 40001)),
        Connection("tcp", Endpoint(OLD6, 9000), Endpoint(OLD6, 9001)),
    ]


@pytest.mark.parametrize(
    "moved", [FOUR, (BOTH[0], FOUR[1]), (FOUR[0], BOTH[1])], ids=["neither", "not there", "not here"]
)
def test_an_address_that_one_end_alone_has_stays(tmp_path: Path, moved: tuple[Addresses, Addresses]) -> None:
    """There is nothing to put in its place, and no empty address is taken for one."""
    _, after = rewrite(tmp_path, isk(OLD6, 80, "2001:db8::2", 1), isk("::", 81), isk(OLD, 5, src_addr=[]), moved=moved)
    assert [entry["isk"]["src_addr"] for entry in after] == [words(OLD6), words("::"), []]


def test_what_is_not_this_address_stays(tmp_path: Path) -> None:
    """Another address that begins alike, IPv6, other families, other files; then nothing is written at all."""
    entries = [
        isk("172.20.1.20", 80),
        isk("fe80::1", 80),
        {"type": "REG", "id": 2, "reg": {"name": OLD}},
        {"type": "INETSK", "id": 3, "isk": {"family": 17, "src_addr": [1]}},
        isk(OLD, 5, src_addr=[]),
    ]
    found, after = rewrite(tmp_path, *entries)
    assert found == [] and after == entries


def test_connected_udp_is_a_connection_and_an_unconnected_one_is_not(tmp_path: Path) -> None:
    """Nor is a TCP socket that has no peer, or not yet; a half-closed one is."""
    found, _ = rewrite(
        tmp_path,
        isk(OLD, 53, "10.88.0.2", 5000, proto=socket.IPPROTO_UDP),
        isk(OLD, 53, proto=socket.IPPROTO_UDP, state=7),
        isk(OLD, 80, "10.88.0.2", 5000, state=7),
        isk(OLD, 80, "10.88.0.2", 5001, state=12),
        isk(OLD, 80, "10.88.0.2", 5002, state=8),
        isk(OLD, 1, "10.88.0.2", 1, proto=socket.IPPROTO_ICMP),
    )
    assert found == [
        Connection("udp", Endpoint(OLD, 53), Endpoint("10.88.0.2", 5000)),
        Connection("tcp", Endpoint(OLD, 80), Endpoint("10.88.0.2", 5002)),
    ]


def test_an_image_without_files_is_no_image(tmp_path: Path) -> None:
    """CRIU always writes one."""
    from relocate_proxy.memory import criu_sockets

    with pytest.raises(FileNotFoundError, match=r"files\.img"):
        criu_sockets.rewrite(str(tmp_path), *FOUR)


def test_files_that_docker_renews_may_have_another_size(tmp_path: Path) -> None:
    """A process may have /etc/hosts open, and an address of another length comes into it."""
    names = ["/etc/hosts", "etc/resolv.conf", "/etc/hosts.allow", "/srv/etc/hosts"]
    _, after = rewrite(tmp_path, *({"type": "REG", "id": 1, "reg": {"name": name, "size": 186}} for name in names))
    assert [entry["reg"].get("size") for entry in after] == [None, None, 186, 186]


def test_unix_sockets_are_left_alone(tmp_path: Path) -> None:
    """They may name a directory that is no UTF-8, which pycriu may not read."""
    from relocate_proxy.memory import criu_sockets
    from relocate_proxy.memory.criu_image import framed

    unix = framed(b"\x08\x05\x10\x07\x82\x01\x02\x72\xff")
    path = tmp_path / "files.img"
    path.write_bytes(pycriu_standin.pack([isk(OLD, 80)]) + unix)
    criu_sockets.rewrite(str(tmp_path), *FOUR)
    assert path.read_bytes().endswith(unix)
    assert criu_sockets.file_names(str(tmp_path)) == {}


def test_the_name_of_an_open_file_may_be_no_text(tmp_path: Path) -> None:
    """Any bytes are a name, and pycriu never sees it."""
    from relocate_proxy.memory import criu_sockets

    names = {3: "/\udcff\udcfe name", 4: "/\udcff/etc/hosts"}
    entries = [{"type": "REG", "id": number, "reg": {"name": name, "size": 1}} for number, name in names.items()]
    path = tmp_path / "files.img"
    path.write_bytes(before := pycriu_standin.pack(entries))
    assert criu_sockets.rewrite(str(tmp_path), *FOUR) == [] and path.read_bytes() == before
    assert criu_sockets.file_names(str(tmp_path)) == names
