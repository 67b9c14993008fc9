# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(container_relocate) returns for each way in which a move can end: the document, with a sentence and a diff."""

from __future__ import annotations

from typing import Any

from ansible_collections.relocate.mtd.plugins.plugin_utils._move import plan
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.deciding import Wanted


def refused(wanted: Wanted, sentence: str) -> dict[str, Any]:
    """Return the refusal of a move that has no plan."""
    refusal = {"outcome": "refused", "container": wanted.container, "reason": wanted.reason}
    if wanted.identifier:
        refusal["id"] = wanted.identifier
    return {"failed": True, "changed": False, "rolled_back": False, "msg": sentence, **refusal}


def over_budget(document: dict[str, Any], problem: str) -> dict[str, Any]:
    """Return the refusal of a move that would take too long: with its plan, which says what it would have been."""
    refusal = {"outcome": "refused", "rolled_back": False, "changed": False, "failed": True, "msg": problem}
    return {**document, **refusal, "commands": [], "diff": _diff(document)}


def planned(document: dict[str, Any]) -> dict[str, Any]:
    """Return what check mode shows."""
    return {**document, "changed": True, "outcome": "planned", "rolled_back": False, "diff": _diff(document)}


def ended(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a move that was begun, whatever its outcome.

    :param document: its plan. :param result: what the edge's part reported.
    """
    moved = result["outcome"] == "committed"
    told = {**result, "changed": moved, "failed": not moved, "diff": _diff(document)}
    if not moved:
        told["msg"] = _sentence(result)
    return told


def _diff(document: dict[str, Any]) -> dict[str, str]:
    lines = "\n".join(plan.steps(document)) + "\n"
    return {"before": "", "after": lines, "after_header": f"relocation {document['id']}"}


def _sentence(result: dict[str, Any]) -> str:
    why = "; ".join(result.get("problems") or ["no reason was given"])
    name, source = result["container"], result["source"]["host"]
    if result["outcome"] == "refused":
        return why
    if result["outcome"] == "rolled-back":
        return f"the move of {name} was rolled back and it runs on at {source}: {why}"
    if result["outcome"] == "failed":
        there = result["destination"]["host"]
        return (
            f"{name} was moved to {there} and lost there: {why}; its files are there, start it afresh with docker start"
        )
    return f"the move of {name} ({result['id']}) did not come to an end: {why}; run recover.yml to settle it"


# -- a project ------------------------------------------------------------------------------------------------------------


def project_refused(wanted: Wanted, project: str, sentence: str, containers: list[str]) -> dict[str, Any]:
    """Return the refusal of a project's move. :param containers: names of its members, as far as they are known."""
    members = [{**refused(wanted._replace(container=each), sentence), "project": project} for each in containers]
    told = {"outcome": "refused", "project": project, "reason": wanted.reason, "members": members}
    return {"failed": True, "changed": False, "rolled_back": False, "msg": sentence, **told}


def project_planned(document: dict[str, Any]) -> dict[str, Any]:
    """Return what check mode shows of a project's move."""
    planned = {"outcome": "planned", "rolled_back": False}
    members = [{**each, **planned} for each in document["members"]]
    return {**document, **planned, "changed": True, "members": members, "diff": _project_diff(document)}


def project_ended(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a project's move that was begun.

    :param document: its plan. :param result: what the edge's part reported.
    """
    moved = result["outcome"] == "committed"
    members = [
        {**each, "msg": _sentence(each)} if each["outcome"] != "committed" else each for each in result["members"]
    ]
    pauses = [each.get("downtime_ms") or 0.0 for each in members]
    told = {
        **document,
        "outcome": result["outcome"],
        "rolled_back": result["outcome"] == "rolled-back",
        "problems": result["problems"],
        "downtime_ms": max(pauses, default=0.0),
        "members": members,
        "changed": moved,
        "failed": not moved,
        "diff": _project_diff(document),
    }
    if not moved:
        told["msg"] = _project_sentence(told)
    return told


def with_project(container: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return the result of one container that moves with its project.

    :param told: the project's, of :func:`project_planned` or :func:`project_ended`. Its C(members) stay in it.
    """
    own = next(each for each in told["members"] if each["container"] == container)
    of_all = ("project", "changed", "failed", "msg", "members", "diff")
    return {**own, **{name: told[name] for name in of_all if name in told}}


def _project_sentence(result: dict[str, Any]) -> str:
    why = "; ".join(result["problems"]) or "no reason was given"
    name, source, destination = result["project"], result["source"]["host"], result["destination"]["host"]
    if result["outcome"] == "refused":
        return why
    if result["outcome"] == "rolled-back":
        return f"the move of the project {name} was rolled back and all of it runs on at {source}: {why}"
    if result["outcome"] == "torn":
        back = [each["container"] for each in result["members"] if each["outcome"] != "committed"]
        return (
            f"the project {name} was moved to {destination} and torn: {', '.join(back)} could not be resumed there, and runs "
            f"on at {source} with what it had at the freeze: {why}; move it to {destination}, too, or restart it there"
        )
    return (
        f"the move of the project {name} ({result['id']}) did not come to an end: {why}; run recover.yml to settle it"
    )


def _project_diff(document: dict[str, Any]) -> dict[str, str]:
    lines = plan.project_steps(document)
    return {"before": "", "after": "\n".join(lines) + "\n", "after_header": f"relocation {document['id']}"}
