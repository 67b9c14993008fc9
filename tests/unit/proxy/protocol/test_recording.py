# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording: what a source sends, a destination takes, in the order and in the form of a channel."""

from __future__ import annotations

from pathlib import Path

import pytest
from relocate_proxy.host.sealing import Broken
from relocate_proxy.protocol import recording
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.documents import Specification
from relocate_proxy.protocol.recording import Recorder, Recording

KEY = b"k" * 32


def recorded(path: Path, whole: bool = True) -> Path:
    recorder = Recorder(str(path), KEY)
    recorder.send("snapshot", document={"name": "web"}, address="172.20.1.2")
    recorder.send("image", raw=b"pages" * 1000, name="pages-1.img")
    assert recorder.receive()
    if whole:
        recorder.send("end")
        recorder.finish()
    recorder.close()
    recorder.close()  # twice does no harm
    return path


def test_messages_come_back_as_they_were_sent(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r")
    assert path.stat().st_mode & 0o777 == 0o400
    found = Recording(str(path), KEY)
    assert found.receive() == {"kind": "snapshot", "document": {"name": "web"}, "address": "172.20.1.2"}
    image = found.receive()
    assert (image["name"], image["raw"]) == ("pages-1.img", b"pages" * 1000)
    found.send("mounted")  # nobody listens
    assert found.receive() == {"kind": "end"}
    found.finish()
    with pytest.raises((Broken, ChannelLost)):
        found.receive()
    found.close()


def test_a_recording_that_was_not_finished_is_not_used(tmp_path: Path) -> None:
    found = Recording(str(recorded(tmp_path / "r", whole=False)), KEY)
    with pytest.raises(Broken):
        found.receive()
    found.close()


def test_no_file_is_overwritten_or_followed(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r")
    (tmp_path / "link").symlink_to(path)
    for name in ("r", "link"):
        with pytest.raises(FileExistsError):
            Recorder(str(tmp_path / name), KEY)
    with pytest.raises(OSError, match="symbolic links"):
        Recording(str(tmp_path / "link"), KEY)


def test_whoever_became_root_by_sudo_can_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[int] = []
    monkeypatch.setattr(recording.os, "fchown", lambda _fd, user, _group: owners.append(user))
    for value in ("1000", ""):
        monkeypatch.setenv("SUDO_UID", value)
        Recorder(str(tmp_path / f"r{value}"), KEY).close()
    assert owners == [1000, 0]


@pytest.mark.parametrize("name", ["", "../etc/shadow", "relocate-a/b.sealed", "relocate-.sealed", "x.sealed"])
def test_a_name_leads_nowhere_else(name: str) -> None:
    told = {"id": "x", "credentials": {}, "listen": "", "recording": {"name": name, "key": "00"}}
    with pytest.raises(ValueError, match="no name of a recording"):
        recording.path_of(Specification.read(told))
