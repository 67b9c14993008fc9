# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred consecutive hops of one container: sixteen connections into it and a download out of it must not notice one.

``RELOCATE_SOAK_HOPS`` sets the number of hops (100), ``RELOCATE_SOAK_MINUTES`` (none) ends it earlier. With
``RELOCATE_SOAK_QUICK=1`` there is no Ansible between: many more of the same cutovers. What every host holds is counted all the
time, and may not grow (``growth.py``). Writes build/bench/hundred_hops.json, which ``make bench`` reads, or quick_hops.json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from capture import examine, frames
from companions import Capture, PatternServer
from cutover.summary import distribution
from direct import Direct
from fleet import NO_LIMIT, REPOSITORY, ROOT, VIRTUAL, Fleet, prepared_fleet
from growth import growths
from growth import table as growth_table
from quick import QuickFleet

from relocate.demo.watching import Client
from relocate.move.relocation import relocate

pytestmark = pytest.mark.soak

# A cycle of all hosts that ends where it began the count: what is left is compared with the container in the same place.
HOSTS = ("host1", "host2", "host3")
WANTED = int(os.environ.get("RELOCATE_SOAK_HOPS", "100"))
HOPS = WANTED + (1 - WANTED) % len(HOSTS)
MINUTES = float(os.environ.get("RELOCATE_SOAK_MINUTES", "inf"))
QUICK = os.environ.get("RELOCATE_SOAK_QUICK") == "1"
SAMPLE_SECONDS = 20.0
CLIENTS, INTERVAL_MS = 16, 20.0
NAME, PORT, PEER, PEER_PORT, RATE = "hundred", 7100, "10.88.0.2", 8800, 64 << 10
IMAGE = f"{REPOSITORY}/hundred:1"
INSIDE = ("172.20.0.0/16", "10.77.0.0/24")
CALM_SECONDS = 0.3
SETTLE_SECONDS = 150.0

# The counter as process 1, beside a download of which nothing is kept but its digest, printed at its end.
COMMAND = f"/bin/busybox sh -c '(nc {PEER} {PEER_PORT} | sha256sum) & exec /counter {PORT} 8'"

# One line for each kind of thing that could be left over, and how many of it there are.
LEFTOVERS = f"""
count() {{ printf '%s %s\\n' "$1" "$(wc -l)"; }}
find /run/relocate -mindepth 2 ! -path '*/empty*' ! -path '*/parts/*' | count files-of-relocations
ls /run/docker/netns 2>/dev/null | grep -v default | count network-namespaces
ls /var/lib/docker/containers 2>/dev/null | count container-directories
ls /var/lib/docker/overlay2 2>/dev/null | count layers
ip -br link | grep veth | count veths
grep -c . /proc/self/mountinfo | sed 's/^/mounts /'
conntrack -L -p tcp 2>/dev/null | grep -E 'dport=({PORT}|{PEER_PORT}) ' | count connections-tracked
processes=$(ps -eo comm=)  # before the rest of the pipeline can be among them
echo "$processes" | grep -Ev '^(sshd.*|sh|bash|ps)$' | sort | uniq -c | sed 's/^ */process /'
for daemon in dockerd containerd; do
    pid=$(pgrep -xo $daemon) && ls /proc/$pid/fd | count descriptors-of-$daemon
done
pid=$(docker inspect -f '{{{{.State.Pid}}}}' {NAME} 2>/dev/null) && ls /proc/$pid/fd | count descriptors-of-the-container
nft list ruleset 2>/dev/null | tr , '\\n' | count rules-and-elements
true
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return the prepared lab with the container's image in its repository; the container is removed afterwards."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: NOT RUN", pytrace=False)
    if subprocess.run(["sh", "-c", "command -v tcpdump"], capture_output=True, check=False).returncode:
        pytest.fail("tcpdump is missing on this machine: apt-get install tcpdump", pytrace=False)
    ready = prepared_fleet()
    prepared = QuickFleet(ready.inventory) if QUICK else ready
    prepared.on(
        "host1",
        f"set -e; docker pull -q {REPOSITORY}/counter:1; docker pull -q {REPOSITORY}/idle:1\n"
        f"counter=$(docker create {REPOSITORY}/counter:1); both=$(docker create {REPOSITORY}/idle:1)\n"
        "docker cp -q $counter:/counter /run/counter; docker cp -q /run/counter $both:/counter; rm /run/counter\n"
        f"docker commit $both {IMAGE}; docker push -q {IMAGE}; docker rm $counter $both",
    )
    yield prepared
    prepared.remove_tenants()
    if isinstance(prepared, QuickFleet):
        prepared.end()


def leftovers(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Return what there is on every host: host → kind → number."""
    found = {}
    for host in ("host0", *HOSTS):
        lines = fleet.on(host, LEFTOVERS).splitlines()
        found[host] = {" ".join([words[0], *words[2:]]): words[1] for line in lines if len(words := line.split()) > 1}
    return found


def changes(first: dict[str, dict[str, str]], last: dict[str, dict[str, str]]) -> list[str]:
    """Return a line for each number that is not what it was. Fewer connections of a daemon are none: it closes idle ones."""
    found = []
    for host in first:
        for kind in sorted(first[host].keys() | last[host].keys()):
            was, now = (int(numbers[host].get(kind, "0")) for numbers in (first, last))
            if now > was or (
                now < was and not kind.startswith(("descriptors-of-containerd", "descriptors-of-dockerd"))
            ):
                found.append(f"{host}: {kind} was {was}, is {now}")
    return found


def settled(fleet: Fleet, like: dict[str, dict[str, str]] | None = None) -> dict[str, dict[str, str]]:
    """Wait until nothing changes any more, or all is ``like`` it was; return what there is then.

    Docker collects the names of unused network namespaces once a minute, and closes idle connections when it likes.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    begun, before = time.monotonic(), leftovers(fleet)
    while time.monotonic() < deadline:
        time.sleep(10)
        now = leftovers(fleet)
        if (like is not None and not changes(like, now)) or (
            like is None and now == before and time.monotonic() > begun + 70
        ):
            return now
        before = now
    return before


def hop(fleet: Fleet, number: int) -> dict[str, Any]:
    """Move the container to the next host of the cycle; return the result document."""
    result = relocate(
        NAME, destination=HOSTS[number % len(HOSTS)], downtime_limit_ms=float(NO_LIMIT), reason="soak", quiet=True
    )
    assert result["outcome"] == "committed", f"hop {number}: {result.get('msg')}"
    assert result["flows"] == {"ingress": CLIENTS, "egress": 1, "kept": CLIENTS + 1, "lost": 0}, f"hop {number}"
    return result


def quick_hop(direct: Direct) -> Callable[[Fleet, int], dict[str, Any]]:
    """Return what does the same without Ansible between."""

    def move(_: Fleet, number: int) -> dict[str, Any]:
        result = direct.move(HOSTS[(number - 1) % len(HOSTS)], HOSTS[number % len(HOSTS)])
        assert result is not None and result["outcome"] == "committed", f"hop {number}: {result}"
        assert result["flows"]["kept"] == CLIENTS + 1 and not result["flows"]["lost"], (
            f"hop {number}: {result['flows']}"
        )
        assert not result["problems"], f"hop {number}: {result['problems']}"
        return {**result, "mode": direct.mode}

    return move


class Sampler:
    """Counts what every host holds, all the time."""

    def __init__(self, fleet: Fleet) -> None:
        self.samples: list[tuple[float, str, dict[str, float]]] = []
        self._fleet, self._ending = fleet, threading.Event()
        self._program = (Path(__file__).parent / "holdings.py").read_text(encoding="utf-8")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(SAMPLE_SECONDS):
            for host in ("host0", *HOSTS):
                said = self._fleet.on(host, "python3 -", data=self._program)
                self.samples.append((time.time(), host, json.loads(said)))

    def end(self) -> None:
        """Stop; it may be asked to twice."""
        self._ending.set()
        self._thread.join()


def outside_interface(namespace: str) -> str:
    """Return the client's interface: the one that is not the loopback."""
    listed = subprocess.run(
        ["ip", "-n", namespace, "-j", "link", "show", "up"], capture_output=True, text=True, check=True
    )
    return next(link["ifname"] for link in json.loads(listed.stdout) if "LOOPBACK" not in link["flags"])


def write_report(results: list[dict[str, Any]], pauses: list[float], capture: dict[str, int], size: int) -> None:
    """Write what was measured where the bench and the README look for it."""
    report = {
        "hops": len(results),
        "clients": CLIENTS,
        "modes": sorted({result["mode"] for result in results}),
        "gap_ms": distribution(pauses),
        "down_ms": distribution([result["downtime_ms"] for result in results]),
        "download_bytes": size,
        "capture": capture,
        "load_average_at_end": round(os.getloadavg()[0], 2),
    }
    target = ROOT / "build" / "bench" / ("quick_hops.json" if QUICK else "hundred_hops.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")


def test_a_hundred_hops_go_unnoticed(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reset, no byte lost or doubled, no inner address outside, and nothing left over."""
    monkeypatch.setenv("RELOCATE_LEDGER", str(tmp_path / "ledger.jsonl"))
    outside = fleet.client_namespace
    with ExitStack() as stack:
        capture = Capture(outside, outside_interface(outside), tmp_path / "outside.pcap")
        stack.callback(capture.kill)
        server = PatternServer(outside, PEER_PORT, RATE)
        stack.callback(server.kill)
        fleet.tenants.append(NAME)
        fleet.playbook(
            "instantiate.yml",
            container=NAME,
            image=IMAGE,
            host=HOSTS[0],
            tenant="test",
            command=COMMAND,
            publish=f"{VIRTUAL}:{PORT}:{PORT}/tcp",
        )
        clients = [Client("counter", VIRTUAL, PORT, outside, interval_ms=INTERVAL_MS).start() for _ in range(CLIENTS)]
        for client in clients:
            stack.callback(client.stop)

        make = quick_hop(Direct.of(fleet, NAME, *HOSTS)) if QUICK else hop
        for number in (1, 2, 3):  # every host has been left and reached once: what is made only once is there
            make(fleet, number)
        results, pauses, begun, first = [], [], [], {}
        sampler = Sampler(fleet)
        stack.callback(sampler.end)
        ending = time.monotonic() + MINUTES * 60
        for number in range(1, HOPS + 1):
            if time.monotonic() > ending and number % len(HOSTS) == 2:
                break
            began = time.time()
            begun.append(began)
            results.append(make(fleet, number))
            time.sleep(CALM_SECONDS)  # the answers come after the result
            lost = [client.lost for client in clients if client.lost]
            assert not lost, f"hop {number}: {lost[0]}"
            waits = [client.longest_since(began) or 0.0 for client in clients]
            pauses.append(max(waits))
            print(f"hop {number}/{HOPS}: clients waited {max(waits):.0f} ms, {results[-1]['mode']}", flush=True)
            assert server.running, f"hop {number}: the download has ended"
            if number == 1:
                first = settled(fleet)

        sampler.end()
        last = settled(fleet, first)
        size, digest = server.finish()
        dropped = capture.stop()
        # after the capture: one that is ended between its question and the answer resets its connection itself
        summaries = [client.stop() for client in clients]
        seen = examine(frames(tmp_path / "outside.pcap"), INSIDE)

    there = HOSTS[len(results) % len(HOSTS)]
    found = growths(sampler.samples, begun)
    print(growth_table(found), flush=True)
    write_report(results, pauses, {"packets": seen.packets, "resets": seen.resets.total(), "dropped": dropped}, size)
    assert [summary["error"] for summary in summaries] == [None] * CLIENTS
    assert min(summary["requests"] for summary in summaries) > 10 * len(results)
    said = re.findall(r"\b[0-9a-f]{64}\b", fleet.on(there, f"sleep 1; docker logs {NAME} 2>&1"))
    assert said == [digest], f"the download of {size} bytes arrived with other contents"
    assert dropped == 0, "the capture is not whole"
    assert seen.tcp > CLIENTS * 10 * len(results), "the capture saw less than there was"
    assert not seen.resets
    assert not seen.inner
    left = changes(first, last)
    assert not left, "\n".join(left)
    assert not [str(each) for each in found if each.grows]
