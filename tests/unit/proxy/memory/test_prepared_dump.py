# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRIU that is started early: what it is told, when it begins, and how it is sent away."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from relocate_proxy.host import paths
from relocate_proxy.memory import prepared_dump
from relocate_proxy.memory.prepared_dump import NotReady, PreparedDump, configuration
from relocate_proxy.protocol.protobuf import decode, encode

#: Speaks like ``criu swrk``. Its order goes to the file "order"; each notice that was agreed to, to the file "agreed".
CRIU = """#!{python}
import json, os, socket, sys
sys.path.insert(0, {path!r})
from relocate_proxy.memory.prepared_dump import *
ours = socket.socket(fileno=int(sys.argv[2]))
order = decode(decode(ours.recv(65536))[OPTIONS])
work = order[CONFIG_FILE].decode().rpartition("/")[0]
with open(work + "/order", "w") as file:
    json.dump({{number: value.decode() if isinstance(value, bytes) else value for number, value in order.items()}}, file)
assert os.readlink(f"/proc/{{os.getppid()}}/fd/{{order[IMAGES_FD]}}").endswith("/images")
mode = open(work + "/mode").read()
if mode == "refuses":
    ours.send(encode({{TYPE: DUMP, SUCCESS: 0, ERROR_TEXT: b"no such container"}}))
    sys.exit(1)
if mode == "dies":
    sys.exit("a library is missing")
for notice in (b"pre-dump", b"network-lock", b"post-dump"):
    ours.send(encode({{TYPE: NOTIFY, SUCCESS: 1, NOTICE: encode({{SCRIPT: notice}})}}))
    if decode(ours.recv(65536) or b"").get(NOTIFY_SUCCESS) != 1:
        sys.exit(3)
    with open(work + "/agreed", "ab") as file:
        file.write(notice + b" ")
ours.send(encode({{TYPE: DUMP, SUCCESS: 1}}))
"""


class Scene:
    """A directory with a program that speaks like CRIU."""

    def __init__(self, directory: Path) -> None:
        self.images, self.work = directory / "images", directory / "work"
        self.images.mkdir()
        self.work.mkdir()
        self.program = directory / "criu"
        self.program.write_text(CRIU.format(python=sys.executable, path=str(Path(prepared_dump.__file__).parents[2])))
        self.program.chmod(0o755)
        self.mode("dumps")

    def mode(self, mode: str) -> None:
        """Say what it will do."""
        (self.work / "mode").write_text(mode)

    def prepare(self) -> PreparedDump:
        """Start it."""
        command = [str(self.program), "dump", "--tree", "4711", "--images-dir", "/i", "-v1", "--leave-running"]
        return PreparedDump([*command, "--external", "mnt[/my data]:/d"], str(self.images), str(self.work))

    @property
    def agreed(self) -> list[str]:
        """The notices that were answered."""
        found = self.work / "agreed"
        return found.read_text().split() if found.exists() else []


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return a place for a dump."""
    monkeypatch.setattr(paths, "RESTORE_SHIM", "")
    return Scene(tmp_path)


def test_nothing_happens_before_it_is_told_to_begin(scene: Scene) -> None:
    """Then everything, and the answer comes when the image is complete."""
    dump = scene.prepare()
    order = json.loads((scene.work / "order").read_text())
    assert (order[str(prepared_dump.PID)], order[str(prepared_dump.LEAVE_RUNNING)]) == (4711, 1)
    assert (scene.work / "dump.conf").read_text() == 'leave-running\nexternal "mnt[/my data]:/d"\n'
    assert scene.agreed == []
    assert dump.begin() is dump
    assert dump.wait() == (0, "")
    assert scene.agreed == ["pre-dump", "network-lock", "post-dump"]
    dump.close()


def test_one_that_is_not_wanted_ends_by_itself(scene: Scene) -> None:
    """It has touched nothing and need not be broken off."""
    dump = scene.prepare()
    dump.close()
    assert dump.ended(5) and scene.agreed == []


@pytest.mark.parametrize(("mode", "words"), [("refuses", "no such container"), ("dies", "a library is missing")])
def test_one_that_cannot_begin_says_why(scene: Scene, mode: str, words: str) -> None:
    """While the container still runs."""
    scene.mode(mode)
    with pytest.raises(NotReady, match=words):
        scene.prepare()


def test_no_descriptor_of_the_images_is_kept(scene: Scene) -> None:
    """CRIU has them by the time that it waits; a proxy that kept them would keep what is wiped."""
    dump = scene.prepare()
    links = [
        str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and entry.exists()
    ]
    assert not [link for link in links if link in (str(scene.images), str(scene.work))]
    dump.close()


def test_messages_are_protobuf() -> None:
    """The encoding of the Protocol Buffers' own documentation: field 1 = 150, field 2 = "testing"."""
    message = bytes.fromhex("089601120774657374696e67")
    assert encode({1: 150, 2: b"testing"}) == message and decode(message) == {1: 150, 2: b"testing"}
    assert decode(b"") == {}


def test_a_configuration_has_quotes_where_a_path_has_blanks() -> None:
    """And not what the order has already."""
    command = ["criu", "dump", "--tree", "1", "--work-dir", "/w", "--log-file", "l", "-v1", "--manage-cgroups=soft"]
    assert configuration([*command, "--root", '/a "b"']) == 'manage-cgroups=soft\nroot "/a \\"b\\""\n'
