# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of pre-copy: how many, what is sent of them, what is kept of them, and what ends them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from relocate_proxy.host import paths
from relocate_proxy.memory import rounds
from relocate_proxy.memory.rounds import STATS_HEAD, PreCopy, another, stopped_ms
from relocate_proxy.protocol.channel import ChannelLost
from relocate_proxy.protocol.protobuf import encode

from ..fakes import ScriptedChannel

MIB = 1 << 20
PROBED = {"kind": "probed"}

#: Does what ``criu pre-dump`` does, with as many bytes of pages as the file "sizes" says for its round; -1: it fails.
CRIU = """#!{python}
import os, sys
from pathlib import Path
option = lambda name: Path(sys.argv[sys.argv.index("--" + name) + 1])
images, work = option("images-dir"), option("work-dir")
number = int(images.name.rpartition("-")[2])
if "--prev-images-dir" in sys.argv:
    (images / "parent").symlink_to(option("prev-images-dir"))
    assert (images / "parent/pages-1.img").stat().st_size == 0, "pages that have arrived are still here"
size = int((work / "sizes").read_text().split()[number - 1])
if size < 0:
    (work / "pre-dump.log").write_text("(00.1) Error (criu/mem.c:1): No room\\n(00.2) Error (criu/x.c:2): FAILED\\n")
    sys.exit(1)
(images / "pagemap-1.img").write_bytes(b"map")
(images / "pages-1.img").write_bytes(bytes(size))
(work / "stats-dump").write_bytes(bytes.fromhex({stats!r}))
"""


def statistics(frozen_us: int) -> bytes:
    """Return a file of CRIU's statistics: freezing, frozen, memory dumped, written (images/stats.proto)."""
    entry = encode({1: encode({1: 100, 2: frozen_us, 3: 50, 4: 60})})
    return STATS_HEAD.pack(0x55105940, 0x57093306, len(entry)) + entry


class Scene:
    """A container and a program that dumps it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.work = directory / "images", directory / "work"
        for made in (self.images, self.work, directory / "bin"):
            made.mkdir()
        program = directory / "bin/criu"
        program.write_text(CRIU.format(python=sys.executable, stats=statistics(2500).hex()))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))
        monkeypatch.setattr(paths, "RESTORE_SHIM", "")
        self.line = ScriptedChannel("destination", [PROBED] * 20)
        self.commands: list[list[str]] = []
        self.rounds = PreCopy(self.line, 4711, str(self.images), str(self.work), self.commands)

    def run(self, *sizes: int) -> list[int]:
        """Make rounds in which CRIU finds so much; return what they carried."""
        (self.work / "sizes").write_text(" ".join(map(str, sizes)))
        self.rounds.run()
        return [each.bytes for each in self.rounds.rounds]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return a place for rounds."""
    return Scene(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("sizes", "seconds", "more"),
    [
        ([], 0, True),
        ([], 100, True),  # one there must be
        ([64 * MIB], 1, True),
        ([64 * MIB], 31, False),
        ([MIB], 0, False),
        ([0], 0, False),
        ([64 * MIB, 32 * MIB], 1, True),
        ([64 * MIB, 32 * MIB + 1], 1, False),
        ([64 * MIB, 8 * MIB, MIB + 1], 1, True),
        ([64 * MIB, 8 * MIB, MIB], 1, False),
        ([2**power * MIB for power in range(20, 13, -1)], 1, True),
        ([2**power * MIB for power in range(20, 12, -1)], 1, False),
    ],
)
def test_rounds_go_on_while_they_shrink(sizes: list[int], seconds: float, more: bool) -> None:
    assert another(sizes, seconds) is more


def test_what_was_written_since_is_sent_round_by_round(scene: Scene) -> None:
    """Each after the one before has arrived; the link to it stays here, and so does the room that its pages took."""
    assert scene.run(4 * MIB, 2 * MIB, 2 * MIB - 4096) == [4 * MIB, 2 * MIB, 2 * MIB - 4096]
    assert scene.rounds.last == "round-3"
    assert scene.rounds.document() == {
        "rounds": [{"bytes": size, "stopped_ms": 2.5} for size in (4 * MIB, 2 * MIB, 2 * MIB - 4096)],
        "left_bytes": 2 * MIB - 4096,
    }
    sent = [(message["kind"], message.get("round"), message.get("name")) for message in scene.line.sent]
    assert list(dict.fromkeys(sent)) == [
        each
        for number in (1, 2, 3)
        for each in (("image", number, "pagemap-1.img"), ("image", number, "pages-1.img"), ("probe", None, None))
        if each[0] == "image" or number == 1
    ]
    assert [kind for kind, _, _ in sent].count("probe") == 3
    assert [path.stat().st_size for path in scene.images.glob("round-*/pages-*")] == [0, 0, 0]
    assert [command[1] for command in scene.commands] == ["pre-dump"] * 3
    assert ["--prev-images-dir" in command for command in scene.commands] == [False, True, True]


def test_a_round_that_fails_says_why(scene: Scene) -> None:
    """In CRIU's first words; nothing of it is sent."""
    with pytest.raises(RuntimeError, match=r"could not read the container's memory while it runs: Error .*No room$"):
        scene.run(4 * MIB, -1)
    assert {message.get("round") for message in scene.line.sent if message["kind"] == "image"} == {1}


def test_a_destination_that_is_gone_ends_the_rounds(scene: Scene) -> None:
    scene.line.script = [PROBED]
    with pytest.raises(ChannelLost):
        scene.run(4 * MIB, 2 * MIB, MIB)
    assert len(scene.commands) == 2


def test_the_time_that_it_stood_still(tmp_path: Path) -> None:
    (tmp_path / "stats-dump").write_bytes(statistics(80_123))
    assert stopped_ms(str(tmp_path / "stats-dump")) == 80.123
    assert rounds.STATS_HEAD.size == 12
