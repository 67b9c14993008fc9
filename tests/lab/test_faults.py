# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures on real hosts: whatever fails, wherever, one copy runs and clients lose nothing.

The whole matrix (every state of every part, before and after its fsync, failing in every way) takes hours: that is
``make faults``. Here each state of each part fails once, in one of the ways in which a part fails by itself.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from direct import EDGE, Direct, Heart
from fleet import VIRTUAL, Fleet
from outside import SIGN, Outside, Scene, instead_of_criu, kinds, partition
from rehearsal import AFTER_COMMIT, PARTS, Fault, State, every_fault, journaled, rehearse

pytestmark = pytest.mark.lab

NAME, PORT = "walker", 7100
HERE, THERE = "host1", "host2"


def some_faults() -> list[Fault]:
    """Return one failure for each state of each part; neighbours fail in different ways.

    A part that fails before it has begun leaves the other one waiting for 45 s: that is for the soak.
    """
    ways = itertools.cycle([("after", "kill"), ("before", "fail"), ("before", "kill"), ("after", "fail")])
    places = [(part, state) for part in PARTS for state in journaled(part)]
    listening = ("source", "destination")
    return [
        Fault(part, state, *next(ways)) for part, state in places if not (part in listening and state is State.STAGING)
    ]


@pytest.fixture(scope="module")
def direct(prepared: Fleet) -> Iterator[Direct]:
    """Return a counter that can be moved quickly, on one of two hosts with different versions of Docker."""
    prepared.tenant(NAME, "counter", HERE, f"{PORT} 8", PORT)
    try:
        yield Direct.of(prepared, NAME, HERE, THERE)
    finally:
        prepared.remove_tenants()


@pytest.fixture(scope="module")
def module_heart(direct: Direct) -> Iterator[Heart]:
    """Return one connection that must outlive every failure of this file."""
    heart = Heart(direct.fleet, PORT)
    yield heart
    heart.end()


@pytest.fixture
def heart(module_heart: Heart) -> Heart:
    """Return the connection, after a look that it still beats."""
    module_heart.assert_beats()
    return module_heart


def test_no_state_was_forgotten() -> None:
    """A state that is added to the protocol is injected into as well."""
    places = {(fault.part, fault.state) for fault in every_fault("kill", "fail")}
    assert {state for _, state in places} == set(State)
    assert {part for part, _ in places} == set(PARTS)
    assert {fault.state for fault in some_faults()} == set(State)


@pytest.mark.parametrize("fault", some_faults(), ids=str)
def test_one_copy_runs_whatever_fails(direct: Direct, heart: Heart, fault: Fault) -> None:
    """Rolled back before the commit, completed after it."""
    ended = rehearse(direct, heart, fault).ended
    if fault.part == "edge" and fault.state is State.COMMITTED:
        assert ended == ("committed" if fault.moment == "after" else "rolled-back"), "this line is the commit point"
    elif fault.part == "destination" and fault.state is State.COMMITTED and fault.do == "fail":
        assert ended == "rolled-back", "the destination says that the copy has not run and will not"
    else:
        assert ended == ("committed" if fault.state in AFTER_COMMIT else "rolled-back")


def test_what_nobody_is_left_to_mend_is_settled_by_recover(direct: Direct, heart: Heart) -> None:
    """The source and its guardian are killed in the freeze: frozen, until somebody says ``relocate recover``."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    direct.order(here, part="source", state="freezing", moment="after", do="kill-guardian")
    direct.move(here, there)
    direct.wait_until_quiet()
    assert not direct.ordered(here)
    said = direct.fleet.run("relocate", "recover", "--json").stdout
    assert '"rolled-back"' in said
    assert direct.settled() == [here]
    heart.assert_beats()
    direct.assert_nothing_left()


def test_a_move_whose_service_was_removed_before_it_was_settled(direct: Direct, heart: Heart) -> None:
    """An operator has unpublished what nobody finished: that is said, the move is settled, and the name is free again."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    direct.order(EDGE, part="edge", state="released", moment="after", do="kill-guardian")
    assert direct.result(direct.start(here, there)) is None and not direct.ordered(EDGE)
    for host in direct.hosts:  # else they would wait for their edge
        direct.fleet.on(host, "kill -9 $(pgrep -f '[r]elocate_proxy (source|destination)')", check=False)
    service = f"ip relocate services {{ tcp . {VIRTUAL} . {PORT}"
    direct.fleet.on(EDGE, f"nft 'delete element {service} }}'")
    try:
        settled = json.loads(direct.fleet.run("relocate", "recover", "--json").stdout)["settled"]
    finally:
        place = f"{direct.fleet.variables(there)['ansible_host']} . {PORT}"
        direct.fleet.on(EDGE, f"nft 'add element {service} comment \"{NAME}\" : {place} }}'")
    assert [each["outcome"] for each in settled] == ["done"] * 3, settled
    assert [note for each in settled for note in each.get("notes", [])] == [
        f"{VIRTUAL}:{PORT}/tcp of {NAME} is not published at the edge any more, and was not published again: do so if it is to "
        "be reached (nat_service)"
    ]
    assert direct.settled() == [there]
    heart.assert_beats()
    direct.assert_nothing_left()


@pytest.mark.parametrize("do", ["kill", "kill-guardian"])
def test_what_a_client_sent_inside_the_hold_is_not_lost_to_the_copy(direct: Direct, heart: Heart, do: str) -> None:
    """The edge is killed when everything leads to the restored copy and nothing is committed: its queue lets packets pass.

    The client's request, which it sends again and again, must not be acknowledged by the copy that is thrown away.
    """
    assert rehearse(direct, heart, Fault("edge", State.COMMITTED, "before", do)).ended == "rolled-back"


def test_a_copy_whose_last_page_has_come_outlives_its_part(direct: Direct, heart: Heart) -> None:
    """Its session, which knew of the page, is wiped before the journal's last line: the copy was taken for dead once."""
    fault = Fault("destination", State.DONE, "before", "kill-guardian", of_post_copy=True)
    assert rehearse(direct, heart, fault).ended == "committed"


@pytest.mark.parametrize("daemon", ["dockerd", "containerd"])
def test_a_daemon_that_is_killed_at_the_commit_finds_the_copy_again(direct: Direct, heart: Heart, daemon: str) -> None:
    """The verdict is on the disk, and the copy has not run: Docker has to know it already."""
    fault = Fault("destination", State.COMMITTED, "after", "pause")
    assert rehearse(direct, heart, fault, kinds()[f"kill-{daemon}-destination"]).ended == "committed"
    (here,) = direct.settled()
    asked = f'docker top {NAME} && docker inspect {NAME} | grep -q \'"IPAddress": "1\''
    direct.fleet.await_on(here, asked, "containerd, which is coming back,")


def test_who_stops_a_copy_calls_the_move_off(direct: Direct, heart: Heart) -> None:
    """Docker takes it for running. The original is what runs, and goes on."""

    def stop(scene: Scene) -> bool:
        return bool(scene.on("destination", f"docker stop {NAME}"))

    fault = Fault("destination", State.PREPARED, "after", "pause")
    assert rehearse(direct, heart, fault, Outside("stop-copy", stop)).ended == "rolled-back"


def expect_rolled_back(direct: Direct, heart: Heart, source: str, destination: str) -> dict[str, Any]:
    """Move it, and see that the move was taken back as if it had never been tried."""
    result = direct.move(source, destination)
    heart.assert_beats()
    assert result is not None
    assert result["outcome"] == "rolled-back", result
    direct.wait_until_quiet()
    assert direct.settled() == [source]
    direct.assert_nothing_left()
    return result


@pytest.mark.parametrize(("side", "action"), [("source", "dump"), ("destination", "restore")])
def test_criu_fails_in_the_middle(direct: Direct, heart: Heart, side: str, action: str) -> None:
    """CRIU's own fault injection: a dump that fails with its code in the tasks, a restore with the tree half made."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    number = {"dump": 5, "restore": 6}[action]  # FI_PARASITE_CONNECT, FI_POST_RESTORE of criu/include/fault-injection.h
    with instead_of_criu(direct.fleet, here if side == "source" else there, f"export CRIU_FAULT={number}"):
        result = expect_rolled_back(direct, heart, here, there)
    assert "CRIU could not" in result["problems"][0]


@contextmanager
def killed_from_criu(fleet: Fleet, host: str, action: str, victim: str = "$PPID") -> Iterator[None]:
    """Have a process be killed, CRIU itself by default, at one of the moments at which CRIU runs scripts; see that it was."""
    script, settings = "/run/kill-from-criu", "/etc/criu/default.conf"
    # The sign first: who kills a keeper goes with it
    kill = f"touch {script}.did; kill -9 {victim} || rm {script}.did"
    kill = f'#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != {action} ] || {{ {kill}; }}\n'
    settle = f"cat >{script}; chmod 755 {script}; mkdir -p /etc/criu; echo action-script {script} >{settings}"
    fleet.on(host, settle, data=kill)
    try:
        yield
        assert fleet.on(host, f"ls {script}.did")
    finally:
        fleet.on(host, f"rm -f {script} {script}.did {settings}")


def test_a_criu_that_is_killed_when_it_has_let_the_copy_go(direct: Direct, heart: Heart) -> None:
    """The copy runs, and clients have its answers. runc fails, and forgets the container, but Docker still manages it."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    with killed_from_criu(direct.fleet, there, "post-resume"):
        result = direct.move(here, there)
    heart.assert_beats()
    assert result is not None
    assert result["outcome"] == "committed", result
    direct.wait_until_quiet()
    assert direct.settled() == [there]
    direct.assert_nothing_left()
    said = direct.fleet.on(there, f"docker exec {NAME} /nothing 2>&1", check=False)
    assert "no such file" in said, said  # and not: no such container


def test_a_criu_that_is_killed_when_it_has_read_everything(direct: Direct, heart: Heart) -> None:
    """The original runs on at once, and its connections are not in repair, which would be their end."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    with killed_from_criu(direct.fleet, here, "post-dump"):
        expect_rolled_back(direct, heart, here, there)


@pytest.mark.parametrize("moment", ["network-lock", "post-dump"], ids=["has-begun", "has-read-everything"])
def test_the_source_is_killed_while_criu_dumps(direct: Direct, heart: Heart, moment: str) -> None:
    """CRIU outlives it, with the tasks in its hands, and would freeze them again after the thaw."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    keeper = "$(pgrep -P $(pgrep -f -o 'relocate_proxy source'))"
    with killed_from_criu(direct.fleet, here, moment, keeper):
        expect_rolled_back(direct, heart, here, there)


@pytest.mark.parametrize("with_edge", [False, True], ids=["from-the-source", "from-the-edge-as-well"])
def test_the_destination_is_cut_off_in_the_freeze(direct: Direct, heart: Heart, with_edge: bool) -> None:
    """The image never arrives: the source runs on; what the destination has made is gone when it is back."""
    (here,) = direct.settled()
    there = next(host for host in direct.hosts if host != here)
    others = [here, "host0"] if with_edge else [here]
    direct.order(here, part="source", state="freezing", moment="before", do="pause", seconds=60)
    identifier = direct.start(here, there)
    direct.fleet.await_on(here, f"[ -e {SIGN} ]", "a source that is about to freeze")
    heal = partition(direct.fleet, there, others)
    try:
        direct.fleet.on(here, f"rm {SIGN}")
        result = direct.result(identifier)
        heart.assert_beats()
    finally:
        heal()
    assert result is not None
    assert result["outcome"] == "rolled-back", result
    direct.wait_until_quiet()
    assert direct.settled() == [here]
    direct.assert_nothing_left()


def test_and_it_still_moves(direct: Direct, heart: Heart) -> None:
    """After all of this: there and back over the same connection."""
    for _ in range(2):
        (here,) = direct.settled()
        there = next(host for host in direct.hosts if host != here)
        result = direct.move(here, there)
        assert result is not None
        assert result["outcome"] == "committed", result
        heart.assert_beats()
