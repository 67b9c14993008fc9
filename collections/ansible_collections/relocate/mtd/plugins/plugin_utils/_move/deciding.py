# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a container moves, where to, and how: from what is wanted and what the hosts answered.

What is refused is raised as Refused, with the reason and the remedy in one sentence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.relocate.mtd.plugins.module_utils._downtime import DEFAULT_LIMIT_MS, limit_problem, together_ms
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Form, each, host_name, number, path, remark
from ansible_collections.relocate.mtd.plugins.module_utils._modes import (
    ASKABLE,
    ASKABLE_STRATEGIES,
    DRAIN_LIMIT_S,
    LIVE,
    MODES,
    PREFERENCES,
    RECREATE,
    SAFETY,
    STRATEGIES,
    STRATEGY_LABEL,
    mode_refusals,
)
from ansible_collections.relocate.mtd.plugins.module_utils._networks import wanted as wanted_networks
from ansible_collections.relocate.mtd.plugins.module_utils._preflight import host_refusals
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import FactError
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.profiles import (
    agreeing,
    default_directory,
    from_directory,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.selection import Selection
from ansible_collections.relocate.mtd.plugins.plugin_utils._move import ledger, plan, prediction, project, survey
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.asking import Answers
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.plan import Refused
from ansible_collections.relocate.mtd.plugins.plugin_utils._move.remote import checked
from ansible_collections.relocate.mtd.plugins.plugin_utils._placement import policy
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports, strangers

#: Options of a task that asks for a move, or whether there could be one.
OPTIONS: dict[str, dict[str, Any]] = {
    "container": {"type": "str", "required": True},
    "destination": {"type": "str"},
    "source": {"type": "str"},
    "docker_hosts": {"type": "list", "elements": "str"},
    "edge": {"type": "str"},
    "mode": {"type": "str", "choices": list(ASKABLE), "default": "auto"},
    "prefer": {"type": "str", "choices": list(PREFERENCES), "default": SAFETY},
    "strategy": {"type": "str", "choices": list(ASKABLE_STRATEGIES), "default": "auto"},
    "downtime_limit_ms": {"type": "float", "default": DEFAULT_LIMIT_MS},
    "ledger": {"type": "path"},
}

#: Their forms. Of some, :func:`check` says more, as the result of the move.
FORMS: dict[str, Form] = {
    "container": lambda name: name,
    **dict.fromkeys(("destination", "source", "edge"), remark),
    "docker_hosts": each(host_name),
    "downtime_limit_ms": number(-1e12, 1e12),
    "ledger": path,
}


class Wanted(NamedTuple):
    """What the caller wants: the module's options, with the inventory's groups where they name no host."""

    container: str
    destination: str | None
    docker_hosts: list[str]
    edges: list[str]
    mode: str
    prefer: str
    downtime_limit_ms: float
    ledger: str | None
    source: str | None
    strategy: str = "auto"
    drain_limit_s: float = DRAIN_LIMIT_S
    reason: str = ""
    identifier: str | None = None
    policy: dict[str, Any] | None = None

    @classmethod
    def of(cls, arguments: dict[str, Any], groups: dict[str, list[str]]) -> Wanted:
        """Return what the arguments of a task ask for. :param groups: the inventory's."""
        return cls(
            docker_hosts=arguments["docker_hosts"] or list(groups.get("docker_hosts", [])),
            edges=[arguments["edge"]] if arguments["edge"] else list(groups.get("edge", [])),
            **{name: arguments[name] for name in cls._fields if name in arguments and name != "docker_hosts"},
        )


class Resident(NamedTuple):
    """The container that is to move, and the host that has it."""

    host: str
    container: dict[str, Any]


#: Asks a host whether it can take the container; returns why not.
Preflight = Callable[[str], list[str]]


def check(wanted: Wanted) -> None:
    """Check what can be checked before any host is asked. :raises Refused: it makes no sense for this inventory."""
    problem = limit_problem(wanted.downtime_limit_ms)
    if problem:
        raise Refused(problem)
    try:
        strangers.container_name(wanted.container)
        if wanted.identifier:
            strangers.identifier(wanted.identifier)
    except strangers.Odd as odd:
        raise Refused(str(odd)) from None
    try:
        policy.Settings.from_mapping(wanted.policy or {})
    except ValueError as error:
        raise Refused(f"relocate_policy: {error}") from error
    if not wanted.docker_hosts or not wanted.edges:
        raise Refused("the inventory has no fleet: the groups docker_hosts and edge each need a host")
    if wanted.destination and wanted.destination not in wanted.docker_hosts:
        raise Refused(
            f"there is no Docker host '{wanted.destination}' in the inventory "
            f"(there are: {', '.join(wanted.docker_hosts)})"
        )


def found(wanted: Wanted, answers: Answers) -> Resident:
    """Return the container and its host. :raises Refused: no host that answers has it, or what the host says of it is odd."""
    try:
        source, container = plan.find_container(wanted.container, answers.hosts, wanted.source)
    except Refused as refused:
        if answers.silent:
            raise Refused(f"{refused}; not heard: {'; '.join(answers.silent.values())}") from None
        raise
    checked(source, reports.movable, container)
    settings = answers.hosts[source]["host"].get("network_settings") or {}
    networks = container.get("networks") or {}
    needs: dict[str, Any] = {"wanted_networks": wanted_networks(networks, settings)}
    if len(networks) > 1:
        needs["kept_addresses"] = project.kept_addresses(container, answers.hosts[source]["host"].get("subnets") or {})
    return Resident(source, {**container, **needs})


def strategy(wanted: Wanted, container: dict[str, Any]) -> str:
    """Return the strategy of a move: the one that is asked for, else what the container's label says, else live.

    :raises Refused: the label forbids what is asked for, or is none.
    """
    label = container["labels"].get(STRATEGY_LABEL)
    if label not in (None, *STRATEGIES):
        raise Refused(
            f"the container {container['name']} is labelled {STRATEGY_LABEL}={strangers.shown(label)[:80]}: use one of "
            f"{', '.join(STRATEGIES)}"
        )
    chosen: str = wanted.strategy if wanted.strategy != "auto" else label or LIVE
    if chosen == RECREATE and label == LIVE:
        raise Refused(
            f"the container {container['name']} is labelled {STRATEGY_LABEL}={LIVE}, so that it is never made anew: use the "
            "strategy live"
        )
    return chosen


def stays(moving: Resident, answers: Answers, strategy: str, together: bool = False) -> list[str]:
    """Return why the container cannot leave its host now, wherever it is to go.

    :param together: it moves with all of its project; else it may not be torn away from that.
    """
    source, container = moving
    info = answers.hosts[source]
    refusals = list(container["refusals"] if strategy == LIVE else _stays_whole(moving))
    refusals += project.bridged(container)
    if not together:
        refusals += project.torn(container, info["containers"])
    return refusals + host_refusals(source, info["host"]) + _under_way(container["name"], info)


def _stays_whole(moving: Resident) -> list[str]:
    """Return why the container cannot be made anew elsewhere."""
    unknown = (
        f"{moving.host} does not tell whether {moving.container['name']} can be made anew elsewhere: run prepare.yml"
    )
    found: list[str] = moving.container.get("recreate_refusals", [unknown])
    return found


def remedy(moving: Resident, strategy: str) -> str:
    """Return what can be done where only a live move is refused; nothing where something else stands in the way."""
    container = moving.container
    anew = strategy == LIVE and container["refusals"] and not _stays_whole(moving)
    if not anew or container["labels"].get(STRATEGY_LABEL) == LIVE:
        return ""
    return (
        "or have it made anew at the destination (--strategy recreate), which loses its memory and the files that are in no "
        "shared directory"
    )


def as_new(container: dict[str, Any], source: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a container and its source as a destination is asked about them that makes it anew.

    What its programs use now, and the processor they have found, do not bind new ones. Its image is not sent: it is there, or
    can be pulled.
    """
    free = {"processors": [], "areas": 0, "committed_bytes": 0, "image_bytes": 0, "security_label": ""}
    return {**container, **free}, {**source, "host": {**source["host"], "cpu_flags": "", "cgroup_version": None}}


def resident(wanted: Wanted, answers: Answers) -> Resident:
    """Return the container and its host. :raises Refused: it is nowhere, cannot leave, or is where it is wanted already."""
    moving = found(wanted, answers)
    not_here_already(wanted, moving)
    if wanted.destination in answers.silent:
        raise Refused(f"the destination {answers.silent[wanted.destination]}")
    chosen = strategy(wanted, moving.container)
    refusals = stays(moving, answers, chosen)
    if refusals:
        raise Refused("; ".join([*refusals, *filter(None, [remedy(moving, chosen)])]))
    return moving


def not_here_already(wanted: Wanted, moving: Resident) -> None:
    """Do nothing if the container is wanted elsewhere. :raises Refused: it is where it is wanted."""
    if wanted.destination == moving.host:
        raise Refused(f"the container {wanted.container} is already on {moving.host}: name another destination")


def _under_way(container: str, info: dict[str, Any]) -> list[str]:
    return [
        f"the container {container} is being relocated already ({each['relocation']}, {each['state']}): "
        "wait for that move, or run recover.yml if nothing is going on"
        for each in info["unfinished"]
        if each["container"] == container
    ]


def destination(
    wanted: Wanted, moving: Resident, answers: Answers, preflight: Preflight, show_draw: bool
) -> tuple[str, dict[str, Any]]:
    """Return the destination and how it was chosen, after asking that host itself.

    :param show_draw: with what was not drawn; that says what may come next: it is for the plan, never for the ledger.
    :raises Refused: the wanted host cannot take the container, or no host can.
    """
    if wanted.destination:
        refusals = preflight(wanted.destination)
        if refusals:
            raise Refused("; ".join(refusals))
        return wanted.destination, {"host": wanted.destination, "policy": "given"}
    settings, profiles, notes = _policy(wanted.policy or {}, moving.host)
    refused: dict[str, list[str]] = {}
    while True:
        try:
            choice = policy.choose_destination(
                survey.moving(*moving), survey.candidates(answers.hosts, answers.silent, refused), profiles, settings
            )
        except (policy.NoDestination, ValueError) as error:
            raise Refused(str(error)) from error
        refusals = preflight(choice.host)
        if not refusals:
            shown = choice.plan() if show_draw else choice.record()
            return choice.host, {**shown, "why": choice.sentence(), "notes": [*notes, *choice.notes]}
        refused[choice.host] = refusals


def _policy(options: dict[str, Any], source: str) -> tuple[policy.Settings, dict[str, Any], list[str]]:
    """Return the settings of the draw, the profiles it needs, and what the operator should know about that.

    Without a profile of the source no difference can be measured, and the draw is uniform: still unpredictable.

    :raises Refused: the settings are wrong.
    """
    aside: dict[str, str] = {}
    try:
        settings = policy.Settings.from_mapping(options)
        profiles = dict(from_directory(default_directory(), aside=aside)) if settings.policy != "uniform" else {}
        profiles = agreeing(profiles, aside, Selection(settings.include, settings.exclude))
    except FactError:
        profiles = {}
    except ValueError as error:
        raise Refused(f"relocate_policy: {error}") from error
    if settings.policy == "uniform" or source in profiles:
        return settings, profiles, list(aside.values())
    uniform = dataclasses.replace(settings, policy="uniform")
    return (
        uniform,
        {},
        [f"{source} has no profile, so the draw was uniform: run playbooks/profile.yml to draw by difference"],
    )


def mode(
    wanted: Wanted, moving: Resident, destination: str, answers: Answers, modes: tuple[str, ...] = MODES
) -> dict[str, Any]:
    """Return the mode of the move with its predicted downtime.

    :param modes: those that there are for this move.
    :raises Refused: the mode that is asked for cannot be had between these hosts, or none can.
    """
    source, container = moving
    if strategy(wanted, container) == RECREATE:
        return prediction.without_pause(wanted.mode, wanted.downtime_limit_ms, wanted.drain_limit_s)
    here, there = answers.hosts[source]["host"], answers.hosts[destination]["host"]
    refused = {mode: mode_refusals(mode, container, source, here, destination, there) for mode in modes}
    if refused.get(wanted.mode):
        raise Refused("; ".join(refused[wanted.mode]))
    if all(refused.values()):
        raise Refused("; ".join(dict.fromkeys(reason for reasons in refused.values() for reason in reasons)))
    predictions = prediction.predict(
        container,
        [mode for mode in modes if not refused[mode]],
        (source, here),
        (destination, there),
        ledger.committed_between(_known_moves(wanted), set(answers.addresses.items())),
    )
    decision = prediction.decide(wanted.mode, predictions, wanted.downtime_limit_ms, wanted.prefer)
    unavailable = {mode: "; ".join(reasons) for mode, reasons in refused.items() if reasons}
    return {**decision, "strategy": LIVE, "modes_unavailable": unavailable}


def _known_moves(wanted: Wanted) -> list[dict[str, Any]]:
    return ledger.latest(Path(wanted.ledger) if wanted.ledger else ledger.default_path())


def pause_together(wanted: Wanted, answers: Answers, predicted: list[float]) -> dict[str, Any]:
    """Return what the plan says of the pause of containers that move together.

    :param predicted: of each, were it alone, in ms.
    """
    known = ledger.together_between(_known_moves(wanted), set(answers.addresses.items()))
    factor, moves = prediction.learned_together(known)
    ms = round(together_ms(predicted, factor), 1)
    why = (
        f"{factor:.1f} times their sum, from the last {moves} moves of projects"
        if moves
        else "their sum; no move is known yet"
    )
    return {"predicted_downtime_ms": ms, "predicted_from": why}
