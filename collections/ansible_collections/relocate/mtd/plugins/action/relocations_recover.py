# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of C(relocate.mtd.relocations_recover): asks the edge for the verdict, then tells the others."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.relocate.mtd.plugins.module_utils import _forms
from ansible_collections.relocate.mtd.plugins.module_utils._states import AFTER_COMMIT, DEAD, LOST
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import options, plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Asking
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import Remotes, Unreachable, checked, said
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports

OPTIONS = {name: {"type": "list", "elements": "str"} for name in ("docker_hosts", "edges", "gone")}
FORMS = dict.fromkeys(OPTIONS, _forms.each(_forms.host_name))
#: What a part answers that has heard the verdict, if it was commit.
COMMITTED = (*AFTER_COMMIT, LOST)
#: What an edge's journal says when the edge has heard that the copy runs.
RAN = ("draining", "released", "done")
#: What it says when the source may still be needed: by the copy's memory, or because the copy has died before it ran.
NEEDS_SOURCE = ("committed", "draining")
FINAL = ("done", "rolled-back")
#: What a source's journal says while the original is frozen, or may be.
FROZEN = ("freezing", "voted")


def verdict_of(edges: list[str], copy: str | None) -> str | None:
    """Return how a relocation ends, by the journals of the edges that answer and of the destination: C(commit) or C(roll-back).

    :param edges: states of edges' parts. :param copy: of the destination's part; None if no host has one; C(dead) if there was
        a copy that nobody has seen run, and nobody can let run any more. The original is all there is then.

    What the destination has acted upon counts before all else, then what an edge has brought to its end. A verdict counts
    if one edge has it: had the move been rolled back all the same, the destination would know. And no verdict is missing that
    somebody has acted upon: the edge tells nobody before the other one has it, and the destination writes down what it hears.
    """
    if copy == DEAD:
        return "commit" if any(each in RAN for each in edges) else "roll-back"
    known = [*([copy] if copy in (*COMMITTED, "rolled-back") else []), *(each for each in edges if each in FINAL)]
    if known:
        return "roll-back" if known[0] == "rolled-back" else "commit"
    if any(each in COMMITTED for each in edges):
        return "commit"
    return "roll-back" if edges or copy else None


def _waits(claims: dict[str, list[dict[str, Any]]]) -> bool:
    """Return whether clients wait for a relocation's end: its original may be frozen. Each takes its time: these come first."""
    return any(each["state"] in FROZEN for each in claims.get("source", []))


class ActionModule(ActionBase):
    """Settles unfinished relocations."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was settled and what was left."""
        super().run(tmp, task_vars)
        groups = (task_vars or {}).get("groups") or {}
        arguments = options.options(self, OPTIONS, FORMS)
        docker_hosts = arguments["docker_hosts"] or list(groups.get("docker_hosts", []))
        edges = arguments["edges"] or list(groups.get("edge", []))
        self._docker_hosts, self._edges = docker_hosts, edges
        self._gone: list[str] = arguments["gone"] or []
        self._silent: set[str] = set()
        self._dead: set[str] = set()  # those of the silent that will not come back
        self._settled: list[dict[str, Any]] = []
        self._left: list[str] = []
        self._in_progress: list[str] = []
        variables = task_vars or {}
        # the movers' login may remove no container: see _settle_fence
        with Remotes(self, variables) as self._remotes, Remotes(self, variables, as_operator=True) as self._operators:
            unfinished = self._unfinished([*edges, *docker_hosts])
            for relocation, claims in sorted(unfinished.items(), key=lambda each: (not _waits(each[1]), each[0])):
                self._settle(relocation, claims, edges)
            for edge in edges:
                self._remove_returned(edge, docker_hosts)
        changed = bool(self._settled)
        result: dict[str, Any] = {"changed": changed, "settled": self._settled, "left": self._left}
        result["in_progress"] = self._in_progress
        if self._left:
            result.update(failed=True, msg="; ".join(self._left))
        return result

    def _unfinished(self, hosts: list[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return by relocation and part what hosts say has no end: each claim's ``host``, ``state`` and ``container``.

        No host but an edge can have an edge's journal, which decides about the others.
        """
        found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._containers: dict[str, list[dict[str, Any]]] = {}
        for host in dict.fromkeys(hosts):
            try:
                result = self._remotes.of(host).module("relocate.mtd.relocation_info", register_fact=False)
                if result.get("failed"):
                    self._silent.add(host)
                    self._left.append(
                        f"{host} cannot tell what is unfinished there ({said(result)}); it is left as it is"
                    )
                    continue
                info = checked(host, reports.host_report, result.get("relocation_info"))
            except Unreachable as error:
                self._silent.add(host)
                if host in self._gone:
                    self._dead.add(host)
                else:
                    self._left.append(f"{error.message}; what it has is left as it is")
                continue
            self._containers[host] = info["containers"]
            for each in info["unfinished"]:
                if each["part"] in ("edge", "standby") and host not in self._edges:
                    self._left.append(
                        f"relocation {each['relocation']}: {host} claims to be its edge, and is none: check that host"
                    )
                    continue
                claims = found.setdefault(each["relocation"], {}).setdefault(each["part"], [])
                claims.append({**each, "host": host})
        return found

    def _believed(
        self, relocation: str, claims: dict[str, list[dict[str, Any]]], places: dict[str, str]
    ) -> dict[str, dict[str, Any]] | None:
        """Return by part the one claim that counts: that of the host which the edge's plan names; None if nobody can tell.

        Any host may say that it has a part of any relocation whose id it has heard of.

        :param places: the plan's hosts by part, if an edge has its journal.
        """
        parts: dict[str, dict[str, Any]] = {}
        for part, entries in claims.items():
            right = [each for each in entries if each["host"] == places.get(part, each["host"])]
            if len(right) > 1:
                names = " and ".join(each["host"] for each in right)
                self._left.append(
                    f"relocation {relocation}: {names} both claim to be its {part}: see which is right, and settle it by hand"
                )
                return None
            self._left += [
                f"relocation {relocation}: {each['host']} claims to be its {part}, which by the edge's plan is "
                f"{places[part]}: check that host"
                for each in entries
                if each not in right
            ]
            parts.update((part, each) for each in right)
        return parts

    def _settle(self, relocation: str, claims: dict[str, list[dict[str, Any]]], edges: list[str]) -> None:
        """Bring one relocation to its end: verdict from the edge, then the hosts.

        After a commit the source is last: its frozen copy is removed, which must not happen before the other runs.
        """
        own = (claims.get("edge") or [{}])[0]
        # a single edge's journal is looked at only where nothing is settled, or where it cannot decide alone
        needs_source = own and self._state(relocation, "edge", own["host"]) in NEEDS_SOURCE
        if len(edges) > 1 or self._task.check_mode or needs_source:
            self._settle_between_edges(relocation, claims, edges)
            return
        verdict = None
        ran = False
        places: dict[str, str] = {}
        for edge in [own["host"]] if own else edges:
            answer = self._tell(relocation, "edge", edge, None)
            if answer is None:
                return
            places.update(answer.get("places") or {})
            ran = ran or bool(answer.get("ran"))
            if answer["outcome"] == "in-progress":
                self._in_progress.append(relocation)
                return
            if answer["outcome"] != "unknown":
                verdict = answer["verdict"]
            if answer.get("changed"):
                self._note(relocation, "edge", own, edge, answer)
        parts = self._believed(relocation, claims, places)
        if parts is None:
            return
        by_edge = verdict is not None
        if verdict is None:
            verdict = self._without_edge(relocation, parts)
            if verdict is None:
                self._left.append(
                    f"relocation {relocation}: no edge has its journal, and the source is frozen after its vote: see whether "
                    "the container runs elsewhere, then thaw or remove it by hand"
                )
                return
        self._settle_hosts(relocation, parts, verdict, by_edge, ran, apart=by_edge and verdict == "roll-back")

    def _settle_hosts(
        self,
        relocation: str,
        parts: dict[str, dict[str, Any]],
        verdict: str | None,
        by_edge: bool,
        ran: bool,
        apart: bool = False,
    ) -> None:
        """Tell the verdict to destination and source.

        :param ran: an edge has heard that the copy runs.
        :param apart: the only edge has rolled back: no copy may run any more, and the source need not wait for what the
            destination says. It is told first, for clients wait.
        """
        gone = self._serve(relocation, parts) if verdict == "commit" else ""
        decided: dict[str, Any] = {"decided": True} if by_edge else {}
        for part in ("source", "destination") if apart else ("destination", "source"):
            if part not in parts:
                continue
            told = dict(decided)
            if part == "destination":
                told.update({"gone": gone} if gone else {}, **({"ran": True} if ran else {}))
            answer = self._tell(relocation, part, parts[part]["host"], verdict, **told)
            if answer is not None and answer["outcome"] == "in-progress":
                self._in_progress.append(relocation)
                answer = None
            if answer is None and not apart:
                return
            if answer is not None and answer.get("changed"):
                self._note(relocation, part, parts[part], parts[part]["host"], answer)

    def _settle_between_edges(self, relocation: str, claims: dict[str, list[dict[str, Any]]], edges: list[str]) -> None:
        """Bring a relocation to its end for which two edges may have a verdict, or one that does not answer now; or plan that.

        Each edge's journal is looked at, and the destination's: see :func:`verdict_of`. An edge that is away is settled by the
        same journals when it is back. While the destination does not answer, nobody can tell whether the original is needed.
        """
        states: dict[tuple[str, str], str] = {}
        places: dict[str, str] = {}
        ran = False
        for edge in edges:
            for part in ("edge", "standby"):
                seen = self._look(relocation, part, edge)
                if seen is None:
                    break
                if seen["outcome"] == "in-progress":
                    self._in_progress.append(relocation)
                    return
                if seen["outcome"] != "unknown":
                    states[part, edge] = seen["outcome"]
                places.update(seen.get("places") or {})
                ran = ran or bool(seen.get("ran"))
        by_plan: dict[str, str] = {part: places[part] for part in ("source", "destination") if part in places}
        parts = self._believed(relocation, {part: claims[part] for part in by_plan if part in claims}, by_plan)
        others = self._believed(relocation, {part: claims[part] for part in set(claims) - set(by_plan)}, {})
        if parts is None or others is None:
            return
        parts.update(others)
        asked = [by_plan["destination"]] if "destination" in by_plan else self._docker_hosts
        planned_dead = self._dead if "destination" in by_plan else set()
        there = [DEAD if host in planned_dead else self._state(relocation, "destination", host) for host in asked]
        source = self._state(relocation, "source", parts["source"]["host"]) if "source" in parts else None
        if "in-progress" in [*there, source]:
            self._in_progress.append(relocation)
            return
        copy = next((state for state in there if state not in (None, "unknown")), None)
        if copy is None and None in there:
            self._left.append(
                f"relocation {relocation}: the host that has the copy may be one of those that do not answer: bring them back "
                "and run recover.yml again"
            )
            return
        verdict = verdict_of(list(states.values()), copy)
        if verdict is None:
            self._left.append(
                f"relocation {relocation}: no edge has its journal, and the source is frozen after its vote: see whether the "
                "container runs elsewhere, then thaw or remove it by hand"
            )
            return
        for (part, edge), state in states.items():
            if state in FINAL:
                continue
            answer = self._tell(relocation, part, edge, verdict, decided=True)
            if answer and answer.get("changed"):
                self._note(relocation, part, parts.get(part, {}), edge, answer)
        self._settle_hosts(relocation, parts, verdict, by_edge=True, ran=ran)

    def _state(self, relocation: str, part: str, host: str) -> str | None:
        """Return the state of a part's journal on a host: C(unknown) if it has none, None if the host does not answer."""
        seen = self._look(relocation, part, host)
        return None if seen is None else str(seen["outcome"])

    def _look(self, relocation: str, part: str, host: str) -> dict[str, Any] | None:
        """Return what a part's journal on a host says, and settle nothing; None if the host does not answer."""
        try:
            answer = self._remotes.of(host).module(
                "relocate.mtd.relocation_session", state="recovered", relocation=relocation, part=part, verdict="look"
            )
            if answer.get("failed"):
                return None
            return checked(host, reports.recovered, answer)
        except Unreachable:
            return None

    def _remove_returned(self, edge: str, docker_hosts: list[str]) -> None:
        """Remove what came back with a host that was dead while its container was restored elsewhere.

        Only if the container runs on another host: then, and only then, the one that came back is the second.
        """
        remote = self._remotes.of(edge)
        try:
            answer = remote.module("relocate.mtd.service_fence", state="listed")
            if answer.get("failed"):
                self._left.append(f"{edge} cannot tell which containers were restored elsewhere ({said(answer)})")
                return
            fences = checked(edge, reports.fences, answer)
        except Unreachable as error:
            if edge not in self._silent:  # else it was said above
                self._left.append(error.message)
            return
        asking = Asking(self._remotes)
        for fence in fences:
            for host in docker_hosts:
                if host in self._containers and asking.address(host) in fence["dead"]:
                    self._settle_fence(edge, fence["name"], host, [asking.address(host), asking.address6(host)])

    def _settle_fence(self, edge: str, container: str, host: str, addresses: list[str]) -> None:
        """Remove a container that came back on a host, and take the host's fence away."""
        here = [each for each in self._containers[host] if each["name"] == container]
        elsewhere = [
            other
            for other, containers in self._containers.items()
            if other != host and any(each["name"] == container and each["state"] == "running" for each in containers)
        ]
        if here and not elsewhere:
            self._left.append(
                f"{container} was restored elsewhere while {host} was dead, and is now on {host} alone: remove it, and restore "
                "a snapshot again, or lead its services there with nat_service"
            )
            return
        settled = {"relocation": None, "part": "returned", "host": host, "container": container, "verdict": None}
        if self._task.check_mode:
            self._settled.append({**settled, "outcome": "planned"})
            return
        steps: list[tuple[str, str, dict[str, Any]]] = []
        if here:
            order = {"state": "removed", "relocation": plan.new_id(), "container": container}
            steps.append((host, "relocate.mtd.relocation_session", order))
        fence = {"name": container, "dead": [each for each in addresses if each], "state": "absent"}
        steps.append((edge, "relocate.mtd.service_fence", fence))
        for where, module, arguments in steps:
            problem = ""
            try:
                answer = self._operators.of(where).module(module, **arguments)
                problem = said(answer) if answer.get("failed") else ""
            except Unreachable as error:
                problem = error.message
            if problem:
                self._left.append(
                    f"{container} came back on {host} after it was restored elsewhere, and the operator's login could not "
                    f"clear it away ({where}: {problem}): run recover.yml where that login works"
                )
                return
        self._settled.append({**settled, "outcome": "removed" if here else "gone"})

    def _serve(self, relocation: str, parts: dict[str, dict[str, Any]]) -> str:
        """Have the source serve the memory that a copy still lacks; if it is gone, return why, else "".

        A source that does not answer may have it still, unless somebody who knows has said that its host will never come back.
        """
        waiting = parts.get("destination", {}).get("state") in ("prepared", "draining")
        if waiting and "source" not in parts and self._gone and self._silent <= {*self._gone}:
            return f"the container's memory is gone with a host that will not come back ({', '.join(self._gone)})"
        if not waiting or parts.get("source", {}).get("state") != "voted" or self._task.check_mode:
            return ""
        host = parts["source"]["host"]
        answer = self._tell(relocation, "source", host, "serve")
        gone = f"the container's memory is gone on {host}: the host was started anew, or the frozen tasks were killed"
        return gone if answer and answer["outcome"] == "gone" else ""

    def _without_edge(self, relocation: str, parts: dict[str, dict[str, Any]]) -> str | None:
        """Return the verdict when no edge has a journal: what the destination has heard, or may still be safely assumed.

        None when only a person can tell: the source has voted, and the destination may have been told to run.
        """
        if parts.get("source", {}).get("state") == "committed":  # it heard so from the edge
            return "commit"
        known = [parts["destination"]["state"]] if "destination" in parts else []
        for host in [] if known else self._docker_hosts:
            answer = self._tell(relocation, "destination", host, None)
            if answer and answer["outcome"] != "unknown":
                known.append(answer["outcome"])
        if any(state in COMMITTED for state in known):
            return "commit"
        voted = parts.get("source", {}).get("state") == "voted"
        return "roll-back" if known or not voted else None

    def _note(self, relocation: str, part: str, known: dict[str, Any], host: str, answer: dict[str, Any]) -> None:
        facts = {"relocation": relocation, "part": part, "host": host, "container": known.get("container")}
        ended = {"verdict": answer.get("verdict"), "outcome": answer.get("outcome", "planned")}
        notes = {"notes": answer["notes"]} if answer.get("notes") else {}
        self._settled.append({**facts, **ended, **notes})

    def _tell(self, relocation: str, part: str, host: str, verdict: str | None, **told: Any) -> dict[str, Any] | None:
        """Have one part settled; None, with a sentence kept, when that failed."""
        if self._task.check_mode:
            return {"changed": True, "outcome": "planned", "verdict": verdict}
        order = {"state": "recovered", "relocation": relocation, "part": part, **told}
        try:
            answer = self._remotes.of(host).module(
                "relocate.mtd.relocation_session", **order, **({"verdict": verdict} if verdict else {})
            )
            if answer.get("failed"):
                self._left.append(f"relocation {relocation}: {host} ({part}): {said(answer)}")
                return None
            return {"changed": False, **checked(host, reports.recovered, answer)}
        except Unreachable as error:
            self._left.append(f"relocation {relocation}: {error.message}")
            return None
