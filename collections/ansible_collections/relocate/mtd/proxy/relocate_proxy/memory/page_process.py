# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``page_process {serve|fetch|keep|again} SESSION``: carries a container's last pages after it was released.

One process on the source (``serve``) and one on the destination (``fetch``), each beside its host's proxy and not a part of it:
until the last page has arrived the copy's life hangs on them, and a proxy that is killed is only a proxy that is killed.

::

    source                                                           destination
    frozen tasks  -- /proc/PID/mem -->  serve  ====== TLS ======>  fetch  -- userfaultfd -->  copy
                                                                     |  duplicates
                                                                    keep

*What must never happen is that the copy reads zeros.* When the last descriptor of a userfaultfd is closed, the kernel gives
an empty page to every task that waits for a missing one, and the tenant computes on with it. So ``keep`` holds duplicates of
all of them: if ``fetch`` is killed, whoever misses a page waits. ``keep`` starts another (``again``), hands them over, and that
goes on by what has been written down (``recall``). A ``keep`` that is killed is replaced.

*As long as the source has the memory, the copy is not given up.* A connection that breaks or stands still is made anew, by
``serve``; a ``serve`` that is killed is started again by its parent, which does nothing else. Only when ``serve`` says that the
memory is gone has the copy lost it.

The specification is one JSON line on standard input; answers are JSON lines on standard output. How it goes is in the file
``SESSION/progress``. How it ended is in ``SESSION/pages``, which is locked as long as ``fetch`` lives: whoever finds it
unlocked and empty knows that it was killed, and is not started again.
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
from collections.abc import Callable

from ansible_collections.relocate.mtd.plugins.module_utils._kernel import read_text

from ..host.syscalls import stay_in_memory, wait_for
from ..protocol.channel import Channel, Listener
from . import lazy_pages, page_server
from .filler import Filler
from .recall import Doubtful, Record

CONNECT_SECONDS = 10.0
STAGE_SECONDS = 300.0
GONE_SECONDS = 10.0
#: The source calls again after this time, and serves no longer than that without being started again (by ``recover``).
AGAIN_SECONDS, SERVE_SECONDS = 0.5, 4 * 3600.0
#: The other host is taken for dead after this many milliseconds without an acknowledgement (tcp(7), TCP_USER_TIMEOUT).
SILENCE_MS = 8000
KEY = 8  # bytes
#: The number under which the locked file is kept; address spaces have small ones.
LOCK = 1 << 62
AGAIN_TIMES = 3


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

    def __init__(self, session: str, running: socket.socket | None = None) -> None:
        """Start it. :param running: speaks with one that runs already, and has what it is to keep."""
        self._session = session
        self._held: dict[int, int] = {}
        if running is None:
            self._start()
        else:
            self._socket = running

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

    def remember(self, key: int, fd: int) -> None:
        """Know of a descriptor that is kept already."""
        self._held[key] = fd

    def check(self) -> None:
        """Have another process take the place of one that was killed."""
        if wait_for(self._socket.fileno(), select.POLLIN, 0):  # it never says anything: this is its end
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


def keep(session: str) -> None:
    """Hold what is sent, until told to end. Whenever the sender is killed, start another that goes on, and hand it all over.

    Too often, and we hold on, but do not lock how it ended any more: whoever waits for that kills the copy, and then us.
    """
    sender = socket.socket(fileno=os.dup(0))
    held: dict[bytes, int] = {}
    for left in range(AGAIN_TIMES, -1, -1):
        while word := _kept(sender, held):
            if word == b"end":
                return
        sender.close()
        if not left:
            break
        sender, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        subprocess.Popen(
            [sys.executable, "-m", lazy_pages.PROGRAM, "again", session],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        for each, fd in held.items():
            socket.send_fds(sender, [each], [fd])
        sender.send(b"all")
    if fd := held.pop(LOCK.to_bytes(KEY, "big"), 0):
        os.close(fd)
    signal.pause()


def _kept(sender: socket.socket, held: dict[bytes, int]) -> bytes:
    """Do what the sender says with what is held, and return its word; none if it is gone."""
    try:
        word, descriptors, _, _ = socket.recv_fds(sender, KEY, 1)
    except ConnectionError:
        return b""
    if len(word) == KEY:
        if fd := held.pop(word, 0):
            os.close(fd)
        if descriptors:
            held[word] = descriptors[0]
    return word


class Fetcher:
    """The destination's side: wait for the source, and for the image; then place pages until the last one."""

    _told = False  # the proxy knows that all of the copy is there

    def __init__(self, session: str, specification: dict) -> None:
        self.session, self._specification = session, specification
        self.outcome = os.open(lazy_pages.outcome_path(session), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.outcome, fcntl.LOCK_EX | fcntl.LOCK_NB)
        peers = specification.get("peers", ())
        self._listener = Listener(specification["listen"], specification["credentials"], peers=peers)
        say(port=self._listener.port)
        self._sources: queue.Queue[ssl.SSLSocket] = queue.Queue()
        self._accept(STAGE_SECONDS)
        self._keeping = Keeping(session)
        self._keeping.keep(LOCK, self.outcome)
        threading.Thread(target=self._accept_again, daemon=True).start()

    @classmethod
    def again(cls, session: str) -> None:
        """Go on where one was killed, with what the process has that kept it."""
        fetcher = cls.__new__(cls)
        fetcher.session = session
        keeper = socket.socket(fileno=os.dup(0))
        held: dict[bytes, int] = {}
        while (word := _kept(keeper, held)) != b"all":
            if not word:
                return
        numbered = {int.from_bytes(word, "big"): fd for word, fd in held.items()}
        fetcher.outcome = numbered.pop(LOCK)
        with open(f"{session}/{lazy_pages.FETCH_ORDER}", encoding="utf-8") as file:
            order = json.load(file)
        fetcher._listener = Listener(order["listen"], order["credentials"], order["port"], order.get("peers", ()))
        fetcher._sources = queue.Queue()
        fetcher._keeping = Keeping(session, keeper)
        for number, fd in {**numbered, LOCK: fetcher.outcome}.items():
            fetcher._keeping.remember(number, fd)
        threading.Thread(target=fetcher._accept_again, daemon=True).start()
        filler = fetcher._filler()
        fetcher._fill(filler, order, lambda: filler.go_on(numbered))

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
        order = {**self._specification, **order, "port": self._listener.port}
        lazy_pages.write_order(f"{self.session}/{lazy_pages.FETCH_ORDER}", order)
        restore = listen_for_restore(f"{self.session}/work")
        filler = self._filler()
        say(ready=True)
        self._fill(filler, order, lambda: filler.await_restore(restore))

    def _filler(self) -> Filler:
        record = Record(f"{self.session}/events")
        return Filler(f"{self.session}/images", record, self._sources, self._keeping.keep, self._report)

    def _fill(self, filler: Filler, order: dict, begin: Callable[[], None]) -> None:
        reason = ""
        try:
            begin()
            filler.run()
        except (lazy_pages.PagesLost, Doubtful) as error:
            reason = str(error)
            kill_copy(order["container_id"], order["pid"])
        self._keeping.end()
        self._write({"lost": reason} if reason else {"bytes": filler.received})

    def _report(self, document: dict) -> None:
        if document["restored"] and not self._told:
            self._told = True
            say(restored=True)
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
        if container_id not in read_text(f"/proc/{pid}/cgroup"):  # it has ended, and the number is another's
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
        return read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> None:
    """Entry point."""
    role, session = sys.argv[1:]
    stay_in_memory()  # pages of the container pass through it
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        if role == "keep":
            keep(session)
            return
        if role == "again":
            Fetcher.again(session)
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
