# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m relocate_proxy.page_process {serve|fetch} SESSION``: carries a container's last pages after it was released.

One process on the source (``serve``) and one on the destination (``fetch``), each beside its host's proxy and not a part of it:
until the last page is over the copy's life hangs on them, and a proxy that is killed is only a proxy that is killed.

::

    source                                                           destination
    frozen tasks  -- /proc/PID/mem -->  serve  == TLS ==  fetch  -- socket pair -->  criu lazy-pages  <-- faults -- copy

*What must never happen is that the copy reads zeros.* When the last descriptor of a userfaultfd is closed, the kernel gives
an empty page to every task that waits for a missing one, and the tenant computes on with it. So whatever breaks, the copy is
killed first, and its faults are let go after that:

* criu lazy-pages also holds *our* end of its socket pair. If we are killed it sees no end of file, and waits.
* We hold duplicates of its userfaultfds (:class:`Faults`). If it is killed, the tasks that miss a page wait.

The specification is one JSON line on standard input; answers are JSON lines on standard output. How it ended is in the file
``SESSION/pages``, which is locked as long as this process lives: whoever finds it unlocked and empty knows that it was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from ..host.syscalls import pidfd_getfd
from ..protocol.channel import Channel, Listener
from . import lazy_pages, page_server
from .tunnel import Ended, Relay, socket_pair, watch_peer

CONNECT_SECONDS = 10.0
STAGE_SECONDS = 300.0
#: After the last page the source hangs up; CRIU ends in that moment.
LAST_WORDS_SECONDS = 2.0
GONE_SECONDS = 10.0


def say(**document: Any) -> None:
    """Tell the proxy, if it still listens."""
    try:
        os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")
    except OSError:
        pass


class Faults:
    """Duplicates of another process's userfaultfds: while we have them, a missing page is waited for."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process = os.pidfd_open(pid)
        self._held: dict[str, int] = {}

    def follow(self) -> None:
        """Take those that are new: a task of the copy has forked. Let those go that it has closed: that task is complete."""
        directory = f"/proc/{self._pid}/fd"
        found = set()
        try:
            for name in os.listdir(directory):
                if os.readlink(f"{directory}/{name}") == "anon_inode:[userfaultfd]":
                    found.add(name)
                    if name not in self._held:
                        self._held[name] = pidfd_getfd(self._process, int(name))
        except OSError:  # it is ending: what we hold stays held until the reason is known
            return
        for name in self._held.keys() - found:
            os.close(self._held.pop(name))

    def release(self) -> None:
        """Let all go."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()
        os.close(self._process)


def serve(specification: dict) -> None:
    """The source's side: connect; when the frozen tasks are named, answer the destination until it hangs up."""
    host, port = specification["address"]
    channel = Channel.connect(
        (host, port), "destination", specification["id"], specification["credentials"], CONNECT_SECONDS
    )
    remote = channel.detach()
    remote.setblocking(True)
    watch_peer(remote)
    say(connected=True)
    order = json.loads(sys.stdin.readline() or "null")
    if order is None:  # the move was given up before there was anything to serve
        return
    memory = page_server.Memory({int(inner): outer for inner, outer in order["tasks"].items()})
    say(serving=True)
    page_server.serve(remote, memory)


class Fetcher:
    """The destination's side: wait for the source, and for the image; then run ``criu lazy-pages`` until the last page."""

    def __init__(self, session: str, specification: dict) -> None:
        self.session = session
        self.outcome = os.open(lazy_pages.outcome_path(session), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.outcome, fcntl.LOCK_EX | fcntl.LOCK_NB)
        listener = Listener(specification["listen"], specification["credentials"])
        say(port=listener.port)
        while True:
            channel = listener.accept(STAGE_SECONDS)
            if channel.peer == "source":
                break
            channel.close()
        listener.close()
        self.remote = channel.detach()
        watch_peer(self.remote)

    def run(self) -> None:
        """Wait for the order, carry, and write down how it ended."""
        order = json.loads(sys.stdin.readline() or "null")
        if order is None:  # the move was given up before there was an image
            return
        local, theirs = socket_pair()
        try:
            criu = start_criu(self.session, theirs, local)
        finally:
            theirs.close()
        say(ready=True)
        faults = Faults(criu.pid)
        relay = Relay(local, self.remote)
        ended = relay.run(faults.follow)
        reason = self._reason(criu, ended, local)
        if reason:
            kill_copy(order["container_id"], order["pid"])
            criu.kill()
            criu.wait()
        faults.release()
        self._write({"lost": reason} if reason else {"bytes": relay.received})

    def _reason(self, criu: subprocess.Popen, ended: Ended, local: socket.socket) -> str:
        """Return why memory is missing; "" if it is complete."""
        try:
            status = criu.wait(LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            if ended.end is local:
                return "criu lazy-pages hung up and does not end"
            return f"the connection to the source broke: {ended}"
        if status == 0:
            return ""
        words = lazy_pages.criu_words(os.path.join(self.session, "work", lazy_pages.LOG))
        return f"criu lazy-pages failed: {words or f'it ended with status {status}'}"

    def _write(self, document: dict) -> None:
        os.write(self.outcome, json.dumps(document).encode())
        say(**document)


def start_criu(session: str, theirs: socket.socket, ours: socket.socket) -> subprocess.Popen:
    """Start ``criu lazy-pages`` and return when a restore may connect to it.

    :raises RuntimeError: it does not come so far.
    """
    ready, status = os.pipe()
    command = lazy_pages.fetch_command(f"{session}/images", f"{session}/work", theirs.fileno(), status)
    criu = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(), ours.fileno(), status),
    )
    os.close(status)
    with os.fdopen(ready, "rb") as pipe:
        if pipe.read(1) == b"\0":
            return criu
    criu.kill()
    criu.wait()
    words = lazy_pages.criu_words(os.path.join(session, "work", lazy_pages.LOG))
    raise RuntimeError(f"CRIU cannot fetch memory on demand: {words or 'it gave no reason'}")


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
    specification = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
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
