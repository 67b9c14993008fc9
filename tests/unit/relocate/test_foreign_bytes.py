# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every function of the controller that takes foreign bytes apart: it returns something sound, or says its own error.

What hosts answer, files of profiles and the ledger, ansible-runner's events, AWX. Which functions there are, the source itself
says: see ``parsers``. A new one is tried here, or its reason stands in ``LEFT``. What one host says keeps no other from being
heard.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import profiles
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import alert, ledger, prediction, remote, requests
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import Odd
from hypothesis import given
from hypothesis import strategies as st

from relocate.fleet import report
from relocate.model import measured
from relocate.move import playbook, relocation
from relocate.schedule import discovery, ledger_writer
from relocate.schedule.launchers import awx
from relocate.schedule.launchers.base import LaunchError, Move
from relocate.schedule.launchers.settings import AwxSettings
from tests.paths import COLLECTION, ROOT
from tests.unit.fuzzing import JSON, bounded, fuzzed, fuzzed_each, outcome

# -- all of them --------------------------------------------------------------------------------------------------------

#: What takes bytes, texts or documents apart.
MARKS = {"loads", "load", "safe_load", "unpack", "fromhex", "fromisoformat", "json", "_parse_returned_data", "reader"}
#: Where the controller's own code is.
HOMES = {
    "relocate": ROOT / "src/relocate",
    "plugins": COLLECTION / "plugins",
    "callback": ROOT / "plugins/callback",
    "inventories": ROOT / "inventories",
    "extensions": COLLECTION / "extensions",
}
#: On hosts: tests/unit/plugins/modules, tests/unit/proxy.
ON_HOSTS = ("plugins/module_utils/", "plugins/modules/")
#: Tried by the tests of this file, and by what they call.
TRIED = {
    "plugins.plugin_utils._heterogeneity.profiles:_read",
    "plugins.plugin_utils._move.alert:exposure_ms",
    "plugins.plugin_utils._move.ledger:latest",
    "plugins.plugin_utils._move.prediction:_age",
    "plugins.plugin_utils._move.requests:ask",
    "relocate.fleet.report:_arrival",
    "relocate.model.measured:_moment",
    "relocate.model.measured:_parse",
    "relocate.schedule.discovery:_epoch",
    "relocate.schedule.launchers.awx:AwxLauncher._find",
    "relocate.schedule.launchers.controller:Controller._call",
    "relocate.schedule.launchers.controller:_said",
    "relocate.schedule.ledger_writer:Ledger._look",
}
PEOPLES = "a file of people's: test_reading, test_bad_input"
LAB = "this machine's own lab, written by root"
OURS = "the scheduler's own database"
LEFT = {
    "inventories.lab.lab:read": LAB,
    "plugins.inventory.heterogeneity:InventoryModule._add": "its own cache",
    "plugins.inventory.heterogeneity:_untrusted": "what it has written itself a moment ago",
    "plugins.plugin_utils._snapshots.store:Snapshot.at": "a manifest whose seal is ours: its test_store",
    "plugins.plugin_utils._snapshots.store:Store._read": "its test_store",
    "relocate.commands.lab:shell": LAB,
    "relocate.commands.plan_run:run": PEOPLES,
    "relocate.commands.schedule:configured": PEOPLES,
    "relocate.commands.simulate_file:run": PEOPLES,
    "relocate.demo.clockwork:Clockwork.__init__": "a file that it has written itself",
    "relocate.demo.watching:Client._read": "the demonstration's own server",
    "relocate.fleet.inventory_policy:of": "ansible-inventory on this machine",
    "relocate.lab.status:missing_network": "ip on this machine",
    "relocate.lab.status:read": LAB,
    "relocate.reading:read_rows": PEOPLES,
    "relocate.schedule.config:load": PEOPLES,
    "relocate.schedule.service:Service._reread": PEOPLES,
    "relocate.schedule.store:Store.tenants": OURS,
    "relocate.schedule.views:audits": OURS,
    "relocate.schedule.views:status": OURS,
}


def parsers() -> Iterator[str]:
    """Yield MODULE:FUNCTION of every function of the controller that calls something of ``MARKS``."""
    for name, home in HOMES.items():
        for path in sorted(home.rglob("*.py")):
            if any(each in path.as_posix() for each in ON_HOSTS):
                continue
            module = ".".join((name, *path.relative_to(home).with_suffix("").parts))
            waiting: list[tuple[ast.AST, str, str]] = [(ast.parse(path.read_text(encoding="utf-8")), "", "")]
            while waiting:
                node, inside, function = waiting.pop()
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    inside = f"{inside}.{node.name}".strip(".") if not function else inside
                    function = "" if isinstance(node, ast.ClassDef) else inside
                if isinstance(node, ast.Call):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if called in MARKS and function:
                        yield f"{module}:{function}"
                waiting += [(child, inside, function) for child in ast.iter_child_nodes(node)]


def test_no_parser_is_forgotten() -> None:
    """A function that is gone goes from the lists, too."""
    found = set(parsers())
    assert sorted(found - TRIED - set(LEFT)) == [], "try it here, or say in LEFT why not"
    assert sorted((TRIED | set(LEFT)) - found) == []


# -- answers of hosts ---------------------------------------------------------------------------------------------------

UNFINISHED = {"relocation": "r1", "part": "source", "state": "voted", "container": "web", "living": False}
CONTAINER = {
    "name": "web",
    "state": "running",
    "labels": {"a": "b"},
    "id": "0123456789ab",
    "image": "a/b:1",
    "image_id": "sha256:ab",
    "image_layers": ["sha256:" + "0" * 64],
    "image_digests": ["sha256:" + "0" * 64],
    "address": "172.20.1.2",
    "ports": [],
    "memory_bytes": 1,
    "refusals": [],
    "volumes": [],
    "started_at": "2026-11-23T12:00:00+00:00",
}
PLACE = {"protocol": "tcp", "virtual_address": "198.51.100.1", "virtual_port": 80}
RESULT = {
    "id": "r1",
    "container": "web",
    "outcome": "committed",
    "mode": "post-copy",
    "source": {"host": "a", "address": "192.0.2.1"},
    "destination": {"host": "b"},
    "edge": {"host": "c"},
    "downtime_ms": 12.5,
    "timings_ns": {"freeze": 1},
    "problems": ["x"],
    "at": "2026-11-23T12:00:00+00:00",
    "rounds": [{"bytes": 1}],
    "cost": {"overlapped": True, "fixed_ms": 1.5},
}
PROFILE = {
    "version": 1,
    "c": {"kernel": "6.1", "cpus": 4, "flags": ["a"]},
    "n": {"mtu": 1500},
    "s": {"packages": {"a": "1"}},
    "scores": {"c": 1.0, "n": 2, "s": 0},
}
#: A right answer for each function of ``reports`` that takes one.
RIGHT: dict[str, Any] = {
    "host_report": {
        "host": {"kernel": "6.1", "docker_version": "26", "criu_version": "4.1"},
        "containers": [CONTAINER],
        "used_ports": [["tcp", 80]],
        "unfinished": [UNFINISHED],
    },
    "preflight": {"refusals": ["no room"]},
    "started": {"port": 4000},
    "recovered": {"outcome": "done", "verdict": "commit", "changed": True, "places": {"source": "a"}},
    "services": {
        "services": [{"name": "web", **PLACE, "host_address": "192.0.2.1", "host_port": 80}],
        "table": True,
        "addresses": ["198.51.100.1"],
        "synchronised": False,
        "unfinished": [UNFINISHED],
    },
    "fences": {"fences": [{"name": "web", "dead": ["192.0.2.1"], "to": "192.0.2.2"}]},
    "testimony": {"heard": True, "how": "arp"},
    "move_result": RESULT,
    "profile": PROFILE,
}
#: Those that look at what another of them has returned.
OF_OTHERS = {"movable", "result_of", "project_result_of", "kind"}


def spoilt(right: Any) -> st.SearchStrategy[Any]:
    """Return strategies of a document with something else at one place, or with a place that it has not."""
    places: list[tuple[Any, ...]] = [()]
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), right)]
    while waiting:
        at, inside = waiting.pop()
        inner = inside.items() if isinstance(inside, dict) else enumerate(inside) if isinstance(inside, list) else ()
        for key, value in inner:
            places.append((*at, key))
            waiting.append(((*at, key), value))

    def put(place: tuple[Any, ...], value: Any, more: bool) -> Any:
        if not place:
            return value
        document = copy.deepcopy(right)
        inside = document
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = value
        if more and isinstance(inside, dict):
            inside["more"] = value
        return document

    return st.builds(put, st.sampled_from(places), JSON, st.booleans())


def test_every_report_has_a_right_answer() -> None:
    """Otherwise the next test would show nothing of it."""
    public = {
        name
        for name, each in vars(reports).items()
        if inspect.isfunction(each) and each.__module__ == reports.__name__ and not name.startswith("_")
    }
    assert public == set(RIGHT) | OF_OTHERS, "give it a right answer"
    for name, right in RIGHT.items():
        getattr(reports, name)(copy.deepcopy(right))


def test_the_place_of_an_odd_fact_is_told_in_characters_that_can_be_seen() -> None:
    """A host chooses the names of its facts."""
    with pytest.raises(Odd) as odd:
        reports.profile({**RIGHT["profile"], "c": {"\x1b[2J": [None]}})
    assert str(odd.value).isprintable()


@pytest.mark.parametrize("name", RIGHT)
@fuzzed_each
@given(data=st.data())
def test_an_answer_of_a_host(name: str, data: st.DataObject) -> None:
    """It is taken as something that JSON can say again, or refused in half a sentence."""
    answer = data.draw(spoilt(RIGHT[name]))
    found = outcome(getattr(reports, name), answer, Odd)
    if name == "host_report" and found is not None:
        for container in found["containers"]:
            outcome(reports.movable, container, Odd)
    if name == "move_result" and found is not None:
        outcome(lambda value: reports.result_of({**RESULT}, value), found, Odd)
        outcome(lambda value: reports.project_result_of({"id": "r1", "members": [RESULT]}, value), found, Odd)
    json.dumps(found, allow_nan=False).encode()


@fuzzed
@given(JSON | spoilt(RESULT), JSON)
def test_moments_that_others_tell(value: Any, other: Any) -> None:
    text = value["at"] if isinstance(value, dict) and "at" in value else value
    outcome(lambda at: discovery._epoch(at, 0.0), text)
    outcome(measured._moment, text)
    outcome(lambda at: alert.exposure_ms(str(at), other), text)
    outcome(
        lambda at: prediction._age({"at": at}, prediction.datetime.datetime.now(prediction.datetime.timezone.utc)), text
    )


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01", "9999-12-31"])
def test_moments_at_the_ends_of_the_calendar(text: str) -> None:
    test_moments_that_others_tell.hypothesis.inner_test(text, text)


ANSWERS = (
    st.binary(max_size=80)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(b"[" * 90_000)
    | st.just(b'{"a":' * 50_000)
    | spoilt({"changed": False, "msg": "x", "relocation_info": 1}).map(lambda value: json.dumps(value).encode())
)


@fuzzed
@given(ANSWERS, ANSWERS, st.sampled_from([0, 1, 255]))
def test_what_a_login_answers(out: bytes, err: bytes, status: int) -> None:
    """Whatever a host prints, it is set aside by its name or heard."""
    from ansible.plugins.action import ActionBase

    class Action(ActionBase):
        def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
            """Do nothing."""
            return {}

        def _low_level_execute_command(self, *_: Any, **__: Any) -> dict[str, Any]:
            texts = [each.decode(errors="surrogateescape") for each in (out, err)]
            return {"rc": status, "stdout": texts[0], "stdout_lines": [], "stderr": texts[1], "stderr_lines": []}

    task = SimpleNamespace(check_mode=False, diff=False, async_val=0, action="x")
    action: Any = Action(task, SimpleNamespace(), SimpleNamespace(), None, None, None)
    host: Any = remote.Remote.__new__(remote.Remote)
    host.host, host.user, host._connect = "alpha", "relocate", lambda: action
    with bounded(len(out) + len(err)):
        try:
            answer = host.module("relocate.mtd.relocation_info")
        except remote.Unreachable as error:
            assert "alpha" in str(error) and str(error).isprintable()
            return
    assert isinstance(answer, dict)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            action,
            "_low_level_execute_command",
            lambda *_, **__: {"rc": 255, "stdout": "", "stderr": err.decode(errors="replace")},
        )
        with pytest.raises(AnsibleConnectionFailure):
            requests.ask(action, "alpha", "relocate.mtd.relocation_info", {})


# -- files --------------------------------------------------------------------------------------------------------------

LINES = st.lists(ANSWERS | spoilt(RESULT).map(lambda value: json.dumps(value).encode()), max_size=4)


@fuzzed
@given(ANSWERS | spoilt(PROFILE).map(lambda value: json.dumps(value).encode()))
def test_a_profile_keeps_no_other_from_being_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.getbasetemp() / "profiles"
    directory.mkdir(exist_ok=True)
    (directory / "evil.json").write_bytes(data)
    (directory / "good.json").write_text(json.dumps(PROFILE))
    aside: dict[str, str] = {}
    with bounded(len(data)):
        found = profiles.from_directory(directory, aside=aside)
    assert "good" in found and set(found) | set(aside) == {"evil", "good"}
    assert all(said.isprintable() and "evil" in said and len(said) < 1000 for said in aside.values())


@fuzzed
@given(LINES)
def test_lines_of_the_ledger(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """A line that is none is passed over, and the one behind it is read."""
    path = tmp_path_factory.getbasetemp() / "ledger.jsonl"
    last = {**RESULT, "id": "last"}
    path.write_bytes(b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines) + json.dumps(last).encode() + b"\n")
    with bounded(path.stat().st_size):
        assert ledger.latest(path)[-1]["id"] == "last"
        written = ledger_writer.Ledger(path)
        written.expect("last")
        found = written.entry("last")
        assert found is not None and found["id"] == "last"
    for line in lines:
        text = line.decode(errors="replace")
        outcome(lambda text: report._arrival(text, "web"), text)
        outcome(measured._parse, text)
    with bounded(path.stat().st_size):
        measured.read(path)


# -- events -------------------------------------------------------------------------------------------------------------

KINDS = st.sampled_from(
    [
        "runner_on_ok",
        "runner_on_failed",
        "runner_on_unreachable",
        "runner_item_on_ok",
        "playbook_on_task_start",
        "verbose",
    ]
)
ACTIONS = st.sampled_from(
    [discovery.INFO, discovery.SESSION, relocation.RELOCATE, relocation.RECOVER, "ansible.builtin.assert"]
)
RES = (
    JSON
    | spoilt({"relocation_info": RIGHT["host_report"]})
    | spoilt({"result": RESULT})
    | spoilt({"ansible_facts": {"relocate_edge": "gate", "relocate_asked": ["a", "b"]}})
    | spoilt({"msg": "x", "stderr": "a\nb"})
)
EVENTS = st.fixed_dictionaries(
    {"event": KINDS | JSON},
    optional={
        "stdout": JSON,
        "event_data": JSON
        | st.fixed_dictionaries(
            {"task_action": ACTIONS | JSON, "host": st.sampled_from(["localhost", "a", "b"]) | JSON, "res": RES},
            optional={"task": JSON, "ignore_errors": JSON},
        ),
    },
)
HONEST = {
    "event": "runner_on_ok",
    "event_data": {"host": "good", "task_action": discovery.INFO, "res": {"relocation_info": RIGHT["host_report"]}},
}


@fuzzed
@given(st.lists(EVENTS, max_size=4))
def test_events_of_ansible(events: list[Any]) -> None:
    """Nothing of them ends the run, and an honest host is heard whatever the others say."""
    listener, caught = discovery.Listener(0.0), relocation.Catcher(relocation.RELOCATE)
    for event in [*events, copy.deepcopy(HONEST)]:
        with bounded(100_000):
            listener(event)
            caught(event)
            assert playbook.failure(event).isprintable() and playbook.task_name(event) is not None
    survey = listener.ended()
    assert "good" in survey.answered or survey.edge == "good"
    assert isinstance(caught.result, dict)
    for silent in survey.silent.values():
        assert silent.isprintable()


# -- AWX ----------------------------------------------------------------------------------------------------------------

JOB = {
    "id": 7,
    "job": 7,
    "status": "successful",
    "event_processing_finished": True,
    "started": None,
    "ask_limit_on_launch": True,
    "ask_variables_on_launch": True,
    "extra_vars": '{"relocation_id": "r1"}',
    "count": 1,
    "results": [{"id": 7, "extra_vars": "{}"}],
    "artifacts": {awx.ARTIFACT: RESULT},
    "next": None,
    "ignored_fields": {},
    "passwords_needed_to_start": [],
    "detail": "x",
}
BODIES = ANSWERS | spoilt(JOB).map(lambda value: json.dumps(value).encode())


@fuzzed
@given(st.lists(st.tuples(st.sampled_from([200, 200, 200, 201, 302, 404, 500]), BODIES), min_size=1, max_size=6))
def test_answers_of_awx(answers: list[tuple[int, bytes]]) -> None:
    """A move has a result, perhaps one that is in doubt, or was not launched, with one sentence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELOCATE_AWX_TOKEN", "x")
        settings = AwxSettings(
            kind="awx", url="https://awx.example.org", template="relocate", recover_template=8, poll=0.01, patience=0.01
        )
        launcher = awx.AwxLauncher(settings)
        waiting = [*answers, *[(200, json.dumps(JOB).encode())] * 40]

        def answer(_: httpx.Request) -> httpx.Response:
            status, body = waiting.pop(0) if waiting else (200, b"{}")
            return httpx.Response(status, content=body)

        launcher._controller._client = httpx.Client(transport=httpx.MockTransport(answer))
        patch.setattr(awx.time, "sleep", lambda _: None)
        move = Move("r1", "web", "a", "clock", 0.0, {"relocation_id": "r1"})
        for act in (lambda: launcher.launch(move, threading.Event()), launcher.recover):
            refused(act)


def refused(act: Callable[[], Any]) -> None:
    """Do something; a LaunchError may come of it, in one sentence."""
    with bounded(200_000):
        try:
            assert isinstance(act(), dict)
        except LaunchError as error:
            assert str(error).isprintable() and 5 < len(str(error)) < 80_000
