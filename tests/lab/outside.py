# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures that come from outside the parts: processes beside them, links, disks, the controller.

Each is made at an exact moment: a part is ordered to pause at a line of its journal, and what is to fail is broken while it
stands there. Then the part goes on, and after some seconds what can be mended is mended, as the world would do it: a link comes
back, an init system starts ``dockerd`` again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

from direct import EDGE, Direct, NotStarted
from fleet import BIN, NO_LIMIT, ROOT, Fleet

PAUSE_SECONDS = 60.0  # a part that nobody lets go
REACHED_SECONDS = 90.0
BEGIN_SECONDS = 240.0  # for a command that starts a move, beside whatever else the machine does
CUT_SECONDS = 4.0
CONDITION_SECONDS = 6.0  # of a bad link: longer than what is left of a move
SMALL_MIB, LARGE_MIB = 8, 128  # tenants: of the large one, pages are on their way for long enough to be met
LEFT_MIB = 32  # of memory, on a host that has little: the large tenant needs four times as much
SIGN = "/run/relocate/paused"
NEVER = f"{SIGN}.never"  # nobody will pause
JOURNALS, SESSIONS = "/var/lib/relocate/journal", "/run/relocate/sessions"
SIDES = ("source", "destination")
LINKS = (("source", "destination"), ("source", "edge"), ("destination", "edge"))
ALONE = " >/dev/null 2>&1 </dev/null & exit 0"  # a command that goes on when its connection does not
CONTROLLER = "10.77.0.1"  # where the lab's SSH comes from
#: What spoils a link, as an nft statement.
LOSSY = "numgen random mod 100 < 20 drop"
SLOW = "limit rate over 1 mbytes/second burst 64 kbytes drop"
#: Those of criu/include/fault-injection.h that make a dump or a restore fail: early in the dump, in the pages, when the
#: parasite connects; when all is restored. Not 2, whose task kills itself and is the init of a PID namespace, which no signal
#: from inside ends; and not 4, which needs a file that is open and removed.
CRIU_FAULTS = {"source": (1, 3, 5), "destination": (6,)}


@dataclass
class Scene:
    """One move that is to fail."""

    direct: Direct
    here: str
    there: str
    heals: list[Callable[[], object]] = field(default_factory=list)  # what brings the world back into order

    @property
    def hosts(self) -> dict[str, str]:
        """The host of each part."""
        return {"source": self.here, "destination": self.there, "edge": EDGE}

    def on(self, part: str, script: str) -> str:
        """Run a script on the host of a part; return what it printed, whatever its status."""
        return self.direct.fleet.on(self.hosts[part], script, check=False)


Strike = Callable[[Scene], bool]


def _unprepared(_: Scene) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True)
class Outside:
    """One kind of failure.

    :ivar strike: breaks it; returns whether there was something to break.
    :ivar seconds: how long it stays broken after the part has gone on.
    :ivar mode: of the move.
    :ivar alone: clients are served again without an operator.
    :ivar mortal: the tenant itself may die of it, as it would without us.
    :ivar only: the lines (part, state, moment) at which it is made; None: at every line.
    :ivar journal: the part on whose journal's disk it is made.
    :ivar mib: memory of the tenant.
    :ivar prepared: what is set up around the move.
    :ivar begin: starts the move in another way, and returns its id.
    :ivar settle: settles what is left in another way; returns how each part ended, and whether there was anything to settle.
    :ivar ends_host: a container that ran on the host has ended with it; Docker, or recovery, may have started it afresh.
    """

    name: str
    strike: Strike
    seconds: float = 0.0
    mode: str = "stop-and-copy"
    alone: bool = True
    mortal: bool = False
    prepared: Callable[[Scene], AbstractContextManager[object]] = _unprepared
    begin: Callable[[Scene], str] | None = None
    settle: Callable[[Scene, str], tuple[dict[str, str], bool]] | None = None
    ends_host: bool = False
    only: tuple[tuple[str, str, str], ...] | None = None
    journal: str = ""
    mib: int = SMALL_MIB


class Striking:
    """Waits in the background until a part pauses, breaks what is to be broken, lets the part go on, and heals."""

    def __init__(self, scene: Scene, outside: Outside, host: str) -> None:
        """Begin to wait on the ``host`` of the part that will pause."""
        self._scene, self._outside, self._host = scene, outside, host
        self.error: Exception | None = None
        self.two = ""  # what was there when two copies ran
        self.struck = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        fleet = self._scene.direct.fleet
        try:
            look = f"[ -e {SIGN} ] && exit; [ -e {NEVER} ] && exit 1"
            tick = "read -rt 0.05 -u 9"  # which nothing answers: a sleep would cost a process
            seconds = REACHED_SECONDS + (BEGIN_SECONDS if self._outside.begin else 0.0)
            wait = f"exec 9<> <(:); for i in {{1..{int(seconds * 20)}}}; do {look}; {tick}; done; exit 1"
            fleet.on(self._host, f"bash -c '{wait}'")
            try:
                self.struck = self._outside.strike(self._scene)
                self._count()
            finally:
                fleet.on(self._host, f"rm -f {SIGN}", check=False)
            if self.struck:
                time.sleep(self._outside.seconds)
        except Exception as error:
            self.error = error
        finally:
            for heal in reversed(self._scene.heals):
                try:
                    heal()
                except Exception as error:
                    self.error = self.error or error
            self._scene.heals.clear()
            self._count()

    def _count(self) -> None:
        """Keep what is there when two copies run. One look takes the hosts in turn, and a commit may fall in between."""
        if not self.two and all(len(self._scene.direct.executing()) > 1 for _ in range(2)):
            listing = "ps axo pid,ppid,stat,wchan:20,args"
            self.two = "\n".join(f"== {side}\n{self._scene.on(side, listing)}" for side in SIDES)

    def give_up(self) -> None:
        """Wait no longer: nothing was started, and no part will pause."""
        fleet = self._scene.direct.fleet
        fleet.on(self._host, f"touch {NEVER}")
        self.join()
        fleet.on(self._host, f"rm -f {NEVER}")

    def join(self) -> None:
        """Wait until all is healed."""
        self._thread.join()

    def check(self) -> None:
        """Raise what went wrong; see that no two copies ran at any look."""
        if self.error:
            raise self.error
        assert not self.two, f"two copies ran:\n{self.two}"


def kill(part: str, find: str, again: str = "") -> Strike:
    """SIGKILL to what a script finds on the host of a part; ``again`` is what starts it again in the end."""

    def strike(scene: Scene) -> bool:
        if again:
            scene.heals.append(lambda: scene.on(part, again))
        return bool(scene.on(part, f'found=$({find}); [ -n "$found" ] && {{ kill -9 $found; echo $found; }}'))

    return strike


def kill_shim(part: str) -> Strike:
    """SIGKILL to the containerd-shim of the container, or of its copy."""

    def strike(scene: Scene) -> bool:
        name = scene.direct.container
        find = (
            f"for id in $(docker ps -aq --no-trunc --filter name={name}); do "
            'pgrep -f "[c]ontainerd-shim-runc-v2.* -id $id"; done'
        )
        return bool(scene.on(part, f'found=$({find}); [ -n "$found" ] && {{ kill -9 $found; echo $found; }}'))

    return strike


def partition(fleet: Fleet, host: str, others: list[str]) -> Callable[[], object]:
    """Cut a host off from others, in its own network namespace; return what heals it."""
    places = ", ".join(fleet.variables(other)["ansible_host"] for other in others)
    rules = "".join(
        f"add chain inet partition {hook} {{ type filter hook {hook} priority -400; }}\n"
        f"add rule inet partition {hook} ip {end} {{ {places} }} drop\n"
        for hook, end in (("input", "saddr"), ("output", "daddr"))
    )
    fleet.on(host, "nft -f -", data=f"add table inet partition\n{rules}")
    return lambda: fleet.on(host, "nft delete table inet partition")


def cut(one: str, other: str) -> Strike:
    """Let no packet pass between the hosts of two parts."""

    def strike(scene: Scene) -> bool:
        scene.heals.append(partition(scene.direct.fleet, scene.hosts[one], [scene.hosts[other]]))
        return True

    return strike


def spoil_links(rule: str, links: Iterable[tuple[str, str]]) -> Strike:
    """Drop some of the packets between the hosts of parts: this kernel has no netem."""
    links = list(links)

    def strike(scene: Scene) -> bool:
        fleet = scene.direct.fleet
        for one, other in links:
            place = fleet.variables(scene.hosts[other])["ansible_host"]
            table = f"spoiled_{other}"
            text = f"add table inet {table}\n" + "".join(
                f"add chain inet {table} {hook} {{ type filter hook {hook} priority -400; }}\n"
                f"add rule inet {table} {hook} ip {end} {place} {rule}\n"
                for hook, end in (("input", "saddr"), ("output", "daddr"))
            )
            host = scene.hosts[one]
            scene.heals.append(partial(fleet.on, host, f"nft delete table inet {table}", check=False))
            fleet.on(host, "nft -f -", data=text)
        return True

    return strike


def restart_edge(scene: Scene) -> bool:
    """What is left of an edge that is started anew: its disk, and the table that it loads at boot."""
    script = (
        "pids=$(pgrep -f '[r]elocate_proxy'); [ -z \"$pids\" ] || kill -9 $pids; rm -rf /run/relocate/*; "
        "nft -f /var/lib/relocate/edge/table.nft; conntrack -F 2>/dev/null"
    )
    scene.on("edge", script)
    return True


def reload_docker(scene: Scene) -> bool:
    """SIGHUP to the daemons of both hosts: they read their configuration again."""
    for part in SIDES:
        scene.on(part, "kill -HUP $(pidof dockerd)")
    return True


def cut_controller(part: str) -> Strike:
    """Let no packet pass between the controller and a part's host. The host heals it itself: we could not."""

    def strike(scene: Scene) -> bool:
        rules = "add table inet partition; " + "".join(
            f"add chain inet partition {hook} {{ type filter hook {hook} priority -400; }}; "
            f"add rule inet partition {hook} ip {end} {CONTROLLER} drop; "
            for hook, end in (("input", "saddr"), ("output", "daddr"))
        )
        script = f"sleep 0.2; nft '{rules}'; sleep {CUT_SECONDS:g}; nft delete table inet partition"
        scene.on(part, f'setsid sh -c "{script}"{ALONE}')
        return True

    return strike


def hang_ssh(part: str) -> Strike:
    """Stop every sshd of a part's host for some seconds."""

    def strike(scene: Scene) -> bool:
        script = (
            "others=$(pgrep sshd | tr '\\n' ' '); "
            f'setsid sh -c "sleep 0.3; kill -STOP $others; sleep {CUT_SECONDS:g}; kill -CONT $others"{ALONE}'
        )
        scene.on(part, script)
        return True

    return strike


@contextmanager
def small_disk(scene: Scene, part: str, directory: str) -> Iterator[None]:
    """Put a small file system over a directory of a part's host, so that it can be filled without harm to the host.

    What was in it, and what is in it in the end, is copied: journals outlive the test.
    """
    kept = "/run/small-kept"
    out, back = f"cp -a {directory}/. {kept}/", f"cp -a {kept}/. {directory}/; rm -rf {kept}"
    begin = f"set -e; mkdir -p -m 700 {directory} {kept}; {out}; mount -t tmpfs -o size=64m,mode=700 small {directory}; {back}"
    end = f"set -e; mkdir -p -m 700 {kept}; {out}; umount -l {directory}; {back}"
    scene.direct.fleet.on(scene.hosts[part], begin)
    try:
        yield
    finally:
        scene.direct.fleet.on(scene.hosts[part], end)


def fill(part: str, directory: str, what: str) -> Strike:
    """Leave no room in a directory on a part's host: no byte, or no inode."""
    full = {
        "disk": f"dd if=/dev/zero of={directory}/filler bs=4k 2>/dev/null; [ -e {directory}/filler ] && echo full",
        "inodes": (
            f"mount -o remount,nr_inodes=$(($(df --output=iused {directory} | tail -1) + 8)) {directory} && "
            f"for i in $(seq 100); do touch {directory}/filler.$i 2>/dev/null || {{ echo full; break; }}; done"
        ),
    }[what]
    empty = f"rm -f {directory}/filler*; mount -o remount,nr_inodes=100000 {directory}"

    def strike(scene: Scene) -> bool:
        scene.heals.append(lambda: scene.on(part, empty))
        return scene.on(part, full) == "full"

    return strike


LIVE_RESTORE = """
import json, os, signal, time
path = "/etc/docker/daemon.json"
with open(path) as file:
    settings = json.load(file)
with open(path, "w") as file:
    json.dump({{**settings, "live-restore": {value}}}, file)
with open("/run/docker.pid") as file:
    os.kill(int(file.read()), signal.SIGHUP)
time.sleep(0.5)
"""


@contextmanager
def live_restore(scene: Scene, part: str) -> Iterator[None]:
    """Have a part's Docker keep its containers when it is killed (its ``live-restore``): else *it* ends them."""

    def switch(value: bool) -> None:
        scene.direct.fleet.on(scene.hosts[part], "python3 -", data=LIVE_RESTORE.format(value=value))

    switch(True)
    try:
        yield
    finally:
        switch(False)


def begin_by_command(scene: Scene) -> str:
    """Start the move as a user does, by ``relocate move``; return its id.

    :raises NotStarted: it has ended without having started anything, or takes too long for that; none of it is left.
    """
    direct = scene.direct
    command = [str(BIN / "relocate"), "move", direct.container, "--to", scene.there, "--downtime-limit", NO_LIMIT]
    command += ["--mode", direct.mode]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env=os.environ,
        )
        scene.direct.controller = process
        deadline = time.monotonic() + BEGIN_SECONDS
        # the source is started first: a controller that is killed while it begins has started nothing else
        newest = f"find {JOURNALS} -name '*.source.jsonl' -newer /run/relocate/before | head -1"
        while True:
            ended = process.poll() is not None  # before the look: what it has started is there when it ends
            if found := scene.on("source", newest):
                break
            if ended or time.monotonic() > deadline:
                kill_family(process.pid)
                process.wait()
                said.seek(0)
                how = "has ended" if ended else f"is at work for {BEGIN_SECONDS:g} s"
                raise NotStarted(f"relocate move {how} and has started nothing: {said.read()[-2000:]}")
            time.sleep(0.1)
        identifier = found.rpartition("/")[2].partition(".")[0]
        direct.ids.append(identifier)
        process.wait()
        return identifier


@contextmanager
def _before_the_command(scene: Scene) -> Iterator[None]:
    scene.on("source", "touch /run/relocate/before")
    try:
        yield
    finally:
        scene.on("source", "rm -f /run/relocate/before")


def kill_controller(scene: Scene) -> bool:
    """SIGKILL to the command, to its ansible-playbook, and to all that these have started."""
    process = scene.direct.controller
    assert process is not None
    if process.poll() is not None:
        return False
    kill_family(process.pid)
    return True


def kill_family(first: int) -> None:
    """SIGKILL to a process of this machine and to all that it has started; a worker of Ansible has a session of its own."""
    family = [first]
    for pid in family:
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        family += [int(child) for child in children.stdout.split()]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def criu_fault(scene: Scene, part: str, number: int) -> Iterator[None]:
    """Have every CRIU of a part's host fail by its own fault injection (criu/include/fault-injection.h)."""
    with instead_of_criu(scene.direct.fleet, scene.hosts[part], f"export CRIU_FAULT={number}"):
        yield


@contextmanager
def instead_of_criu(fleet: Fleet, host: str, script: str) -> Iterator[None]:
    """Have a script run first wherever the host's software calls ``criu``."""
    wrapper = f'#!/bin/sh\n{script}\nexec /run/real/criu "$@"\n'
    setup = (
        "set -e; at=$(command -v criu); mkdir -p /run/real; cp $at /run/real/criu; cat >/run/criu-instead; "
        "chmod 755 /run/criu-instead; mount --bind /run/criu-instead $at"
    )
    fleet.on(host, setup, data=wrapper)
    try:
        yield
    finally:
        fleet.on(host, "umount $(command -v criu); rm -rf /run/real /run/criu-instead")


def control_groups() -> ModuleType:
    """Return the lab's own module about the control groups of its hosts."""
    spec = importlib.util.spec_from_file_location("lab_cgroups", ROOT / "roles/lab/module_utils/lab_cgroups.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lose_host(part: str) -> Strike:
    """End a part's host as a power failure does: its links, then all its processes, frozen ones too. It is started again."""

    def strike(scene: Scene) -> bool:
        fleet, host = scene.direct.fleet, scene.hosts[part]
        known, groups = fleet.variables(host), control_groups()
        lab, group = known["relocate_lab_namespace"], f"{known['relocate_lab_namespace']}/{host}"
        scene.heals.append(lambda: start_lost(fleet))
        subprocess.run(["ip", "-n", lab, "link", "set", f"fabric-{host}", "down"], check=True)
        for pid in groups.processes(group):  # before they are thawed: what is frozen does not run again
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left = groups.end(group)
        assert not left, f"processes of {host} do not end: {left}"
        subprocess.run(
            ["ip", "-n", lab, "link", "delete", f"fabric-{host}"], check=False
        )  # the kernel does, in its own time
        end_pipes(lab, known["ansible_host"])
        return True

    return strike


def end_pipes(lab: str, address: str) -> None:
    """End what carries SSH to a host of a lab: it would hear nothing for good. Other labs have hosts of the same address."""
    inside = subprocess.run(["ip", "netns", "pids", lab], capture_output=True, text=True, check=True)
    for pid in inside.stdout.split():
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if words[0] == "nc" and address in words:
                os.kill(int(pid), signal.SIGTERM)


def start_lost(fleet: Fleet) -> None:
    """Start a host that was lost: the lab starts what is not well, and asks Docker whether it is there."""
    fleet.run("relocate", "lab", "up")


def fill_memory(part: str) -> Strike:
    """Leave little memory on a part's host, in the control group of all its processes; the kernel's OOM killer chooses.

    Where it has chosen ``dockerd``, that is started again afterwards, as an init system does.
    """

    def strike(scene: Scene) -> bool:
        host = scene.hosts[part]
        lab = scene.direct.fleet.variables(host)["relocate_lab_namespace"]
        group = Path(f"/sys/fs/cgroup/memory/{lab}/{host}")
        used = int((group / "memory.usage_in_bytes").read_text())
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(told["total_active_file"]) + int(told["total_inactive_file"])  # which the kernel can give back
        limit = group / "memory.limit_in_bytes"
        scene.heals.append(lambda: scene.on(part, f"pidof dockerd >/dev/null || {{ {DOCKER_AGAIN}; }}"))
        scene.heals.append(lambda: limit.write_text("-1"))  # healed last to first
        limit.write_text(str(used + (LEFT_MIB << 20)))
        return True

    return strike


def recover_by_command(scene: Scene, identifier: str) -> tuple[dict[str, str], bool]:
    """Settle as an operator does, by ``relocate recover``; return how each part's journal ends, and whether it did anything."""
    done = scene.direct.fleet.run("relocate", "recover", "--json", check=False)
    assert done.returncode == 0, f"relocate recover: {done.stdout}{done.stderr}"
    settled = [each for each in json.loads(done.stdout)["settled"] if each["relocation"] == identifier]
    look = f"tail -n 1 {JOURNALS}/{identifier}.%s.jsonl 2>/dev/null"
    said = {part: scene.on(part, look % part) for part in scene.hosts}
    return {part: json.loads(line)["state"] if line else "unknown" for part, line in said.items()}, bool(settled)


#: The parts have no channel to the controller once they have begun: what it meets is the same at any line between.
OF_THE_CONTROLLER = (
    ("source", "staging", "after"),
    ("edge", "holding", "after"),
    ("edge", "committed", "after"),
    ("edge", "done", "after"),
)
#: What a lost host does to a move depends on how far the three have come, which the edge's journal tells; and on the votes.
OF_A_HOST = (
    *(
        ("edge", state, "after")
        for state in ("staging", "holding", "routing", "committed", "draining", "released", "done")
    ),
    *(("source", state, "after") for state in ("staged", "freezing", "voted", "committed")),
    *(("destination", state, "after") for state in ("gated", "prepared", "committed", "draining")),
)
#: Memory is asked for by the dump, by the image that arrives, and by the restored tasks.
OF_MEMORY = (
    ("source", "staged", "after"),
    ("edge", "holding", "after"),
    ("source", "freezing", "after"),
    ("edge", "routing", "after"),
    ("destination", "gated", "after"),
    ("destination", "restoring", "before"),
    ("destination", "prepared", "after"),
    ("edge", "committed", "after"),
    ("edge", "released", "after"),
)
#: ``runc restore`` is there from the restore to the verdict, and has nothing to say about the copy that it leaves.
OF_RUNC = tuple(("destination", state, "after") for state in ("restoring", "prepared", "committed"))
PAGE_PROCESSES = "pgrep -f '[m]emory.page_process'"
KEEPER = "pgrep -f '[r]estore.keeper .* create ' | head -1"  # its holder, a child, has the same name
DOCKER_AGAIN = (
    "rm -f /run/docker.pid; service docker start >/dev/null 2>&1; "
    "for i in $(seq 50); do nc -zU /run/docker.sock 2>/dev/null && docker version >/dev/null 2>&1 && break; sleep 0.2; done"
)
#: dockerd starts its containerd again, in its own time.
CONTAINERD_AGAIN = (
    "for i in $(seq 300); do nc -zU /run/docker/containerd/containerd.sock 2>/dev/null && break; sleep 0.1; done"
)


def kinds() -> dict[str, Outside]:
    """Return every kind of failure from outside, by name."""
    made = [
        Outside("restart-edge", restart_edge, alone=False),
        Outside("reload-dockerd", reload_docker),
        Outside("slow-link", spoil_links(SLOW, [("source", "destination")]), seconds=CONDITION_SECONDS),
        Outside("lossy-links", spoil_links(LOSSY, LINKS), seconds=CONDITION_SECONDS),
        Outside("kill-keeper", kill("destination", KEEPER), mortal=False),
        Outside("kill-runc", kill("destination", "pgrep -x runc"), only=OF_RUNC),
    ]
    for part in SIDES:
        made += [
            Outside(
                f"kill-pages-{part}",
                kill(part, PAGE_PROCESSES),
                mode="post-copy",
                alone=False,
                mortal=True,
                mib=LARGE_MIB,
            ),
            Outside(f"kill-criu-{part}", kill(part, "pgrep -r D,R,S,T,t -x criu")),
            Outside(
                f"kill-dockerd-{part}",
                kill(part, "pidof dockerd", DOCKER_AGAIN),
                seconds=1.0,
                alone=False,
                prepared=partial(live_restore, part=part),
            ),
            Outside(f"kill-containerd-{part}", kill(part, "pidof containerd", CONTAINERD_AGAIN), alone=False),
            Outside(f"kill-shim-{part}", kill_shim(part), alone=False, mortal=True),
            Outside(
                f"lose-host-{part}",
                lose_host(part),
                seconds=CUT_SECONDS,
                alone=False,
                mortal=True,
                settle=recover_by_command,
                ends_host=True,
                only=OF_A_HOST,
            ),
            Outside(
                f"memory-full-{part}",
                fill_memory(part),
                seconds=CUT_SECONDS,
                alone=False,
                mortal=True,
                mib=LARGE_MIB,
                only=OF_MEMORY,
                prepared=partial(live_restore, part=part),
            ),
        ]
    by_command = partial(Outside, prepared=_before_the_command, begin=begin_by_command, only=OF_THE_CONTROLLER)
    made.append(by_command("kill-controller", kill_controller))
    for part in (*SIDES, "edge"):
        made += [
            by_command(f"cut-controller-{part}", cut_controller(part), seconds=CUT_SECONDS),
            by_command(f"hang-ssh-{part}", hang_ssh(part), seconds=CUT_SECONDS),
        ]
    for one, other in LINKS:
        made.append(Outside(f"cut-{one}-{other}", cut(one, other), seconds=CUT_SECONDS))
    for part in (*SIDES, "edge"):
        for what in ("disk", "inodes"):
            made.append(
                Outside(
                    f"{what}-full-journal-{part}",
                    fill(part, JOURNALS, what),
                    seconds=CUT_SECONDS,
                    alone=False,
                    prepared=partial(small_disk, part=part, directory=JOURNALS),
                    journal=part,
                )
            )
    for part in SIDES:
        for what in ("disk", "inodes"):
            made.append(
                Outside(
                    f"{what}-full-session-{part}",
                    fill(part, SESSIONS, what),
                    seconds=CUT_SECONDS,
                    prepared=partial(small_disk, part=part, directory=SESSIONS),
                )
            )
    for part, line in (
        ("source", ("source", "freezing", "before")),
        ("destination", ("destination", "restoring", "before")),
    ):
        for number in CRIU_FAULTS[part]:
            fails = partial(criu_fault, part=part, number=number)
            made.append(Outside(f"criu-fault-{number}-{part}", lambda _: True, prepared=fails, only=(line,)))
    return {each.name: each for each in made}
