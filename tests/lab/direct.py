# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relocations without Ansible between: a test gives the three parts their orders itself, and can have many moves in a minute.

The plan is the one that ``relocate move --check`` makes. What is started, and how it is settled afterwards, is what the
collection's actions do (``container_relocate``, ``relocations_recover``), over the same SSH.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials, plan
from fleet import NO_LIMIT, VIRTUAL, Fleet
from waiting import until

PROXY = "PYTHONPATH=/usr/local/lib/relocate LC_ALL=C.UTF-8 python3 -m relocate_proxy"
FAULTS = "/run/relocate/faults.json"
PARTS = "/run/relocate/parts"  # a file for each part, locked while the part has a process
EDGE = "host0"
#: Processes in a control group of a container that Docker does not know.
ORPHANS = (
    "known=$(docker ps -q --no-trunc 2>/dev/null); "
    "for id in $(cat /proc/[0-9]*/cgroup 2>/dev/null | grep -oE 'docker[/-][0-9a-f]{64}' | cut -c8- | sort -u); do "
    'case "$known" in *$id*) ;; *) echo "running without Docker: $id" ;; esac; done'
)
RESULT_SECONDS = 180.0
LOOK_SECONDS = 20  # in which Docker answers about a container
ANSWER_SECONDS = 120.0  # in which a client says how things are
#: A part that has voted waits 45 s for its edge. A destination may have waited for 50 s before, for its copy to run.
QUIET_SECONDS = 120.0
CLEAN_SECONDS = 60.0  # Docker, and a restore that hangs, end in their own time


class NotStarted(Exception):
    """No move was begun: its world is not there, or its command has started nothing. That says nothing of moves."""


# Asks without end over one connection; for every line on its standard input it says how things are.
HEART = """
import json, select, socket, sys, threading, time
kind, address, port, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
state = {"last": 0, "longest_ms": 0.0, "error": None}

def beat():
    if kind == "udp":
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        connection.connect((address, port))
    else:
        connection = socket.create_connection((address, port), 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(120)
    try:
        while True:
            begin = time.monotonic()
            connection.sendall(b"x\\n")
            answer = connection.recv(64)
            if not answer.endswith(b"\\n") or int(answer) != state["last"] + 1:
                raise ValueError(f"after {state['last']} came {answer!r}")
            state["last"] += 1
            state["longest_ms"] = max(state["longest_ms"], round((time.monotonic() - begin) * 1000, 1))
            time.sleep(pause)
    except (OSError, ValueError) as error:
        state["error"] = f"{type(error).__name__}: {error}"

threading.Thread(target=beat, daemon=True).start()
for line in sys.stdin:
    print(json.dumps(state), flush=True)
    state["longest_ms"] = 0.0
"""


class Heart:
    """One connection to a counter, over which a number is asked for all the time; each must be one more than the last.

    :ivar longest_ms: the longest that an answer took, as far as it was looked at; whoever measures sets it to 0 first.
    """

    def __init__(
        self, fleet: Fleet, port: int, kind: str = "tcp", pause: float = 0.002, address: str = VIRTUAL
    ) -> None:
        """Connect. :param pause: seconds between an answer and the next question."""
        command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", HEART, kind, address]
        command += [str(port), str(pause)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.longest_ms = 0.0
        self.assert_beats()

    def look(self) -> dict[str, Any]:
        """Return the ``last`` number, the ``longest_ms`` since the last look, and what went wrong (``error``)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert select.select([self._process.stdout], [], [], ANSWER_SECONDS)[0], "the client does not answer"
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.longest_ms = max(self.longest_ms, seen["longest_ms"])
        assert seen["error"] is None, seen["error"]
        return seen

    def assert_beats(self, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Check that answers come over the connection now; return what was seen of it until now."""
        first = self.look()
        deadline = time.monotonic() + seconds
        while self.look()["last"] < first["last"] + 3:
            assert time.monotonic() < deadline, f"no answer comes any more after {first['last']}"
            time.sleep(0.02)
        return first

    def end(self) -> None:
        """Close the connection."""
        self._process.kill()
        self._process.wait()


def _document(said: str) -> dict[str, Any]:
    """Return what the program printed: one line. What may follow is what it wrote on its standard error when it failed."""
    document: dict[str, Any] = json.loads(said.partition("\n")[0])
    return document


@dataclass
class Direct:
    """Moves of one container between some hosts, two in most tests."""

    fleet: Fleet
    container: str
    document: dict[str, Any]
    hosts: tuple[str, ...]
    mode: str = "stop-and-copy"
    ids: list[str] = field(default_factory=list)
    controller: subprocess.Popen[bytes] | None = None  # of the last move that was begun by command
    others: tuple[str, ...] = ()  # containers that are none of our business

    @classmethod
    def of(cls, fleet: Fleet, container: str, here: str, there: str, *others: str) -> Direct:
        """Look at a container that runs ``here``."""
        done = fleet.run(
            "relocate", "move", container, "--to", there, "--check", "--downtime-limit", NO_LIMIT, "--json"
        )
        return cls(fleet, container, json.loads(done.stdout), (here, there, *others))

    def start(self, source: str, destination: str) -> str:
        """Start a relocation as the action does; return its id. A part that does not begin is none of our business."""
        identifier = plan.new_id()
        self.ids.append(identifier)
        places = {"source": self._place(source), "destination": self._place(destination)}
        document = {**self.document, **places, "id": identifier, "mode": self.mode}
        keys = credentials.make(identifier)
        listening: dict[str, Any] = {}
        for part in ("destination", "source"):
            own = {"listen": places[part]["address"], "container": self.container, "mode": self.mode}
            own["listen6"] = places[part]["address6"]
            answer = self._part(places[part]["host"], part, {"id": identifier, "credentials": keys[part], **own})
            if "error" in answer:
                return identifier
            listening[part] = [places[part]["address"], answer["port"]]
        own = {"plan": document, "mode": self.mode, **listening}
        self._part(EDGE, "edge", {"id": identifier, "credentials": keys["edge"], **own})
        return identifier

    def _place(self, host: str) -> dict[str, str]:
        known = self.fleet.variables(host)
        return {"host": host, "address": known["ansible_host"], "address6": known["relocate_fabric_address6"]}

    def _part(self, host: str, part: str, order: dict[str, Any]) -> dict[str, Any]:
        said = self.fleet.on(host, f"{PROXY} {part}", check=False, data=json.dumps(order))
        return _document(said or '{"error": "nothing was said"}')

    def result(self, identifier: str, seconds: float = RESULT_SECONDS) -> dict[str, Any] | None:
        """Return what the edge reports, as soon as it does; None when it has no process any more."""
        path, part = f"/run/relocate/results/{identifier}.json", f"{PARTS}/{identifier}.edge"
        script = f"[ ! -e {part} ] || flock -w {seconds:g} {part} true; cat {path} 2>/dev/null && rm {path}"
        said = self.fleet.on(EDGE, script, check=False)
        return json.loads(said) if said else None

    def move(self, source: str, destination: str) -> dict[str, Any] | None:
        """Move it, and wait for the result."""
        return self.result(self.start(source, destination))

    def order(self, host: str, **fault: Any) -> None:
        """Leave a rehearsal order on a host."""
        self.fleet.on(host, f"umask 077; mkdir -p /run/relocate; cat >{FAULTS}", data=json.dumps(fault))

    def ordered(self, host: str) -> bool:
        """Say whether the host's order is still there; take it back."""
        return self.fleet.on(host, f"rm {FAULTS} 2>/dev/null && echo left", check=False) == "left"

    def wait_until_quiet(self) -> None:
        """Return when no part has a process any more."""
        script = (
            f"for part in {PARTS}/*; do [ ! -e $part ] || flock -w {QUIET_SECONDS:g} $part true || exit 1; done; "
            "for i in $(seq 1200); do pgrep -f '[r]elocate_proxy (edge|source|destination)' || exit 0; sleep 0.1; done; exit 1"
        )
        for host in (EDGE, *self.hosts):
            self.fleet.on(host, script)

    def recover(self, identifier: str, source: str, destination: str) -> dict[str, str]:
        """Settle what is left of a relocation, in the action's order; return how each part's journal ended."""
        return self.recovered(identifier, source, destination)[0]

    def recovered(self, identifier: str, source: str, destination: str) -> tuple[dict[str, str], bool]:
        """Do the same; return also whether there was anything to settle."""
        verdict, changed = None, False
        ended = {}
        for part, host in (("edge", EDGE), ("destination", destination), ("source", source)):
            more: dict[str, Any] = {"decided": True} if verdict else {}
            if part == "destination" and verdict == "commit":
                more |= self._served(identifier, source, destination)
            said = self._settle(host, identifier, part, verdict, **more)
            verdict = said["verdict"] if part == "edge" else verdict
            ended[part] = said["outcome"]
            changed |= said["changed"]
        return ended, changed

    def _settle(self, host: str, identifier: str, part: str, verdict: str | None, **more: Any) -> dict[str, Any]:
        order = {"relocation": identifier, "part": part, "verdict": verdict, **more}
        said = _document(self.fleet.on(host, f"{PROXY} recover", check=False, data=json.dumps(order)))
        assert "error" not in said, f"{part}: {said}"
        return said

    def _served(self, identifier: str, source: str, destination: str) -> dict[str, str]:
        """Have the source serve the memory that a copy lacks; return what the destination is told if it is gone."""
        lacks = self._settle(destination, identifier, "destination", "look")["outcome"] in ("prepared", "draining")
        if not lacks or self._settle(source, identifier, "source", "look")["outcome"] != "voted":
            return {}
        serving = self._settle(source, identifier, "source", "serve")["outcome"] == "serving"
        return {} if serving else {"gone": "the container's memory is gone at its source"}

    def running(self) -> list[str]:
        """Return the hosts where a copy executes: it is there, and neither the freezer nor CRIU holds its tasks.

        Docker answers nothing about a container that is being started, and so waits at its gate.
        """
        script = (
            f"pid=$(timeout {LOOK_SECONDS} docker inspect -f '{{{{.State.Pid}}}}' {self.container} 2>/dev/null) && "
            "[ $pid != 0 ] && grep -q '^TracerPid:.0$' /proc/$pid/status && ! grep -qa relocate_proxy /proc/$pid/cmdline && "
            "group=$(sed -n 's/.*:freezer://p' /proc/$pid/cgroup) && "
            'if [ -n "$group" ]; then cat /sys/fs/cgroup/freezer$group/freezer.state; '
            "else grep -q 'frozen 0' /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)/cgroup.events && echo THAWED; fi"
        )
        return [host for host in self.hosts if self.fleet.on(host, script, check=False) == "THAWED"]

    def settled(self) -> list[str]:
        """Return the hosts where a copy executes, as soon as one does: Docker may be busy, or just coming back."""
        return until(self.running, f"a copy of {self.container} that executes")

    def executing(self) -> list[str]:
        """Return the same at a moment when Docker may be waiting at a gate, or be dead: by its files and the kernel alone."""
        script = (
            f'for id in $(grep -lE \'"Name":"/{self.container}(\\.[^"]*)?"\' /var/lib/docker/containers/*/config.v2.json '
            "2>/dev/null | cut -d/ -f6); do for file in /run/docker/containerd/daemon/*.v2.task/moby/$id/init.pid; do "
            "read -r pid <$file; at=/proc/$pid; "
            "grep -q $id $at/cgroup && grep -q '^TracerPid:.0$' $at/status && ! grep -q '^State:.[ZX]' $at/status && "
            "! grep -qa relocate_proxy $at/cmdline || continue; "
            "group=$(sed -n 's/.*:freezer://p' $at/cgroup); "
            'if [ -n "$group" ]; then cat /sys/fs/cgroup/freezer$group/freezer.state; '
            "else grep -q 'frozen 0' /sys/fs/cgroup$(sed -n 's/^0:://p' $at/cgroup)/cgroup.events && echo THAWED; fi; "
            "done; done 2>/dev/null"
        )
        return [host for host in self.hosts if "THAWED" in self.fleet.on(host, script, check=False).splitlines()]

    def leftovers(self, state: str = "running", hosts: Iterable[str] = ()) -> str:
        """Return what relocations have left on the hosts that no container needs; nothing after a good end.

        :param state: what the container itself may be in, by Docker's word. :param hosts: other ones than the container's.
        """
        found = []
        kept = "|".join([f"({self.container}) ({state})", *(f"{other} .*" for other in self.others)])
        for host in dict.fromkeys((EDGE, *(hosts or self.hosts))):
            script = (
                "[ ! -e /run/relocate ] || find /run/relocate -mindepth 2 ! -path '*/empty*' ! -name '*.pem'; "  # started anew
                "ls /run/relocate/faults.json 2>/dev/null; "
                # a module waits for a result for a minute at most, though the controller that asks for it was killed
                "pgrep -fa '[r]elocate_proxy|[c]riu ' | grep -v relocate_proxy.request; "
                f"docker ps -a --format '{{{{.Names}}}} {{{{.State}}}}' 2>/dev/null | grep -vE '^({kept})$'; "
                f"{ORPHANS}; "
                "grep -oE '[^ ]*(criu-root|[.]criu[.]mntns[^ ]*)' /proc/mounts; "
                "nft list table ip relocate 2>/dev/null | sed -nE '/ (held|barrier|shut|unborn) \\{/,/\\}/p' | grep elem"
            )
            found += [f"{host}: {line}" for line in self.fleet.on(host, script, check=False).splitlines()]
        return "\n".join(found)

    def assert_nothing_left(self, state: str = "running", hosts: Iterable[str] = ()) -> None:
        """See that nothing is left, as soon as the last process has ended. For the parameters see :meth:`leftovers`."""
        until(lambda: self.leftovers(state, hosts), "no leftovers", lambda left: not left, seconds=CLEAN_SECONDS)

    def words(self, identifier: str) -> str:
        """Return what the parts of a relocation logged, for a test that fails."""
        script = f"cd /var/lib/relocate/journal && tail -n 40 {identifier}.* 2>/dev/null"
        return "\n".join(f"== {host}\n{self.fleet.on(host, script, check=False)}" for host in (EDGE, *self.hosts))
