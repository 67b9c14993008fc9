# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts answer, checked before anything uses it: types, ranges and forms.

A host may answer anything: it may be in an attacker's hands, or broken. Each function returns the answer or raises
:class:`Odd` with half a sentence; whoever asked sets that host aside by its name and goes on with the others. What is not
known here is let through as bounded JSON, so that a newer host may say more. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _networks
from ansible_collections.relocate.mtd.plugins.module_utils._binds import SAME, SHARED
from ansible_collections.relocate.mtd.plugins.module_utils._criu import version_problem
from ansible_collections.relocate.mtd.plugins.module_utils._forms import Wrong
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import strangers
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import Odd, quoted

Check = Callable[[Any], Any]

PARTS = ("source", "destination", "edge")
#: With two edges, the one that does not decide has a part of its own.
EVERY_PART = (*PARTS, "standby")
#: ``serve``: the source has been told to serve its memory again, for a copy that drains.
VERDICTS = ("commit", "roll-back", "serve", "look")
#: A state of a container or of a journal, an outcome, a mode: one word of ours or of Docker's.
WORD = re.compile(r"[a-z][a-z-]{0,31}")
BYTES = 1 << 60
LONG = 1e12  # milliseconds: no move lasts for decades
TERMS = ("c", "n", "s")
FACT_LIMIT, FORM_LIMIT = 4096, 512  # characters of one fact, and of what has a form


# -- the alphabet -------------------------------------------------------------------------------------------------------


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Odd(f"{quoted(value)} is no whole number from {low} to {high}")
        return value

    return check


def _number(high: float, low: float = 0.0) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Odd(f"{quoted(value)} is no number from {low:g} to {high:g}")
        return value

    return check


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Odd(f"{quoted(value)} is neither true nor false")
    return value


def _formed(form: re.Pattern[str], what: str) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or len(value) > FORM_LIMIT or not form.fullmatch(value):
            raise Odd(f"{quoted(value)} is no {what}")
        return value

    return check


def _one_of(words: tuple[str, ...]) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise Odd(f"{quoted(value)} is not one of {', '.join(words)}")
        return value

    return check


def _maybe(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _at(place: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except Odd as odd:
        raise Odd(f"{strangers.shown(place)}: {odd}") from None


def _list(check: Check) -> Check:
    def each(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise Odd(f"{quoted(value)} is no list")
        return [_at(f"entry {number}", check, content) for number, content in enumerate(value)]

    return each


def _mapping(check: Check) -> Check:
    def each(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Odd(f"{quoted(value)} is no mapping")
        return {key: _at(strangers.shown(key)[:80], check, content) for key, content in value.items()}

    return each


def _record(needed: Mapping[str, Check], known: Mapping[str, Check] | None = None) -> Check:
    """Return a check of a mapping that has all ``needed`` keys; ``known`` ones are looked at if they are there."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Odd(f"{quoted(value)} is no mapping")
        missing = [name for name in needed if name not in value]
        if missing:
            raise Odd(f"there is no {missing[0]}")
        every = {**needed, **(known or {})}
        return {name: _at(name, every[name], each) if name in every else each for name, each in value.items()}

    return check


_text = strangers.plain_text
_word = _formed(WORD, "word")
_port = _whole(1, 65535)
_size = _whole(0, BYTES)
_protocol = _one_of(("tcp", "udp", "sctp"))
_sentences = _list(_text)


def _pair(value: Any) -> tuple[str, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise Odd(f"{quoted(value)} is no pair of protocol and port")
    return _protocol(value[0]), _port(value[1])


def _cost(value: Any) -> Any:
    return value if isinstance(value, bool) else _number(LONG)(value)


def _network(value: Any) -> Any:
    """Return the description of a Docker network."""
    try:
        return _networks.SETTINGS(value)
    except Wrong as wrong:
        raise Odd(strangers.shown(str(wrong))) from None


# -- relocation_info ----------------------------------------------------------------------------------------------------

_HOST = _record(
    {},
    {
        **dict.fromkeys(("kernel", "architecture", "docker_version", "docker_problem", "criu_version"), _maybe(_text)),
        **dict.fromkeys(
            ("pycriu", "proxy", "shim", "runtime", "cordoned", "userfaultfd", "dirty_tracking"), _maybe(_flag)
        ),
        **dict.fromkeys(
            ("memory_available_bytes", "disk_available_bytes", "promised_bytes_left", "most_areas"), _maybe(_size)
        ),
        "room": _maybe(_mapping(_maybe(_mapping(_maybe(_size))))),
        "memory_speed": _maybe(_mapping(_maybe(_number(1e6)))),
        **dict.fromkeys(("cpu_flags", "security_module"), _maybe(_text)),
        "cgroup_version": _maybe(_whole(1, 2)),
        "networks": _maybe(_list(_text)),
        "subnets": _maybe(_mapping(_list(_text))),
        "network_settings": _maybe(_mapping(_network)),
        **dict.fromkeys(("routes", "interfaces", "volumes", "apparmor_profiles"), _maybe(_list(_text))),
    },
)
_CONTAINER = _record(
    {
        "name": strangers.container_name,
        "state": _word,
        "labels": _maybe(_mapping(_text)),
    },
    {
        "id": _formed(strangers.CONTAINER_ID, "container's id"),
        "image": _formed(strangers.IMAGE, "image's name"),
        "image_id": _formed(strangers.IMAGE, "image's id"),
        "image_bytes": _size,
        "image_layers": _list(_formed(strangers.DIGEST, "digest")),
        "image_digests": _list(_formed(strangers.DIGEST, "digest")),
        "started_at": _maybe(_text),
        **dict.fromkeys(("address", "address6"), _maybe(strangers.address)),
        "network": _maybe(_formed(strangers.NAME, "network's name")),
        **dict.fromkeys(("networks", "networks6"), _mapping(_maybe(strangers.address))),
        "fixed_addresses": _list(strangers.address),
        "network_options": _list(_text),
        "ports": _list(_record({"protocol": _protocol, "host_port": _port, "container_port": _port})),
        "memory_bytes": _size,
        **dict.fromkeys(("areas", "committed_bytes", "mapped_bytes"), _size),
        "walk_ms": _number(1e9),
        "security_label": _text,
        "connections": _size,
        "layer_bytes": _size,
        "binds": _list(
            _record(
                {"source": _text, "point": _text, "rule": _one_of((SAME, SHARED))}, {"digest": _text, "inode": _size}
            )
        ),
        "volumes": _list(_record({"name": _text, "point": _text, "anonymous": _flag, "bytes": _size})),
        "refusals": _sentences,
        "recreate_refusals": _sentences,
    },
)
#: What a move needs of a container, beyond what a clock needs.
MOVABLE = ("id", "image", "image_layers", "image_digests", "address", "ports", "memory_bytes", "refusals")
_UNFINISHED = _list(
    _record(
        {"relocation": strangers.identifier, "part": _one_of(EVERY_PART), "state": _word},
        {"container": _maybe(strangers.container_name), "living": _flag},
    )
)
_INFO = _record(
    {"host": _HOST},
    {
        "containers": _list(_CONTAINER),
        "used_ports": _list(_pair),
        "unfinished": _UNFINISHED,
    },
)


def host_report(value: Any) -> dict[str, Any]:
    """Return what C(relocation_info) says of a host, with all its lists.

    :raises Odd: it is none, or lists a container twice.
    """
    info: dict[str, Any] = _INFO(strangers.document(value))
    for name in ("containers", "used_ports", "unfinished"):
        info.setdefault(name, [])
    host = info["host"]
    if host.get("docker_version") and host.get("criu_version"):
        _at("criu_version", lambda version: _version(host.get("kernel"), version), host["criu_version"])
    seen: set[str] = set()
    for each in info["containers"]:
        each["labels"] = each["labels"] or {}
        if each["name"] in seen:
            raise Odd(f"the container {each['name']} is there twice")
        seen.add(each["name"])
    return info


def _version(kernel: Any, version: str) -> None:
    try:
        version_problem(_text(kernel), version)
    except ValueError:
        raise Odd(f"{quoted(version)} or the kernel's {quoted(kernel)} is no version") from None


def movable(container: Mapping[str, Any]) -> None:
    """Check that a container of a report says all that a move needs. :raises Odd: something is missing."""
    missing = [name for name in MOVABLE if name not in container]
    if missing:
        raise Odd(f"there is no {missing[0]} of the container {container['name']}")


# -- single answers -----------------------------------------------------------------------------------------------------

_PREFLIGHT = _record(
    {"refusals": _sentences},
    {"image_sent": _flag, "networks": _mapping(_one_of((_networks.MADE, _networks.RENEWED)))},
)
_STARTED = _record({"port": _whole(0, 65535)})
_RECOVERED = _record(
    {"outcome": _word, "verdict": _maybe(_one_of(VERDICTS))},
    {
        "changed": _flag,
        "places": _maybe(_mapping(strangers.host_name)),
        "ran": _maybe(_flag),
        "notes": _maybe(_sentences),
    },
)
_PLACE = {"protocol": _protocol, "virtual_address": strangers.address, "virtual_port": _port}
_SERVICES = _record(
    {"services": _list(_record({"name": _text, **_PLACE, "host_address": strangers.address, "host_port": _port}))},
    {
        **dict.fromkeys(("table", "synchronised"), _flag),
        **dict.fromkeys(("addresses", "fenced"), _list(strangers.address)),
        "unfinished": _UNFINISHED,
    },
)


_TESTIMONY = _record({"heard": _flag, "how": _text})
_FENCES = _record(
    {
        "fences": _list(
            _record({"name": strangers.container_name, "dead": _list(strangers.address)}, {"to": lambda value: value})
        )
    }
)


def fences(answer: Any) -> list[dict[str, Any]]:
    """Return the fences that C(service_fence) answered. :raises Odd: it is no such answer."""
    return list(_FENCES(strangers.document(answer))["fences"])


def testimony(answer: Any) -> dict[str, Any]:
    """Return what C(host_witness) answered: C(heard) and C(how). :raises Odd: it is no such answer."""
    checked: dict[str, Any] = _TESTIMONY(strangers.document(answer))
    return checked


def preflight(answer: Any) -> dict[str, Any]:
    """Return what C(relocation_preflight) answered: C(refusals), C(image_sent), C(networks).

    :raises Odd: it is no such answer.
    """
    checked: dict[str, Any] = _PREFLIGHT(strangers.document(answer))
    return {"image_sent": False, "networks": {}, **checked}


def started(answer: Any) -> int:
    """Return the port on which a part listens. :raises Odd: C(relocation_session) did not answer with one."""
    return int(_STARTED(strangers.document(answer))["port"])


def recovered(answer: Any) -> dict[str, Any]:
    """Return what a part answered to recovery: C(outcome), C(verdict), C(changed). :raises Odd: it is no such answer."""
    checked: dict[str, Any] = _RECOVERED(strangers.document(answer))
    return checked


def services(answer: Any) -> dict[str, Any]:
    """Return what C(nat_service_info) answered: C(table), C(services) and more. :raises Odd: it is no such answer."""
    checked: dict[str, Any] = _SERVICES(strangers.document(answer))
    return {"table": False, "addresses": [], "synchronised": False, "unfinished": [], "fenced": [], **checked}


# -- results, in flight and in the ledger -------------------------------------------------------------------------------

PROJECT_OUTCOMES = ("committed", "rolled-back", "refused", "torn", "in-doubt")
_END = _record({"host": strangers.host_name}, dict.fromkeys(("address", "address6"), _text))
_MS = _maybe(_number(LONG, -LONG))
_COUNTS = _maybe(_mapping(_maybe(_number(float(BYTES)))))
_RESULT_FORMS = {
    "id": strangers.identifier,
    "container": strangers.container_name,
    "outcome": _word,
    "mode": _word,
    **dict.fromkeys(PARTS, _END),
    **dict.fromkeys(("downtime_ms", "predicted_downtime_ms", "source_needed_ms", "exposure_latency_ms"), _MS),
    **dict.fromkeys(("stay_ms", "drawn_ms", "downtime_limit_ms"), _MS),
    **dict.fromkeys(("timings_ns", "flows", "bytes", "measured", "drain"), _COUNTS),
    "strategy": _word,
    **dict.fromkeys(("packets_held", "memory_bytes", "walk_ms", "exit_code"), _maybe(_number(float(BYTES)))),
    **dict.fromkeys(("msg", "reason", "tenant", "started_at", "frozen_at", "at", "alerted_at"), _maybe(_text)),
    **dict.fromkeys(("address_before", "address_after", "address6_before", "address6_after", "image"), _maybe(_text)),
    "problems": _maybe(_sentences),
    "cost": _maybe(_mapping(_cost)),
    "predictions": _maybe(_mapping(_number(LONG))),
    "rounds": _maybe(_list(_record({"bytes": _number(float(BYTES))}))),
    "choice": _maybe(_mapping(lambda value: value)),
}
#: One that has moved with its project has the results of all with it.
_RESULT = _record({}, {**_RESULT_FORMS, "members": _maybe(_list(_record({}, _RESULT_FORMS)))})


def move_result(value: Any) -> dict[str, Any]:
    """Return a relocation's result, or a line of the ledger. :raises Odd: it is none."""
    checked: dict[str, Any] = _RESULT(strangers.document(value))
    return checked


def result_of(plan: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """Return the result of the relocation that was planned. :raises Odd: it is none, or another's."""
    result = move_result(value)
    for name in ("id", "container", *PARTS):
        if result.get(name) != plan[name]:
            raise Odd(f"it is about another relocation: its {name} is not the plan's")
    if "outcome" not in result:
        raise Odd("there is no outcome")
    return result


def project_result_of(plan: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """Return the result of the project's move that was planned. :raises Odd: it is none, or another's."""
    answer = strangers.document(value)
    checked: dict[str, Any] = _record(
        {"outcome": _one_of(PROJECT_OUTCOMES), "problems": _sentences, "members": _list(lambda each: each)}
    )(answer)
    if checked.get("id") != plan["id"] or len(checked["members"]) != len(plan["members"]):
        raise Odd("it is about another relocation")
    members = [result_of(member, each) for member, each in zip(plan["members"], checked["members"], strict=True)]
    return {**checked, "members": members}


# -- profiles -----------------------------------------------------------------------------------------------------------


def _fact_text(value: Any) -> str:
    # who hands it on in an inventory of YAML, as the stream launcher does, hands on a template; and a process can be named as
    # it likes, so that this alone is no reason to set its host aside
    return strangers.TEMPLATE.sub("{ ", strangers.plain_text(value, FACT_LIMIT))


def _fact(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _fact_text(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, dict):
        return {_fact_text(key): _element(content) for key, content in value.items()}
    return [_element(content) for content in value]


def _element(value: Any) -> Any:
    if isinstance(value, str):
        return _fact_text(value)
    if isinstance(value, int):
        return value
    raise Odd(f"{quoted(value)} is no text")


def profile(value: Any) -> dict[str, Any]:
    """Return a host's profile with what such a document has, and nothing else.

    :raises Odd: a term is missing or empty, or a fact is of no kind that can be compared.
    """
    checked = strangers.document(value)
    if not isinstance(checked, dict):
        raise Odd(f"{quoted(checked)} is no mapping")
    found: dict[str, Any] = {"version": checked.get("version")}
    for term in TERMS:
        facts = checked.get(term)
        if not isinstance(facts, dict) or not facts:
            raise Odd(f"there are no facts under the key {term}")
        if all(each is None for each in facts.values()):
            raise Odd(f"the term {term} has no known fact")
        found[term] = {_at(term, _fact_text, name): _at(f"{term}.{name}", _fact, each) for name, each in facts.items()}
    if checked.get("scores"):
        score = _number(LONG, -LONG)
        found["scores"] = _at("scores", _record(dict.fromkeys(TERMS, score)), checked["scores"])
    return found


def kind(value: Any) -> str:
    """Return the kind of a fact, as the distances between hosts take it."""
    if value is None:
        return "unknown"
    if isinstance(value, (str, bool)):
        return "nominal"
    if isinstance(value, (int, float)):
        return "number"
    return "pairs" if isinstance(value, dict) else "set"
