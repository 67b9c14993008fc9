# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: next_hop
short_description: Draw the host that a container moves to
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Excludes the hosts that may not take the container and draws one of the others by the placement policy, from the operating
    system's entropy. A relocation decides by the same function.
  - Every evaluation draws anew. Keep the answer with M(ansible.builtin.set_fact) before using it more than once.
options:
  _terms:
    description: The name of the host on which the container runs.
    required: true
  candidates:
    description:
      - Facts about the hosts to choose from. The source may be among them. What is missing is not checked.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host.
        type: str
        required: true
      reachable:
        description: Whether it answers.
        type: bool
        default: true
      refusals:
        description: Reasons why it may not take the container, as its preflight found them.
        type: list
        elements: str
      cordoned:
        description: Whether it takes no containers at the moment.
        type: bool
        default: false
      memory_available:
        description: Memory available, in bytes.
        type: int
      disk_available:
        description: Disk space available for containers, in bytes.
        type: int
      listening:
        description: Ports that are taken, such as V(tcp/80).
        type: list
        elements: str
      labels:
        description: Labels of the host.
        type: dict
      containers:
        description: Containers there, with C(name), C(tenant), C(labels) and C(ports).
        type: list
        elements: dict
  container:
    description:
      - The container, with C(name), C(tenant), C(labels), and its needs C(memory) and C(disk) in bytes and C(ports).
      - Its labels C(relocate.mtd/affinity) and C(relocate.mtd/anti-affinity) select the labels of containers to be beside and
        not to be beside, C(relocate.mtd/host-affinity) and C(relocate.mtd/host-anti-affinity) those of hosts.
    type: dict
    default: {}
  profiles:
    description:
      - Profiles of the hosts, by name (M(relocate.mtd.host_profile)).
      - By default those in O(directory).
    type: dict
  directory:
    description: Directory with one profile per host, as C(HOST.json).
    type: str
    env:
      - name: RELOCATE_PROFILES
  vulnerabilities_dir:
    description: Directory with one Trivy or Grype report per host, as C(HOST.json).
    type: str
  settings:
    description:
      - "C(policy): V(softmax) (the default), V(paper) or V(uniform). C(mode): V(hardened) or V(paper). C(weights): V(equal),
        V(fitted) or a mapping of C(w_c), C(w_n), C(w_s), C(w_v). C(min_entropy_bits): the floor, V(1.0). C(beta): instead of
        the largest that keeps the floor. C(include), C(exclude): as in P(relocate.mtd.heterogeneity#inventory).
        C(headroom): fraction of a host's available memory that stays free, V(0.1)."
    type: dict
    default: {}
seealso:
  - plugin: relocate.mtd.heterogeneity
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Draw a destination for web, once
  ansible.builtin.set_fact:
    next_hop: >-
      {{ lookup('relocate.mtd.next_hop', 'host1', container={'name': 'web', 'tenant': 'acme', 'memory': 268435456},
                candidates=candidates, settings={'min_entropy_bits': 1.5}) }}

- name: Say why
  ansible.builtin.debug:
    msg: "{{ next_hop.sentence }}"
"""

RETURN = r"""
_raw:
  description: One dictionary per term.
  type: list
  elements: dict
  contains:
    host:
      description: The host that was drawn.
      type: str
    sentence:
      description: Why this host, in one line.
      type: str
    distribution:
      description: The probability of every eligible host.
      type: dict
    delta:
      description: Δ from the source to every eligible host.
      type: dict
    terms:
      description: The parts of Δ of every eligible host.
      type: dict
    excluded:
      description: The reasons why the other hosts were not eligible.
      type: dict
    shannon_bits:
      description: Shannon entropy of the draw.
      type: float
    min_entropy_bits:
      description: Min-entropy of the draw.
      type: float
    floor_kept:
      description: Whether the floor was kept.
      type: bool
    notes:
      description: What an operator should know about the draw.
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

try:
    from ansible_collections.relocate.mtd.plugins.module_utils import _homes
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity import profiles as sources
    from ansible_collections.relocate.mtd.plugins.plugin_utils._heterogeneity.selection import Selection
    from ansible_collections.relocate.mtd.plugins.plugin_utils._placement.policy import (
        NoDestination,
        Settings,
        choose_destination,
    )
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None


class LookupModule(LookupBase):
    """Facts about hosts → the destination and why."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one choice per source host.

        :raises AnsibleLookupError: no host may take the container, or the facts are wrong; one sentence.
        """
        if MISSING:
            raise AnsibleLookupError(
                f"relocate.mtd.next_hop: the controller's Python needs numpy and jmespath ({MISSING})"
            )
        self.set_options(var_options=variables, direct=kwargs)
        try:
            settings = Settings.from_mapping(self.get_option("settings"))
            profiles = self._profiles(settings)
            return [self._choose(str(term), profiles, settings) for term in terms]
        except (ValueError, NoDestination) as error:
            raise AnsibleLookupError(f"relocate.mtd.next_hop: {error}") from error

    def _profiles(self, settings: Settings) -> Mapping[str, Mapping[str, Any]]:
        if settings.policy == "uniform":
            return {}
        given = self.get_option("profiles")
        aside: dict[str, str] = {}
        if given is None:
            directory = self.get_option("directory")
            given = sources.from_directory(
                _homes.given(directory) if directory else sources.default_directory(), aside=aside
            )
        else:
            given = sources.from_hostvars({host: {sources.VARIABLE: profile} for host, profile in given.items()}, aside)
        profiles = sources.agreeing(given, aside, Selection(settings.include, settings.exclude))
        for reason in aside.values():
            self._display.warning(f"{reason}; until then it is no destination")
        reports = self.get_option("vulnerabilities_dir")
        return sources.with_vulnerabilities(profiles, _homes.given(reports)) if reports else profiles

    def _choose(self, host: str, profiles: Mapping[str, Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
        source = {"host": host, "container": self.get_option("container")}
        choice = choose_destination(source, self.get_option("candidates"), profiles, settings)
        return {**choice.plan(), "sentence": choice.sentence()}
