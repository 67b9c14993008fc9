# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-copy at the source: rounds of ``criu pre-dump``, each sent while the container runs.

The first round has all memory, each other what was written since the one before (the kernel tells: soft-dirty bits). CRIU
stops the tasks while it takes hold of their pages, not while it writes them. It is asked to do this by ptrace, so that the
container's cgroup is nobody's business here, and a round that fails, or whose proxy is killed, leaves it as it was: running.
The bits that remain set cost a page fault each and nothing else.

In the images directory a round is ``round-N``, with a link ``parent`` to the round before; the dump, whose files lie beside,
links to the last. Of a round that has arrived the source keeps which pages it had, and not what was in them: CRIU asks for the
former only when it dumps.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils import _criu

from ..host import paths
from ..host.secrets import overwrite
from ..protocol.channel import Outlet
from ..protocol.protobuf import BadMessage, decode
from .dump import Dump
from .image_cargo import MOST_ROUNDS, ImageSender, parent_of, round_directory
from .lazy_pages import criu_words

#: A round that is not at most this part of the one before is the last: more would gain little, and take memory at the
#: destination, where all of them lie until the restore.
SHRINKS = 0.5
SMALL_BYTES = 1 << 20  # nor is one made after a round that was no longer than this: it takes a millisecond
#: None begins later than this after the first: somebody waits.
ROUNDS_SECONDS = 30.0
#: Of CRIU's statistics (images/stats.proto): a file begins with two magic numbers and its entry's length, 32 bits each.
STATS_HEAD, STATS_DUMP, FROZEN_TIME = struct.Struct("<III"), 1, 2


class Round(NamedTuple):
    """One round: what it carried, and for how long the container stood still for it."""

    bytes: int
    stopped_ms: float


def another(sizes: list[int], seconds: float) -> bool:
    """Return whether another round is to be made.

    :param sizes: bytes of pages of the rounds so far. :param seconds: since the first began.
    """
    if not sizes:
        return True
    if len(sizes) >= MOST_ROUNDS or seconds > ROUNDS_SECONDS or sizes[-1] <= SMALL_BYTES:
        return False
    return len(sizes) < 2 or sizes[-1] <= SHRINKS * sizes[-2]


class PreCopy:
    """The rounds of one relocation.

    :param channel: to the destination, which receives. :param pid: the container's init.
    :param images: directory of the dump's images, and of the rounds below it. :param work: for CRIU's log and statistics.
    :param commands: what the relocation has run; the rounds' commands are added.
    """

    def __init__(self, channel: Outlet, pid: int, images: str, work: str, commands: list[list[str]]) -> None:
        self.rounds: list[Round] = []
        self._channel, self._pid, self._images, self._work = channel, pid, images, work
        self._commands = commands

    def run(self) -> None:
        """Make rounds while each carries much less than the one before.

        :raises RuntimeError: CRIU cannot. :raises OSError: there is no room here, or the destination is gone.
        """
        begin = time.monotonic()
        while another([each.bytes for each in self.rounds], time.monotonic() - begin):
            self._round(len(self.rounds) + 1)

    def document(self) -> dict[str, Any]:
        """Return what the edge is told: the ``rounds``, and the ``left_bytes`` of pages that the freeze will carry.

        That is, if the container goes on writing as it did while the round before the last was on its way.
        """
        return {"rounds": [each._asdict() for each in self.rounds], "left_bytes": self.rounds[-1].bytes}

    @property
    def last(self) -> str:
        """The last round's directory, relative to the images."""
        return round_directory(len(self.rounds))

    def _round(self, number: int) -> None:
        directory = paths.private_directory(os.path.join(self._images, round_directory(number)))
        previous = parent_of(number) if number > 1 else None
        command = _criu.pre_dump_command(self._pid, directory, self._work, previous)
        self._commands.append(command)
        status, words = Dump(command).wait()
        if status:
            said = criu_words(os.path.join(self._work, "pre-dump.log")) or words.strip() or "it gave no reason"
            raise RuntimeError(f"CRIU could not read the container's memory while it runs: {said}")
        pages = [entry.path for entry in os.scandir(directory) if entry.name.startswith("pages-")]
        self.rounds.append(Round(sum(map(os.path.getsize, pages)), stopped_ms(os.path.join(self._work, "stats-dump"))))
        ImageSender(self._channel, directory, number).send_rest()
        self._channel.send("probe")
        self._channel.receive()  # it is over there, not on its way: the next round is shorter for it
        for path in pages:
            overwrite(path)
            os.truncate(path, 0)


def stopped_ms(path: str) -> float:
    """Return for how long CRIU's last dump stopped its tasks, by its own statistics. :raises ValueError: it does not say."""
    with open(path, "rb") as file:
        head, message = file.read(STATS_HEAD.size), file.read()
    length = STATS_HEAD.unpack(head)[-1] if len(head) == STATS_HEAD.size else 0
    entry = decode(message[:length]).get(STATS_DUMP)
    microseconds = decode(entry).get(FROZEN_TIME) if isinstance(entry, bytes) else None
    if not isinstance(microseconds, int):
        raise BadMessage(f"CRIU's statistics ({path}) do not say for how long the container stood still")
    return microseconds / 1000
