# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container comes back from a snapshot: the destination's part of a move whose source was recorded, and is gone.

The steps are the destination's. Two things differ. The sockets in the image get their new address here, because the source
could not know it. And TCP connections are restored closed: the program reads their end, and gets EPIPE where it writes.

Nobody else has the container, which the controller has made sure of, and the edge leads here already. So this part decides
alone: a copy that is restored may run.
"""

from __future__ import annotations

import threading
import time

from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient

from ..host import paths
from ..host.secrets import wipe
from ..memory import criu_sockets
from ..protocol.addresses import Addresses
from ..protocol.channel import Outlet
from ..protocol.facts import DestinationFacts
from ..protocol.journal import Journal
from ..protocol.recording import Recording, key_of, path_of
from ..protocol.states import AFTER_COMMIT, State
from . import endings
from .alone import Alone, ended, forget_recording, write_result
from .destination import Destination

READ_SECONDS = 3600.0  # a recording of any size comes from the disk


class Revival(Alone, Destination):
    """The host that a container comes back on."""

    restore_options = ("tcp-close",)
    sent_images = False

    def __init__(self, specification: dict, journal: Journal) -> None:
        super().__init__(specification, journal)
        self._told = threading.Condition()
        self._before = Addresses("")

    def say(self, kind: str, **fields: object) -> None:
        """Keep what is said; the thread that reads and restores says its part of it."""
        with self._told:
            super().say(kind, **fields)
            self._told.notify_all()

    say_if_heard = say

    def serve(self) -> None:
        """Restore the container and let it run, or leave nothing of it."""
        problem = ""
        try:
            self._restore_all()
        except Exception as error:
            problem = str(error) or type(error).__name__
            if self.journal.state in AFTER_COMMIT:
                problem = f"the copy was restored, and may run: {problem}; run recover.yml"
            else:
                self.roll_back(problem)
        forget_recording(self.specification)
        write_result(self.id, self._result(problem))

    def _restore_all(self) -> None:
        recording = Recording(path_of(self.specification), key_of(self.specification))
        head = recording.receive()
        if head["kind"] != "snapshot":
            raise ValueError("the snapshot does not begin with the container's description")
        self._before = Addresses.read(head)
        self.on_create({"document": head["document"]})
        threading.Thread(target=self._receive, args=(recording,), daemon=True).start()
        self.on_start({})
        self._before.insist_on(self.addresses)
        assert self.gate is not None
        self._await("prepared", READ_SECONDS)
        self.on_commit({})
        self.on_finish({})

    def _prime(self) -> None:
        super()._prime()
        self.on_routed({})  # no connection comes along, and the edge leads here

    def _received(self, recording: Outlet) -> None:
        assert isinstance(recording, Recording)
        recording.finish()
        criu_sockets.rewrite(self.images, self._before, self.addresses)

    def _await(self, kind: str, seconds: float) -> None:
        """Wait until that is said. :raises RuntimeError: something failed; :raises TimeoutError: nothing was said."""
        deadline = time.monotonic() + seconds
        with self._told:
            while kind not in self.said:
                if "failed" in self.said:
                    raise RuntimeError(self.said["failed"]["reason"])
                if not self._told.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"the restore did not get as far as '{kind}' within {seconds:g} s")

    def _result(self, problem: str) -> dict:
        timings = self.said.get("finished", {}).get("timings_ns", {})
        return {
            "outcome": "failed" if problem else "committed",
            "container": self.specification.container,
            "container_id": self.container_id,
            **self._before.document("_before"),
            **self.addresses.document("_after"),
            "timings_ns": {name: span for name, span in timings.items() if span is not None},
            "problems": [problem] if problem else [],
            "commands": self.commands,
        }


def resume(specification: dict, journal: Journal) -> None:
    """After a kill: a copy that was let run is kept, and of any other nothing is left."""
    docker, session = DockerClient(), paths.session(specification["id"])
    container_id = DestinationFacts.of(journal).container_id
    reason = "the proxy that restored the snapshot was killed: try again"
    if journal.state in AFTER_COMMIT and endings.let_copy_run(docker, container_id):
        endings.adopt_copy(journal, docker)
        state, reason = State.DONE, "the proxy that restored the snapshot was killed after the commit"
    else:
        endings.discard_copy(journal, docker, session, lambda: endings.cancel_gate(container_id, reason))
        state = State.ROLLED_BACK
    wipe(session)
    journal.record(state, reason=reason)
    ended(specification, journal, reason)
