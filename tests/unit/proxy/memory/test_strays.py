# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CRIU that outlives its proxy: found by what it works in, told that it cannot write, and waited for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from relocate_proxy.memory.strays import end_strays

WRITER = """#!/bin/sh
trap '' XFSZ
while echo more >>"$1"; do sleep 0.01; done
exit 3
"""


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Return a session's directory with a place to work in."""
    (tmp_path / "r1" / "work").mkdir(parents=True)
    return tmp_path / "r1"


def start(session: Path, name: str, where: Path) -> subprocess.Popen[bytes]:
    """Start a program of that name that writes until it cannot."""
    program = session.parent / name
    program.write_text(WRITER)
    program.chmod(0o755)
    process = subprocess.Popen([program, "out"], cwd=where, stderr=subprocess.DEVNULL)
    while not (where / "out").exists():
        assert process.poll() is None
    return process


def test_one_that_is_still_at_work_is_made_to_end(session: Path) -> None:
    """And it has ended when the call returns: before that the tasks must not run."""
    process = start(session, "criu", session / "work")
    reaper = threading.Thread(target=process.wait)  # its parent would be init
    reaper.start()
    end_strays(str(session))
    reaper.join(5)
    assert process.returncode == 3


def test_one_that_does_not_let_go_is_an_error(session: Path) -> None:
    """It does not write, so it does not notice."""
    program = session.parent / "criu"
    shutil.copy(str(shutil.which("sleep")), program)
    process = subprocess.Popen([program, "60"], cwd=session / "work")
    while Path(f"/proc/{process.pid}/comm").read_text() != "criu\n":  # a new program gets its name a moment later
        assert process.poll() is None
    try:
        with pytest.raises(TimeoutError, match=f"process {process.pid}. does not let go of the container's tasks"):
            end_strays(str(session), seconds=0.05)
    finally:
        process.kill()
        process.wait()
    end_strays(str(session))


def test_others_are_left_alone(session: Path) -> None:
    """Another relocation's CRIU, and this one's other programs."""
    (session.parent / "r10").mkdir()
    others = [start(session, "criu", session.parent / "r10"), start(session, "runc", session / "work")]
    try:
        end_strays(str(session))
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in others:
            process.kill()
            process.wait()


#: Calls itself what no UTF-8 is, as any process in any container may.
NAMELESS = r"import ctypes; ctypes.CDLL(None).prctl(15, b'\xff\xfe'); print(flush=True); input()"


def test_a_neighbour_with_an_odd_name_is_nobodys_business(session: Path) -> None:
    """It must not keep its host from rolling back or ending a move."""
    with subprocess.Popen([sys.executable, "-c", NAMELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes() == b"\xff\xfe\n"
        end_strays(str(session))
