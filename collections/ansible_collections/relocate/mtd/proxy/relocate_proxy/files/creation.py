# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document from which a container is made again: written by the source, and not believed by the destination."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _binds, _criu, _images, _preflight, _volumes

from ..host import paths
from ..network import links, sysctls
from ..protocol.addresses import Addresses
from ..protocol.messages import is_text
from ..protocol.words import sentence, shown

#: What the source's "described" must have, and of which type.
PARTS: dict[str, type] = {
    "name": str,
    "create": dict,
    "image": str,
    "image_layers": list,
    "restart_policy": dict,
    "masked": list,
    "memory": list,
    "plain_cgroups": bool,
    "volumes": list,
    "binds": list,
    "init": bool,
}
#: What is ours to say until the copy is Docker's own: no policy may start it, and its start is a restore. ``--rm`` is the
#: container's: a copy that is cancelled may remove itself.
OURS: dict[str, Any] = {
    "Runtime": paths.RUNTIME_NAME,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "ContainerIDFile": "",
}


#: What ``docker run --network name=…`` says of a container's place in a network, beside its addresses and names.
OF_ENDPOINT = ("DriverOpts", "GwPriority", "IPAMConfig")


class Untrusted(ValueError):
    """The source describes a container that must not be made here."""


def creation_document(inspect: dict, kept: dict[str, str] | None = None) -> dict:
    """Return the body of ``POST /containers/create`` that makes the same container, from what ``inspect`` says.

    The restart policy is left out until the commit: nothing but us may start the copy. Addresses that Docker chose are left
    out: they change.

    :param kept: the addresses of its links, in their order, if it is to have the very same: it has several, or what moves with
        it knows them. Docker is told of its networks in that order.

    Generated names (a hostname that is the ID) stay: the process may have read them. So do ports that Docker chose: the edge
    knows them.
    """
    body = copy.deepcopy(inspect["Config"])
    body["Entrypoint"] = body.get("Entrypoint") or [""]  # none at all would be the image's own
    host = copy.deepcopy(inspect["HostConfig"])
    host.update(copy.deepcopy(OURS))
    host["PortBindings"] = _pinned(host, inspect["NetworkSettings"].get("Ports") or {})
    if host.get("PublishAllPorts"):
        host["PublishAllPorts"] = False
    body["HostConfig"] = host
    networks = {}
    places = {address: number for number, address in enumerate((kept or {}).values())}
    told = (inspect["NetworkSettings"].get("Networks") or {}).items()
    for name, settings in sorted(told, key=lambda each: places.get(each[1].get("IPAddress"), len(places))):
        if host["NetworkMode"] in ("default", "bridge"):  # it takes no names and no addresses
            if settings.get("DriverOpts"):
                networks[name] = {"DriverOpts": settings["DriverOpts"]}
            break
        aliases = [alias for alias in settings.get("Aliases") or [] if not inspect["Id"].startswith(alias)]
        networks[name] = {"Aliases": aliases, **{key: settings[key] for key in OF_ENDPOINT if settings.get(key)}}
        if kept:
            networks[name]["IPAMConfig"] = {**(settings.get("IPAMConfig") or {}), **_addresses(settings)}
    if networks:
        body["NetworkingConfig"] = {"EndpointsConfig": networks}
    return body


def _addresses(settings: dict) -> dict[str, str]:
    """Return a container's addresses in a network, as ``IPAMConfig`` asks for them. :param settings: what ``inspect`` says."""
    had = {"IPv4Address": settings.get("IPAddress"), "IPv6Address": settings.get("GlobalIPv6Address")}
    return {key: address for key, address in had.items() if address}


def addresses_asked(body: dict) -> dict[str, Addresses]:
    """Return by network the addresses that a document asks for; "" for none. :param body: of ``POST /containers/create``."""
    asked = {name: each.get("IPAMConfig") or {} for name, each in _endpoints(body).items()}
    return {name: Addresses(*(each.get(f"IPv{of}Address") or "" for of in (4, 6))) for name, each in asked.items()}


def priorities(body: dict) -> dict[str, int]:
    """Return by network the priority of its gateway that a document asks for. :param body: of ``POST /containers/create``."""
    asked = {name: each.get("GwPriority") for name, each in _endpoints(body).items()}
    return {name: priority for name, priority in asked.items() if isinstance(priority, int)}


def _endpoints(body: dict) -> dict[str, dict]:
    return (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}


def dropped(body: dict, made: dict) -> list[str]:
    """Return the settings that Docker was asked for and has left out: it warns where a kernel lacks something, and goes on.

    :param body: of ``POST /containers/create``. :param made: ``docker inspect`` of what came of it.
    """
    host = made["HostConfig"]
    return sorted(name for name, value in body["HostConfig"].items() if value and host.get(name) != value)


def changes(described: dict, now: dict, policy: dict) -> list[str]:
    """Return what of a container's name, settings and networks is not what was described: where that is, dotted.

    :param described: ``docker inspect``, from which the copy is made. :param now: the same, later.
    :param policy: the restart policy that it should have now: a move puts the container's own aside.
    """
    host = {**described["HostConfig"], "RestartPolicy": policy}
    before, after = _settings({**described, "HostConfig": host}), _settings(now)
    return sorted(place for place in before.keys() | after.keys() if before.get(place) != after.get(place))


def _settings(inspect: dict) -> dict[str, Any]:
    """Return what a copy is made from, by place. Names in a network have no order."""
    policy = inspect["HostConfig"].get("RestartPolicy") or {}
    found = {"Name": inspect["Name"]}
    found |= {f"{part}.{name}": value for part in ("Config", "HostConfig") for name, value in inspect[part].items()}
    found["HostConfig.RestartPolicy"] = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    for network, settings in (inspect["NetworkSettings"].get("Networks") or {}).items():
        found[f"Networks.{network}"] = {
            name: sorted(value) if isinstance(value, list) else value for name, value in (settings or {}).items()
        }
    return found


def _pinned(host: dict, ports: dict) -> dict:
    """Return a container's port bindings; those that leave the choice to Docker name what it has chosen.

    :param host: its ``HostConfig``. :param ports: its ``NetworkSettings.Ports``: what is bound.
    """
    pinned = dict(host.get("PortBindings") or {})
    for port, bound in ports.items():
        asked = pinned.get(port) or []
        if not bound or (asked and all((each.get("HostPort") or "").isdigit() for each in asked)):
            continue
        addresses: dict[str, set[str]] = {}  # by host port
        for each in bound:
            addresses.setdefault(each["HostPort"], set()).add(each["HostIp"])
        both = {"0.0.0.0", "::"}  # what Docker makes of no address at all
        pinned[port] = [
            {"HostIp": address, "HostPort": number}
            for number, on in addresses.items()
            for address in ([""] if both <= on else sorted(on))
        ]
    return pinned


def check(document: dict, container: str, live: bool = True) -> None:
    """Check that what another host asks for is the container that is being moved, and nothing that this host would not take.

    The source may be somebody else's by now. What it says of the container's memory cannot be judged; what it may ask Docker
    for, and write into CRIU's configuration, can.

    :param container: the name that the controller gave. :param live: its memory comes with it. :raises Untrusted: it is not.
    """
    for name, kind in PARTS.items():
        if not isinstance(document.get(name), kind):
            raise Untrusted(
                f"the source's description of {container} has no proper '{name}': run prepare.yml there again"
            )
    if document["name"] != container:
        raise Untrusted(f"the source describes the container {shown(document['name'])} instead of {container}")
    body = document["create"]
    host = body.get("HostConfig")
    if not isinstance(host, dict):
        raise Untrusted(f"the source's description of {container} has no proper 'HostConfig'")
    inspected = {"Name": container, "State": {"Running": True}, "Config": body, "HostConfig": host}
    try:
        asked = [*_preflight.container_refusals(inspected, live)]
        asked += [f"it asks for {name}" for name in _volumes.foreign(body)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Untrusted(
            f"the source's description of {container} has settings of another kind than Docker's"
        ) from error
    asked += [f"it sets {name}" for name, value in OURS.items() if host.get(name) != value]
    if asked:
        raise Untrusted(f"the source asks for a container that must not be made here: {sentence('; '.join(asked))}")
    names = ("point", "source", "options")
    if not all(
        isinstance(each, dict) and all(is_text(each.get(name)) for name in names) for each in document["memory"]
    ):
        raise Untrusted(f"the source's description of {container} has a mount point without a name")
    if not sysctls.is_sysctls(document.setdefault("sysctls", {})):  # an older snapshot has none
        raise Untrusted(f"the source's description of {container} has no proper settings of its network")
    if not links.is_places(document.setdefault("links", {})):
        raise Untrusted(f"the source's description of {container} has no proper links of its network")
    _check_image(document, container)
    _check_volumes(document["volumes"], host, container)
    _check_binds(document["binds"], host, container)
    points = [
        *document["masked"],
        *(each["point"] for each in [*document["memory"], *document["volumes"], *document["binds"]]),
    ]
    if not all(map(is_text, points)) or any("\0" in each["source"] for each in document["memory"]):
        raise Untrusted(f"the source's description of {container} has a mount point without a name")
    try:
        _criu.refuse_unspeakable(points)
    except ValueError as error:
        raise Untrusted(str(error)) from error


def _check_image(document: dict, container: str) -> None:
    """Check what the source says of the image. A snapshot may be older than its id and its digests.

    :raises Untrusted: what is to be a digest is none.
    """
    identifier = document.setdefault("image_id", "")
    digests = document.setdefault("image_digests", None)
    good = identifier == "" or (isinstance(identifier, str) and _images.IDENTIFIER.fullmatch(identifier))
    listed = [document["image_layers"], [] if digests is None else digests]
    if not good or not all(isinstance(each, list) and all(map(is_text, each)) for each in listed):
        raise Untrusted(f"the source's description of {container} has no proper digests of its image")
    if document["create"].get("Image") != document["image"]:
        raise Untrusted(f"the source asks for another image of {container} than it describes")


#: What the source must say of a bind mount, by its rule.
EVIDENCE: dict[str, dict[str, type]] = {
    _binds.SAME: {"source": str, "point": str, "digest": str},
    _binds.SHARED: {"source": str, "point": str, "inode": int, "probe": str, "secret": str},
}
SECRET_LENGTH = 32


def _check_binds(binds: list, host: dict, container: str) -> None:
    """Check what the source says of a container's bind mounts; whether this host shows them, :mod:`.binds` finds out.

    :raises Untrusted: it does not say it of those that it asks for, or they have options that this host does not take.
    """
    try:
        asked = {(bind.source, bind.point): bind for bind in _binds.asked(host)}
    except ValueError as error:
        raise Untrusted(f"the source's description of {container} has no proper '{error}'") from error
    for each in binds:
        evidence = EVIDENCE.get(str(each.get("rule"))) if isinstance(each, dict) else None
        if evidence is None or not all(
            isinstance(each.get(name), kind) and (kind is int or is_text(each[name])) for name, kind in evidence.items()
        ):
            raise Untrusted(f"the source describes a bind mount of {container} by no rule that this host has")
        if "probe" in evidence and ("/" in each["probe"] or len(each["secret"]) < SECRET_LENGTH):
            raise Untrusted(f"the source describes a shared directory of {container} that cannot be seen to be one")
        bind = asked.pop((each["source"], each["point"]), None)
        if bind is None or bind.odd or (each["rule"] == _binds.SAME and not bind.read_only):
            raise Untrusted(f"the source asks for other bind mounts of {container} than it describes")
    if asked:
        raise Untrusted(f"the source asks for other bind mounts of {container} than it describes")


def _check_volumes(volumes: list, host: dict, container: str) -> None:
    """Check what the source says of a container's volumes.

    Every volume that Docker is asked for by its name must be one of those that are made for this copy: any other is
    somebody's, and would be emptied for the copy, and shown to it.

    :param host: the ``HostConfig``. :raises Untrusted: a volume is none of Docker's own, or not described as it is asked for.
    """
    for each in volumes:
        good = isinstance(each, dict) and isinstance(each.get("point"), str)
        if good and "name" in each:
            labels = each.get("labels")
            good = (
                isinstance(each["name"], str)
                and bool(_volumes.NAME.fullmatch(each["name"]))
                and isinstance(labels, dict)
            )
            good = good and all(isinstance(value, str) for value in labels.values())
        if not good:
            raise Untrusted(f"the source describes a volume of {container} that must not be made here: {shown(each)}")
    named = sorted((each["point"], each["name"]) for each in volumes if "name" in each)
    if named != sorted(_volumes.asked(host)) or len({each["point"] for each in volumes}) != len(volumes):
        raise Untrusted(f"the source asks for other volumes of {container} than it describes")
