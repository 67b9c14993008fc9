# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the source's and the destination's part have in common: they listen, obey the edge, and know what to do without it."""

from __future__ import annotations

import contextlib
from typing import Any

from ..host import paths
from ..host.secrets import wipe
from ..protocol.channel import EDGES, Channel, ChannelLost, Listener
from ..protocol.documents import Specification
from ..protocol.journal import Journal
from ..protocol.messages import check
from ..protocol.moments import Moments
from ..protocol.states import AFTER_COMMIT, IN_DOUBT, State
from ..protocol.words import sentence

EDGE_SECONDS = 45.0  # the edge connects, or comes back after its guardian restarted it
MEMBER_SECONDS = 10.0  # to start the two parts of a member of a project, on a busy machine


class Listening:
    """A part that listens, and does what the edge says. Subclasses have one ``on_KIND`` method for each of its messages."""

    name = ""

    def __init__(self, specification: dict, journal: Journal) -> None:
        self.specification = Specification.read(specification)
        self.id = self.specification.id
        self.journal = journal
        self.directory = paths.private_directory(paths.session(self.id))
        self.listener = self._listen()
        self.edge: Channel | None = None
        self.finished = False

    def _listen(self) -> Listener:
        """Return where the edge, and another part, find this one."""
        told = self.specification
        return Listener(told.listen, told.credentials, told.port, told.peers)

    def _obey(self, message: dict) -> None:
        try:
            check("edge", self.name, message)
            getattr(self, "on_" + message["kind"])(message)
        except Exception as error:  # the loss of the data channel among them; if the edge is lost, saying so raises
            self.say("failed", reason=sentence(error))

    def say(self, kind: str, **fields: Any) -> None:
        """Tell the edge. :raises ChannelLost: when it is gone."""
        if self.edge is None:
            raise ChannelLost("the edge has not connected yet")
        self.edge.send(kind, **fields)

    def close(self, state: State, **facts: object) -> None:
        """Wipe the session and write the final state, once. A memory image is a secret: overwritten, then removed."""
        wipe(self.directory)
        if not self.journal.finished:
            self.journal.record(state, **facts)
        self.finished = True


class Part(Listening):
    """A listening part of one relocation that has the container, or gets it."""

    def __init__(self, specification: dict, journal: Journal) -> None:
        super().__init__(specification, journal)
        self.moments = Moments()
        self.commands: list[list[str]] = []  # what ran here, for the result

    @property
    def bound(self) -> bool:
        """Whether this part has given its word, or heard the verdict: it must not roll back by itself any more."""
        return self.journal.state in IN_DOUBT | AFTER_COMMIT

    def renounce(self) -> bool:
        """Give up the right to vote, to be able to roll back alone; False when the word is given already."""
        return not self.bound

    def serve(self) -> None:
        """Obey the edge until this part is finished. Without the edge: roll back before the vote, wait after it.

        If it does not come back, everything stays as it is, frozen or gated, and this process ends: a relocation without
        living processes is one that ``relocate recover`` settles.
        """
        while not self.finished:
            try:
                self.edge = self.await_edge()
                while not self.finished:
                    self._obey(self.edge.receive())
            except (OSError, ValueError) as error:  # ChannelLost, TimeoutError among them
                if self.finished:
                    break
                if self.renounce():
                    self.roll_back(f"the edge's proxy is gone: {error}")
                    break
                if isinstance(error, TimeoutError):
                    break
        self.listener.close()

    def await_edge(self) -> Channel:
        """Return the edge's channel. :raises TimeoutError: when it does not come, or come back, in time."""
        while True:
            channel = self.listener.accept(self._patience())
            if channel.peer in EDGES:
                return channel
            self.accept_other(channel)

    def _patience(self) -> float:
        """Return for how long the edge may be away: of a project, it begins only when the parts of all have been started."""
        places = [each for each in self.specification.together.get("addresses", ()) if ":" not in each]
        return EDGE_SECONDS + MEMBER_SECONDS * len(places)

    def accept_other(self, channel: Channel) -> None:
        """Take the channel of a part that is not the edge."""
        channel.close()

    def say_if_heard(self, kind: str, **fields: Any) -> None:
        """Tell the edge, if it is there: what is told is on the disk, and a restarted edge or recovery reads it there."""
        with contextlib.suppress(OSError):
            self.say(kind, **fields)

    def on_roll_back(self, message: dict) -> None:
        """The edge's verdict: the source runs on."""
        self.roll_back(sentence(message.get("reason", "the edge rolled the relocation back")))

    def roll_back(self, reason: str) -> None:
        """Undo everything this part did. Idempotent; also called without an edge."""
        raise NotImplementedError
