# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the destination's page process says of a drain, and when. What it does with memory is tested against the kernel."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.memory import deferred, lazy_pages
from relocate_proxy.memory.deferred import Area
from relocate_proxy.memory.filler import Filler
from relocate_proxy.memory.lazy_pages import PagesLost
from relocate_proxy.memory.recall import Record
from relocate_proxy.memory.userfault import PAGE
from relocate_proxy.parts import drain
from relocate_proxy.protocol.journal import Journal
from relocate_proxy.protocol.states import State


def test_memory_that_nobody_serves_is_known_before_the_verdict(tmp_path: Path, host: Path) -> None:
    """The source's page processes were killed before the restore: the verdict comes milliseconds after it, and is refused."""
    image = tmp_path / "pagemap-1.img"
    image.write_bytes(b"criupmap" + struct.pack("=I", 2) + b"\x08\x09")
    deferred.enter(str(image), [Area(1, 1 << 20, (1 << 20) + 4 * PAGE)])

    def report(document: dict[str, Any]) -> None:
        (host / lazy_pages.REPORT).write_text(json.dumps(document))

    filler = Filler(str(tmp_path), Record(str(tmp_path / "events")), queue.Queue(), lambda *_: None, report)
    filler._report(True)  # it is waiting, and nothing is missing yet
    faults, unused = os.pipe()
    criu, ours = socket.socketpair()
    criu.sendall(struct.pack("=i", 1))
    socket.send_fds(criu, [b"\0"], [faults])
    filler._hear_restore(ours)
    journal = Journal.at("r1", "destination")
    journal.record(State.PREPARED, mode="post-copy")
    (host / "pages").write_text("")
    with (host / "pages").open(encoding="utf-8") as lives:
        fcntl.flock(lives, fcntl.LOCK_EX)
        with pytest.raises(PagesLost, match="the source cannot be reached for the rest of the memory"):
            drain.accept_verdict(journal, str(host))
    for each in (faults, unused):
        os.close(each)
    for end in (criu, ours):
        end.close()
