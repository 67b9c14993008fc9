# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make apps``: move real applications under load, with the command, between hosts with different versions of Docker.

Each application has its own clients, which know what each answer must be, and its own check of its data in the end. One row an
application: how many hops were made, what its clients saw, and why it does not move, if it does not. Lost or wrong data in any
row make the exit status 1. The rows go to ``build/apps.jsonl`` as they come, the table to ``build/apps.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from applications import APPLICATIONS, PORT, Application  # noqa: E402
from fleet import REPOSITORY, VIRTUAL, Fleet, prepared_fleet  # noqa: E402

HOSTS = ("host1", "host3")  # Docker 26 and 28
HERE = Path(__file__).parent
_RECIPE = hashlib.sha256(b"".join(path.read_bytes() for path in [HERE / "build-root", *sorted(HERE.glob("servers/*"))]))
CACHE = Path(f"/var/cache/relocate-lab/apps/root-{_RECIPE.hexdigest()[:12]}")
IMAGE = f"{REPOSITORY}/apps:{_RECIPE.hexdigest()[:12]}"
BUILD = ROOT / "build"
HOPS = 6
READY_SECONDS = 120
QUIET_SECONDS = 1.5  # before and after a hop, so that its answers are seen
NAME = "application"


@dataclass
class Row:
    """What came of one application.

    :ivar hops: that were made. :ivar gaps_ms: the longest that a client waited for an answer, for each hop.
    :ivar modes: how memory was carried, for each hop. :ivar mib: of memory.
    :ivar refused: why a hop was not made, if one was not.
    :ivar errors: what clients saw, or what is wrong with the data.
    """

    name: str
    hops: int = 0
    requests: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    mib: float = 0.0
    refused: str = ""
    errors: list[str] = field(default_factory=list)


class Client:
    """One client of ``loads.py``, in the clients' network namespace."""

    def __init__(self, fleet: Fleet, words: tuple[str, ...], port: int) -> None:
        arguments = [str(CACHE) if word == "ROOT" else word for word in words]
        command = [
            "ip",
            "netns",
            "exec",
            fleet.client_namespace,
            sys.executable,
            str(HERE / "loads.py"),
        ]
        command += [arguments[0], VIRTUAL, str(port), *arguments[1:]]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self) -> dict[str, Any]:
        """Return how things are, and begin to measure anew."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        return seen

    def end(self) -> None:
        """Hang up."""
        self._process.kill()
        self._process.wait()


class Trial:
    """One application with its clients, from its start to its end."""

    def __init__(self, fleet: Fleet, application: Application, port: int, row: Row) -> None:
        self.fleet, self.application, self.port, self.row = fleet, application, port, row
        self.here = HOSTS[0]
        self.clients: list[Client] = []
        self.busy: dict[str, subprocess.Popen[str]] = {}  # by what they are

    def run(self, hops: int) -> None:
        """Start it, move it, check it."""
        self._start()
        self.clients = [Client(self.fleet, words, self.port) for words in self.application.loads]
        for command in self.application.busy:
            self.busy[command.partition(" ")[0]] = subprocess.Popen(
                self._outside(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        self._await_answers()
        for _ in range(hops):
            self._hop()
            if self.row.errors:
                return
        self._check()

    def _outside(self, command: str) -> list[str]:
        placed = command.replace("PLACE", f"-h {VIRTUAL} -p {self.port}")
        return ["ip", "netns", "exec", self.fleet.client_namespace, "chroot", str(CACHE), *placed.split()]

    def _start(self) -> None:
        application, on = self.application, self.fleet.on
        publish = " ".join(f"-p {self.port}:{PORT}/{protocol}" for protocol in application.protocols)
        run = f'command=$(cat); docker run -d --name {NAME} {publish} {application.options} {IMAGE} sh -c "$command"'
        on(self.here, run, data=application.command)
        asking = f"docker exec {NAME} sh -c '{application.ready}'"
        on(
            self.here,
            f"for i in $(seq {READY_SECONDS * 2}); do {asking} >/dev/null 2>&1 && exit; sleep 0.5; done; exit 1",
        )
        host = self.fleet.variables(self.here)["ansible_host"]
        for protocol in application.protocols:
            place = {"virtual_address": VIRTUAL, "virtual_port": self.port, "protocol": protocol, "name": NAME}
            self._service(**place, host_address=host, host_port=self.port)
        if application.setup:
            subprocess.run(self._outside(application.setup), check=True, capture_output=True)

    def _service(self, **parameters: Any) -> None:
        command = [
            "ansible",
            "-i",
            "inventories/lab",
            "host0",
            "-m",
            "relocate.mtd.nat_service",
            "-a",
            json.dumps(parameters),
        ]
        self.fleet.run(*command, "-e", "relocate_as_operator=true")

    def _await_answers(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not all(each["requests"] > 5 for each in self._look()):
            if self.row.errors or time.monotonic() > deadline:
                raise TimeoutError(f"{self.application.name} does not answer its clients: {self.row.errors}")
            time.sleep(0.2)

    def _look(self) -> list[dict[str, Any]]:
        """Return how things are with each client, and note what is wrong."""
        seen = [client.look() for client in self.clients]
        self.row.requests = sum(each["requests"] for each in seen)
        self.row.errors = [each["error"] for each in seen if each["error"]]
        for program, process in self.busy.items():
            if process.poll() is not None:
                assert process.stderr
                words = process.stderr.read().strip().splitlines()
                self.row.errors.append(f"{program}: {words[-1] if words else 'it ended'}")
        return seen

    def _hop(self) -> None:
        there = next(host for host in HOSTS if host != self.here)
        time.sleep(QUIET_SECONDS)
        before = [each["requests"] for each in self._look()]
        result = self.fleet.move(NAME, there, *self.application.move, check=False)
        time.sleep(QUIET_SECONDS)
        seen = self._look()
        if result["outcome"] == "committed":
            self.here = there
            self.row.hops += 1
            self.row.modes.append(result["mode"])
            self.row.gaps_ms.append(max(each["longest_ms"] for each in seen))
            self.row.mib = max(self.row.mib, result["measured"]["memory_bytes"] / (1 << 20))
        else:
            self.row.refused = result.get("msg") or result["outcome"]
        if not self.row.errors and any(each["requests"] <= had for each, had in zip(seen, before, strict=True)):
            self.row.errors.append("no answer comes any more")

    def _check(self) -> None:
        if self.application.verify:
            script = f"docker exec -i {NAME} sh -s"
            try:
                self.fleet.on(self.here, script, data=self.application.verify)
            except AssertionError as error:
                self.row.errors.append(f"the data are wrong: {str(error)[-300:]}")

    def end(self) -> None:
        """Remove all of it."""
        for client in self.clients:
            client.end()
        for process in self.busy.values():
            process.kill()
            process.wait()
        for protocol in self.application.protocols:
            key = f"{protocol} . {VIRTUAL} . {self.port}"
            self.fleet.on("host0", f"nft 'delete element ip relocate services {{ {key} }}'", check=False)
        for host in HOSTS:
            volumes = " ".join(word.partition(":")[0] for word in self.application.options.split()[1::2])
            aside = f"/var/lib/docker/relocate/volumes/{NAME}@*"  # what each hop has left for an operator
            script = f"docker rm -fv {NAME} 2>/dev/null; docker volume rm {volumes} 2>/dev/null; rm -rf {aside}"
            self.fleet.on(host, script)


def made_image(fleet: Fleet) -> None:
    """Make the image, if it is not in the lab's repository."""
    if fleet.on(HOSTS[0], f"docker pull -q {IMAGE}", check=False):
        return
    asked = ["ansible", "localhost", "-M", "roles/lab/library", "-m", "lab_mirror_info", "-o"]
    mirror = json.loads(fleet.run(*asked).stdout.partition("=> ")[2])
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    build = HERE / "build-root"
    print("Build a root file system with the applications (minutes; kept for the next time) …", flush=True)
    subprocess.run([build, CACHE, mirror["uri"], mirror["keyring"]], check=True)
    print("Make it an image of the lab's repository …", flush=True)
    with subprocess.Popen(["tar", "-C", str(CACHE), "-c", "."], stdout=subprocess.PIPE) as packed:
        command = fleet.ssh(HOSTS[0], f"docker import - {IMAGE} && docker push -q {IMAGE}")
        subprocess.run(command, stdin=packed.stdout, check=True, stdout=subprocess.DEVNULL)


def table(rows: list[Row], hops: int) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| application | hops | answers | errors | gap, median | gap, longest | memory | mode |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gaps = [f"{median(row.gaps_ms):.0f} ms", f"{max(row.gaps_ms):.0f} ms"] if row.gaps_ms else ["", ""]
        modes = ", ".join(
            f"{mode} {row.modes.count(mode)}" if len(set(row.modes)) > 1 else mode for mode in sorted(set(row.modes))
        )
        counts = [f"{row.hops} of {hops}", f"{row.requests:,}", str(len(row.errors))]
        lines.append("| " + " | ".join([row.name, *counts, *gaps, f"{row.mib:.0f} MiB", modes]) + " |")
    for row in rows:
        lines += [f"\n{row.name}: {word}" for word in dict.fromkeys([*row.errors, row.refused]) if word]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run all, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="only what has this word in its name"
    )
    parser.add_argument("--hops", type=int, default=HOPS)
    parser.add_argument("--up", action="store_true", help="the lab is up and prepared: leave it as it is")
    options = parser.parse_args()
    chosen = [each for each in APPLICATIONS if not options.only or any(word in each.name for word in options.only)]
    fleet = prepared_fleet(as_it_is=options.up)
    made_image(fleet)
    for host in HOSTS:
        fleet.on(host, f"docker pull -q {IMAGE}")
    BUILD.mkdir(exist_ok=True)
    rows: list[Row] = []
    for number, application in enumerate(chosen):
        row = Row(application.name)
        print(f"{application.name} …", flush=True)
        trial = Trial(fleet, application, 6100 + number, row)
        try:
            trial.run(options.hops)
        except (AssertionError, OSError, ValueError, subprocess.CalledProcessError) as error:
            row.errors.append(str(error)[-400:].replace("\n", " "))
        finally:
            trial.end()
        rows.append(row)
        with (BUILD / "apps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        gap = f"{max(row.gaps_ms):.0f} ms" if row.gaps_ms else "-"
        print(
            f"  {row.hops} hops, {row.requests:,} answers, longest gap {gap} {row.errors or ''} {row.refused}",
            flush=True,
        )
    text = table(rows, options.hops)
    (BUILD / "apps.md").write_text(text, encoding="utf-8")
    print(text)
    print("The lab is still up: relocate lab down removes it.")
    return 1 if any(row.errors for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
