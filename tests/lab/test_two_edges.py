# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two edges, in a lab of their own: one is lost under load, idle and in the middle of a move."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from direct import Direct, Heart
from fleet import BIN, REPOSITORY, ROOT, prepared_fleet
from pair import SIGN, Pair, called, is_pair
from waiting import until

from relocate.lab.paths import Lab

pytestmark = [pytest.mark.lab, pytest.mark.needs("lxc-info", "nsenter")]

NAME, PORT, CALL = "paired", 7400, 9400
RETURN_SECONDS = 20.0  # for which the other edge's part waits for its edge
#: After three signs of life that did not come (0.3 s each) the other edge takes over; TCP waits for as long as it has waited:
#: a client's retransmissions double, and what is settled after three seconds it notices after seven at the latest. A machine
#: that stops a process for some seconds makes four times as much of it. What never comes back is not back after minutes.
WAITED_MS = 60000.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a prepared lab with two edges; one that is up is taken as it is, and left."""
    if os.geteuid() != 0:
        pytest.fail("the lab's tests need root: NOT RUN", pytrace=False)
    before = os.environ.get("RELOCATE_LAB_NAME")
    there = is_pair(str(Lab.from_environment().state))
    if not there:
        os.environ["RELOCATE_LAB_NAME"] = "-".join(filter(None, (before, "pair")))
    try:
        fleet = prepared_fleet(as_it_is=True) if there else prepared_fleet("--edges", "2", "--hosts", "2")
        yield Pair(fleet)
    finally:
        if not there:
            subprocess.run([BIN / "relocate", "lab", "down"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
            if before is None:
                del os.environ["RELOCATE_LAB_NAME"]
            else:
                os.environ["RELOCATE_LAB_NAME"] = before


@pytest.fixture(scope="module")
def direct(pair: Pair) -> Iterator[Direct]:
    """Return a counter on host1, published by both edges."""
    pair.fleet.instantiate(NAME, "counter", "host1", f"{PORT} 8", PORT)
    assert len([pair.fleet.services(edge) for edge in pair.fleet.edges]) == 2
    yield Direct.of(pair.fleet, NAME, "host1", "host2")
    pair.fleet.remove_tenants()


@pytest.fixture
def active(pair: Pair) -> Iterator[str]:
    """Return the edge that has the addresses, and see to it that both are there again afterwards."""
    # what came back a moment ago gives up the addresses that it finds, and has not always done so yet
    (edge,) = until(pair.having, "one edge with the addresses", lambda edges: len(edges) == 1)
    yield edge
    for each in pair.fleet.edges:
        pair.bring_back(each)


@pytest.fixture
def heart(pair: Pair, direct: Direct, active: str) -> Iterator[Heart]:
    """Return a connection that counts."""
    beating = Heart(pair.fleet, PORT)
    yield beating
    beating.end()


def other(pair: Pair, edge: str) -> str:
    """Return the edge that is not this one."""
    return next(each for each in pair.fleet.edges if each != edge)


def assert_alike(pair: Pair, host: str) -> None:
    """Both edges lead to the host, and hold and shut nothing."""
    for edge in pair.fleet.edges:
        places = [each["host_address"] for each in pair.fleet.services(edge) if each["name"] == NAME]
        assert places == [pair.fleet.variables(host)["ansible_host"]], edge
        sets = "nft list table ip relocate | sed -nE '/ (held|barrier|shut|unborn) \\{/,/\\}/p' | grep elem; true"
        assert not pair.fleet.on(edge, sets), edge


def assert_nothing_left(pair: Pair, direct: Direct) -> None:
    """Neither on the hosts nor on any of the edges."""
    direct.assert_nothing_left(hosts={*pair.fleet.edges, *direct.hosts})


def test_an_edge_is_lost_while_nothing_moves(pair: Pair, direct: Direct, active: str, heart: Heart) -> None:
    """Connections of both directions go on, over the other edge; new ones are made there; the lost one comes back and waits."""
    fleet, there = pair.fleet, other(pair, active)
    fleet.on("host2", f"docker pull -q {REPOSITORY}/idle:1")
    address = json.loads((Lab.from_environment().state / "lab.json").read_text())["client_address"].partition("/")[0]
    server = called(fleet, address, CALL)
    listens = ["ip", "netns", "exec", fleet.client_namespace, "ss", "-ltnH", f"sport = :{CALL}"]
    until(lambda: subprocess.run(listens, capture_output=True, check=True).stdout, "who waits for a call")
    echo = f"/bin/busybox nc {address} {CALL} -e /bin/busybox cat"
    fleet.on("host2", f"docker run -d --name caller {REPOSITORY}/idle:1 {echo}")
    spoken = Heart.__new__(Heart)
    spoken._process, spoken.longest_ms = server, 0.0
    try:
        spoken.assert_beats()
        heart.assert_beats()
        heart.longest_ms = spoken.longest_ms = 0.0
        pair.lose(active)
        heart.assert_beats()
        spoken.assert_beats()
        pair.bring_back(active)
        pair.await_only(there)
        assert heart.assert_beats()["last"] > 0 and spoken.assert_beats()["last"] > 0
        print(
            f"edge lost, idle: waited {heart.longest_ms:.0f} ms and {spoken.longest_ms:.0f} ms (the container's own call)"
        )
        assert heart.longest_ms < WAITED_MS and spoken.longest_ms < WAITED_MS
        late = Heart(fleet, PORT)
        late.end()
    finally:
        server.kill()
        server.wait()
        fleet.on("host2", "docker rm -f caller")
    assert_alike(pair, "host1")


CASES = [
    pytest.param("holding", "after", "rolled-back", id="held, nothing frozen"),
    pytest.param("routing", "after", "rolled-back", id="dumped"),
    pytest.param("committed", "before", "committed", id="the other edge alone has the verdict"),
    pytest.param("committed", "after", "committed", id="committed, and nobody told"),
]


@pytest.mark.parametrize(("state", "moment", "outcome"), CASES)
def test_an_edge_is_lost_in_the_middle_of_a_move(
    pair: Pair, direct: Direct, active: str, heart: Heart, state: str, moment: str, outcome: str
) -> None:
    """The other edge brings the move to its end; one copy runs; the lost edge, when it is back, learns how it ended."""
    fleet, there = pair.fleet, other(pair, active)
    (here,) = direct.settled()
    target = next(host for host in direct.hosts if host != here)
    stays = target if outcome == "committed" else here
    heart.assert_beats()
    heart.longest_ms = 0.0
    pair.order(active, part="edge", state=state, moment=moment, do="pause", seconds=60)
    relocation = pair.start(direct.document, here, target, active)
    fleet.await_on(active, f"[ -e {SIGN} ]", "an edge that pauses")
    pair.lose(active)
    heart.assert_beats()
    result = f"/run/relocate/results/{relocation}.json"
    fleet.await_on(there, f"[ -e {result} ]", "the result")
    ended = json.loads(fleet.on(there, f"cat {result} && rm {result}"))
    assert ended["outcome"] == outcome, ended["problems"]
    assert "came to the other edge" in fleet.on(there, f"cat /var/lib/relocate/journal/{relocation}.standby.jsonl")
    assert direct.settled() == [stays]
    pair.bring_back(active)
    pair.await_only(there)
    verdict = "commit" if outcome == "committed" else "roll-back"
    assert pair.settle(active, relocation, "edge", verdict) == ("done" if outcome == "committed" else "rolled-back")
    assert_alike(pair, stays)
    heart.assert_beats()
    print(f"edge lost {moment} '{state}': {ended['outcome']}, the client waited {heart.longest_ms:.0f} ms")
    assert heart.longest_ms < WAITED_MS
    assert direct.settled() == [stays]
    assert_nothing_left(pair, direct)


def result_of(pair: Pair, edge: str, relocation: str) -> dict[str, Any]:
    """Wait for what an edge says of a move's end."""
    path = f"/run/relocate/results/{relocation}.json"
    pair.fleet.await_on(edge, f"[ -e {path} ]", "the result")
    found: dict[str, Any] = json.loads(pair.fleet.on(edge, f"cat {path} && rm {path}"))
    return found


STANDBY = ("holding", "routing", "committed", "draining", "released", "done", "rolled-back")
VERDICTS = ("committed", "rolled-back")  # here the line decides what becomes of the move, and who is told again


def deaths() -> list[tuple[str, str, str]]:
    """Return how the part is killed: in all ways at a verdict, else each state's neighbours in the other two of the four."""
    ways = list(itertools.product(("before", "after"), ("kill", "kill-guardian")))
    found = []
    for number, state in enumerate(STANDBY):
        chosen = ways if state in VERDICTS else ways[0::3] if number % 2 else ways[1:3]
        found += [(state, *way) for way in chosen]
    return found


@pytest.mark.parametrize(("state", "moment", "do"), deaths())
def test_the_other_edge_s_part_is_killed_at_every_line(
    pair: Pair, direct: Direct, active: str, heart: Heart, state: str, moment: str, do: str
) -> None:
    """The edge does not go on alone before the verdict, and does after it; one copy runs, and both edges lead to it."""
    fleet, there = pair.fleet, other(pair, active)
    (here,) = direct.settled()
    target = next(host for host in direct.hosts if host != here)
    heart.longest_ms = 0.0
    if state == "rolled-back":
        pair.order(here, part="source", state="voted", moment="before", do="fail")
    pair.order(there, part="standby", state=state, moment=moment, do=do)
    mode = "post-copy" if state == "draining" else "stop-and-copy"
    relocation = pair.start(direct.document, here, target, active, mode)
    ended = result_of(pair, active, relocation)
    for edge in pair.fleet.edges:
        fleet.await_on(edge, "! pgrep -f '[r]elocate_proxy (edge|standby)'", "the parts' end")
    assert not direct.ordered(there), f"never reached: {ended}"
    # on a busy machine its next process may be too late for the edge that decides, and takes over when that has ended
    gone = do == "kill-guardian" or any("does not come back" in each for each in ended["problems"])
    if "took_over" in fleet.on(there, f"cat /var/lib/relocate/journal/{relocation}.standby.jsonl"):
        assert gone and result_of(pair, there, relocation)["outcome"] in (ended["outcome"], "in-doubt")
    before = state in ("holding", "routing", "rolled-back") or (state == "committed" and gone)
    stays = here if before else target
    assert ended["outcome"] == ("rolled-back" if before else "committed"), ended["problems"]
    assert direct.settled() == [stays]
    verdict = "roll-back" if before else "commit"
    assert pair.settle(there, relocation, "standby", verdict) == ("rolled-back" if before else "done")
    assert pair.settle(active, relocation, "edge", verdict) == ("rolled-back" if before else "done")
    assert_alike(pair, stays)
    heart.assert_beats()
    print(
        f"standby, {do} {moment} '{state}': {ended['outcome']}, waited {heart.longest_ms:.0f} ms; {ended['problems']}"
    )
    assert heart.longest_ms < WAITED_MS
    assert_nothing_left(pair, direct)


def test_the_other_edge_s_part_is_killed_in_a_long_drain(pair: Pair, direct: Direct, active: str, heart: Heart) -> None:
    """Its next process is found by the edge that decides, and does not take over from it."""
    fleet, there = pair.fleet, other(pair, active)
    (here,) = direct.settled()
    target = next(host for host in direct.hosts if host != here)
    serving = "pgrep -f '[p]age_process serve'"
    pair.order(here, part="source", state="voted", moment="after", do="pause", seconds=60)
    relocation = pair.start(direct.document, here, target, active, "post-copy")
    try:
        fleet.await_on(here, f"[ -e {SIGN} ]", "a source that pauses")
        fleet.on(here, f"kill -STOP $({serving}); rm {SIGN}")  # before the restore asks for the first page
        journal = f"/var/lib/relocate/journal/{relocation}.standby.jsonl"
        fleet.await_on(there, f"grep -q draining {journal}", "a drain")
        fleet.on(there, "kill -9 $(pgrep -n -f '[r]elocate_proxy standby')")
        time.sleep(RETURN_SECONDS + 2.0)  # nothing shows that it goes on waiting
    finally:
        fleet.on(here, f"kill -CONT $({serving})", check=False)
    ended = result_of(pair, active, relocation)
    assert (ended["outcome"], ended["problems"]) == ("committed", [])
    assert "took_over" not in fleet.on(there, f"cat {journal}")
    assert direct.settled() == [target]
    assert_alike(pair, target)
    heart.assert_beats()


def test_an_edge_that_lives_on_cut_off_decides_nothing(pair: Pair, direct: Direct, active: str, heart: Heart) -> None:
    """Its links are gone in the middle of a move, and it does not know. No move is taken until recovery has seen to it."""
    fleet, there = pair.fleet, other(pair, active)
    (here,) = direct.settled()
    target = next(host for host in direct.hosts if host != here)
    heart.longest_ms = 0.0
    pair.order(active, part="edge", state="committed", moment="before", do="pause", seconds=60)
    relocation = pair.start(direct.document, here, target, active)
    fleet.await_on(active, f"[ -e {SIGN} ]", "an edge that pauses")
    pair.links(active, "down")
    heart.assert_beats()
    assert direct.settled() == [target]
    pair.inside(active, f"rm {SIGN}")  # it goes on, and commits, and reaches nobody
    journal = f"/var/lib/relocate/journal/{relocation}.edge.jsonl"
    pair.await_inside(active, f"grep -q '\"committed\"' {journal}", "a commit that nobody hears of")
    assert pair.inside(active, "pkill -9 -f '[r]elocate_proxy edge'") == 0, "it would have tried for half a minute"
    pair.await_only(there)
    pair.links(active, "up")
    assert direct.settled() == [target]
    refused = fleet.move(NAME, here, check=False)
    assert refused["outcome"] == "refused"
    assert f"{active} has a move of {NAME} without an end ({relocation}, committed)" in refused["msg"]
    fleet.playbook("recover.yml")
    assert direct.settled() == [target]
    fleet.on(there, f"rm /run/relocate/results/{relocation}.json")
    assert json.loads(fleet.on(active, f"tail -n 1 {journal}"))["state"] == "done"
    assert_alike(pair, target)
    heart.assert_beats()


def test_a_move_by_command_leaves_both_edges_alike(pair: Pair, direct: Direct, active: str, heart: Heart) -> None:
    """As a user does it: the plan says which edge decides."""
    (here,) = direct.settled()
    result = pair.fleet.move(NAME, next(host for host in direct.hosts if host != here))
    assert (result["edge"]["host"], result["standby"]["host"]) == (active, other(pair, active))
    assert direct.settled() == [result["destination"]["host"]] != [here]
    assert_alike(pair, result["destination"]["host"])
    heart.assert_beats()


def test_the_fleet_is_one_edge_or_two(pair: Pair) -> None:
    """Preparing it again changes nothing."""
    done = pair.fleet.run(
        "ansible-playbook", "-i", "inventories/lab", "playbooks/prepare.yml", "--limit", "edge,localhost"
    )
    recap = [line for line in done.stdout.splitlines() if line.startswith(("host0 ", "edge2 "))]
    assert len(recap) == 2 and all("changed=0 " in line for line in recap), recap
