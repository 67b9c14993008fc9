# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts may take a container: reachable, willing, not cordoned, large enough, in the right company."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

PREFIX = "relocate.mtd/"
#: Container labels. The first four hold comma-separated selectors ``key`` or ``key=value``.
AFFINITY = PREFIX + "affinity"
ANTI_AFFINITY = PREFIX + "anti-affinity"
HOST_AFFINITY = PREFIX + "host-affinity"
HOST_ANTI_AFFINITY = PREFIX + "host-anti-affinity"
SENSITIVE = PREFIX + "sensitive"


def exclusions(
    source: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    headroom: float,
    profiled: Container[str] | None = None,
) -> tuple[dict[str, list[str]], list[str]]:
    """Return (host → reasons it may not take the container, notes).

    The parameters are those of ``policy.choose_destination``; ``headroom`` is the fraction of a host's available memory that
    has to stay free, ``profiled`` the hosts whose difference is known (None: it does not matter).

    :raises ValueError: a candidate without a name, or twice; names it.
    """
    container = source.get("container") or {}
    excluded: dict[str, list[str]] = {}
    seen: set[str] = set()
    for index, candidate in enumerate(candidates):
        name = candidate.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"candidates[{index}].name is missing")
        if name in seen:
            raise ValueError(f"candidates[{index}].name: {name} is there twice")
        seen.add(name)
        reasons = ["the container runs there"] if name == source["host"] else _reasons(container, candidate, headroom)
        if not reasons and profiled is not None and name not in profiled:
            reasons = ["it has no profile, so its difference is not known: run playbooks/profile.yml"]
        if reasons:
            excluded[name] = reasons
    exposed = {
        name: reason
        for candidate in candidates
        if (name := str(candidate["name"])) not in excluded and (reason := _exposure(container, candidate))
    }
    notes = []
    if exposed and len(exposed) + len(excluded) == len(candidates):
        notes.append(
            "no eligible host keeps sensitive containers apart from other tenants: "
            + "; ".join(f"{name}: {reason}" for name, reason in exposed.items())
        )
    else:
        excluded.update({name: [reason] for name, reason in exposed.items()})
    return excluded, notes


def _reasons(container: Mapping[str, Any], candidate: Mapping[str, Any], headroom: float) -> list[str]:
    if not candidate.get("reachable", True):
        return ["it cannot be reached"]
    reasons = [str(refusal) for refusal in candidate.get("refusals") or []]
    if candidate.get("cordoned"):
        reasons.append("it is cordoned")
    reasons += _capacity(container, candidate, headroom)
    reasons += _company(container, candidate)
    return reasons


def _capacity(container: Mapping[str, Any], candidate: Mapping[str, Any], headroom: float) -> Iterable[str]:
    needed, free = container.get("memory"), candidate.get("memory_available")
    if needed is not None and free is not None and needed > free * (1.0 - headroom):
        yield (
            f"the container needs {_size(needed)} of memory and it has {_size(free)} available, "
            f"{headroom:.0%} of which stay free"
        )
    needed, free = container.get("disk"), candidate.get("disk_available")
    if needed is not None and free is not None and needed > free:
        yield f"the container needs {_size(needed)} of disk and it has {_size(free)} available"
    taken = {str(port) for port in candidate.get("listening") or []}
    for resident in candidate.get("containers") or []:
        taken.update(str(port) for port in resident.get("ports") or [])
    clash = sorted(taken & {str(port) for port in container.get("ports") or []})
    if clash:
        yield f"the port {clash[0]} is taken there"


def _size(number: float) -> str:
    value, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def _selectors(labels: Mapping[str, Any], key: str) -> list[str]:
    return [part.strip() for part in str(labels.get(key) or "").split(",") if part.strip()]


def _matches(selector: str, labels: Mapping[str, Any]) -> bool:
    key, equals, value = selector.partition("=")
    return key in labels and (not equals or str(labels[key]) == value)


def _company(container: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterable[str]:
    labels = container.get("labels") or {}
    residents = [
        (str(resident.get("name")), resident.get("labels") or {})
        for resident in candidate.get("containers") or []
        if resident.get("name") != container.get("name")
    ]
    for selector in _selectors(labels, AFFINITY):
        if not any(_matches(selector, theirs) for _name, theirs in residents):
            yield f"no container there has the label {selector} ({AFFINITY})"
    for selector in _selectors(labels, ANTI_AFFINITY):
        for name, theirs in residents:
            if _matches(selector, theirs):
                yield f"the container {name} there has the label {selector} ({ANTI_AFFINITY})"
                break
    # what keeps away from us is kept away from, too
    for name, theirs in residents:
        for selector in _selectors(theirs, ANTI_AFFINITY):
            if _matches(selector, labels):
                yield f"the container {name} there keeps away from the label {selector} ({ANTI_AFFINITY})"
    host_labels = candidate.get("labels") or {}
    for selector in _selectors(labels, HOST_AFFINITY):
        if not _matches(selector, host_labels):
            yield f"it lacks the host label {selector} ({HOST_AFFINITY})"
    for selector in _selectors(labels, HOST_ANTI_AFFINITY):
        if _matches(selector, host_labels):
            yield f"it has the host label {selector} ({HOST_ANTI_AFFINITY})"


def _sensitive(labels: Mapping[str, Any]) -> bool:
    return str(labels.get(SENSITIVE, "")).lower() == "true"


def _exposure(container: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """Return why this host would put a sensitive container beside another tenant's, or an empty string."""
    ours = _sensitive(container.get("labels") or {})
    for resident in candidate.get("containers") or []:
        if resident.get("name") == container.get("name") or resident.get("tenant") == container.get("tenant"):
            continue
        if _sensitive(resident.get("labels") or {}):
            return f"the sensitive container {resident.get('name')} of another tenant is there"
        if ours:
            return f"the container is sensitive and {resident.get('name')} of another tenant is there"
    return ""
