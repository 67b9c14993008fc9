# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring from a snapshot: whoever may still have the container prevents it; and what comes back is removed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.action import container_restore, container_snapshot, relocations_recover
from ansible_collections.relocate.mtd.plugins.action.container_restore import refuse_a_second
from ansible_collections.relocate.mtd.plugins.module_utils import _fences
from ansible_collections.relocate.mtd.plugins.module_utils._edge_table import Service
from ansible_collections.relocate.mtd.plugins.modules import service_fence
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Answers, Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Resident
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._snapshots.store import Snapshot, Unusable

from .test_actions import Told, fleet, run


def info(*containers: tuple[str, str], unfinished: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a host says: its containers with their states, and whose moves have no end."""
    listed = [{"name": name, "state": state, "labels": {}} for name, state in containers]
    moves = [{"relocation": "r1", "part": "source", "state": "voted", "container": name} for name in unfinished]
    return {"host": {}, "containers": listed, "unfinished": moves}


SILENT = {"host1": "host1 is unreachable: no route"}


@pytest.mark.parametrize(
    ("hosts", "silent", "dead", "words"),
    [
        ({"host2": info(("web", "running"))}, {}, [], "web runs on host2"),
        ({"host2": info(("web", "running"))}, SILENT, ["host1"], "web runs on host2"),
        ({"host2": info(("web", "exited"))}, {}, [], "does not run .exited."),
        ({"host2": info(unfinished=("web",))}, {}, [], "run recover.yml first"),
        ({"host2": info()}, SILENT, [], "silence proves nothing.*--host-is-dead host1"),
        ({"host2": info()}, SILENT, ["host2"], "host2 answers, so it is not dead"),
        ({}, {**SILENT, "host3": "host3 is unreachable: x"}, ["host1"], "--host-is-dead host3"),
    ],
)
def test_a_second_copy_is_refused(hosts: dict[str, Any], silent: dict[str, str], dead: list[str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        refuse_a_second("web", Answers(hosts, silent, {}), dead)


def test_nobody_has_it_and_the_silent_one_is_dead() -> None:
    refuse_a_second("web", Answers({"host2": info(("bank", "running"))}, SILENT, {}), ["host1"])
    refuse_a_second("web", Answers({"host2": info()}, {}, {}), [])


class Shelf:
    """A store with one snapshot of web."""

    directory = Path("/store")

    def find(self, container: str, wanted: str) -> Snapshot:
        told = {"at": "2026-11-28T07:00:00+00:00", "host": "host1", "source": {}, "description": {"name": container}}
        return Snapshot(container, "20261128-070000-a", Path("/store/web/a"), told)

    def proved(self, snapshot: Snapshot) -> bytes:
        return b"k" * 32


def restore(monkeypatch: pytest.MonkeyPatch, told: Told, **more: Any) -> dict[str, Any]:
    """Restore web on host2 after host1 has died."""
    monkeypatch.setattr(container_restore, "open_store", lambda _: Shelf())
    monkeypatch.setattr(container_restore, "host_refusals", lambda *_: [])
    for host in ("host2", "host3"):
        told.answers.setdefault((host, "relocation_info"), {"relocation_info": info()})
    told.answers[("host1", "relocation_info")] = Unreachable("host1 is unreachable: no route")
    for witness in ("gate", "gate2", "host2", "host3"):
        told.answers.setdefault((witness, "host_witness"), {"heard": False, "how": ""})
    told.answers[("host2", "relocation_preflight")] = {"refusals": []}

    def session(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"port": 1} if arguments["state"] == "started" else {"result": {"id": "x", "outcome": "committed"}}

    told.answers.setdefault(("host2", "relocation_session"), session)
    arguments = {"container": "web", "destination": "host2", "dead": ["host1"]}
    return run(container_restore, told, monkeypatch, **arguments, **more)


def test_every_edge_is_led_away_before_anything_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    told = fleet()
    result = restore(monkeypatch, told, fleet_edges=("gate", "gate2"))
    assert result["outcome"] == "committed", result
    steps = [(host, name) for host, name, _ in told.calls if name in ("put", "service_fence", "relocation_session")]
    assert steps[:4] == [
        ("host2", "put"),
        ("gate", "service_fence"),
        ("gate2", "service_fence"),
        ("host2", "relocation_session"),
    ]
    fences = [args for _, name, args in told.calls if name == "service_fence"]
    assert {(args["name"], *args["dead"], args["host_address"]) for args in fences} == {
        ("web", "10.77.0.11", "10.77.0.12")
    }
    assert {host for host, _ in told.as_operator} >= {"host1", "host2", "host3", "gate", "gate2"}


def test_an_edge_is_told_of_both_addresses_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reached by IPv6 led to the dead host by the other one. The copy hears where it is seen."""
    told = fleet()
    told.variables = {host: {"relocate_fabric_address6": f"FD00:77::1{host[-1]}"} for host in ("host1", "host2")}
    assert restore(monkeypatch, told)["outcome"] == "committed"
    (fence,) = (args for _, name, args in told.calls if name == "service_fence")
    assert fence == {
        "name": "web",
        "dead": ["10.77.0.11", "fd00:77::11"],
        "host_address": "10.77.0.12",
        "host_address6": "fd00:77::12",
    }
    started = next(args for _, name, args in told.calls if name == "relocation_session" and args["state"] == "started")
    specification = json.loads(started["specification"])
    assert (specification["listen"], specification["listen6"]) == ("10.77.0.12", "fd00:77::12")


@pytest.mark.parametrize("edge", ["gate", "gate2"])
def test_nothing_is_restored_while_an_edge_leads_elsewhere(monkeypatch: pytest.MonkeyPatch, edge: str) -> None:
    told = fleet()
    told.answers[(edge, "service_fence")] = {"failed": True, "msg": "no nft"}
    result = restore(monkeypatch, told, fleet_edges=("gate", "gate2"))
    assert result["failed"] and f"the edge {edge} cannot be led to host2" in result["msg"]
    assert "relocation_session" not in [name for _, name, _ in told.calls]


@pytest.mark.parametrize("witness", ["gate", "gate2", "host2", "host3"])
def test_a_host_that_somebody_hears_is_not_dead(monkeypatch: pytest.MonkeyPatch, witness: str) -> None:
    """The controller may be cut off from it alone: it runs, and serves its clients."""
    told = fleet()
    told.answers[(witness, "host_witness")] = {"heard": True, "how": "it refuses connections to port 1"}
    result = restore(monkeypatch, told, fleet_edges=("gate", "gate2"))
    assert result["failed"] and result["alive"] == "host1"
    assert f"host1 is not dead: the controller does not reach it, but {witness} hears it at 10.77.0.11" in result["msg"]
    assert not {name for _, name, _ in told.calls} & {"put", "service_fence", "relocation_session"}


def test_without_a_snapshot_it_is_said_whether_the_host_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler calls nobody lost before that."""

    def nothing(*_: object) -> Snapshot:
        raise Unusable("the store /store has no snapshot of web")

    monkeypatch.setattr(Shelf, "find", nothing)
    result = restore(monkeypatch, fleet())
    assert result["failed"] and result["dead"] == ["host1"] and "no snapshot of web" in result["msg"]
    heard = fleet(gate_host_witness={"heard": True, "how": "it lives"})
    assert restore(monkeypatch, heard)["alive"] == "host1" and "dead" not in restore(monkeypatch, heard)


def test_an_edge_that_hears_it_later_prevents_the_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording may be long on its way."""
    told = fleet()
    heard = iter([{"heard": False, "how": ""}, {"heard": True, "how": "it accepts connections to port 22"}])
    told.answers[("gate", "host_witness")] = lambda _: next(heard)
    result = restore(monkeypatch, told)
    assert result["alive"] == "host1"
    assert not {name for _, name, _ in told.calls} & {"service_fence", "relocation_session"}


def test_an_edge_that_cannot_testify_prevents_it_and_another_host_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Unreachable("it is unreachable: no route")
    assert restore(monkeypatch, fleet(host3_host_witness=gone))["outcome"] == "committed"
    told = fleet(gate_host_witness=gone)
    assert "the edge gate cannot say whether it hears 10.77.0.11" in restore(monkeypatch, told)["msg"]
    assert "service_fence" not in [name for _, name, _ in told.calls]


def test_a_container_with_a_shared_directory_has_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"source": "/srv/shared", "point": "/data"}
    for rule, words in (("shared", "is shown the shared directory /srv/shared at /data"), ("same", "")):
        container = {"name": "web", "binds": [{**shown, "rule": rule}]}
        found = container_snapshot._shared(Resident("host1", container))
        assert bool(found) == bool(words) and words in "".join(found)


ROOMY: dict[str, int | None] = {"bytes": 1 << 30, "inodes": None}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("images", "host1 has 10 MiB free for memory images (/run/relocate/sessions), and 101 MiB are needed"),
        ("recordings", "host1 has 10 MiB free for snapshots on their way (/var/tmp), and 214 MiB are needed"),
        ("store", "the controller has 10 MiB free for snapshots (/store), and 214 MiB are needed"),
        ("", ""),
    ],
)
def test_a_snapshot_that_does_not_fit_anywhere_on_its_way_is_not_begun(place: str, words: str) -> None:
    """It would freeze the container for nothing. What is counted: its memory, its layer and its volumes."""
    container = {"name": "web", "memory_bytes": 100 << 20, "layer_bytes": 30 << 20, "volumes": [{"bytes": 20 << 20}]}
    rooms = {each: {"bytes": 10 << 20} if each == place else ROOMY for each in ("images", "recordings", "store")}
    store: Any = SimpleNamespace(directory="/store", room=lambda: rooms["store"])
    found = container_snapshot._room(Resident("host1", container), {"room": rooms}, store)
    assert len(found) == bool(words) and words in "".join(found)


def test_a_snapshot_is_restored_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording lies beside what is made of it."""
    told = fleet()
    full = {"room": {"recordings": {"bytes": 1 << 20, "inodes": None}}}
    told.answers[("host2", "relocation_info")] = {"relocation_info": {**info(), "host": {**info()["host"], **full}}}
    result = restore(monkeypatch, told)
    assert result["failed"] and "host2 has 1 MiB free for snapshots on their way (/var/tmp)" in result["msg"]
    assert "put" not in [name for _, name, _ in told.calls]


# -- the fence ----------------------------------------------------------------------------------------------------------

WEB = Service("web", "tcp", "10.88.0.100", 80, "10.77.0.11", 8080)


def test_a_fence_leads_away_and_shuts_in_one_transaction() -> None:
    fence = service_fence.fenced(None, [WEB], "web", ["10.77.0.11"], ["10.77.0.12"])
    assert fence == {
        "name": "web",
        "dead": ["10.77.0.11"],
        "to": ["10.77.0.12"],
        "places": [["tcp", "10.77.0.11", 8080]],
    }
    lines = service_fence.transaction([WEB], fence).splitlines()
    assert lines[0] == "add element ip relocate shut { tcp . 10.77.0.11 . 8080 }"
    assert lines[1].startswith("delete element ip relocate services") and "10.77.0.12 . 8080" in lines[2]


WEB6 = WEB._replace(virtual_address="2001:db8::100", host_address="fd00:77::11")


def test_a_fence_is_in_the_table_of_each_family() -> None:
    """A service by IPv6 leads to the new host's IPv6 address, and only that of a dead host is shut for it."""
    dead, new = ["10.77.0.11", "fd00:77::11"], ["10.77.0.12", "fd00:77::12"]
    fence = service_fence.fenced(None, [WEB, WEB6], "web", dead, new)
    assert fence["places"] == [["tcp", address, 8080] for address in dead] and fence["to"] == new
    lines = service_fence.transaction([WEB, WEB6], fence).splitlines()
    assert lines == [
        "add element ip relocate shut { tcp . 10.77.0.11 . 8080 }",
        "add element ip6 relocate shut { tcp . fd00:77::11 . 8080 }",
        "delete element ip relocate services { tcp . 10.88.0.100 . 80 }",
        'add element ip relocate services { tcp . 10.88.0.100 . 80 comment "web" : 10.77.0.12 . 8080 }',
        "delete element ip6 relocate services { tcp . 2001:db8::100 . 80 }",
        'add element ip6 relocate services { tcp . 2001:db8::100 . 80 comment "web" : fd00:77::12 . 8080 }',
    ]
    assert service_fence.fenced(None, [WEB], "web", dead, new)["places"] == [["tcp", "10.77.0.11", 8080]]
    back = service_fence.fenced(fence, [WEB, WEB6], "web", [], dead)
    assert back["dead"] == [] and back["places"] == []


def test_a_service_by_ipv6_is_not_led_to_a_host_without_such_an_address() -> None:
    """Nor left where it leads: the edge would send its clients to the dead host for ever."""
    fence = service_fence.fenced(None, [WEB, WEB6], "web", ["10.77.0.11", "fd00:77::11"], ["10.77.0.12"])
    with pytest.raises(
        ValueError, match=r"\[2001:db8::100\]:80/tcp is reached by IPv6, and the host .* \(host_address6\)"
    ):
        service_fence.transaction([WEB, WEB6], fence)


def test_a_second_loss_keeps_the_first_fence() -> None:
    first = service_fence.fenced(None, [WEB], "web", ["10.77.0.11"], ["10.77.0.12"])
    second = service_fence.fenced(first, [WEB], "web", ["10.77.0.12"], ["10.77.0.13"])
    assert second["dead"] == ["10.77.0.11", "10.77.0.12"] and len(second["places"]) == 2


def test_the_host_that_gets_it_is_not_fenced() -> None:
    first = service_fence.fenced(None, [WEB], "web", ["10.77.0.11"], ["10.77.0.12"])
    back = service_fence.fenced(first, [WEB], "web", [], ["10.77.0.11"])
    assert back["dead"] == [] and back["places"] == []


# -- what comes back ----------------------------------------------------------------------------------------------------


def returned(
    monkeypatch: pytest.MonkeyPatch, here: str | None, elsewhere: str | None, **more: Any
) -> tuple[Told, dict]:
    """Recover with a fence of host1: ``here`` and ``elsewhere`` are the states of web on host1 and on host2."""
    told = fleet()
    fences = {"fences": [{"name": "web", "dead": ["10.77.0.11"], "to": "10.77.0.12"}]}
    told.answers[("gate", "service_fence")] = fences
    for host, state in (("host1", here), ("host2", elsewhere), ("host3", None), ("gate", None)):
        told.answers[(host, "relocation_info")] = {"relocation_info": info(*([("web", state)] if state else []))}
    told.answers |= more.pop("answers", {})
    return told, run(relocations_recover, told, monkeypatch, **more)


def done(told: Told) -> list[tuple[str, str, str]]:
    """Return what was changed where."""
    names = ("relocation_session", "service_fence")
    return [
        (host, name, args["state"]) for host, name, args in told.calls if name in names and args["state"] != "listed"
    ]


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_copy_that_came_back_is_removed_before_its_fence(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    told, result = returned(monkeypatch, state, "running")
    assert done(told) == [("host1", "relocation_session", "removed"), ("gate", "service_fence", "absent")]
    assert [(each["host"], each["outcome"]) for each in result["settled"]] == [("host1", "removed")]
    assert told.as_operator == [("host1", "relocation_session"), ("gate", "service_fence")]  # the movers' may not


def test_both_addresses_of_a_host_are_fenced_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were fenced: one that stayed shut would cut its next container off."""
    told = fleet()
    told.variables = {"host1": {"relocate_fabric_address6": "fd00:77::11"}}
    told.answers[("gate", "service_fence")] = {
        "fences": [{"name": "web", "dead": ["10.77.0.11", "fd00:77::11"], "to": ["10.77.0.12", "fd00:77::12"]}]
    }
    for host in ("host1", "host2", "host3", "gate"):
        containers = [("web", "running")] if host == "host2" else []
        told.answers[(host, "relocation_info")] = {"relocation_info": info(*containers)}
    run(relocations_recover, told, monkeypatch)
    lifted = [args for _, name, args in told.calls if name == "service_fence" and args["state"] == "absent"]
    assert lifted == [{"name": "web", "dead": ["10.77.0.11", "fd00:77::11"], "state": "absent"}]


def test_the_only_copy_is_never_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new host may be dead by now, or the container may have moved back by hand."""
    for elsewhere in (None, "exited"):
        told, result = returned(monkeypatch, "running", elsewhere)
        assert done(told) == [] and "is now on host1 alone" in result["msg"]


def test_a_host_that_came_back_empty_is_fenced_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    told, result = returned(monkeypatch, None, "running")
    assert done(told) == [("gate", "service_fence", "absent")] and result["settled"][0]["outcome"] == "gone"


def test_a_host_that_is_still_silent_stays_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {("host1", "relocation_info"): Unreachable("host1 is unreachable: no route")}
    told, _ = returned(monkeypatch, None, "running", answers=silent)
    assert done(told) == []


def test_a_copy_that_cannot_be_removed_stays_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = {("host1", "relocation_session"): {"failed": True, "msg": "no daemon"}}
    told, result = returned(monkeypatch, "running", "running", answers=fails)
    assert done(told) == [("host1", "relocation_session", "removed")] and "no daemon" in result["msg"]


def test_an_edge_that_does_not_tell_its_fences_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that came back may run for ever otherwise, and nobody hears of it."""
    fails = {("gate", "service_fence"): {"failed": True, "msg": "no such module: run prepare.yml"}}
    told, result = returned(monkeypatch, "running", "running", answers=fails)
    assert (
        done(told) == []
        and "gate cannot tell which containers were restored elsewhere (no such module" in result["msg"]
    )


def test_check_mode_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told, result = returned(monkeypatch, "running", "running", check=True)
    assert done(told) == [] and result["settled"][0]["outcome"] == "planned"


# -- where it was fenced ------------------------------------------------------------------------------------------------


def test_no_host_that_is_fenced_takes_the_container() -> None:
    """The edge has shut its ports there: its clients would not reach it."""
    told = fleet(host1_relocation_preflight={"refusals": []}, host2_relocation_preflight={"refusals": []})
    told.answers[("gate", "nat_service_info")] = {"table": True, "services": [], "fenced": ["10.77.0.11"]}
    asking = Asking(SimpleNamespace(of=lambda host: told.remote(None, host, None)))  # type: ignore[arg-type]
    fenced = asking.edges(["gate"], "web")
    assert "run relocate recover first" in asking.preflight("host1", {"name": "web"}, {"host": {}}, fenced)[0]
    assert asking.preflight("host2", {"name": "web"}, {"host": {}}, fenced) == []
    assert asking.preflight("host1", {"name": "web"}, {"host": {}}) == []


def test_an_edge_tells_where_a_container_is_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fences._paths, "FENCES", str(tmp_path / "fences"))
    assert _fences.shut("web") == []
    (tmp_path / "fences").mkdir()
    for name in ("web", "bank"):
        fence = service_fence.fenced(None, [], name, ["10.77.0.11"], ["10.77.0.12"])
        (tmp_path / "fences" / f"{name}.json").write_text(json.dumps(fence))
    (tmp_path / "fences" / "web.json.part").write_text("{")
    assert _fences.shut("web") == ["10.77.0.11"] and _fences.shut("db") == []
