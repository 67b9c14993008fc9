# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: heterogeneity
short_description: How different the hosts of an inventory are, and where a container would hop next
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Adds to the hosts of a group what their profiles (M(relocate.mtd.host_profile)) say about them - the configuration each of
    them belongs to, its difference to every other host, why, and how predictable the next hop from it is.
  - Adds no hosts. It uses the hosts of inventory sources that are parsed before it; a directory of sources is parsed in
    alphabetical order.
  - Its file ends in C(heterogeneity.yml) or C(heterogeneity.yaml).
  - "Sets for each host: C(relocate_profile_class), the name of its configuration; C(relocate_heterogeneity), its row of Δ, by
    destination; C(relocate_terms), the parts of that row, by term and destination; C(relocate_next_hop), the entropies of the
    draw from it."
  - "Sets for the group: C(relocate_fleet), with the fleet's Shannon entropy, the effective number of its configurations and
    the entropy rate of the hop chain."
  - Strings from hosts are never templated, whatever they contain.
options:
  plugin:
    description: Marks a file of this plugin.
    required: true
    choices: [relocate.mtd.heterogeneity]
  group:
    description: The group whose hosts make up the fleet.
    type: str
    default: docker_hosts
  facts_source:
    description: Where the profiles are.
    type: str
    default: directory
    choices:
      directory: One JSON file per host in O(directory), as C(playbooks/profile.yml) leaves them.
      fact_cache: The persistent fact cache that Ansible is configured with.
      hostvars: The variable C(relocate_profile) of each host in the inventory sources that were parsed before.
  directory:
    description:
      - Directory with one profile per host, as C(HOST.json). A relative path starts at the file of this plugin.
      - By default C($XDG_STATE_HOME/relocate/profiles), or C(~/.local/state/relocate/profiles).
    type: str
    env:
      - name: RELOCATE_PROFILES
  use_vars_plugins:
    description: With O(facts_source=hostvars), read C(host_vars/) and C(group_vars/) as well.
    type: bool
    default: false
  vulnerabilities_dir:
    description:
      - Directory with one vulnerability report per host, as C(HOST.json), in the JSON format of Trivy or Grype. A relative path
        starts at the file of this plugin.
      - Without it, the vulnerabilities V do not take part.
    type: str
  missing:
    description: What to do about a host of the group that has no profile.
    type: str
    default: refuse
    choices:
      refuse: Refuse the inventory, naming the host. An empty group and a directory that does not exist are refused, too.
      skip: Leave the host out of the fleet, with a warning. Without any profile, nothing is added to the inventory.
  mode:
    description: How Δ is read.
    type: str
    default: hardened
    choices:
      hardened: Every part is a distance between 0 and 1.
      paper: Every part is the signed difference of one number per host (equation 3.3).
  weights:
    description: How the parts of Δ are weighted.
    type: str
    default: equal
    choices:
      given: By O(w_c), O(w_n), O(w_s) and O(w_v), which sum to 1.
      equal: All alike; V takes part if every host has a vulnerability report.
      fitted: So that C, N and S predict V best. Needs O(vulnerabilities_dir).
  w_c:
    description: Weight of the configuration C.
    type: float
  w_n:
    description: Weight of the networking N.
    type: float
  w_s:
    description: Weight of the services S.
    type: float
  w_v:
    description: Weight of the vulnerabilities V.
    type: float
  include:
    description:
      - By term (V(c), V(n), V(s)), a JMESPath expression over the term's facts that yields a mapping of the facts that count.
    type: dict
    default: {}
  exclude:
    description:
      - By term, a JMESPath expression that yields a list of the facts that do not count, such as V(images), or of single
        elements of one, such as V(packages.linux-libc-dev).
    type: dict
    default: {}
  min_entropy_bits:
    description: The floor of the next hop's min-entropy, for C(relocate_next_hop).
    type: float
    default: 1.0
  beta:
    description: The softmax's β, instead of the largest that keeps O(min_entropy_bits).
    type: float
  limit:
    description:
      - Export only so many destinations per host, the most different ones; V(0) exports all.
      - A fleet of N distinct hosts has N² differences; the choice of a destination does not need the exported ones.
    type: int
    default: 0
  class_groups:
    description: Make a group C(relocate_class_NAME) for every configuration.
    type: bool
    default: true
extends_documentation_fragment:
  - constructed
  - inventory_cache
seealso:
  - module: relocate.mtd.host_profile
  - plugin: relocate.mtd.next_hop
    plugin_type: lookup
"""

EXAMPLES = r"""
# fleet.heterogeneity.yml: profiles that playbooks/profile.yml has collected
plugin: relocate.mtd.heterogeneity

# services matter most; images come and go with the tenants and do not count
---
plugin: relocate.mtd.heterogeneity
weights: given
w_c: 0.3
w_n: 0.2
w_s: 0.5
exclude:
  s: "['images']"
  c: "keys(@)[?starts_with(@, 'cpu')]"
keyed_groups:
  - prefix: distribution
    key: relocate_profile.c.distribution

# do not run into the same vulnerability twice
---
plugin: relocate.mtd.heterogeneity
facts_source: fact_cache
vulnerabilities_dir: ../reports
weights: given
w_c: 0.2
w_n: 0.1
w_s: 0.2
w_v: 0.5
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.inventory.helpers import get_group_vars
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

try:
    import numpy as np
    from ansible_collections.relocate.mtd.plugins.module_utils import _homes
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import profiles as sources
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.fitting import fitted as fitted_weights
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.heterogeneity import (
        FactError,
        Fleet,
        Selection,
        Weights,
    )
    from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.next_hops import fleet_summary, next_hop
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None

WEIGHTS = ("w_c", "w_n", "w_s", "w_v")
#: Exported numbers are rounded to this many digits: a person reads them, and no choice is made with them.
DIGITS = 6


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Facts → C, N, S profiles → Δ, entropies and groups."""

    NAME = "relocate.mtd.heterogeneity"

    def verify_file(self, path: str) -> bool:
        """Return whether this is a file for us."""
        return super().verify_file(path) and path.endswith(("heterogeneity.yml", "heterogeneity.yaml"))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Add the fleet's variables and groups to the inventory.

        :raises AnsibleParserError: a fact, weight or selector is missing or wrong; names the host and the key.
        """
        if MISSING:
            raise AnsibleParserError(
                f"{path}: the controller's Python needs numpy and jmespath ({MISSING}): install them"
            )
        super().parse(inventory, loader, path, cache=cache)
        config = self._read_config_data(path)
        self._refuse_unknown(path, config)
        self._here = Path(path).resolve().parent
        try:
            self._add(path, cache)
        except ValueError as error:
            raise AnsibleParserError(f"{path}: {error}") from error

    def _refuse_unknown(self, path: str, config: Mapping[str, Any]) -> None:
        # Ansible ignores options it does not know, and a misspelt weight would silently be none
        unknown = sorted(key for key in config if key not in self._options and key != "plugin")
        if unknown:
            hint = f"the weights are {', '.join(WEIGHTS)}" if unknown[0].startswith("w_") else "see ansible-doc"
            raise AnsibleParserError(f"{path}: {unknown[0]}: there is no such option; {hint}")

    # ---- from facts to a document

    def _add(self, path: str, cache: bool) -> None:
        hosts = self._members()
        if not hosts:
            return
        key = self.get_cache_key(path)
        stamp = self._stamp(hosts)
        use_cache = bool(self.get_option("cache"))
        saved = self._cache.get(key) if use_cache and cache else None
        if saved and saved.get("stamp") == stamp:
            self._export(json.loads(saved["document"]))
            return
        document = self._measure(hosts)
        if use_cache:
            # written even by an inventory that is refreshed and was told not to read the old one; as one string, because
            # cache plugins walk through every value of a structure, and this one has as many as N² of them
            self._cache[key] = {"stamp": stamp, "document": json.dumps(document)}
        self._export(document)

    def _members(self) -> list[str]:
        name = self.get_option("group")
        group = self.inventory.groups.get(name)
        hosts = [str(host.name) for host in group.get_hosts()] if group else []
        if not hosts and self.get_option("missing") == "refuse":
            known = ", ".join(
                sorted(str(other) for other in self.inventory.groups if other not in ("all", "ungrouped"))
            )
            raise FactError(
                f"the group {name} has no hosts: name the fleet's group with the option group (there are: {known or 'none'}), "
                "and have this file parsed after those that list the hosts (a directory is read in alphabetical order)"
            )
        return hosts

    def _stamp(self, hosts: list[str]) -> str:
        """Return what the cached document depends on besides the facts: the options and the hosts."""
        options = {name: self.get_option(name) for name in self._options if "cache" not in name}
        text = json.dumps([options, sorted(hosts)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, option: str) -> Path | None:
        given = self.get_option(option)
        return self._here / _homes.given(given) if given else None

    def _profiles(self, hosts: list[str], selection: Selection) -> dict[str, Mapping[str, Any]]:
        source = self.get_option("facts_source")
        found: dict[str, Mapping[str, Any]]
        aside: dict[str, str] = {}  # a host's word must not keep a playbook from starting, recovery least of all
        if source == "directory":
            directory = self._path("directory") or sources.default_directory()
            none_yet = self.get_option("missing") == "skip" and not directory.exists()
            found = {} if none_yet else sources.from_directory(directory, hosts, aside)
        elif source == "fact_cache":
            found = sources.from_fact_cache(hosts, aside)
        else:
            found = sources.from_hostvars({host: self._hostvars(host) for host in hosts}, aside)
        absent = [host for host in hosts if host not in found and host not in aside]
        found = sources.agreeing(found, aside, selection)
        for reason in aside.values():
            self.display.warning(f"{reason}; until then the host is not part of the fleet")
        if absent and self.get_option("missing") == "refuse":
            raise FactError(
                f"{absent[0]}: the fact {sources.VARIABLE} is missing (facts_source: {source}): {sources.COLLECT}, "
                "or leave such hosts out with missing: skip"
            )
        if absent:
            self.display.warning(f"{', '.join(absent)}: no profile, so not part of the fleet: {sources.COLLECT}")
        reports = self._path("vulnerabilities_dir")
        return sources.with_vulnerabilities(found, reports) if reports else found

    def _hostvars(self, host: str) -> dict[str, Any]:
        entity = self.inventory.hosts[host]
        groups = entity.get_groups()
        variables = combine_vars(get_group_vars(groups), entity.get_vars())
        if self.get_option("use_vars_plugins"):
            paths = getattr(self.inventory, "processed_sources", [])
            for entities in (groups, [entity]):
                read = get_vars_from_inventory_sources(self.loader, paths, entities, "all")
                variables = combine_vars(variables, read)
        return variables

    def _weights(self, fleet: Fleet) -> Weights:
        how = self.get_option("weights")
        given = {name: self.get_option(name) for name in WEIGHTS if self.get_option(name) is not None}
        if how == "given":
            return Weights.given(given)
        if given:
            raise FactError(f"{min(given)} is set, but weights is {how}: set weights to given, or leave the number out")
        return fitted_weights(fleet) if how == "fitted" else Weights.equal(fleet.has_flaws)

    def _measure(self, hosts: list[str]) -> dict[str, Any]:
        """Return everything that is exported, as one JSON document; rows are kept once per configuration."""
        selection = Selection(self.get_option("include"), self.get_option("exclude"))
        profiles = self._profiles(hosts, selection)
        if not profiles:
            return {"fleet": {"hosts": 0}, "classes": {}, "class_of": {}, "facts": {}}
        fleet = Fleet(profiles, selection)
        weights, mode = self._weights(fleet), self.get_option("mode")
        floor, beta = self.get_option("min_entropy_bits"), self.get_option("beta")
        if not 0 < floor < 64:
            raise FactError(f"min_entropy_bits is {floor:g}: it must be above 0 and below 64")
        names = fleet.class_names()
        hops = [next_hop(fleet, number, weights, mode, floor, beta) for number in range(len(names))]
        classes = {}
        for number, name in enumerate(names):
            parts = fleet.class_terms(number, mode)
            hop = hops[number]
            classes[name] = {
                **self._row(fleet, weights.combine(parts), parts),
                "next_hop": None if hop is None else hop.summary(),
            }
        return {
            "fleet": _untrusted(fleet_summary(fleet, weights, mode, hops)),
            "classes": classes,
            "class_of": {host: names[number] for host, number in zip(fleet.hosts, fleet.class_of.tolist())},
            "facts": {host: _for_templates(profile) for host, profile in profiles.items()} if self._templated() else {},
        }

    def _row(self, fleet: Fleet, row: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        limit = self.get_option("limit")
        delta = row[fleet.class_of]
        chosen = np.argsort(-delta, kind="stable")[:limit] if limit > 0 else np.arange(len(delta))
        hosts = [fleet.hosts[place] for place in chosen] if limit > 0 else fleet.hosts

        def named(values: np.ndarray) -> dict[str, float]:
            return dict(zip(hosts, np.round(values[chosen], DIGITS).tolist()))

        return {
            "heterogeneity": named(delta),
            "terms": {term: named(part[fleet.class_of]) for term, part in parts.items()},
        }

    # ---- from the document to the inventory

    def _export(self, document: Mapping[str, Any]) -> None:
        self.inventory.set_variable(self.get_option("group"), "relocate_fleet", document["fleet"])
        templated = self._templated()
        for host, name in document["class_of"].items():
            entry = document["classes"][name]
            variables = {
                "relocate_profile_class": name,
                "relocate_heterogeneity": entry["heterogeneity"],
                "relocate_terms": entry["terms"],
                "relocate_next_hop": entry["next_hop"],
            }
            # straight to the host: the inventory's own setter would copy every row, and identical hosts share theirs
            entity = self.inventory.hosts[host]
            for key, value in variables.items():
                entity.set_variable(key, value)
            if self.get_option("class_groups"):
                group = self.inventory.add_group(self._sanitize_group_name(f"relocate_class_{name}"))
                self.inventory.add_host(host, group)
            if templated:
                self._construct(host, {**variables, sources.VARIABLE: document["facts"][host]})

    def _templated(self) -> bool:
        return any(self.get_option(name) for name in ("compose", "groups", "keyed_groups"))

    def _construct(self, host: str, facts: Mapping[str, Any]) -> None:
        strict = self.get_option("strict")
        # the profile replaces a variable of that name, whose strings a YAML file may have made trusted
        variables = combine_vars(self._hostvars(host), facts)
        try:
            self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
            variables = combine_vars(self._hostvars(host), facts)
            self._add_host_to_composed_groups(
                self.get_option("groups"), variables, host, strict=strict, fetch_hostvars=False
            )
            self._add_host_to_keyed_groups(
                self.get_option("keyed_groups"), variables, host, strict=strict, fetch_hostvars=False
            )
        except AnsibleError as error:
            raise FactError(str(error)) from error


def _untrusted(value: Any) -> Any:
    """Return the same as strings without trust: once around through JSON, no template engine evaluates them."""
    return json.loads(json.dumps(value))


def _for_templates(profile: Mapping[str, Any]) -> Any:
    """Return what templates may look at: all but the packages, which are most of a profile and of a cache file."""
    services = {key: value for key, value in profile["s"].items() if key != "packages"}
    return _untrusted({**profile, "s": services})
