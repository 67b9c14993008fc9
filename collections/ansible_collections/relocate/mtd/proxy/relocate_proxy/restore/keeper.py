# Copyright (c) 2026 The RELOCATE authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper: how a plain ``docker start`` becomes a restore, on every Docker version.

dockerd asks the runtime to *create* and later to *start* a container. The containerd shim records one pid at create and never
looks again. So on create we report a placeholder, the holder H: a sleeping process in a new network namespace and in the
container's cgroups. dockerd plugs veth, address, routes and port mapping into its namespace. On start we wait at a gate: all
of dockerd's 200-260 ms are spent before anything is frozen. Then ``runc restore`` is started, still before the freeze: it does
all that needs no image, and its criu waits where it would open the first one. Now the start is answered: as far as Docker
knows, the container runs, with H's pid. A dockerd or containerd that is killed from here on will know the copy afterwards.
When the gate opens we kill H, and the container is restored *under H's pid* (``restore_shim.c``). Its sockets stay silent until
the edge knows where they are now: a packet of theirs that came before would be answered with a reset. When all is restored, the
copy waits, stopped, for the verdict: commit or cancel. What Docker asks of it until then is answered by ``meanwhile``.

Who calls whom::

    dockerd -> shim -> relocate-runtime create -> keeper --+-- holder H
    dockerd -> shim -> relocate-runtime start  -----(gate socket)--> keeper
    the destination's proxy  -----------------------(gate socket)--> keeper -> runc restore -> criu (verdict socket) -> keeper

Messages are JSON lines. To the keeper: ``{"do": "start" | "attach" | "prime" | "print" | "restore" | "routed" | "commit" |
"ask" | "cancel"}``; from it: ``{"event": "gated" | "primed" | "silent" | "prepared" | "running" | "failed" | "cancelled",
...}``, and ``{"event": "asked", "pid": ..., "shim": ...}`` to whoever asks.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from ..host import limits, paths, syscalls
from ..host.cgroups import leave_cgroups
from .holder import start_holder
from .keeper_client import SHIM_KILLED
from .runtime import Runtime

GATE_SECONDS = 120.0  # nobody attends the gate: give up cleanly, the container runs on at the source
END_SECONDS = 10.0
#: A CRIU that is not wanted any more asks for its answer within this time, or never will: it hangs when the init that it
#: restores is killed, as containerd does after a shim that was killed.
ANSWER_SECONDS = 10.0
NETNS_DIRECTORY = "/run/docker/netns"


def order(line: bytes) -> dict:
    """Return what a line on the gate asks for; {} if it is nothing. The container must not die of that."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


class Keeper:
    """One container between its create and its first instruction."""

    def __init__(self, runtime: Runtime, stdio: list[int]) -> None:
        self.runtime = runtime
        self.stdio = stdio
        self.config_path = os.path.join(runtime.bundle, "config.json")
        with open(self.config_path, encoding="utf-8") as file:
            self.config = json.load(file)
        linux = self.config["linux"]
        self.holder = start_holder(linux.get("cgroupsPath", ""), linux.get("sysctl") or {})
        self.holder_alive = True
        self.network = ""
        self.state = "created"
        self.gate = self._listen(paths.gate(runtime.container))
        self.verdicts = self._listen(paths.verdict(runtime.container))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.gate, selectors.EVENT_READ, self._accept)
        self.selector.register(self.verdicts, selectors.EVENT_READ, self._accept_criu)
        self.starter: socket.socket | None = None
        self.shim = 0  # our parent, once ``create`` has returned
        self.proxies: list[socket.socket] = []
        self.criu: socket.socket | None = None
        self.routed = False  # destination and edge have the entries of the copy's connections
        self.runc_ended, self._runc_end = os.pipe()
        self.runc_status: int | None = None
        self.command: list[str] = []  # of the restore
        self.limits: list[limits.Limit] = []  # of the container, lifted
        self.has_run = False  # CRIU has let the first task go
        self.last: dict = {}
        self._heard: dict[socket.socket, bytes] = {}
        self._unwanted, self._give_up = "", math.inf
        self._at_work: list[int] = []  # pidfds of runc and CRIU
        self.finished = False

    @staticmethod
    def _listen(path: str) -> socket.socket:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(4)
        return listener

    # -- create -----------------------------------------------------------------------------------------------------

    def plug_network(self) -> None:
        """Let Docker <= 27 plug the network in now: its prestart hook (libnetwork-setkey) takes the pid on its input.

        Docker >= 28 has no such hook; it joins the namespace of the pid we report, between create and start.
        """
        state = {
            "ociVersion": self.config["ociVersion"],
            "id": self.runtime.container,
            "status": "creating",
            "pid": self.holder,
            "bundle": self.runtime.bundle,
        }
        for hook in self.config.get("hooks", {}).get("prestart", []):
            done = subprocess.run(
                hook["args"],
                executable=hook["path"],
                input=json.dumps(state).encode(),
                capture_output=True,
                check=False,
            )
            if done.returncode:
                raise OSError(f"Docker's network hook failed: {done.stderr.decode(errors='replace').strip()}")

    def report_pid(self) -> None:
        """Tell the shim which pid the container has."""
        with open(self.runtime.pid_file + ".part", "w", encoding="ascii") as file:
            file.write(str(self.holder))
        os.rename(self.runtime.pid_file + ".part", self.runtime.pid_file)

    # -- the gate ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer until the container runs or is given up."""
        deadline = time.monotonic() + GATE_SECONDS
        while not self.finished:
            for key, _ in self.selector.select(1.0):
                key.data(key.fileobj)
            if time.monotonic() > self._give_up:
                self._end_restore()
            if self.proxies:  # whoever attends decides; a large writable layer takes its time
                deadline = time.monotonic() + GATE_SECONDS
            elif self.state in ("created", "gated", "primed") and time.monotonic() > deadline:
                self._cancel(f"nobody attended the gate for {GATE_SECONDS:g} s")
        self._leave()

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        self.selector.register(client, selectors.EVENT_READ, self._hear)

    def _hear(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:  # killed before it read what we said: the container must not die of that
            data = b""
        if not data:
            self.selector.unregister(client)
            self._heard.pop(client, None)
            if client in self.proxies:
                self.proxies.remove(client)
            if client is self.starter:
                self.starter = None
            client.close()
            return
        *lines, self._heard[client] = (self._heard.get(client, b"") + data).split(b"\n")
        for line in lines:
            message = order(line)
            obey = getattr(self, f"_do_{message.get('do')}", None)
            if obey is None:
                print(f"keeper: {line[:80]!r} is no order", file=sys.stderr, flush=True)
            else:
                obey(client, message)

    def _tell(self, event: str, **fields: object) -> None:
        self.state = event
        self.last = {"event": event, **fields}
        for proxy in self.proxies:
            self._send(proxy, self.last)

    @staticmethod
    def _send(client: socket.socket, document: dict) -> None:
        try:
            client.sendall(json.dumps(document).encode() + b"\n")
        except OSError:
            pass  # it may come back and attach again

    def _do_attach(self, client: socket.socket, _: dict) -> None:
        self.proxies.append(client)
        if self.last:
            self._send(client, self.last)

    def _do_start(self, client: socket.socket, _: dict) -> None:
        """dockerd has plugged the network in: point the bundle at the namespace, and wait."""
        self.starter, self.shim = client, os.getppid()
        self.selector.register(os.pidfd_open(self.shim), selectors.EVENT_READ, self._shim_died)
        self.network = self._namespace_path()
        self.config.pop("hooks", None)
        for namespace in self.config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = self.network
        self._write_config()
        self._tell("gated", pid=self.holder, network=self.network, root=self.config["root"]["path"])

    def _write_config(self) -> None:
        with open(self.config_path, "w", encoding="utf-8") as file:
            json.dump(self.config, file)

    def _namespace_path(self) -> str:
        """Docker keeps a bind mount of the namespace: it outlives H."""
        inode = os.stat(f"/proc/{self.holder}/ns/net").st_ino
        for entry in os.scandir(NETNS_DIRECTORY):
            if entry.stat().st_ino == inode:
                return entry.path
        raise OSError("Docker did not plug a network into the container; is its network mode 'none'?")

    def _do_prime(self, _: socket.socket, message: dict) -> None:
        """Start ``runc restore``. Its criu stops where it would open the first image: see :meth:`_accept_criu`."""
        if self.state != "gated":
            return
        self.state = "priming"
        leave_cgroups(self.holder)
        self.config.setdefault("annotations", {})["org.criu.config"] = message[
            "configuration"
        ]  # runc(8), of checkpoint
        self._write_config()
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": paths.RESTORE_SHIM,
            "RELOCATE_PID": str(self.holder),
            "RELOCATE_VERDICT": paths.verdict(self.runtime.container),
        }
        command = self.runtime.restore_command(message["images"], message["work"], message.get("options", []))
        self.command = command
        self.selector.register(self.runc_ended, selectors.EVENT_READ, self._restored)
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=self.stdio[0],
            stdout=self.stdio[1],
            stderr=self.stdio[2],
            # CRIU gives no task an empty list of groups: one that has dropped them all would have CRIU's, who got dockerd's
            extra_groups=[],
        )

        self._know(process.pid)

        def wait() -> None:
            self.runc_status = process.wait()
            os.write(self._runc_end, b"e")

        threading.Thread(target=wait, daemon=True).start()

    def _do_restore(self, _: socket.socket, __: dict) -> None:
        """Open the gate: all images are here, and H makes room for the restored init. Everything slow has happened before."""
        if self.state == "primed" and self.criu:
            os.kill(self.holder, signal.SIGKILL)
            os.waitpid(self.holder, 0)
            self.holder_alive = False
            self.state = "restoring"
            self._answer_criu(b"o")

    def _accept_criu(self, listener: socket.socket) -> None:
        """criu waits: for the images ('i'), for the routes ('s'), or for the verdict ('p'). Or it lets the copy go ('r')."""
        client, _ = listener.accept()
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self._know(peer)
        try:
            word = client.recv(1)
        except OSError:  # killed as it spoke
            word = b""
        self.has_run |= word == b"r"
        waits_at = {b"i": "primed", b"s": "silent", b"p": "prepared"}.get(word)
        if waits_at:
            self.criu = client
            if waits_at == "primed":  # runc has made the cgroups
                self.limits = limits.find(peer)
                limits.lift(self.limits)
            self._tell(waits_at, pid=self.holder, command=self.command, limits=self.limits)
            if self._unwanted:
                self._cancel(self._unwanted)
            elif waits_at == "primed":
                self._answer_start(0)
            else:
                self._let_speak()

    def _do_routed(self, _: socket.socket, __: dict) -> None:
        """Whatever the copy's sockets say from now on finds its way."""
        self.routed = True
        self._let_speak()

    def _let_speak(self) -> None:
        if self.routed and self.state == "silent" and self.criu:
            self.state = "restoring"
            self._answer_criu(b"o")

    def _answer_criu(self, word: bytes) -> bool:
        """Answer the CRIU that waits; return whether it was there to be answered.

        One that was killed is no reason to die as well: runc returns, and :meth:`_restored` says what has become of the copy.
        """
        assert self.criu is not None
        try:
            self.criu.sendall(word)
        except OSError as error:
            print(f"keeper: CRIU is gone: {error}", file=sys.stderr, flush=True)
            return False
        return True

    def _do_print(self, _: socket.socket, message: dict) -> None:
        """Say something in the container's place: Docker's logger reads these pipes already."""
        for stream, text in message["words"]:
            syscalls.write_all(self.stdio[2 if stream == "stderr" else 1], text.encode())

    def _do_commit(self, _: socket.socket, __: dict) -> None:
        if self.state != "prepared":
            return
        self.runtime.remember()
        if self._answer_criu(b"c"):
            self.state = "resuming"

    def _do_ask(self, client: socket.socket, _: dict) -> None:
        """Say which pid Docker knows, and whether our shim lives: containerd ends a container whose shim was killed."""
        self._send(client, {"event": "asked", "pid": self.holder, "shim": os.getppid() == self.shim})

    def _shim_died(self, shim: int) -> None:
        """Say so, and give up, as long as no word is given: containerd will kill what is restored here.

        CRIU would wait for its init for good, and who waits for us would not know why. A copy that waits for the verdict is not
        ours to give up: whoever has the word asks before it is used.
        """
        self.selector.unregister(shim)
        os.close(shim)
        if self.state in ("gated", "priming", "primed", "silent", "restoring"):
            for proxy in self.proxies:
                self._send(proxy, {"event": "failed", "reason": SHIM_KILLED})
            self._cancel(SHIM_KILLED)

    def _do_cancel(self, _: socket.socket, message: dict) -> None:
        self._cancel(message.get("reason", "cancelled"))

    def _cancel(self, reason: str) -> None:
        if self.state in ("created", "gated"):
            self._end_pid()
            self._tell("cancelled", reason=reason)
            self._answer_start(1)
            self.finished = True
        elif self.state in ("priming", "restoring"):
            self._unwanted = reason  # runc or criu is at work: it is told when it asks
            self._give_up = min(self._give_up, time.monotonic() + ANSWER_SECONDS)
        elif self.state in ("primed", "silent", "prepared") and self.criu:
            if self.state != "primed":  # The restored sockets are live: their FIN or RST must not get out.
                syscalls.in_network(self.network, syscalls.links_down)
            self._answer_criu(b"x")
            self.state = "cancelling"

    def _know(self, pid: int) -> None:
        """Remember a process that works on the restore."""
        try:
            self._at_work.append(os.pidfd_open(pid))
        except ProcessLookupError:
            pass

    def _end_restore(self) -> None:
        """Kill a runc and a CRIU that do not ask any more; :meth:`_restored` then ends what they have made."""
        self._give_up = math.inf
        if not self.holder_alive:  # restored sockets may be live: their FIN or RST must not get out
            with contextlib.suppress(OSError):  # Docker has removed the network already
                syscalls.in_network(self.network, syscalls.links_down)
        print(f"keeper: killing a restore that does not end: {self._unwanted}", file=sys.stderr, flush=True)
        self._kill_workers()

    def _kill_workers(self) -> None:
        for process in self._at_work:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)

    def _runs(self) -> bool:
        """Return whether the copy runs, or has run: its peers have heard of it, and the original must not go on.

        That CRIU let it go is as good as runc's word: CRIU may be killed before it has told its caller.
        """
        if self.runc_status == 0 or self.has_run:
            return True
        self._kill_workers()  # else it could be let go while we end it
        for process in self._at_work:
            syscalls.wait_for(process, select.POLLIN, END_SECONDS)
        while select.select([self.verdicts], [], [], 0)[0]:
            self._accept_criu(self.verdicts)
        return self.has_run

    def _restored(self, _: object) -> None:
        """``runc restore`` has returned: the container runs, or there is none."""
        if self.state == "resuming" and self._runs():
            try:
                self.runtime.remind()
            except OSError as error:  # the copy runs all the same, and that must be told
                print(
                    f"keeper: runc has forgotten the container, and cannot be reminded: {error}",
                    file=sys.stderr,
                    flush=True,
                )
            self._tell("running", pid=self.holder)
            self._set_limits()
        else:
            cancelled = self.state == "cancelling"
            gone = self._end_copy()
            self._end_pid()
            if gone:  # else nobody may believe so: the destination asks Docker
                self._tell("cancelled" if cancelled else "failed", status=self.runc_status)
            self._answer_start(1)
        self.finished = True

    def _set_limits(self) -> None:
        """Set the limits again: CRIU has ended. Before that it is one of the container's processes, and uses its memory."""
        deadline = time.monotonic() + END_SECONDS
        while (left := limits.set_again(self.limits)) and time.monotonic() < deadline:
            time.sleep(0.01)
        for limit in left:
            print(f"the limit {limit.value} cannot be set in {limit.path}", file=sys.stderr, flush=True)

    def _end_copy(self) -> bool:
        """Kill what CRIU has restored; return whether nothing of it is left.

        That runc failed does not mean that its tasks are dead: it may have been killed itself, or have failed after CRIU had
        resumed them. Whoever hears "failed" lets the original run.
        """
        if self.holder_alive or not self.network:
            return True
        try:
            process = os.pidfd_open(self.holder)
        except ProcessLookupError:
            return True
        try:
            if os.stat(f"/proc/{self.holder}/ns/net").st_ino != os.stat(self.network).st_ino:
                return True  # the pid is somebody else's by now
            syscalls.in_network(self.network, syscalls.links_down)  # no FIN or RST must get out
            signal.pidfd_send_signal(process, signal.SIGKILL)
            return syscalls.wait_for(process, select.POLLIN, END_SECONDS)  # of an init: when all its tasks are dead
        except (FileNotFoundError, ProcessLookupError):
            return True
        finally:
            os.close(process)

    def _end_pid(self) -> None:
        """Let the shim see the pid end that we have told it."""
        if self.holder_alive:
            os.kill(self.holder, signal.SIGKILL)  # a zombie until we leave; then its reaper is the shim
            return
        try:
            syscalls.stand_in(self.holder)
        except OSError:
            pass  # the restored init had that pid and has ended: the shim has seen it

    def _answer_start(self, status: int) -> None:
        if self.starter:
            self._send(self.starter, {"status": status})
            self.starter = None

    def _leave(self) -> None:
        """Take away what led to us; last the gate, for whoever waits until that is gone may start the container again."""
        container = self.runtime.container
        for path in (paths.verdict(container), paths.marker(container), paths.gate(container)):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass


def create(runtime: Runtime) -> None:
    """``runc create``: start the keeper, report the placeholder's pid, return."""
    done_read, done_write = os.pipe()
    if os.fork():
        os.close(done_write)
        sys.exit(0 if os.read(done_read, 1) == b"k" else 1)
    os.close(done_read)
    os.setsid()
    with open(paths.marker(runtime.container), encoding="utf-8") as file:
        session = file.read().strip()
    stdio = [os.dup(fd) for fd in (0, 1, 2)]  # the container's; our own words must not end in its logs
    log = os.open(os.path.join(session, "keeper.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    keeper = Keeper(runtime, stdio)
    try:
        keeper.plug_network()
        keeper.report_pid()
    except BaseException:
        os.kill(keeper.holder, signal.SIGKILL)
        raise
    os.write(done_write, b"k")
    os.close(done_write)
    keeper.serve()


def start(runtime: Runtime) -> None:
    """``runc start``: returns when the restore waits for the container's memory (0), or the relocation was given up (1)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gate:
        gate.connect(paths.gate(runtime.container))
        gate.sendall(b'{"do": "start"}\n')
        answer = gate.makefile().readline()
    status = json.loads(answer)["status"] if answer else 1
    if status:
        print("the relocation to this host was given up; the container runs on at its source", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Entry point, called by ``relocate-runtime`` with the arguments that Docker gave it."""
    runtime = Runtime(sys.argv[1:])
    {"create": create, "start": start}[runtime.command](runtime)


if __name__ == "__main__":
    main()
