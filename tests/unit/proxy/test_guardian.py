# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guardian takes away on its host that no relocation will ask for, and what it does not begin a second time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from relocate_proxy import guardian
from relocate_proxy.host import paths
from relocate_proxy.parts.recovery import hold_part, recover, release_part
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State


def session(relocation: str) -> Path:
    """Make a session with a file in it; return its directory."""
    directory = Path(paths.private_directory(paths.session(relocation)))
    (directory / "pages-1.img").write_bytes(b"secret")
    return directory


def test_sessions_of_parts_that_were_killed_before_their_first_line(host: Path) -> None:
    """They are in no journal: no recovery would ever ask for them. Living ones, and those that have begun, are left."""
    killed, living, begun = (session(name) for name in ("killed", "living", "begun"))
    lock = hold_part("living", "source")
    Journal.at("begun", "destination", f"{host}/journal").record(State.STAGING)
    guardian._sweep()
    release_part("living", "source", lock)
    assert [each.exists() for each in (killed, living, begun)] == [False, True, True]
    guardian._sweep()
    assert not living.exists() and not list(Path(paths.PARTS).iterdir())


def test_lock_files_of_parts_that_have_ended(host: Path) -> None:
    """Their guardians were killed behind the last line. Of a part that is just beginning, or has no end, the file stays."""
    for name, state in {"ended": State.DONE, "doubtful": State.VOTED, "ending": State.ROLLED_BACK}.items():
        Journal.at(name, "source", f"{host}/journal").record(state)
        (Path(paths.private_directory(paths.PARTS)) / f"{name}.source").touch()
    lock = hold_part("ending", "source")
    beginning = hold_part("beginning", "edge")
    guardian._forget_locks()
    assert {each.name for each in Path(paths.PARTS).iterdir()} == {"doubtful.source", "ending.source", "beginning.edge"}
    release_part("ending", "source", lock)
    release_part("beginning", "edge", beginning)


def test_recovery_of_a_part_without_a_line(host: Path) -> None:
    """It is as if it had never been: nothing to settle, and nothing left."""
    made = session("killed")
    assert recover({"relocation": "killed", "part": "source", "verdict": "roll-back"}) == {
        "changed": False, "outcome": "unknown", "verdict": "roll-back",
    }  # fmt: skip
    assert not made.exists()


@pytest.mark.parametrize("part", guardian.PARTS)
@pytest.mark.parametrize("state", [State.STAGING, State.VOTED, State.COMMITTED, State.DONE, State.ROLLED_BACK])
def test_an_order_that_is_replayed_begins_nothing(
    part: str, state: State, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With keys of his own, whoever sends it again would be the peer of a part that waits for the verdict."""
    monkeypatch.setattr(guardian, "run_part", lambda *_: pytest.fail("the part was started"))
    Journal.at("r1", part).record(state)
    before = Journal.at("r1", part).state
    read, write = os.pipe()
    guardian._guard(part, {"id": "r1", "credentials": {}, "listen": "127.0.0.1"}, write)
    with os.fdopen(read) as announced:
        assert json.loads(announced.readline())["error"].startswith("relocation r1 was begun on this host before")
    assert Journal.at("r1", part).state is before
    assert not list(Path(paths.RUN).glob(f"parts/r1.{part}")), "the part can be recovered"
