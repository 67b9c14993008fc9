# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``page_process {serve|fetch|keep} SESSION``: carries a container's last pages after it was released.

One process on the source (``serve``) and one on the destination (``fetch``), each beside its host's proxy and not a part of it:
until the last page has arrived the copy's life hangs on them, and a proxy that is killed is only a proxy that is killed.

::

    source                                                           destination
    frozen tasks  -- /proc/PID/mem -->  serve  ====== TLS ======>  fetch  -- userfaultfd -->  copy
                                                                     |  duplicates
                                                                    keep

*What must never happen is that the copy reads zeros.* When the last descriptor of a userfaultfd is closed, the kernel gives
an empty page to every task that waits for a missing one, and the tenant computes on with it. So ``keep`` holds duplicates of
all of them and does nothing else: if ``fetch`` is killed, whoever misses a page waits until the copy has been killed. A
``keep`` that is killed is replaced.

*As long as the source has the memory, the copy is not given up.* A connection that breaks or stands still is made anew, by
``serve``; a ``serve`` that is killed is started again by its parent, which does nothing else. Only when ``serve`` says that the
memory is gone has the copy lost it.

The specification is one JSON line on standard input; answers are JSON lines on standard output. How it goes is in the file
``SESSION/progress``. How it ended is in ``SESSION/pages``, which is locked as long as ``fetch`` lives: whoever finds it
unlocked and empty knows that it was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

from ..protocol.channel import Channel, Listener
from . import lazy_pages, page_server
from .filler import Filler

CONNECT_SECONDS = 10.0
STAGE_SECONDS = 300.0
GONE_SECONDS = 10.0
#: The source calls again after this time, and serves no longer than that without being started again (by ``recover``).
AGAIN_SECONDS, SERVE_SECONDS = 0.5, 4 * 3600.0
#: The other host is taken for dead after this many milliseconds without an acknowledgement (tcp(7), TCP_USER_TIMEOUT).
SILENCE_MS = 8000
KEY = 8  # bytes


def say(**document: object) -> None:
    """Tell the proxy, if it still listens."""
    try:
        os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")
    except OSError:
        pass


def watch_peer(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other host has died without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 2),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, SILENCE_MS // 1000 - 2),
        (socket.TCP_USER_TIMEOUT, SILENCE_MS),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


# -- the source ---------------------------------------------------------------------------------------------------------


def serve(specification: dict) -> None:
    """The source's side: connect; when the frozen tasks are named, answer the destination until it has all it wants.

    :raises RuntimeError: the memory is gone; the destination has been told.
    """
    remote: ssl.SSLSocket | None = None
    order = specification.get("order")
    if order is None:
        remote = connect(specification)
        say(connected=True)
        order = json.loads(sys.stdin.readline() or "null")
        if order is None:  # the move was given up before there was anything to serve
            return
    memory = page_server.Memory({int(inner): outer for inner, outer in order["tasks"].items()})
    say(serving=True)
    deadline = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < deadline:
        pid = os.fork()
        if pid == 0:
            _serve_until_done(specification, memory, remote, deadline)
        if remote is not None:  # the child's now
            os.close(remote.detach())
            remote = None
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise RuntimeError("the memory is not served any more")
            return
        time.sleep(AGAIN_SECONDS)  # killed: nothing is lost by that


def connect(specification: dict) -> ssl.SSLSocket:
    """Return a connection to the destination's page process. :raises OSError: it is not to be reached."""
    host, port = specification["address"]
    credentials = specification["credentials"]
    remote = Channel.connect((host, port), "destination", specification["id"], credentials, CONNECT_SECONDS).detach()
    remote.setblocking(True)
    watch_peer(remote)
    return remote


def _serve_until_done(
    specification: dict, memory: page_server.Memory, remote: ssl.SSLSocket | None, deadline: float
) -> None:
    """Serve on this connection and, when it breaks, on others. Does not return."""
    try:
        while time.monotonic() < deadline:
            try:
                remote = remote or connect(specification)
                if page_server.serve(remote, memory):
                    os._exit(0)
            except OSError as error:
                print(f"the connection to the destination broke: {error}", file=sys.stderr, flush=True)
            if remote is not None:
                remote.close()
                remote = None
            time.sleep(AGAIN_SECONDS)
    except Exception as error:
        print(f"page process (serve): {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


# -- the destination ----------------------------------------------------------------------------------------------------


class Keeping:
    """The process that keeps duplicates of descriptors until they may go, or until it is killed."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._held: dict[int, int] = {}
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", lazy_pages.PROGRAM, "keep", self._session],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours

    def keep(self, key: int, fd: int | None) -> None:
        """Have a descriptor kept under a key; None: it may go."""
        if fd is None:
            self._held.pop(key, None)
        else:
            self._held[key] = fd
        with contextlib.suppress(OSError):  # killed: see check
            self._send(key, fd)
        self.check()

    def check(self) -> None:
        """Have another process take the place of one that was killed."""
        if select.select([self._socket], [], [], 0)[0]:  # it never says anything: this is its end
            self._socket.close()
            self._start()
            for each in self._held.items():
                self._send(*each)

    def _send(self, key: int, fd: int | None) -> None:
        socket.send_fds(self._socket, [key.to_bytes(KEY, "big")], [] if fd is None else [fd])

    def end(self) -> None:
        """Nothing is missing any more: it may end."""
        with contextlib.suppress(OSError):
            self._socket.send(b"end")


def keep() -> None:
    """Hold what is sent, until told to end. If the sender is killed, hold on: who comes after it kills the copy, then us."""
    sender = socket.socket(fileno=os.dup(0))
    held: dict[bytes, list[int]] = {}
    while True:
        word, descriptors, _, _ = socket.recv_fds(sender, KEY, 1)
        if word == b"end":
            return
        if not word:
            signal.pause()
        for fd in held.pop(word, []):
            os.close(fd)
        if descriptors:
            held[word] = descriptors


class Fetcher:
    """The destination's side: wait for the source, and for the image; then place pages until the last one."""

    def __init__(self, session: str, specification: dict) -> None:
        self.session = session
        self.outcome = os.open(lazy_pages.outcome_path(session), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.outcome, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._listener = Listener(specification["listen"], specification["credentials"])
        say(port=self._listener.port)
        self._sources: queue.Queue[ssl.SSLSocket] = queue.Queue()
        self._accept(STAGE_SECONDS)
        self._keeping = Keeping(session)
        threading.Thread(target=self._accept_again, daemon=True).start()

    def _accept(self, seconds: float | None) -> None:
        while True:
            channel = self._listener.accept(seconds)
            if channel.peer == "source":
                remote = channel.detach()
                watch_peer(remote)
                self._sources.put(remote)
                return
            channel.close()

    def _accept_again(self) -> None:
        while True:
            try:
                self._accept(None)
            except OSError as error:
                print(f"a source that calls again is not heard: {error}", file=sys.stderr, flush=True)
                time.sleep(AGAIN_SECONDS)

    def run(self) -> None:
        """Wait for the order, fill the copy, and write down how it ended."""
        order = json.loads(sys.stdin.readline() or "null")
        if order is None:  # the move was given up before there was an image
            return
        restore = listen_for_restore(f"{self.session}/work")
        filler = Filler(f"{self.session}/images", restore, self._sources, self._keeping.keep, self._report)
        say(ready=True)
        reason = ""
        try:
            filler.run()
        except lazy_pages.PagesLost as error:
            reason = str(error)
            kill_copy(order["container_id"], order["pid"])
        self._keeping.end()
        self._write({"lost": reason} if reason else {"bytes": filler.received})

    def _report(self, document: dict) -> None:
        self._keeping.check()
        path = f"{self.session}/{lazy_pages.REPORT}"
        try:
            with open(path + ".part", "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.rename(path + ".part", path)
        except OSError as error:  # a full tmpfs must not stop the pages
            print(f"how the memory comes could not be written down: {error}", file=sys.stderr, flush=True)

    def _write(self, document: dict) -> None:
        os.write(self.outcome, json.dumps(document).encode())
        say(**document)


def listen_for_restore(work: str) -> socket.socket:
    """Return a socket where CRIU's restore will look for one. By its directory's descriptor: a path may be too long."""
    directory = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{directory}/lazy-pages.socket")
    finally:
        os.close(directory)
    listener.listen(1)
    return listener


def kill_copy(container_id: str, pid: int) -> None:
    """End the copy and return when nothing of it runs any more: the init of a pid namespace takes the others with it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            if container_id not in file.read():  # it has ended, and the number is another's
                return
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
    finally:
        os.close(process)
    deadline = time.monotonic() + GONE_SECONDS
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _runs(pid: int) -> bool:
    """Return whether a process still has memory: a zombie has none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> None:
    """Entry point."""
    role, session = sys.argv[1:]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        if role == "keep":
            keep()
            return
        specification = json.loads(sys.stdin.readline())
        if role == "serve":
            serve(specification)
        else:
            Fetcher(session, specification).run()
    except Exception as error:
        reason = str(error) or type(error).__name__
        print(f"page process ({role}): {reason}", file=sys.stderr, flush=True)  # the proxy may not listen any more
        say(error=reason)
        sys.exit(1)


if __name__ == "__main__":
    main()
