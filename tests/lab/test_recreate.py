# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that CRIU refuses are made anew elsewhere, while clients make connections and keep one open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import python_image
from direct import Direct
from fleet import BIN, ROOT, VIRTUAL, Fleet
from outside import kill_family
from test_modules import module
from waiting import until

pytestmark = pytest.mark.lab

NAME, PORT = "leaser", 7320
SECONDS = 300.0  # on a busy machine everything takes its time
#: It holds a lease on a file, which no image has. Each of its lives has a name of its own. USR1 ends it with status 7.
PROGRAM = """
import fcntl, os, secrets, signal, socketserver
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
open("/leased", "w").close()
lease = open("/leased")
fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)
LIFE = secrets.token_hex(4)

class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile:
            self.wfile.write(LIFE.encode() + b"\\n")

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

Server(("", 7320), Answer).serve_forever()
"""
#: Makes one connection after the other, and keeps another one open, over which it asks once for every line it is told.
CLIENT = """
import json, socket, sys, threading, time
place = sys.argv[1], int(sys.argv[2])
made, lives, errors, stopped = [0], [], [], threading.Event()

def ask(connection):
    connection.sendall(b"who\\n")
    answer = connection.recv(64)
    if not answer.endswith(b"\\n"):
        raise ConnectionError(f"{answer!r} instead of an answer")
    return answer.decode().strip()

def again():
    while not stopped.is_set():
        try:
            with socket.create_connection(place, 60) as connection:
                connection.settimeout(60)
                life = ask(connection)
                made[0] += 1
                if life not in lives[-1:]:
                    lives.append(life)
        except OSError as error:
            errors.append(f"{type(error).__name__}: {error}")
        time.sleep(0.005)

kept = socket.create_connection(place, 60)
kept.settimeout(60)
thread = threading.Thread(target=again)
thread.start()
for line in sys.stdin:
    told = line.strip()
    if told == "stop":
        stopped.set()
        thread.join()
    life = None
    if told == "close":
        kept.close()
    elif told == "ask":
        try:
            life = ask(kept)
        except OSError as error:
            life = f"cut: {error}"
    print(json.dumps({"kept": life, "made": made[0], "lives": lives, "errors": errors}), flush=True)
"""


class Visitor:
    """A client outside: see :data:`CLIENT`."""

    def __init__(self, fleet: Fleet) -> None:
        command = ["ip", "netns", "exec", fleet.client_namespace, sys.executable, "-c", CLIENT, VIRTUAL, str(PORT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, word: str = "look") -> dict[str, Any]:
        """Tell it something; return what it has seen."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        return seen

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def visiting(fleet: Fleet) -> Iterator[Visitor]:
    """A client while something happens; at the end none of its new connections may have failed."""
    visitor = Visitor(fleet)
    try:
        yield visitor
        seen = visitor.tell("stop")
    finally:
        visitor.end()
    assert not seen["errors"], seen
    assert seen["made"] > 20


def run(fleet: Fleet, options: str = "", program: str = PROGRAM) -> None:
    """Run the container on host1 and publish it."""
    python_image.make(fleet)
    python_image.run(
        fleet, "host1", NAME, program, f"-p {PORT}:{PORT} --restart unless-stopped --stop-signal USR1 {options}"
    )
    place = {"host_address": fleet.variables("host1")["ansible_host"], "host_port": PORT}
    made = module(fleet, "host0", "nat_service", name=NAME, virtual_address=VIRTUAL, virtual_port=PORT, **place)
    assert made["changed"], made
    inspected = f"docker exec {NAME} python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))'"
    until(lambda: fleet.on("host1", f"{inspected} 2>/dev/null && echo up", check=False) == "up", f"{NAME}'s listener")


def leads_to(fleet: Fleet, host: str) -> bool:
    """Say whether the edge leads new connections to a host."""
    (service,) = [each for each in fleet.services() if each["name"] == NAME]
    return bool(service["host_address"] == fleet.variables(host)["ansible_host"])


def everywhere(fleet: Fleet) -> list[str]:
    """Return the hosts that have the container, whatever its state."""
    return [
        host
        for host in fleet.docker_hosts
        if fleet.on(host, f"docker ps -a --filter name={NAME} --format '{{{{.Names}}}}'")
    ]


def begin(fleet: Fleet, *options: str) -> subprocess.Popen[str]:
    """Begin to make it anew on host2, as a person does."""
    command = [str(BIN / "relocate"), "move", NAME, "--to", "host2", "--json", *options]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def test_a_container_that_criu_refuses_is_made_anew_under_load(fleet: Fleet) -> None:
    """The refusal names the way; nobody loses a request; who is connected is served until he goes; the old one is stopped."""
    run(fleet, "--label relocate.mtd/strategy=recreate")
    before = fleet.picture()
    refused = fleet.run("relocate", "move", NAME, "--to", "host2", "--strategy", "live", check=False)
    assert refused.returncode == 1 and "holds a lease on a file" in refused.stderr
    assert "or have it made anew at the destination (--strategy recreate)" in refused.stderr
    checked = fleet.run("relocate", "check", NAME, "--to", "host2", "--strategy", "live", check=False)
    assert checked.returncode == 1 and "(--strategy recreate)" in " ".join(checked.stdout.split())
    planned = fleet.run("relocate", "move", NAME, "--to", "host2", "--check").stdout  # by its label
    assert "recreate" in planned and "lost         its memory" in planned and "drained " in planned
    assert fleet.picture() == before
    began = fleet.on("host1", "date +%s")
    with visiting(fleet) as visitor:
        old = visitor.tell("ask")["kept"]
        move = begin(fleet, "--drain-limit", "600")
        until(lambda: leads_to(fleet, "host2"), "the edge's new way")
        new = until(lambda: [each for each in visitor.tell()["lives"] if each != old], "the new one's answer")
        assert visitor.tell("ask")["kept"] == old, "it is served where it is"
        assert set(fleet.where(NAME)) == {"host1", "host2"} and move.poll() is None
        visitor.tell("close")
        result = json.loads(move.communicate(timeout=SECONDS)[0])
        seen = visitor.tell()
        assert seen["lives"] == [old, *new], "never back to the old one"
    assert (result["outcome"], result["strategy"], result["mode"]) == ("committed", "recreate", "recreate")
    assert result["drain"]["connections"] >= 1 and result["drain"]["cut"] == 0 and result["flows"]["lost"] == 0
    assert result["downtime_ms"] is None and everywhere(fleet) == ["host2"]
    ended = "docker events --since {} --until $(date +%s.%N) --filter container={} --filter event=die --format '{}'"
    words = ended.format(began, NAME, "{{.Actor.Attributes.exitCode}}")
    assert fleet.on("host1", words) == "7", "stopped by its own signal"
    policy = fleet.on("host2", f"docker inspect -f '{{{{.HostConfig.RestartPolicy.Name}}}}' {NAME}")
    assert policy == "unless-stopped"


def test_connections_that_do_not_end_are_cut_at_the_limit(fleet: Fleet) -> None:
    """And the result says how many."""
    run(fleet)
    with visiting(fleet) as visitor:
        visitor.tell("ask")
        result = json.loads(
            begin(fleet, "--strategy", "recreate", "--drain-limit", "5").communicate(timeout=SECONDS)[0]
        )
        assert result["outcome"] == "committed" and result["drain"]["cut"] >= 1, result
        assert visitor.tell("ask")["kept"].startswith("cut: ")
    assert everywhere(fleet) == ["host2"]


def test_a_new_container_that_never_becomes_healthy(fleet: Fleet) -> None:
    """It is removed, nobody is led to it, and the old one was never touched."""
    run(fleet, "--health-cmd true --health-interval 300ms --health-retries 2")  # the image has no shell to run that
    before = fleet.picture()
    with visiting(fleet) as visitor:
        old = visitor.tell("ask")["kept"]
        result = json.loads(begin(fleet, "--strategy", "recreate").communicate(timeout=SECONDS)[0])
        assert result["outcome"] == "rolled-back" and "the new container's health check fails" in result["msg"], result
        assert visitor.tell("ask")["kept"] == old and visitor.tell()["lives"] == [old]
    assert fleet.picture() == before


def test_the_controller_and_the_source_are_killed_while_the_old_one_drains(fleet: Fleet) -> None:
    """The hosts do not need the one, and the other is started again and goes on counting."""
    run(fleet)
    with visiting(fleet) as visitor:
        visitor.tell("ask")
        move = begin(fleet, "--strategy", "recreate", "--drain-limit", "600")
        until(lambda: leads_to(fleet, "host2"), "the edge's new way")
        kill_family(move.pid)
        move.wait()
        fleet.on("host1", "kill -9 $(pgrep -nf '[r]elocate_proxy source')")  # the guardian is the older one
        assert set(fleet.where(NAME)) == {"host1", "host2"}
        visitor.tell("close")
        until(lambda: everywhere(fleet), "one container, on host2", lambda places: places == ["host2"])
    until(lambda: fleet.on("host0", "ls /run/relocate/parts"), "the edge's end", lambda parts: not parts)
    fleet.on("host0", "rm /run/relocate/results/*.json")  # nobody is left to fetch it


#: Part, state after which it is killed, whether with its guardian, and how the move ends. Every step of the edge is in
#: ``tests/unit/proxy/parts/test_recreating.py``.
KILLS = [
    ("source", "committed", "kill-guardian", "done"),
    ("destination", "prepared", "kill", "rolled-back"),
    ("destination", "committed", "kill", "done"),
    ("edge", "committed", "kill", "done"),
    ("edge", "draining", "kill", "done"),
]


def test_parts_are_killed(fleet: Fleet) -> None:
    """Whatever is killed: one container is left, new connections are led to it, and recover ends what has no process."""
    run(fleet)
    planned = fleet.run("relocate", "move", NAME, "--to", "host2", "--strategy", "recreate", "--check", "--json").stdout
    direct = Direct(fleet, NAME, json.loads(planned), ("host1", "host2"), mode="recreate")
    with visiting(fleet) as visitor:
        visitor.tell("close")
        for part, state, do, end in KILLS:
            (here,) = fleet.where(NAME)
            there = next(host for host in direct.hosts if host != here)
            host = {"source": here, "destination": there, "edge": "host0"}[part]
            direct.order(host, part=part, state=state, moment="after", do=do)
            identifier = direct.start(here, there)
            direct.result(identifier)
            assert not visitor.tell()["errors"], (part, state, do)
            assert leads_to(fleet, here) or leads_to(fleet, there)
            direct.wait_until_quiet()
            assert not direct.ordered(host), f"{part} never reached {state}:\n{direct.words(identifier)}"
            ended = direct.recover(identifier, here, there)
            words = f"{part} {state} {do}: {ended}\n{direct.words(identifier)}"
            assert ended["edge"] == end, words
            place = there if end == "done" else here
            assert everywhere(fleet) == [place] and leads_to(fleet, place), words
            direct.assert_nothing_left()
            assert not visitor.tell()["errors"], words
