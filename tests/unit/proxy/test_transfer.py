# Copyright: (c) 2026, The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data channel's contents, from a sender to a receiver: files, deletions, the log, the image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from relocate_proxy import transfer
from relocate_proxy.layer import LayerProblem
from relocate_proxy.transfer import LayerSender, Receiver, send_images

from .fakes import ScriptedChannel


class Ends:
    """A sender and a receiver, and the directories behind them."""

    def __init__(self, directory: Path) -> None:
        self.upper, self.root, self.images = (directory / name for name in ("upper", "root", "images"))
        for made in (self.upper, self.root, self.images):
            made.mkdir()
        self.log, self.copy = directory / "json.log", directory / "copy.log"
        self.log.write_text("line 1\n")
        self.line = ScriptedChannel("destination")
        self.sender = LayerSender(self.line, str(self.upper), str(self.log))  # type: ignore[arg-type]
        self.receiver = Receiver(self.line, str(self.root), str(self.copy), str(self.images))  # type: ignore[arg-type]

    def carry(self) -> list[str]:
        """Let the receiver apply what has been sent; return what kinds of messages that were."""
        self.line.send("end")
        self.line.script = self.line.sent[:]
        kinds = [message["kind"] for message in self.line.sent]
        self.line.sent.clear()
        assert self.receiver.receive() == {"kind": "end"}
        return kinds


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    """Return both ends."""
    return Ends(tmp_path)


def test_a_first_copy_and_then_the_difference(ends: Ends) -> None:
    """What changed, what is gone, and the lines that came since."""
    (ends.upper / "data").mkdir()
    (ends.upper / "data/a").write_bytes(b"a" * (transfer.CHUNK + 3))
    (ends.upper / "data/b").write_text("b")
    assert ends.sender.send_changes() == transfer.CHUNK + 3 + 1 + 7
    ends.carry()
    (ends.upper / "data/b").unlink()
    (ends.upper / "data/c").write_text("new")
    with ends.log.open("a") as log:
        log.write("line 2\n")
    ends.sender.send_changes()
    assert "remove" in ends.carry()
    assert {path.name for path in (ends.root / "data").iterdir()} == {"a", "c"}
    assert (ends.root / "data/a").read_bytes() == b"a" * (transfer.CHUNK + 3)
    assert (ends.root / "data/c").read_text() == "new"
    assert ends.copy.read_text() == "line 1\nline 2\n"


def test_an_empty_file_is_a_file(ends: Ends) -> None:
    """No data follows its entry; its attributes are set all the same."""
    (ends.upper / "empty").touch(mode=0o640)
    os.utime(ends.upper / "empty", ns=(1, 1_000_000_001))
    ends.sender.send_changes()
    ends.carry()
    assert (ends.root / "empty").stat().st_mtime_ns == 1_000_000_001


def test_a_file_that_goes_while_it_is_sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next copy knows that it is gone, and others follow it as if nothing had happened."""
    (ends.upper / "a").write_text("a")
    (ends.upper / "b").write_text("b")
    describe = transfer.layer.describe

    def vanish(upper: str, path: str, links: dict) -> dict:
        if path == "a":
            (ends.upper / "a").unlink()
        return describe(upper, path, links)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(transfer.layer, "describe", vanish)
        ends.sender.send_changes()
    ends.carry()
    assert [path.name for path in ends.root.iterdir()] == ["b"]
    ends.sender.send_changes()
    ends.carry()
    assert [path.name for path in ends.root.iterdir()] == ["b"]


def test_images_arrive_whole_and_private(ends: Ends, tmp_path: Path) -> None:
    """Empty ones, large ones, and in the second phase a name of the first is written anew."""
    sent = tmp_path / "dumped"
    sent.mkdir()
    contents = {"core-1.img": b"c", "empty.img": b"", "pages-1.img": os.urandom(transfer.CHUNK * 2 + 1)}
    for name, data in contents.items():
        (sent / name).write_bytes(data)
    assert send_images(ends.line, str(sent)) == transfer.CHUNK * 2 + 2  # type: ignore[arg-type]
    ends.carry()
    assert {path.name: path.read_bytes() for path in ends.images.iterdir()} == contents
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in ends.images.iterdir())


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "/etc/passwd"])
def test_an_image_elsewhere_is_refused(ends: Ends, name: str) -> None:
    """The source is another machine."""
    ends.line.script = [{"kind": "image", "name": name, "raw": b"x"}]
    with pytest.raises(ValueError, match="the source named an image file"):
        ends.receiver.receive()
    assert list(ends.images.iterdir()) == []


def test_an_entry_elsewhere_is_refused(ends: Ends) -> None:
    """Neither written nor removed."""
    ends.line.script = [{"kind": "remove", "path": "../json.log"}]
    with pytest.raises(LayerProblem):
        ends.receiver.receive()
    assert ends.log.exists()


def test_a_log_behind_a_link_is_not_written(ends: Ends) -> None:
    """Nor is one that somebody put there."""
    ends.copy.symlink_to(ends.log)
    ends.line.script = [{"kind": "log", "raw": b"x"}]
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        ends.receiver.receive()


def test_a_disk_that_takes_half_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out."""
    write = os.write
    with (tmp_path / "out").open("wb") as file, monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
        transfer.write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "out").read_bytes() == b"0123456789"


def test_a_container_without_a_log(ends: Ends) -> None:
    """Its driver keeps none on the host."""
    LayerSender(ends.line, str(ends.upper), None).send_changes()  # type: ignore[arg-type]
    assert ends.line.sent == []
