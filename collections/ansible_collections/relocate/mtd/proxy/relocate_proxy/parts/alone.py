# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the two parts of a snapshot have in common: each works alone, with a recording in place of the other.

A move has three parts at one time. A snapshot has its source at one time and its destination at another, and no edge: nothing
is held, and no connection goes along. So these two obey nobody. They take the steps of ``source`` and ``destination`` by
themselves, and leave a result as the edge does.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ..host import paths
from ..protocol.channel import Listener
from ..protocol.documents import Specification
from ..protocol.journal import Journal
from ..protocol.recording import path_of


class NobodyComes(Listener):
    """In place of a listener: no port is opened."""

    def __init__(self) -> None:
        self.port = 0

    def close(self) -> None:
        """Nothing is open."""


class Alone:
    """Mixed into a part, before it: what it says to the edge is kept."""

    said: dict[str, dict[str, Any]]  # by kind, the last

    def _listen(self) -> Listener:
        self.said = {}
        return NobodyComes()

    def say(self, kind: str, **fields: Any) -> None:
        """Keep what is said."""
        self.said[kind] = fields

    say_if_heard = say


def write_result(relocation: str, result: dict) -> None:
    """Leave what the controller fetches."""
    path = paths.result(relocation)
    paths.private_directory(os.path.dirname(path))
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(path + ".part", path)


def forget_recording(specification: Specification) -> None:
    """Remove the file of a recording, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(specification))


def ended(specification: dict, journal: Journal, reason: str) -> None:
    """Leave the result of a part that was killed, and has been brought to its end; remove what is half-done."""
    forget_recording(Specification.read(specification))
    outcome = "committed" if journal.state == "done" and journal.part == "destination" else "failed"
    write_result(specification["id"], {"outcome": outcome, "problems": [reason]})
