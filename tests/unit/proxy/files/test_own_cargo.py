# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that Docker makes for a container: what was changed in them follows, what Docker writes is the new place's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from relocate_proxy.files import own_cargo
from relocate_proxy.files.cargo import Receiver
from relocate_proxy.files.own_cargo import OwnReceiver, OwnSender, merged_hosts

from ..fakes import ScriptedChannel

OLD = "127.0.0.1\tlocalhost\n172.20.1.1\tgw\n172.20.1.9\tweb web.shop\n"
MADE = "127.0.0.1\tlocalhost\n172.20.2.1\tgw\n172.20.2.30\tweb web.shop\n"
HASHED = "# Docker's\nnameserver 192.0.2.1\n"


@pytest.mark.parametrize(
    ("old", "merged"),
    [
        (OLD, MADE),
        (OLD + "10.0.0.9 db # mine\n\n# end", MADE + "10.0.0.9 db # mine\n\n# end\n"),
        ("10.0.0.9 gw db\n" + OLD, "10.0.0.9 gw db\n" + MADE),
        ("", ""),
        ("172.20.1.9   web  web.shop # me\n", "172.20.2.30\tweb web.shop\n"),
    ],
)
def test_hosts_for_the_new_place(old: str, merged: str) -> None:
    """Docker's lines are renewed by their names, others stay, and what was removed stays away."""
    assert merged_hosts(old, MADE) == merged


def test_a_container_with_two_kinds_of_addresses() -> None:
    """Docker writes two lines with the same names, and 28 writes them in another order than 26."""
    old = "172.30.1.9\tweb\nfd00:1::9\tweb\n"
    assert merged_hosts(old, "fd00:2::8\tweb\n172.30.2.8\tweb\n") == "172.30.2.8\tweb\nfd00:2::8\tweb\n"


class Ends:
    """A sender and a receiver, and Docker's directories behind them."""

    def __init__(self, directory: Path) -> None:
        self.there, self.here = directory / "there", directory / "here"
        for place, hosts, server in ((self.there, OLD, "192.0.2.1"), (self.here, MADE, "198.51.100.1")):
            place.mkdir()
            (place / "hosts").write_text(hosts)
            (place / "hostname").write_text("web\n")
            (place / "resolv.conf").write_text(text := HASHED.replace("192.0.2.1", server))
            (place / "resolv.conf.hash").write_text("sha256:" + hashlib.sha256(text.encode()).hexdigest())
        (directory / "tini").write_bytes(b"\x7fELF")
        self.line = ScriptedChannel("destination")
        self.sender = OwnSender(self.line, str(self.there), "web", str(directory / "tini"))
        self.receiver = Receiver(self.line, [OwnReceiver(str(self.here))])

    def carry(self) -> list[str]:
        """Let the receiver apply what has been sent; return of which files."""
        self.line.send("end")
        self.line.script, names = self.line.sent[:], [message.get("name", "") for message in self.line.sent[:-1]]
        self.line.sent.clear()
        self.receiver.receive()
        return names


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    """Return both ends."""
    return Ends(tmp_path)


def test_what_nobody_changed_is_dockers_own(ends: Ends) -> None:
    """The init comes along, because it is mapped; files are written in place, because they are mounted."""
    inode = (ends.here / "hosts").stat().st_ino
    assert ends.sender.send_first() == 4 + len(OLD)
    assert ends.carry() == ["docker-init", "hosts"]
    assert (ends.here / "docker-init").read_bytes() == b"\x7fELF"
    assert (ends.here / "docker-init").stat().st_mode & 0o777 == 0o755
    assert (ends.here / "hosts").read_text() == MADE and (ends.here / "hosts").stat().st_ino == inode
    assert "198.51.100.1" in (ends.here / "resolv.conf").read_text()
    assert ends.sender.send_changes() == 0 and ends.carry() == []


def test_what_was_changed_follows_until_the_freeze(ends: Ends) -> None:
    """Changed before, changed meanwhile, and changed back."""
    (ends.there / "resolv.conf").write_text("nameserver 10.0.0.9\n")
    ends.sender.send_first()
    ends.carry()
    assert (ends.here / "resolv.conf").read_text() == "nameserver 10.0.0.9\n"
    (ends.there / "resolv.conf").write_text(HASHED)
    (ends.there / "hostname").write_text("other")
    with (ends.there / "hosts").open("a") as file:
        file.write("10.0.0.9 db\n")
    ends.sender.send_changes()
    assert ends.carry() == ["hosts", "resolv.conf", "hostname"]
    assert "198.51.100.1" in (ends.here / "resolv.conf").read_text(), "Docker's own again"
    assert (ends.here / "hosts").read_text() == MADE + "10.0.0.9 db\n"
    assert (ends.here / "hostname").read_text() == "other"


def test_a_source_that_names_other_files(ends: Ends) -> None:
    """Docker keeps its configuration of the copy in the same directory."""
    ends.line.send("own", raw=b"{}", name="hostconfig.json", changed=True)
    with pytest.raises(ValueError, match=r"hostconfig\.json"):
        ends.carry()


def test_a_link_in_the_place_of_a_file(ends: Ends, tmp_path: Path) -> None:
    """It is not followed."""
    (tmp_path / "victim").write_text("precious")
    (ends.here / "docker-init").symlink_to(tmp_path / "victim")
    ends.sender.send_first()
    with pytest.raises(OSError):
        ends.carry()
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_of_any_size(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be held in memory on both hosts."""
    monkeypatch.setattr(own_cargo, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="hosts of the container has more than"):
        ends.sender.send_changes()
