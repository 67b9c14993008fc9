# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a relocation: one document, made before anything is touched; the result is the same document with more in it.

Pure functions over what C(relocation_info) and C(nat_service_info) returned. Selections are JMESPath expressions, so that
what is taken from a host's description can be read in one line.
"""

from __future__ import annotations

import datetime
import secrets
from typing import Any

import jmespath
from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._edge_table import bracketed
from ansible_collections.relocate.mtd.plugins.module_utils._modes import RECREATE
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers

RUNNING = jmespath.compile("containers[?state=='running'].name")
#: Dumping and restoring goes at hundreds of MiB a second; this bounds a stuck one.
DUMP_SECONDS_BASE, DUMP_BYTES_PER_SECOND = 10, 50 << 20


class Refused(Exception):
    """The move is refused, and the message says why and what to do. Nothing has been touched."""


def new_id(now: datetime.datetime | None = None) -> str:
    """Return a relocation's id: when it was asked for (UTC), and 48 random bits, so that no two are alike."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"


def find_container(name: str, hosts: dict[str, dict[str, Any]], known: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return the host that has the container and the container's description.

    :param hosts: C(relocation_info) by host name. :param known: the host that is believed, should several claim to run it.
    :raises Refused: no host has it, or two do and both run.
    """
    found = [(host, each) for host, info in hosts.items() for each in info["containers"] if each["name"] == name]
    running = [pair for pair in found if pair[1]["state"] == "running"]
    if len(running) > 1:
        believed = [pair for pair in running if pair[0] == known]
        if believed:
            return believed[0]
        places = " and ".join(host for host, _ in running)
        raise Refused(f"the container {name} runs on {places} at once: stop the wrong one, or name the source (--from)")
    if running:
        return running[0]
    if found:
        return found[0]
    names = sorted({each for info in hosts.values() for each in RUNNING.search(info)})
    known = f"there are: {', '.join(names)}" if names else "no container runs anywhere"
    raise Refused(f"no host of the fleet has a container named '{name}' ({known})")


def container_services(
    container: dict[str, Any], services: list[dict[str, Any]], host: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the edge's services of a container, with the container's port beside the host's.

    :param host: where it runs: C(address), and C(address6) if there is one.
    :raises Refused: a service of this name points elsewhere or to a port that the container does not publish.
    """
    published = {(port["protocol"], port["host_port"]): port["container_port"] for port in container["ports"]}
    result = []
    for service in services:
        if service["name"] != container["name"]:
            continue
        place = virtual(service)
        if service["host_address"] not in (host["address"], host.get("address6")):
            raise Refused(
                f"the edge sends {place} of {container['name']} to {service['host_address']}, where it does not run: "
                "run recover.yml, or set it right with nat_service"
            )
        key = (service["protocol"], service["host_port"])
        if key not in published:
            raise Refused(
                f"the edge sends {place} to port {service['host_port']}, which {container['name']} does not publish: "
                "set it right with nat_service"
            )
        kept = ("protocol", "virtual_address", "virtual_port", "host_port")
        result.append({**{name: service[name] for name in kept}, "container_port": published[key]})
    return result


def virtual(service: dict[str, Any]) -> str:
    """Return where the outside finds a service, for people: C(10.88.0.100:7000/tcp), C([2001:db8::100]:7000/tcp)."""
    return f"{bracketed(service['virtual_address'])}:{service['virtual_port']}/{service['protocol']}"


def active_edge(gateway: str, container: str, answers: dict[str, dict[str, Any]]) -> str:
    """Return which of two edges has the packets and may decide a move, while the other is ready to go on with it.

    :param gateway: the address that goes from one to the other. :param answers: C(nat_service_info) of each.
    :raises Refused: none has, both have, or they do not publish the same.
    """
    names = " and ".join(answers)
    if not gateway:
        raise Refused(
            f"the edges {names} need an address that goes from one to the other: set relocate_edge_gateway_address"
        )
    having = [edge for edge, answer in answers.items() if gateway in answer["addresses"]]
    if not having:
        raise Refused(
            f"neither of the edges {names} has {gateway}: see whether keepalived runs there, or run prepare.yml"
        )
    if len(having) > 1:
        raise Refused(
            f"the edges {names} both have {gateway}, as they do not hear each other: see to the network between them"
        )
    for edge, answer in answers.items():
        if not answer["synchronised"]:
            raise Refused(
                f"conntrackd does not run on {edge}: connections would break if an edge is lost; start it, or run prepare.yml"
            )
        for each in answer["unfinished"]:
            if each.get("container") == container:
                raise Refused(
                    f"{edge} has a move of {container} without an end ({each['relocation']}, {each['state']}): wait for "
                    "that move, or run recover.yml if nothing is going on"
                )
    (first, *others) = ([{**each} for each in answer["services"]] for answer in answers.values())
    if any(services != first for services in others):
        raise Refused(f"the edges {names} do not publish the same of {container}: run recover.yml")
    active = having[0]
    away = [each["virtual_address"] for each in first if each["virtual_address"] not in answers[active]["addresses"]]
    if away:
        raise Refused(f"{active} has {gateway}, but not {away[0]}: run prepare.yml, so that keepalived gives it both")
    return active


def make(
    container: dict[str, Any],
    source: dict[str, str],
    destination: dict[str, str],
    edge: dict[str, str],
    services: list[dict[str, Any]],
    *,
    reason: str,
    decision: dict[str, Any],
    choice: dict[str, Any],
    identifier: str | None = None,
    standby: dict[str, str] | None = None,
    image: dict[str, Any] | None = None,
    networks: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the plan.

    :param source, destination, edge: C(host), its name in the inventory, C(address) on the fleet's network, and C(address6).
    :param services: what :func:`container_services` returned.
    :param decision: the mode and its predicted downtime (:func:`prediction.decide`).
    :param choice: how the destination was chosen.
    :param image: what it takes to send the image, if the destination lacks it (:func:`prediction.image_sent`).
    :param networks: those that the destination makes: C(what) and C(settings) of each.
    :param standby: the other edge, if there is one: C(host), C(address), and C(gateway), the address that packets go to.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "id": identifier or new_id(now),
        "started_at": now.isoformat(timespec="milliseconds"),
        "container": container["name"],
        "tenant": container["labels"].get("relocate.mtd/tenant"),
        "source": source,
        "destination": destination,
        "edge": edge,
        **({"standby": standby} if standby else {}),
        "reason": reason,
        **decision,
        "image": container["image"],
        **({"image_sent": image} if image else {}),
        "address_before": container["address"],
        **({"address6_before": container["address6"]} if container.get("address6") else {}),
        "memory_bytes": container["memory_bytes"],
        **({"walk_ms": container["walk_ms"]} if container.get("walk_ms") else {}),
        "volumes": container.get("volumes") or [],
        **({"networks": networks} if networks else {}),
        **({"kept_addresses": container["kept_addresses"]} if container.get("kept_addresses") else {}),
        "services": services,
        "choice": choice,
        "dump_seconds": DUMP_SECONDS_BASE + container["memory_bytes"] // DUMP_BYTES_PER_SECOND,
    }


def _downtime(plan: dict[str, Any]) -> str:
    others = [f"{mode} {ms:.0f} ms" for mode, ms in plan["predictions"].items() if mode != plan["mode"]]
    beside = f"; {', '.join(others)}" if others else ""
    predicted = f"{plan['predicted_downtime_ms']:.0f} ms predicted, {plan['predicted_from']}"
    return f"{predicted}; at most {plan['downtime_limit_ms']:g} ms allowed{beside}"


def _live(plan: dict[str, Any]) -> list[str]:
    return [f"mode         {plan['mode']}: {plan['mode_why']}", f"downtime     {_downtime(plan)}"]


def _anew(plan: dict[str, Any]) -> list[str]:
    source, destination = plan["source"]["host"], plan["destination"]["host"]
    return [
        f"strategy     recreate: made anew from its image and settings; once healthy, new connections go to {destination}",
        "lost         its memory, what it has written to its own files, and its log",
        f"drained      its connections go on at {source} for at most {plan['drain_limit_s']:g} s, and are cut then; both run "
        "until it is stopped",
    ]


def steps(plan: dict[str, Any]) -> list[str]:
    """Return the plan as lines for people: what C(--check --diff) prints."""
    source, destination = plan["source"], plan["destination"]
    which = "the same" if plan.get("kept_addresses") else "a new"
    lines = [
        f"container    {plan['container']} (image {plan['image']}, {plan['memory_bytes'] / 2**20:.0f} MiB resident)",
        f"from         {source['host']} ({source['address']}), address {plan['address_before']}",
        f"to           {destination['host']} ({destination['address']}), with {which} address",
        *(_anew(plan) if plan.get("strategy") == RECREATE else _live(plan)),
    ]
    if plan.get("walk_ms"):
        lines.append(
            f"reserved     address space that CRIU goes through while it stands still: {plan['walk_ms']:.0f} ms of that"
        )
    lines += [f"no           {mode}: {reason}" for mode, reason in plan["modes_unavailable"].items()]
    if plan.get("image_sent"):
        size, seconds = plan["image_sent"]["bytes"] / 2**20, plan["image_sent"]["ms"] / 1e3
        lines.append(f"image        sent by {source['host']} ({size:.0f} MiB, about {seconds:.0f} s), while it runs")
    for volume in plan.get("volumes") or []:
        name = "a volume without a name" if volume["anonymous"] else volume["name"]
        lines.append(
            f"volume       {name} at {volume['point']} ({volume['bytes'] / 2**20:.0f} MiB), copied while it runs"
        )
    if "together" not in plan:  # a project says so once
        lines += network_steps(plan.get("networks") or [], destination["host"])
    choice = plan["choice"]
    if choice.get("why"):
        lines.append(f"why          {choice['why']}")
    for host, share in (choice.get("distribution") or {}).items():
        lines.append(f"drawn from   {host} {share:.3f}")
    lines += [f"note         {note}" for note in choice.get("notes") or []]
    for service in plan["services"]:
        there = bracketed(destination["address6" if ":" in service["virtual_address"] else "address"])
        lines.append(
            f"service      {virtual(service)} -> {there}:{service['host_port']}, "
            f"{'turned' if plan.get('strategy') == RECREATE else 'held'} at {plan['edge']['host']}"
        )
    if plan.get("standby"):
        lines.append(f"edges        {plan['edge']['host']} decides; {plan['standby']['host']} goes on if it is lost")
    return [strangers.shown(line) for line in lines]


def network_steps(networks: list[dict[str, Any]], host: str) -> list[str]:
    """Return what is done to the destination's networks as lines for people.

    :param networks: C(what) and C(settings) of each.
    """
    words = {
        _networks.MADE: "makes {} on {}",
        _networks.RENEWED: "makes {} on {} anew: nothing is on the one there, and its addresses could not be kept",
    }
    return [f"network      {words[each['what']].format(_networks.shown(each['settings']), host)}" for each in networks]


def project_steps(document: dict[str, Any]) -> list[str]:
    """Return the plan of a project as lines for people."""
    names = ", ".join(each["container"] for each in document["members"])
    lines = [
        f"project      {document['project']}: {names}",
        "together     all are frozen, restored, and released at once; if one cannot be moved, none is",
        f"downtime     {document['predicted_downtime_ms']:.0f} ms predicted for all, {document['predicted_from']}; at most "
        f"{document['downtime_limit_ms']:g} ms allowed",
    ]
    lines += network_steps(document["networks"], document["destination"]["host"])
    left = document["left_behind"]
    lines += [f"stays        {name}, which does not run" for name in left["stopped"]]
    lines += [
        f"stays        {name}, which is on a network of the project, and will not find it there"
        for name in left["others"]
    ]
    for member in document["members"]:
        lines += ["", *steps(member)]
    return [strangers.shown(line) for line in lines]
