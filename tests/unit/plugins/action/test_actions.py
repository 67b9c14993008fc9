# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two action plugins with a transport that is made up: what they ask, whom they believe, and what they decide."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.action import container_relocate, relocations_recover
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import remote
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Misbehaves, Unreachable
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from hypothesis import given, settings
from hypothesis import strategies as st

HOSTS = ("host1", "host2", "host3")
PAIR = ["gate", "gate2"]
GATEWAY = "10.77.0.8"
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.just(10**400)
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from(["web", "source", "voted", "committed", "running", "r1", "commit", "10.0.0.1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "host",
                    "containers",
                    "unfinished",
                    "used_ports",
                    "name",
                    "state",
                    "labels",
                    "relocation",
                    "part",
                    "outcome",
                    "verdict",
                    "changed",
                    "refusals",
                    "port",
                    "result",
                    "id",
                    "msg",
                    "failed",
                    "docker_version",
                    "services",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


class Told(SimpleNamespace):
    """A fleet: ``answers`` gives by host and module what is answered, or a function of the arguments, or an error.

    ``variables`` has what the inventory says of a host beside what it says of all of them.
    """

    def remote(self, _action: Any, host: str, _variables: Any, as_operator: bool = False) -> Any:
        """Stand in for the transport."""
        told, name_of_host = self, host

        class Fake:
            host = name_of_host

            def get(self, name: str, default: Any = None) -> Any:
                number = HOSTS.index(host) + 11 if host in HOSTS else {"gate": 10, "gate2": 9}[host]
                known = {
                    "relocate_fabric_address": f"10.77.0.{number}",
                    "relocate_edge_gateway_address": f"{GATEWAY}/24",
                    **told.variables.get(host, {}),
                }
                return known.get(name, default)

            def fact(self, name: str) -> Any:
                return None

            def module(self, module_name: str, /, **arguments: Any) -> Any:
                if as_operator:
                    told.as_operator.append((host, module_name.rpartition(".")[2]))
                told.calls.append((host, module_name.rpartition(".")[2], arguments))
                answer = told.answers.get((host, module_name.rpartition(".")[2]), {})
                if isinstance(answer, Exception):
                    raise answer
                return copy.deepcopy(answer(arguments) if isinstance(answer, Callable) else answer)  # type: ignore[arg-type]

            def put(self, local: str, path: str) -> None:
                told.calls.append((host, "put", {"local": local, "path": path}))

            def close(self) -> None:
                told.closed.add(host)

        return Fake()


def run(
    plugin: Any,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    check: bool = False,
    fleet_edges: tuple[str, ...] = ("gate",),
    **arguments: Any,
) -> dict[str, Any]:
    """Run an action and return its result."""
    monkeypatch.setattr(remote, "Remote", told.remote)
    task = SimpleNamespace(args=arguments, check_mode=check, async_val=0, action="x", diff=False, environment=None)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/none"))
    action = plugin.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    variables = {"groups": {"docker_hosts": list(HOSTS), "edge": list(fleet_edges)}, "hostvars": {}}
    result: dict[str, Any] = action.run(None, variables)
    return result


def fleet(**answers: Any) -> Told:
    """Return a fleet; ``host1_relocation_info=…`` sets an answer."""
    known: dict[Any, Any] = {(edge, "service_fence"): {"fences": []} for edge in ("gate", "gate2")}
    known |= {tuple(name.split("_", 1)): answer for name, answer in answers.items()}
    return Told(answers=known, variables={}, calls=[], closed=set(), as_operator=[])


# -- two edges ----------------------------------------------------------------------------------------------------------


def journals(**states: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the answer of a host whose parts' journals are in these states, looked at and settled."""

    def answer(arguments: dict[str, Any]) -> dict[str, Any]:
        state, verdict = states.get(arguments["part"], "unknown"), arguments.get("verdict")
        if verdict == "look" or state in ("unknown", "in-progress", "done", "rolled-back"):
            return {"changed": False, "outcome": state, "verdict": None}
        return {"changed": True, "outcome": {"commit": "done"}.get(str(verdict), "rolled-back"), "verdict": verdict}

    return answer


def planned(
    answer: Callable[[dict[str, Any]], dict[str, Any]], **known: Any
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the answer of an edge whose plan is from host1 to host2."""
    return lambda arguments: {**answer(arguments), "places": {"source": "host1", "destination": "host2"}, **known}


def told_between(told: Told, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Run recover on a fleet with two edges; return the result, and whom it settled how."""
    for host in (*HOSTS, *PAIR):
        told.answers.setdefault((host, "relocation_info"), unfinished())
        told.answers.setdefault((host, "relocation_session"), journals())
    result = run(relocations_recover, told, monkeypatch, fleet_edges=tuple(PAIR))
    return result, [order for order in orders(told) if order[2] != "look"]  # type: ignore[misc]


def test_what_the_other_edge_has_decided_settles_the_one_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own journal says something else, and does not count."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", "routing")),
        gate_relocation_session=journals(edge="routing"),
        gate2_relocation_session=journals(standby="done"),
        host2_relocation_session=journals(destination="done"),
    )
    result, settled = told_between(told, monkeypatch)
    assert settled == [("gate", "edge", "commit")] and not result["left"]
    assert all(args.get("decided") for _, name, args in told.calls if args.get("verdict") == "commit")


def test_with_one_edge_away_the_other_s_verdict_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The destination has not acted yet: the edge that is away has told nobody of what this one does not have."""
    told = fleet(
        gate_relocation_info=Unreachable("gate is unreachable"),
        gate_relocation_session=Unreachable("gate is unreachable"),
        gate2_relocation_info=unfinished(("r1", "standby", "routing")),
        gate2_relocation_session=journals(standby="routing"),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=journals(source="voted"),
        host2_relocation_info=unfinished(("r1", "destination", "prepared")),
        host2_relocation_session=journals(destination="prepared"),
    )
    result, settled = told_between(told, monkeypatch)
    rolled_back = [(*who, "roll-back") for who in (("gate2", "standby"), ("host2", "destination"), ("host1", "source"))]
    assert settled == rolled_back
    assert len(result["left"]) == 1 and "gate is unreachable" in result["left"][0]


@pytest.mark.parametrize("lie", ["done", "in-progress"])
def test_between_two_edges_a_liar_is_not_asked(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the edges' plan host2 is the destination: host3 cannot have its source removed, nor hold anybody up."""
    honest = journals(edge="routing")
    plan = {"places": {"source": "host1", "destination": "host2"}}
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", "routing")),
        gate_relocation_session=lambda arguments: {
            **honest(arguments),
            **(plan if arguments["part"] == "edge" else {}),
        },
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=journals(source="voted"),
        host2_relocation_info=unfinished(("r1", "destination", "prepared")),
        host2_relocation_session=journals(destination="prepared"),
        host3_relocation_info=unfinished(("r1", "destination", "draining"), ("r1", "source", "voted")),
        host3_relocation_session=journals(destination=lie, source="in-progress"),
    )
    result, settled = told_between(told, monkeypatch)
    wanted = (("gate", "edge"), ("host2", "destination"), ("host1", "source"))
    assert settled == [(*who, "roll-back") for who in wanted]
    assert len(result["left"]) == 2
    assert all("host3 claims to be its" in sentence for sentence in result["left"])


def test_a_copy_that_may_be_on_a_silent_host_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run there: the frozen source is all there is, or one too many."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", "committed")),
        gate_relocation_session=journals(edge="committed"),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=journals(source="voted"),
        host2_relocation_info=Unreachable("host2 is unreachable"),
        host2_relocation_session=Unreachable("host2 is unreachable"),
    )
    result, settled = told_between(told, monkeypatch)
    assert settled == [] and "may be one of those that do not answer" in result["left"][-1]


def test_a_relocation_that_the_other_edge_is_at_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes over by itself."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", "routing")),
        gate_relocation_session=journals(edge="routing"),
        gate2_relocation_session=journals(standby="in-progress"),
    )
    result, settled = told_between(told, monkeypatch)
    assert settled == [] and result["in_progress"] == ["r1"]


# -- recover ------------------------------------------------------------------------------------------------------------


def unfinished(*entries: tuple[str, str, str]) -> dict[str, Any]:
    """Return a host's answer with what is unfinished there: relocation, part, state."""
    listed = [{"relocation": r, "part": p, "state": s, "container": "web"} for r, p, s in entries]
    return {"relocation_info": {"host": {"docker_version": "28"}, "containers": [], "unfinished": listed}}


def settling(**outcomes: str | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the answer of a host whose parts are at these outcomes; ``unknown`` for others."""

    def answer(arguments: dict[str, Any]) -> dict[str, Any]:
        outcome = outcomes.get(arguments["part"], "unknown")
        verdict = arguments.get("verdict") or {"done": "commit", "rolled-back": "roll-back"}.get(str(outcome))
        return {"changed": outcome not in ("unknown", "in-progress"), "outcome": outcome, "verdict": verdict}

    return answer


def recovered(told: Told, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    """Run recover; hosts that were given no answer have nothing."""
    for host in (*HOSTS, "gate"):
        told.answers.setdefault((host, "relocation_info"), unfinished())
        told.answers.setdefault((host, "relocation_session"), settling())
    result = run(relocations_recover, told, monkeypatch, **arguments)
    assert told.closed >= {host for host, _, _ in told.calls}
    return result


def orders(told: Told) -> list[tuple[str, str, str | None]]:
    """Return whom recover told what: host, part, verdict."""
    return [
        (host, args["part"], args.get("verdict")) for host, name, args in told.calls if name == "relocation_session"
    ]


def test_nothing_to_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told anything."""
    told = fleet()
    result = recovered(told, monkeypatch)
    assert (result["changed"], result["settled"], result["left"], orders(told)) == (False, [], [], [])


@pytest.mark.parametrize(("edge", "verdict"), [("done", "commit"), ("rolled-back", "roll-back")])
def test_the_edge_s_verdict_goes_to_both_hosts(edge: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a commit the source is last, for its frozen copy is removed. On a rollback clients wait for its thaw."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", "voted")),
        gate_relocation_session=settling(edge=edge),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=settling(source=edge),
        host2_relocation_info=unfinished(("r1", "destination", "voted")),
        host2_relocation_session=settling(destination=edge),
    )
    result = recovered(told, monkeypatch)
    settled = [order for order in orders(told) if order[2] != "look"]
    hosts = [("host2", "destination", verdict), ("host1", "source", verdict)]
    assert settled == [("gate", "edge", None), *(hosts if verdict == "commit" else hosts[::-1])]
    assert [each["part"] for each in result["settled"]] == [part for _, part, _ in settled] and not result["left"]


def test_relocations_for_which_clients_wait_are_settled_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge was lost in the middle of several: of some, nothing has been frozen yet, or nothing is frozen any more."""
    edges = [(name, "edge", "routing") for name in ("r1", "r2", "r3", "r4")]
    told = fleet(
        gate_relocation_info=unfinished(*edges),
        gate_relocation_session=settling(edge="rolled-back"),
        host1_relocation_info=unfinished(
            ("r1", "source", "staged"), ("r2", "source", "voted"), ("r3", "source", "committed")
        ),
        host2_relocation_info=unfinished(("r4", "source", "freezing"), ("r1", "destination", "gated")),
    )
    recovered(told, monkeypatch)
    order = [args["relocation"] for host, name, args in told.calls if (host, name) == ("gate", "relocation_session")]
    assert list(dict.fromkeys(order)) == ["r2", "r4", "r1", "r3"]


@pytest.mark.parametrize("edges", [("gate",), tuple(PAIR)])
@pytest.mark.parametrize(
    ("edge", "copy", "gone", "verdict"),
    [
        ("committed", "dead", [], "roll-back"),
        ("draining", "dead", [], "commit"),  # the edge has heard that it ran
        ("committed", "prepared", [], "commit"),
        ("committed", None, [], None),
        ("draining", None, [], None),  # it may run, and lack memory
        ("committed", None, ["host2"], "roll-back"),
        ("draining", None, ["host2"], "commit"),
    ],
)
def test_an_original_that_may_be_all_there_is_is_kept(
    edges: tuple[str, ...],
    edge: str,
    copy: str | None,
    gone: list[str],
    verdict: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that died before its copy had run, or does not answer: no edge alone decides that the source may be removed."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", edge)),
        gate_relocation_session=planned(journals(edge=edge)),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=journals(source="voted"),
        host2_relocation_info=unfinished(("r1", "destination", "prepared")),
        host2_relocation_session=journals(destination=copy) if copy else Unreachable("host2 is unreachable"),
    )
    if copy is None:
        told.answers["host2", "relocation_info"] = Unreachable("host2 is unreachable")
    for host in edges:
        told.answers.setdefault((host, "relocation_session"), journals())
        told.answers.setdefault((host, "relocation_info"), unfinished())
    result = recovered(told, monkeypatch, fleet_edges=edges, gone=gone)
    settled = [order for order in orders(told) if order[2] not in ("look", "serve")]
    parts = [("gate", "edge"), *([("host2", "destination")] if copy else []), ("host1", "source")]
    assert settled == [(*part, verdict) for part in parts if verdict]
    assert bool(result["left"]) is (verdict is None)


@pytest.mark.parametrize("edges", [("gate",), tuple(PAIR)])
@pytest.mark.parametrize(("state", "ran"), [("released", True), ("draining", True), ("committed", False)])
def test_that_an_edge_has_heard_of_the_running_copy_is_told_to_its_host(
    edges: tuple[str, ...], state: str, ran: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host died with the copy before it had written that down: it alone would refuse for ever."""
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", state)),
        gate_relocation_session=planned(journals(edge=state), ran=ran),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=journals(source="voted"),
        host2_relocation_info=unfinished(("r1", "destination", "committed")),
        host2_relocation_session=journals(destination="committed"),
    )
    for edge in edges:
        told.answers.setdefault((edge, "relocation_info"), unfinished())
        told.answers.setdefault((edge, "relocation_session"), journals())
    recovered(told, monkeypatch, fleet_edges=edges)
    given = {args["part"]: args.get("ran") for _, _, args in told.calls if args.get("verdict") == "commit"}
    assert given["destination"] is (ran or None) and given["source"] is None


def test_a_living_relocation_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not even told."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        gate_relocation_session=settling(edge="in-progress"),
    )
    result = recovered(told, monkeypatch)
    assert result["in_progress"] == ["r1"] and orders(told) == [("gate", "edge", None)] and not result["changed"]


@pytest.mark.parametrize(
    ("source", "destination", "verdict"),
    [
        ("committed", None, "commit"),  # it has heard so
        ("voted", "committed", "commit"),
        ("voted", "draining", "commit"),
        ("voted", "voted", "roll-back"),  # it would have been told to run before the edge lost its journal
        ("staged", None, "roll-back"),
        ("voted", None, None),
    ],
)
def test_without_an_edge_s_journal(
    source: str, destination: str | None, verdict: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the destination has heard counts; a source that has not voted was never left; otherwise a person decides."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", source)),
        host1_relocation_session=settling(source="rolled-back"),
    )
    if destination:
        told.answers["host2", "relocation_info"] = unfinished(("r1", "destination", destination))
        told.answers["host2", "relocation_session"] = settling(destination="done")
    result = recovered(told, monkeypatch)
    told_source = {each[2] for each in orders(told) if each[0] != "gate" and each[1] == "source"}
    assert told_source - {"serve"} == {verdict} - {None}  # "serve": its memory, for a copy that drains
    assert bool(result["left"]) == (verdict is None)
    if verdict is None:
        assert "no edge has its journal, and the source is frozen after its vote" in result["left"][0]


def test_without_an_edge_s_journal_a_finished_destination_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal has an end, so it lists nothing: every host is asked whether it was the destination."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=settling(source="done"),
        host3_relocation_session=settling(destination="done"),
    )
    result = recovered(told, monkeypatch)
    assert ("host1", "source", "commit") in orders(told) and not result["left"]


@pytest.mark.parametrize("edges", [("gate",), tuple(PAIR)])
@pytest.mark.parametrize(("state", "verdict"), [("committed", "commit"), ("routing", "roll-back")])
def test_a_check_only_looks_and_says_what_a_run_would_do(
    edges: tuple[str, ...], state: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the journals of all edges, as a run does: here the edge is away, or has no journal, and the other one decides."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", "voted")), host1_relocation_session=journals(source="voted")
    )
    last = edges[-1]
    part = "edge" if last == "gate" else "standby"
    told.answers[last, "relocation_info"] = unfinished(("r1", part, state))
    told.answers[last, "relocation_session"] = journals(**{part: state})
    for edge in edges[:-1]:
        told.answers[edge, "relocation_info"] = Unreachable("gate is unreachable")
        told.answers[edge, "relocation_session"] = Unreachable("gate is unreachable")
    result = recovered(told, monkeypatch, check=True, fleet_edges=edges)
    assert {order[2] for order in orders(told)} == {"look"}
    assert [(each["host"], each["part"], each["verdict"]) for each in result["settled"]] == [
        (last, part, verdict),
        ("host1", "source", verdict),
    ]
    assert {(each["outcome"], each["container"]) for each in result["settled"]} == {("planned", "web")}


def test_a_check_leaves_out_what_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no business of recovery."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        gate_relocation_session=journals(edge="in-progress"),
    )
    result = recovered(told, monkeypatch, check=True)
    assert (result["settled"], result["in_progress"], result["changed"]) == ([], ["r1"], False)


NONSENSE: list[Any] = [
    {"relocation_info": 5},
    {"relocation_info": None},
    {},
    {"relocation_info": {"host": {}, "containers": 5}},
    {"relocation_info": {"host": {}, "containers": [{"state": "running", "labels": {}}]}},
    {"relocation_info": {"host": {}, "containers": [{"name": None, "state": "running", "labels": {}}]}},
    {"relocation_info": {"host": {}, "unfinished": [{"relocation": "r1", "state": "voted"}]}},
    {"relocation_info": {"host": {}, "unfinished": [{"relocation": "../x", "part": "source", "state": "voted"}]}},
    {"relocation_info": {"host": {"memory_available_bytes": 10**400}}},
    {"relocation_info": {"host": {"cpu_flags": "\ud800"}}},
    {"failed": True, "msg": "\x1b[2J"},
    Unreachable("host2 is unreachable: no route"),
    Misbehaves("host2 is set aside"),
]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_a_host_that_misbehaves_does_not_keep_the_others_from_recovery(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named in one sentence; the relocation of the others is settled."""
    told = fleet(
        gate_relocation_session=settling(edge="rolled-back"),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=settling(source="rolled-back"),
        host2_relocation_info=answer,
    )
    result = recovered(told, monkeypatch)
    assert [each["part"] for each in result["settled"]] == ["edge", "source"]
    (sentence,) = result["left"]
    assert "host2" in sentence and sentence.isprintable() and result["failed"]


def test_two_hosts_that_claim_one_part_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is told: which of them is the source a host's word cannot say."""
    told = fleet(
        host1_relocation_info=unfinished(("r1", "source", "voted"), ("r2", "source", "voted")),
        host1_relocation_session=settling(source="rolled-back"),
        host3_relocation_info=unfinished(("r1", "source", "voted")),
        gate_relocation_session=settling(edge="rolled-back"),
    )
    result = recovered(told, monkeypatch)
    settled = {(each["relocation"], each["part"]) for each in result["settled"]}
    assert settled == {("r1", "edge"), ("r2", "edge"), ("r2", "source")}
    assert "host1 and host3 both claim to be its source" in result["left"][0]


def test_a_host_that_knows_an_id_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims to be the source, the destination, even the edge; the edge's plan says who is."""
    plan = {"places": {"source": "host1", "destination": "host2"}}
    told = fleet(
        gate_relocation_session=lambda arguments: {**settling(edge="rolled-back")(arguments), **plan},
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=settling(source="rolled-back"),
        host2_relocation_info=unfinished(("r1", "destination", "prepared")),
        host2_relocation_session=settling(destination="rolled-back"),
        host3_relocation_info=unfinished(*(("r1", part, "done") for part in ("source", "destination", "edge"))),
        host3_relocation_session=settling(source="in-progress", destination="in-progress", edge="done"),
    )
    result = recovered(told, monkeypatch)
    settled = {(each["part"], each["host"], each["verdict"]) for each in result["settled"]}
    assert settled == {
        ("edge", "gate", "roll-back"),
        ("destination", "host2", "roll-back"),
        ("source", "host1", "roll-back"),
    }
    assert len(result["left"]) == 3
    assert all("host3 claims to be its" in sentence and "check that host" in sentence for sentence in result["left"])
    assert not [call for call in told.calls if call[:2] == ("host3", "relocation_session")]


@pytest.mark.parametrize("says", ["in-progress", "unreachable"])
@pytest.mark.parametrize(
    ("state", "ended", "settled"),
    [("holding", "rolled-back", ["edge", "source"]), ("committed", "done", ["edge"])],
    ids=["rolled back", "committed"],
)
def test_a_lying_destination_neither_keeps_the_source_frozen_nor_has_it_removed(
    state: str, ended: str, settled: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rolled back, its copy cannot run and the source goes on; committed, the source waits until it says that it runs."""
    lies: Any = settling(destination="in-progress") if says == "in-progress" else Unreachable("host2 is unreachable")
    told = fleet(
        gate_relocation_info=unfinished(("r1", "edge", state)),
        gate_relocation_session=settling(edge=ended),
        host1_relocation_info=unfinished(("r1", "source", "voted")),
        host1_relocation_session=settling(source=ended),
        host2_relocation_info=unfinished(("r1", "destination", "prepared")),
        host2_relocation_session=lies,
    )
    result = recovered(told, monkeypatch)
    assert [each["part"] for each in result["settled"]] == settled
    if state == "holding":
        assert result["in_progress"] == (["r1"] if says == "in-progress" else [])


@settings(max_examples=150)
@given(answer=ANYTHING, settles=ANYTHING)
def test_recover_ends_whatever_a_host_answers(answer: Any, settles: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The honest relocation is settled, and nothing but the result comes back."""
    told = fleet(
        gate_relocation_session=settling(edge="rolled-back"),
        host1_relocation_info=unfinished(("honest", "source", "voted")),
        host1_relocation_session=settling(source="rolled-back"),
        host2_relocation_info=answer if isinstance(answer, dict) else {"relocation_info": answer},
        host2_relocation_session=settles if isinstance(settles, dict) else {"outcome": settles},
    )
    result = recovered(told, monkeypatch)
    assert ("honest", "source") in {(each["relocation"], each["part"]) for each in result["settled"]}
    assert all(sentence.isprintable() for sentence in result["left"])


@pytest.mark.parametrize(
    ("gone", "silent", "gives_up"),
    [([], "host1", False), (["host1"], "host1", True), (["host3"], "host1", False), (["host1"], "", True)],
    ids=["it may come back", "it will not", "another will not", "it is no longer in the inventory"],
)
def test_memory_of_a_host_that_will_never_come_back_is_not_waited_for(
    gone: list[str], silent: str, gives_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only somebody who knows can say so. The source may be on any host that does not answer."""
    answers: dict[str, Any] = (
        {f"{silent}_relocation_info": Unreachable(f"{silent} is unreachable: no route")} if silent else {}
    )
    told = fleet(
        gate_relocation_session=settling(edge="done"),
        host2_relocation_info=unfinished(("r1", "destination", "draining")),
        host2_relocation_session=settling(destination="lost"),
        **answers,
    )
    result = recovered(told, monkeypatch, gone=gone)
    (order,) = [args for host, name, args in told.calls if (host, name) == ("host2", "relocation_session")]
    assert ("gone" in order) is gives_up
    if gives_up:
        assert "gone with a host that will not come back (host1)" in order["gone"] and not result["left"]


# -- relocate -----------------------------------------------------------------------------------------------------------

HOST = {
    "docker_version": "28.5", "criu_version": "4.2", "kernel": "6.12.1", "architecture": "x86_64", "pycriu": True,
    "proxy": True, "runtime": True, "cordoned": False, "memory_available_bytes": 8 << 30,
    "disk_available_bytes": 80 << 30, "cpu_flags": "fpu",
    "memory_speed": {"write_ms_per_mib": 0.5, "read_ms_per_mib": 0.3}, "networks": [], "userfaultfd": True,
    "dirty_tracking": False,
}  # fmt: skip
WEB = {
    "name": "web", "id": "a" * 64, "state": "running", "labels": {}, "image": "r:5000/web:1", "image_id": "sha256:" + "b" * 64,
    "image_layers": ["sha256:" + "c" * 64], "image_digests": [], "address": "172.20.1.2", "network": None, "ports": [],
    "memory_bytes": 8 << 20, "connections": 0, "layer_bytes": 0, "refusals": [], "started_at": "2026-11-27T00:00:00Z",
}  # fmt: skip


def info(*containers: Any, **host: Any) -> dict[str, Any]:
    """Return a host's answer to relocation_info."""
    described = {
        "host": {**HOST, **host},
        "containers": list(containers),
        "used_ports": [["tcp", 22]],
        "unfinished": [],
    }
    return {"relocation_info": described}


def session(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the edge's session: it commits what it was started with, with ``changes`` in its result."""
    import json

    plan: dict[str, Any] = {}

    def answer(arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "started":
            specification = json.loads(arguments["specification"])
            plan.update(specification.get("plan") or {})
            return {"port": 4711, "pid": 9}
        return {"result": {**plan, "outcome": "committed", "downtime_ms": 80.0, **changes}}

    return answer


def moving(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, **arguments: Any) -> dict[str, Any]:
    """Run a move of ``web``."""
    monkeypatch.setenv("RELOCATE_PROFILES", str(tmp_path / "none"))
    told.answers.setdefault(("gate", "nat_service_info"), {"table": True, "services": []})
    told.answers.setdefault(("gate", "relocation_session"), session())
    for host in HOSTS:
        told.answers.setdefault((host, "relocation_info"), info())
        told.answers.setdefault((host, "relocation_preflight"), {"refusals": [], "image_present": True})
        told.answers.setdefault((host, "relocation_session"), {"port": 4000})
    asked = {"container": "web", "ledger": str(tmp_path / "ledger.jsonl"), **arguments}
    return run(container_relocate, told, monkeypatch, **asked)


def test_a_move(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The parts are started in their order, the edge last; its result is the result."""
    told = fleet(host1_relocation_info=info(WEB))
    result = moving(told, monkeypatch, tmp_path, destination="host2")
    assert (result["outcome"], result["changed"], result["source"]["host"]) == ("committed", True, "host1")
    started = [
        (host, args["part"]) for host, name, args in told.calls if name == "relocation_session" and "part" in args
    ]
    assert started == [("host1", "source"), ("host2", "destination"), ("gate", "edge")]


def pair(told: Told, **changes: Any) -> Told:
    """Give a fleet two edges, of which the first has the addresses."""
    shared: dict[str, Any] = {"table": True, "services": [], "synchronised": True}
    told.answers["gate", "nat_service_info"] = {**shared, "addresses": ["10.77.0.10", GATEWAY]}
    told.answers["gate2", "nat_service_info"] = {**shared, "addresses": ["10.77.0.9"], **changes}
    told.answers["gate2", "relocation_session"] = {"port": 4001}
    return told


def test_a_move_between_two_edges(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The one that has the addresses decides, and the other listens before it begins."""
    told = pair(fleet(host1_relocation_info=info(WEB)))
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=("gate2", "gate"))
    assert result["outcome"] == "committed", result
    assert (result["edge"]["host"], result["standby"]["host"]) == ("gate", "gate2")
    assert result["standby"]["gateway"] == GATEWAY
    orders = {args["part"]: (host, args) for host, name, args in told.calls if "specification" in args}
    assert list(orders) == ["source", "destination", "standby", "edge"] and orders["standby"][0] == "gate2"
    specification = json.loads(orders["edge"][1]["specification"])
    assert specification["standby"] == ["10.77.0.9", 4001]
    assert json.loads(orders["standby"][1]["specification"])["credentials"] != specification["credentials"]


def test_the_result_of_a_move_whose_edge_was_lost_comes_from_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """That one has brought it to its end."""
    told = pair(fleet(host1_relocation_info=info(WEB)))
    told.answers["gate2", "relocation_session"] = session()
    told.answers["gate", "relocation_session"] = lambda arguments: (
        {"port": 0} if arguments["state"] == "started" else _raise(Unreachable("gate is unreachable"))
    )
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert (result["outcome"], result["edge"]["host"]) == ("committed", "gate")


def _raise(error: Exception) -> dict[str, Any]:
    raise error


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"addresses": [GATEWAY]}, "gate and gate2 both have 10.77.0.8, as they do not hear each other"),
        (
            {"services": [{"name": "web", "protocol": "tcp", "virtual_address": "10.88.0.100", "virtual_port": 80,
                           "host_address": "10.77.0.11", "host_port": 8080}]},
            "gate and gate2 do not publish the same of web: run recover.yml",
        ),
        ({"synchronised": False}, "conntrackd does not run on gate2"),
        (
            {"unfinished": [{"relocation": "r0", "part": "edge", "state": "committed", "container": "web"}]},
            "gate2 has a move of web without an end (r0, committed): wait for that move, or run recover.yml",
        ),
        ({"table": False}, "the edge gate2 is not prepared: run prepare.yml"),
    ],
    ids=["both", "unlike", "unsynchronised", "unfinished", "unprepared"],
)  # fmt: skip
def test_a_move_that_the_other_edge_could_not_go_on_with(
    changes: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """It is refused before anything is touched."""
    told = pair(fleet(host1_relocation_info=info(WEB)), **changes)
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert result["outcome"] == "refused" and sentence in result["msg"]
    assert not [args for _, _, args in told.calls if "specification" in args]


def test_two_edges_without_an_address_of_ipv6_that_goes_between_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Clients of IPv6 would be cut off by a failover; others need none."""
    place = {"virtual_address": "2001:db8::1", "virtual_port": 80, "host_address": "fd00::11", "host_port": 8080}
    services = [{"name": "web", "protocol": "tcp", **place}]
    told = pair(fleet(host1_relocation_info=info(WEB)), services=services)
    told.answers["gate", "nat_service_info"].update(services=services, addresses=[GATEWAY, "2001:db8::1"])
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert result["outcome"] == "refused" and "set relocate_edge_gateway_address6 and run" in result["msg"]
    told.variables["gate"] = {"relocate_edge_gateway_address6": "fd00::8/64"}
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert "relocate_edge_gateway_address6" not in result["msg"]


def test_an_edge_that_does_not_answer_is_a_reason_to_refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """It may live, and take over with what it knew before."""
    told = pair(fleet(host1_relocation_info=info(WEB)))
    told.answers["gate2", "nat_service_info"] = Unreachable("gate2 is unreachable")
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert result["outcome"] == "refused"
    assert "gate2 is unreachable, and could take over with an old list of services" in result["msg"]


def test_neither_edge_has_the_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nobody can say where the packets go."""
    told = pair(fleet(host1_relocation_info=info(WEB)))
    told.answers["gate", "nat_service_info"]["addresses"] = ["10.77.0.10"]
    result = moving(told, monkeypatch, tmp_path, destination="host2", fleet_edges=tuple(PAIR))
    assert result["outcome"] == "refused" and "neither of the edges gate and gate2 has 10.77.0.8" in result["msg"]


@pytest.mark.parametrize(
    "answer",
    [*NONSENSE, {"relocation_info": {"host": HOST, "containers": [WEB, WEB]}}],
    ids=repr,
)
def test_a_host_that_misbehaves_is_no_destination_and_stops_no_move(
    answer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The others are drawn from."""
    told = fleet(host1_relocation_info=info(WEB), host2_relocation_info=answer)
    assert moving(told, monkeypatch, tmp_path)["destination"]["host"] == "host3"


@pytest.mark.parametrize(
    "answer",
    [{}, {"refusals": None}, {"refusals": [5]}, {"refusals": "no"}, Unreachable("host2 is unreachable: it went")],
)
def test_a_preflight_that_is_none_is_a_refusal(answer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Of that host alone: another one is drawn; where it was asked for by name the move is refused with its name."""
    for wanted in ({}, {"destination": "host2"}):
        told = fleet(host1_relocation_info=info(WEB), host2_relocation_preflight=answer)
        result = moving(told, monkeypatch, tmp_path, **wanted)
        if wanted:
            assert result["outcome"] == "refused" and "host2" in result["msg"]
        else:
            assert result["destination"]["host"] == "host3"


def test_a_name_that_is_none_asks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The action has a door of its own: a playbook of somebody else's may call it."""
    for name in ("{{ 7 * 7 }}", "a\n", "../x"):
        told = fleet(host1_relocation_info=info(WEB))
        result = moving(told, monkeypatch, tmp_path, container=name)
        assert result["outcome"] == "refused" and "is no container's name" in result["msg"] and told.calls == []


def test_a_container_that_several_hosts_claim(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """It is refused with both names, unless it is known where it runs: a liar pins nobody."""
    told = fleet(host1_relocation_info=info(WEB), host2_relocation_info=info(WEB))
    refused = moving(told, monkeypatch, tmp_path)
    assert "runs on host1 and host2 at once: stop the wrong one, or name the source" in refused["msg"]
    told = fleet(host1_relocation_info=info(WEB), host2_relocation_info=info(WEB))
    result = moving(told, monkeypatch, tmp_path, source="host1", destination="host3")
    assert (result["source"]["host"], result["outcome"]) == ("host1", "committed")


@pytest.mark.parametrize("port", [None, "22; reboot", -1, 65536, 10**400, True, [], {"a": 1}], ids=repr)
def test_a_port_that_is_none_starts_no_edge(port: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The parts that were started give up by themselves."""
    told = fleet(host1_relocation_info=info(WEB), host2_relocation_session={"port": port})
    result = moving(told, monkeypatch, tmp_path, destination="host2")
    assert result["outcome"] == "refused" and "host2" in result["msg"]
    assert ("gate", "edge") not in {(host, args.get("part")) for host, _, args in told.calls}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "r9"},
        {"container": "db"},
        {"destination": {"host": "host3"}},
        {"source": 5},
        {"outcome": 5},
        {"downtime_ms": "0"},
    ],
    ids=repr,
)
def test_a_result_that_is_not_of_this_relocation_is_in_doubt(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """What became of it the journals tell."""
    told = fleet(host1_relocation_info=info(WEB), gate_relocation_session=session(**changes))
    result = moving(told, monkeypatch, tmp_path, destination="host2")
    assert (result["outcome"], result["container"], result["failed"]) == ("in-doubt", "web", True)
    assert "gate" in result["msg"] and "run recover.yml" in result["msg"]


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Unreachable("gate is unreachable: no route"), "no route"),
        ({"failed": True, "msg": "no proxy"}, "gate cannot tell how the move ended (no proxy)"),
    ],
)
def test_an_edge_that_is_lost_after_the_start_leaves_it_in_doubt(
    last: Any, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """It is not refused: something was touched."""
    answers = iter([{"port": 1}, last])

    def session(_: dict[str, Any]) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told = fleet(host1_relocation_info=info(WEB), gate_relocation_session=session)
    result = moving(told, monkeypatch, tmp_path, destination="host2")
    assert result["outcome"] == "in-doubt" and says in result["msg"]


@settings(max_examples=150)
@given(answer=ANYTHING, refuses=ANYTHING, starts=ANYTHING)
def test_a_move_ends_whatever_a_host_answers(
    answer: Any, refuses: Any, starts: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """It is committed at the honest host, or refused, or in doubt: never an exception."""

    def dictionary(value: Any, key: str) -> dict[str, Any]:
        return value if isinstance(value, dict) else {key: value}

    told = fleet(
        host1_relocation_info=info(WEB),
        host2_relocation_info=dictionary(answer, "relocation_info"),
        host2_relocation_preflight=dictionary(refuses, "refusals"),
        host2_relocation_session=dictionary(starts, "port"),
        gate_relocation_session=session(),
    )
    result = moving(told, monkeypatch, tmp_path)
    assert result["outcome"] in ("committed", "refused", "in-doubt")


@settings(max_examples=300)
@given(ANYTHING)
def test_no_answer_breaks_a_reader(answer: Any) -> None:
    """Each returns, or says in one printable sentence what is wrong."""
    readers = (
        reports.host_report, reports.preflight, reports.started, reports.recovered, reports.services, reports.move_result,
        reports.profile,
    )  # fmt: skip
    for read in readers:
        try:
            read(answer)
        except reports.Odd as odd:
            assert str(odd).isprintable()
    assert re.match("[a-z]", reports.kind(answer))
