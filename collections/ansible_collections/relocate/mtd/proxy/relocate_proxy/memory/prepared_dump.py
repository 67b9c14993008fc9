# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump whose CRIU is started before the freeze, and waits until it is told to begin.

Starting ``criu dump`` costs 7 ms before it looks at the container: linking, what it remembers of the kernel, its options.
``criu swrk`` is CRIU's own way to be a worker of another process: it takes its order on a socket (one protobuf message a
packet, ``images/rpc.proto`` of its source) and, when asked to, says on that socket what it is about to do and waits for an
answer. The first such notice, ``pre-dump``, comes when all is set up and nothing of the container has been touched.
"""

from __future__ import annotations

import os
import socket

from ..protocol.protobuf import BadMessage, Fields, decode, encode
from .dump import Dump

DUMP, NOTIFY = 1, 6  # criu_req_type
#: Fields of criu_req, of its criu_opts, of criu_resp, and of the criu_notify in it.
TYPE, OPTIONS, NOTIFY_SUCCESS = 1, 2, 3
IMAGES_FD, PID, LEAVE_RUNNING, LOG_LEVEL, LOG_FILE, NOTIFY_SCRIPTS, WORK_FD, CONFIG_FILE = 1, 2, 3, 9, 10, 12, 17, 51
SUCCESS, NOTICE, ERROR_TEXT = 2, 5, 9
SCRIPT = 1

PACKET = 1 << 16
NOBODY = b""  # what a closed socket gives


class NotReady(RuntimeError):
    """CRIU gave up before it was told to begin."""


def configuration(command: list[str]) -> str:
    """Return the options of a ``criu dump`` as a configuration file of CRIU, without those that the order itself has."""
    lines: list[str] = []
    for word in command[2:]:
        if word.startswith("--"):
            lines.append(word[2:])
        elif not word.startswith("-"):
            escaped = word.replace("\\", "\\\\").replace('"', '\\"')
            lines[-1] += f' "{escaped}"'
    ordered = ("tree ", "images-dir ", "work-dir ", "log-file ")
    return "".join(line + "\n" for line in lines if not line.startswith(ordered))


def _script(notice: bytes) -> int | bytes | None:
    """Return what CRIU is about to do, by one of its notices."""
    try:
        return decode(notice).get(SCRIPT)
    except BadMessage:
        return None


class PreparedDump(Dump):
    """A dump that can begin at once.

    :param command: the ``criu dump`` that is meant (``_criu.dump_command``).
    :param work: directory for its log and for the configuration file that is made here.
    :param deferred: see :class:`Dump`; looked at when it has begun. :param watches: see there.
    :raises NotReady: CRIU does not get as far as the container.
    """

    def __init__(self, command: list[str], images: str, work: str, deferred: str = "", watches: str = "") -> None:
        options = os.path.join(work, "dump.conf")
        with open(options, "w", encoding="utf-8") as file:
            file.write(configuration(command))
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        directories = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (images, work)]
        with theirs:
            super().__init__([command[0], "swrk", str(theirs.fileno())], (theirs.fileno(),), deferred, watches)
        order: Fields = {
            IMAGES_FD: directories[0],
            PID: int(command[command.index("--tree") + 1]),
            LEAVE_RUNNING: int("--leave-running" in command),
            LOG_LEVEL: 1,
            LOG_FILE: b"dump.log",
            NOTIFY_SCRIPTS: 1,
            WORK_FD: directories[1],
            CONFIG_FILE: options.encode(),
        }
        self._say({TYPE: DUMP, OPTIONS: encode(order)})
        problem = self._until(b"pre-dump")
        for fd in directories:
            os.close(fd)
        if problem is not None:
            self._socket.close()
            raise NotReady(problem[1])

    def _say(self, message: Fields) -> None:
        try:
            self._socket.send(encode(message))
        except OSError:
            pass  # it has ended, and the next answer says so

    def _until(self, notice: bytes | None) -> tuple[int, str] | None:
        """Agree to every notice until that one comes, which is left unanswered: None; or return how the dump ended."""
        while True:
            try:
                packet = self._socket.recv(PACKET)
            except OSError:
                packet = NOBODY
            try:
                answer = decode(packet)
            except BadMessage as error:
                return 1, f"CRIU said something that cannot be read: {error}"
            if answer.get(TYPE) != NOTIFY:
                text = answer.get(ERROR_TEXT, b"")
                words = text.decode(errors="replace") if isinstance(text, bytes) else ""
                return (0 if answer.get(SUCCESS) else 1), words or self._process_words(packet)
            told = answer.get(NOTICE)
            if notice is not None and isinstance(told, bytes) and _script(told) == notice:
                return None
            self._agree()

    def _agree(self) -> None:
        self._say({TYPE: NOTIFY, NOTIFY_SUCCESS: 1})

    def _process_words(self, packet: bytes) -> str:
        """Return what it wrote to its standard error, if it ended without an answer."""
        return super().wait()[1] if packet == NOBODY else ""

    def begin(self) -> PreparedDump:
        """Let it begin: the container is frozen."""
        self._agree()
        return self

    def wait(self) -> tuple[int, str]:
        """Return its status and its words when the image is complete; the process may still be tidying up."""
        ended = self._until(None)
        assert ended is not None
        return ended

    def close(self) -> None:
        """Send it away, if it has not begun; it has touched nothing."""
        self._socket.close()
        self.ended(1.0)
