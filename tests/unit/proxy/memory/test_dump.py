# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump that is broken off fails by itself, and a freeze that is called off neither dumps nor votes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from relocate_proxy.host import paths
from relocate_proxy.memory.dump import CalledOff, Dump, Freeze

#: Writes until it cannot, says why, and takes its leave: what CRIU does when its image has no room.
WRITER = """
import errno, sys, time
file = open(sys.argv[1], "wb", buffering=0)
open(sys.argv[1] + ".begun", "w").close()
try:
    while True:
        file.write(b"x" * 4096)
        file.seek(0)
        time.sleep(0.001)
except OSError as error:
    print(errno.errorcode[error.errno], file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture(autouse=True)
def no_shim(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is preloaded into CRIU is not installed here, and the loader would complain of that."""
    monkeypatch.setattr(paths, "RESTORE_SHIM", "")


def writer(directory: Path) -> list[str]:
    """Return the command line of a program that writes for ever."""
    return [sys.executable, "-c", WRITER, str(directory / "pages")]


def begun(directory: Path) -> None:
    """Wait until it writes."""
    mark = directory / "pages.begun"
    while not mark.exists():
        threading.Event().wait(0.01)


def test_it_is_told_that_it_cannot_write(tmp_path: Path) -> None:
    """No signal ends it: it gets an error, and has its time to tidy up."""
    dump = Dump(writer(tmp_path))
    begun(tmp_path)
    assert dump.break_off()
    assert dump.wait() == (3, "EFBIG\n")
    assert dump.break_off(), "one that has ended is broken off"


def test_one_that_does_not_write_is_left_alone() -> None:
    """Nobody may kill it: whoever asks learns that it goes on."""
    dump = Dump([sys.executable, "-c", "import sys; sys.stdin.read(); __import__('time').sleep(0.5)"])
    assert not dump.break_off(seconds=0.05)
    assert dump.wait() == (0, "")


def test_a_freeze_that_nobody_calls_off() -> None:
    """What it runs is heard of, and a vote keeps it from being renounced."""
    freeze, voted, errors = Freeze(), [False], []

    def carry() -> None:
        assert freeze.dump(lambda: Dump([sys.executable, "-c", "import sys; print('!', file=sys.stderr)"])) == (
            0,
            "!\n",
        )
        with freeze.deciding():
            voted[0] = True
        raise ValueError("then")

    freeze.begin(carry, errors.append)
    freeze.ended()
    assert voted[0] and [str(error) for error in errors] == ["then"]
    assert not freeze.renounce(lambda: voted[0]) and not freeze.called_off


def test_a_freeze_that_is_called_off_in_its_dump(tmp_path: Path) -> None:
    """It ends without a vote, and its error is nobody's news: whoever called it off rolls back."""
    freeze, errors, ends = Freeze(), [], []

    def carry() -> None:
        ends.append(freeze.dump(lambda: Dump(writer(tmp_path)))[0])
        with freeze.deciding():
            pytest.fail("it voted")

    freeze.begin(carry, errors.append)
    begun(tmp_path)
    assert freeze.renounce(lambda: False)
    freeze.call_off()
    freeze.ended()
    assert (ends, errors) == ([3], [])
    with pytest.raises(CalledOff):
        freeze.dump(lambda: Dump(writer(tmp_path)))


def test_a_vote_that_is_just_being_written_counts_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may hang: nobody can know what it will say."""
    monkeypatch.setattr("relocate_proxy.memory.dump.VOTE_SECONDS", 0.01)
    freeze = Freeze()
    writing, written = threading.Event(), threading.Event()

    def carry() -> None:
        with freeze.deciding():
            writing.set()
            written.wait()

    freeze.begin(carry, pytest.fail)
    writing.wait()
    assert not freeze.renounce(lambda: False) and not freeze.called_off
    freeze.call_off()
    assert freeze.called_off, "the edge's verdict counts whatever this host's disk does"
    written.set()
