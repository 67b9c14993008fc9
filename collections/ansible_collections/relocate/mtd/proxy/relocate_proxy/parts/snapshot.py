# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot: the source's part of a move whose destination comes later. The container runs on.

It is dumped by the same steps, and thawed as soon as CRIU is done and what changed in its files has been read: its pages, which
then lie in memory, are recorded while it runs. It never votes, so whatever happens to this process, or to the host, ends
as a move's rollback does: the container is thawed where it is.

Nothing is held at the edge. TCP connections stay with the container and are not in the image: when it is restored, they would
be long dead.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable

from ..memory.image_cargo import ImageSender
from ..protocol.channel import Outlet
from ..protocol.journal import Journal
from ..protocol.recording import Recorder, key_of, path_of
from ..protocol.states import State
from . import endings
from .alone import Alone, ended, forget_recording, write_result
from .restarted import resume as resume_part
from .source import SETTLE_SECONDS, Source, forget_cgroups

#: What CRIU says of ``--tcp-close`` if it knows it of a dump, and not of a restore alone.
LEAVES_ALONE = "dump the state of, or block, established tcp"
FROZEN_SECONDS = 120.0  # unless the specification says otherwise


class Snapshot(Alone, Source):
    """The host of a container that is recorded."""

    def __init__(self, specification: dict, journal: Journal) -> None:
        super().__init__(specification, journal)
        self.recorder: Recorder | None = None

    def serve(self) -> None:
        """Record the container, and let it run on."""
        recorded, problem = False, ""
        try:
            self._record_all()
            recorded = True
        except Exception as error:
            problem = str(error) or type(error).__name__
        if not recorded:
            forget_recording(self.specification)
        if "thawed" not in self.moments:
            endings.give_original_back(self.journal, self.docker, self._call_off, self._thawed)
        self.close(State.DONE if recorded else State.ROLLED_BACK, reason=problem)
        write_result(self.id, self._result(recorded, problem))

    def _record_all(self) -> None:
        name, key = path_of(self.specification), key_of(self.specification)
        self.recorder = Recorder(name, key)
        try:
            self.on_describe({})
            self.recorder.send("snapshot", **self.said["described"])
            self.on_copy({})
            self.on_arm(self.addresses.document())
            self.on_settle({})
            images = ImageSender(self.recorder, self.images)
            self._freeze_and_dump(images)
            images.send_rest()
            self.bytes["memory"] = images.bytes
            self.recorder.send("end")
            self.recorder.finish()
        finally:
            self.recorder.close()

    def _freeze_and_dump(self, images: ImageSender) -> None:
        """Freeze, dump, and read what changed in the files; thaw. :raises RuntimeError: CRIU could not, in its time."""
        self.record(State.FREEZING, limits=self.limits)
        self.moments.mark("begin")
        limit = float(self.specification.recording.get("seconds") or FROZEN_SECONDS)
        watch = threading.Timer(limit, self.freeze.call_off)
        watch.daemon = True
        self._freeze()
        self.moments.mark("frozen")
        watch.start()
        try:
            sent = self._dump(images)
            sent()
            self._send_link_remaps()
            self._tell_unix_sockets()
        except RuntimeError as error:
            if self.freeze.called_off:
                raise RuntimeError(f"the dump took longer than {limit:g} s, and was given up ({error})") from error
            raise
        finally:
            watch.cancel()
        if self.plain_cgroups:
            forget_cgroups(self.images)
        endings.give_original_back(self.journal, self.docker, endings.nothing)
        self.moments.mark("thawed")

    # -- where a snapshot differs from a move ----------------------------------------------------------------------------

    def _open_data(self, _: dict) -> Outlet:
        assert self.recorder is not None
        return self.recorder

    def _measure_link(self) -> float:
        """There is no link."""
        return 0.0

    def _dump_command(self, previous: str | None, scan_paths: Iterable[str]) -> list[str]:
        """An older CRIU reads the state of every connection, and fails if something arrives in that very moment."""
        said = subprocess.run(["criu", "--help"], capture_output=True, text=True, check=False).stdout
        alone = LEAVES_ALONE in " ".join(said.split())
        dump = self.container.dump_command
        return dump(self.images, self.work, self.plain_cgroups, previous, scan_paths, tcp_close=alone)

    def _forbid_restart(self) -> None:
        """The original is not going to be killed: its restart policy stays."""

    def on_settle(self, _: dict) -> None:
        """Wait for health checks. Connections between SYN and accept do not matter: none is in the image.

        :raises RuntimeError: a process whose parent is not the container's would be missing in the image.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            late = time.monotonic() > deadline  # before the look: what passed while this process had to wait is seen
            if not self.container.visitors():
                break
            if late:
                raise RuntimeError(
                    "a command of docker exec or a health check runs in the container: try again when it has ended"
                )
            time.sleep(0.001)

    def _send_pages(self, images: ImageSender, dumped: threading.Event) -> None:
        """They lie in memory, and can be recorded when the container runs again."""

    def _recorded_bytes(self) -> int:
        return os.stat(path_of(self.specification)).st_size

    def _result(self, recorded: bool, problem: str) -> dict:
        spans = {**self._timings(), "frozen_total": self.moments.span("begin", "thawed")}
        size = self._recorded_bytes() if recorded else 0
        return {
            "outcome": "recorded" if recorded else "failed",
            "container": self.container.name,
            "container_id": self.container.id,
            "timings_ns": {name: span for name, span in spans.items() if span is not None},
            "bytes": {**self.bytes, "recording": size},
            "problems": [problem] if problem else [],
            "commands": self.commands,
        }


def resume(specification: dict, journal: Journal) -> None:
    """After a kill: thaw the container. What was recorded is not whole."""
    resume_part("source", specification, journal)
    ended(specification, journal, "the proxy that made the snapshot was killed; the container runs on: try again")
