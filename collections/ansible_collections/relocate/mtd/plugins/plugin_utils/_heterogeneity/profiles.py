# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where profiles come from on the controller: a directory of files, the fact cache, variables; and vulnerability reports."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils import _homes
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.gower import FactError, fact_kind
from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.selection import (
    TERMS,
    Selection,
    SelectionError,
)
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust import reports
from ansible_collections.relocate.mtd.plugins.plugin_utils._trust.strangers import quoted, shown

#: The fact and the variable that hold a host's profile.
VARIABLE = "relocate_profile"

#: Shapes of the profile that this code reads.
VERSIONS = (1,)

#: What a vulnerability weighs by its severity, as Trivy and Grype spell it (in any case). An unknown severity weighs as much
#: as a medium one: not knowing is no comfort.
SEVERITY = {"critical": 1.0, "high": 0.75, "medium": 0.5, "low": 0.25, "negligible": 0.1, "unknown": 0.5}

COLLECT = "run playbooks/profile.yml"


def default_directory() -> Path:
    """Return where playbooks/profile.yml leaves profiles: $RELOCATE_PROFILES, or below the user's state directory."""
    given = os.environ.get("RELOCATE_PROFILES")
    if given:
        return Path(given)
    return _homes.state() / "profiles"


def check(host: str, profile: Any) -> Mapping[str, Any]:
    """Return the profile if it is one, without what no profile has.

    :raises FactError: not a mapping, a version this code does not read, or a fact that is none; names the host.
    """
    if not isinstance(profile, Mapping):
        raise FactError(f"{host}: the fact {VARIABLE} is not a mapping: {COLLECT}")
    version = profile.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version not in VERSIONS:
        raise FactError(
            f"{host}: the fact {VARIABLE}.version is {quoted(version)} and this version reads {VERSIONS[0]}: {COLLECT} again"
        )
    try:
        return reports.profile(profile)
    except reports.Odd as odd:
        raise FactError(f"{host}: the fact {VARIABLE} is no profile: {odd}: {COLLECT} again") from None


def _read(path: Path, known: dict[bytes, Any] | None = None) -> Any:
    """Return a JSON file's content; files with the same bytes as one in ``known`` are parsed once and share the answer."""
    try:
        text = path.read_bytes()
        digest = hashlib.blake2b(text, digest_size=32).digest()
        if known is not None and digest in known:
            return known[digest]
        # facts are other people's text: a NaN in them is no JSON and must not become a number
        document = json.loads(text, parse_constant=_no_number)
        if known is not None:
            known[digest] = document
        return document
    except OSError as error:
        raise FactError(f"{path.stem}: {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else shown(error)
        raise FactError(f"{path.stem}: {path} is no JSON: {reason}: {COLLECT} again, or remove the file") from error


def _no_number(word: str) -> Any:
    raise ValueError(f"it holds {word}, which is not a number")


def from_directory(
    directory: Path, hosts: Iterable[str] | None = None, aside: dict[str, str] | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return the profiles in ``directory``, one file HOST.json each; only those of ``hosts`` if given.

    A file holds the profile itself, or the facts that carry it (``relocate_profile``, also below ``ansible_facts``).

    :param aside: gets the hosts whose file is no profile, with the reason; without it, such a file is an error.
    :raises FactError: no such directory, or a file that is no profile. Hosts without a file are left out.
    """
    if not directory.is_dir():
        raise FactError(f"the directory of profiles {quoted(str(directory))} does not exist: {COLLECT}")
    names = sorted(path.stem for path in directory.glob("*.json")) if hosts is None else hosts
    found = {}
    known: dict[bytes, Any] = {}  # identical hosts have identical files
    checked: dict[int, Mapping[str, Any]] = {}
    for host in names:
        path = directory / f"{host}.json"
        # a host name with a slash would lead out of the directory
        if path.parent != directory or not path.is_file():
            continue
        try:
            document = _read(path, known)
            if id(document) not in checked:  # what the same bytes hold is one object, which ``known`` keeps alive
                profile = document
                for key in ("ansible_facts", VARIABLE):
                    if isinstance(profile, Mapping) and key in profile:
                        profile = profile[key]
                checked[id(document)] = check(host, profile)
            found[host] = checked[id(document)]
        except FactError as error:
            _set_aside(aside, host, error)
    return found


def _set_aside(aside: dict[str, str] | None, host: str, error: Exception) -> None:
    if aside is None:
        raise error
    aside[host] = shown(error)


def from_fact_cache(hosts: Iterable[str], aside: dict[str, str] | None = None) -> dict[str, Mapping[str, Any]]:
    """Return the profiles of those hosts whose cached facts have one, through Ansible's own cache plugin.

    :param aside: as in :func:`from_directory`.

    :raises FactError: the cache keeps nothing between runs (the plugin ``memory``), or a fact that is no profile.
    """
    from ansible import constants as C
    from ansible.errors import AnsibleError
    from ansible.plugins.loader import cache_loader

    if C.CACHE_PLUGIN == "memory":
        raise FactError(
            "the fact cache is the plugin memory, which keeps nothing between runs: "
            "set fact_caching = jsonfile in ansible.cfg, or use facts_source: directory"
        )
    cache = cache_loader.get(C.CACHE_PLUGIN)
    found = {}
    for host in hosts:
        try:
            try:
                facts = cache.get(host) if cache.contains(host) else {}
            except (AnsibleError, ValueError, RecursionError) as error:
                raise FactError(
                    f"{host}: its cached facts cannot be read ({type(error).__name__}): {COLLECT}"
                ) from error
            if VARIABLE in facts:
                found[host] = check(host, facts[VARIABLE])
        except FactError as error:
            _set_aside(aside, host, error)
    return found


def from_hostvars(
    variables: Mapping[str, Mapping[str, Any]], aside: dict[str, str] | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return the profiles of those hosts that have the variable ``relocate_profile``.

    :param aside: as in :func:`from_directory`. :raises FactError: a variable that is no profile.
    """
    found = {}
    for host, values in variables.items():
        if VARIABLE in values:
            try:
                found[host] = check(host, values[VARIABLE])
            except FactError as error:
                _set_aside(aside, host, error)
    return found


def agreeing(
    found: Mapping[str, Mapping[str, Any]], aside: dict[str, str], selection: Selection | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return the profiles that can be compared: with the facts, and of the kinds, that most of the hosts have.

    One host that says something else than the others must not keep them from being compared. Where most are alike, it is the
    odd one; in a fleet of two nobody can tell, and the first is believed.

    :param aside: gets the others, with the reason. :param selection: what counts of the facts.
    :raises SelectionError: a selector that fits no host at all.
    """
    shapes: dict[str, frozenset[tuple[str, str]]] = {}
    kinds: dict[str, dict[tuple[str, str], str]] = {}
    failed: dict[str, Exception] = {}
    seen: dict[int, dict[tuple[str, str], str]] = {}
    for host, profile in found.items():
        try:
            if id(profile) not in seen:
                seen[id(profile)] = _kinds(host, profile, selection or Selection())
        except (FactError, SelectionError) as error:
            failed[host] = error
            continue
        kinds[host] = seen[id(profile)]
        shapes[host] = frozenset(kinds[host])
    if failed and len(failed) == len(found):
        raise next(iter(failed.values()))
    aside.update({host: shown(error) for host, error in failed.items()})
    if not shapes:
        return {}
    usual = Counter(shapes.values()).most_common(1)[0][0]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for host in [host for host, shape in shapes.items() if shape == usual]:
        for fact, kind in kinds[host].items():
            if kind != "unknown":
                counts.setdefault(fact, Counter())[kind] += 1
    common = {fact: counter.most_common(1)[0][0] for fact, counter in counts.items()}
    kept = {}
    for host, shape in shapes.items():
        odd = sorted(shape ^ usual)
        if odd:
            has, name = "has" if odd[0] in shape else "has not", shown(".".join(odd[0]))
            aside[host] = (
                f"{host}: it {has} the fact {name}, unlike most hosts: profile all hosts with the same version"
            )
            continue
        wrong = [fact for fact, kind in kinds[host].items() if kind not in ("unknown", common.get(fact, kind))]
        if wrong:
            name, kind = shown(".".join(wrong[0])), kinds[host][wrong[0]]
            aside[host] = (
                f"{host}: the fact {name} is a {kind}, but a {common[wrong[0]]} on other hosts: {COLLECT} again"
            )
            continue
        kept[host] = found[host]
    return _scores(kept)


def _kinds(host: str, profile: Mapping[str, Any], selection: Selection) -> dict[tuple[str, str], str]:
    """Return the kind of each fact that counts, by term and key."""
    found = {}
    for term in TERMS:
        facts = selection.apply(host, term, profile[term]) if selection else profile[term]
        if all(value is None for value in facts.values()):
            raise FactError(f"{host}: the term {term} has no known fact: profile the host again")
        found.update({(term, key): fact_kind(host, f"{term}.{key}", value) for key, value in facts.items()})
    return found


def _scores(found: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the profiles without scores that only a few hosts have: the operator, whose they are, gives all or none."""
    having = [host for host, profile in found.items() if profile.get("scores")]
    if 2 * len(having) >= len(found):
        return found
    few = set(having)
    return {
        host: {key: value for key, value in profile.items() if key != "scores"} if host in few else profile
        for host, profile in found.items()
    }


def with_vulnerabilities(profiles: Mapping[str, Mapping[str, Any]], directory: Path) -> dict[str, Mapping[str, Any]]:
    """Return the profiles with the key ``v``, each from the report HOST.json in ``directory``; none without a report.

    :raises FactError: no such directory, or a file that is no report.
    """
    if not directory.is_dir():
        raise FactError(
            f"the directory of vulnerability reports {quoted(str(directory))} does not exist: create it, one report per host"
        )
    complete: dict[str, Mapping[str, Any]] = {}
    for host, profile in profiles.items():
        path = directory / f"{host}.json"
        if path.parent == directory and path.is_file():
            profile = {**profile, "v": vulnerabilities(host, _read(path))}
        complete[host] = profile
    return complete


def vulnerabilities(host: str, report: Any) -> dict[str, float]:
    """Return vulnerability → weight from a Trivy (``Results``) or Grype (``matches``) JSON report.

    One identifier in several packages counts once, with its highest severity.

    :raises FactError: neither, or an entry without an identifier; names the host and the key.
    """
    entries: list[tuple[Any, Any, str]] = []
    if isinstance(report, Mapping) and isinstance(report.get("matches"), list):
        for index, match in enumerate(report["matches"]):
            found = match.get("vulnerability") if isinstance(match, Mapping) else None
            flaw = found if isinstance(found, Mapping) else {}
            entries.append((flaw.get("id"), flaw.get("severity"), f"matches[{index}].vulnerability.id"))
    elif isinstance(report, Mapping) and ("Results" in report or "SchemaVersion" in report):
        # a clean Trivy report has no Results, and a clean target no Vulnerabilities
        for place, result in enumerate(report.get("Results") or []):
            for index, flaw in enumerate(result.get("Vulnerabilities") or []):
                key = f"Results[{place}].Vulnerabilities[{index}].VulnerabilityID"
                entries.append((flaw.get("VulnerabilityID"), flaw.get("Severity"), key))
    else:
        raise FactError(
            f"{host}: the vulnerability report has neither the key Results (Trivy) nor matches (Grype): "
            "write it with 'trivy … --format json' or 'grype … -o json'"
        )
    weights: dict[str, float] = {}
    for name, severity, key in entries:
        if not isinstance(name, str) or not name:
            raise FactError(f"{host}: the vulnerability report has no {key}: scan the host again")
        weight = SEVERITY.get(str(severity or "unknown").lower(), SEVERITY["unknown"])
        weights[name] = max(weights.get(name, 0.0), weight)
    return weights
