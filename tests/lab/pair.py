# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab with two edges, and ways to lose one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import credentials, plan
from direct import FAULTS, PROXY
from fleet import Fleet
from waiting import until

SIGN = "/run/relocate/paused"

# Lets itself be called, says numbers, and wants them back; the same lines as direct.HEART on its standard output.
CALLED = """
import json, socket, sys, threading, time
state = {"last": 0, "longest_ms": 0.0, "error": None}
server = socket.create_server((sys.argv[1], int(sys.argv[2])))

def beat():
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = connection.makefile("rb")
    try:
        while True:
            begin = time.monotonic()
            connection.sendall(b"%d\\n" % (state["last"] + 1))
            answer = answers.readline()
            if answer != b"%d\\n" % (state["last"] + 1):
                raise ValueError(f"after {state['last']} came {answer!r}")
            state["last"] += 1
            state["longest_ms"] = max(state["longest_ms"], round((time.monotonic() - begin) * 1000, 1))
            time.sleep(0.002)
    except (OSError, ValueError) as error:
        state["error"] = f"{type(error).__name__}: {error}"

threading.Thread(target=beat, daemon=True).start()
for line in sys.stdin:
    print(json.dumps(state), flush=True)
    state["longest_ms"] = 0.0
"""


def called(fleet: Fleet, address: str, port: int) -> subprocess.Popen[str]:
    """Start what waits for a call in the outside world."""
    command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", CALLED, address, str(port)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@dataclass
class Pair:
    """Both edges of a lab."""

    fleet: Fleet

    @property
    def gateway(self) -> str:
        """The address that goes from edge to edge."""
        return str(self.fleet.variables("host0")["relocate_edge_gateway_address"]).partition("/")[0]

    def having(self) -> list[str]:
        """Return the edges that have the addresses, by their kernels; one that is lost counts, too."""
        script = f"ip -br -4 address | grep -q ' {self.gateway}/'"
        return [edge for edge in self.fleet.edges if self.inside(edge, script) == 0]

    def inside(self, edge: str, script: str) -> int:
        """Run a shell script on an edge, links or no links; return its status."""
        known = self.fleet.variables(edge)
        lab = known["relocate_lab_namespace"]
        ask = ["nsenter", f"--net=/run/netns/{lab}", "lxc-info", "-P", f"{known['relocate_lab_state']}/hosts"]
        done = subprocess.run([*ask, "-n", edge, "-p", "-H"], capture_output=True, text=True, check=True)
        enter = ["nsenter", "-t", done.stdout.strip(), "-a", "--", "/bin/sh", "-c", script]
        return subprocess.run(enter, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode

    def links(self, edge: str, state: str) -> None:
        """Plug both cables of an edge, or pull them."""
        lab = self.fleet.variables(edge)["relocate_lab_namespace"]
        for bridge in ("fabric", "outside"):
            subprocess.run(["ip", "-n", lab, "link", "set", f"{bridge}-{edge}", state], check=True)

    def lose(self, edge: str) -> None:
        """Take an edge away: its links, and whatever of ours runs on it."""
        self.links(edge, "down")
        self.inside(
            edge, "pkill -9 -x keepalived; pkill -9 -x conntrackd; pkill -9 -f '[r]elocate_proxy (edge|standby)'"
        )

    def bring_back(self, edge: str) -> None:
        """Bring it back, as its next boot would: keepalived removes the addresses that it finds."""
        self.inside(edge, f"rm -f /var/lock/conntrack.lock {SIGN}; service conntrackd start; service keepalived start")
        self.links(edge, "up")
        self.await_inside(edge, "pgrep -x keepalived >/dev/null && pgrep -x conntrackd", "keepalived and conntrackd")

    def await_inside(self, edge: str, test: str, what: str) -> None:
        """Wait until a shell's test says yes on an edge, links or no links."""
        until(lambda: self.inside(edge, test), f"{what} on {edge}", lambda status: status == 0)

    def await_only(self, edge: str) -> None:
        """Wait until an edge has the addresses, and the other has not."""
        until(self.having, f"the addresses at {edge} alone", lambda edges: edges == [edge])

    def start(
        self, document: dict[str, Any], source: str, destination: str, active: str, mode: str = "stop-and-copy"
    ) -> str:
        """Start a move as the action does; return its id."""
        identifier = plan.new_id()
        (other,) = (edge for edge in self.fleet.edges if edge != active)
        hosts = {"source": source, "destination": destination, "edge": active, "standby": other}
        places = {part: {"host": host, "address": self._address(host)} for part, host in hosts.items()}
        places["standby"]["gateway"] = self.gateway
        document = {**document, **places, "id": identifier, "mode": mode}
        keys = credentials.make(identifier, tuple(hosts))
        listening: dict[str, Any] = {}
        for part in ("destination", "source", "standby", "edge"):
            own = {"listen": places[part]["address"], "container": document["container"], "mode": document["mode"]}
            order = {"id": identifier, "credentials": keys[part], **own, "plan": document, **listening}
            said = self.fleet.on(hosts[part], f"{PROXY} {part}", data=json.dumps(order))
            listening[part] = [places[part]["address"], json.loads(said)["port"]]
        return identifier

    def _address(self, host: str) -> str:
        return str(self.fleet.variables(host)["ansible_host"])

    def order(self, host: str, **fault: Any) -> None:
        """Leave a rehearsal order on a host."""
        self.fleet.on(host, f"umask 077; mkdir -p /run/relocate; cat >{FAULTS}", data=json.dumps(fault))

    def settle(self, host: str, relocation: str, part: str, verdict: str) -> str:
        """Have a part settled, as ``relocate recover`` does; return the state it ended in."""
        order = {"relocation": relocation, "part": part, "verdict": verdict, "decided": True}
        said = json.loads(self.fleet.on(host, f"{PROXY} recover", data=json.dumps(order)))
        assert "error" not in said, said
        return str(said["outcome"])


def is_pair(fleet_state: str) -> bool:
    """Return whether the lab that is up has two edges already."""
    document = Path(fleet_state, "lab.json")
    return document.exists() and bool(json.loads(document.read_text(encoding="utf-8")).get("gateway"))
