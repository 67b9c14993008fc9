# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever asks for a move, or about one, can say."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that plan a move."""

    DOCUMENTATION = r"""
options:
  source:
    description:
      - The host on which the container is known to run. It decides only if several hosts claim to run a container of this name;
        one of them may be in strange hands.
    type: str
  mode:
    description:
      - V(stop-and-copy) freezes the container, carries all of its memory and resumes it.
      - V(post-copy) resumes it as soon as what it needs to run is there, and carries the rest of its memory while it runs. The
        pause hardly grows with the memory, but until the last page has arrived it depends on both hosts - if the source
        is lost in that time, so is the container. A container with the label C(relocate.mtd/post-copy=never) is refused.
      - V(pre-copy) carries memory in rounds before the pause, each of what was written since the one before. In the pause it
        carries what was written last, and restores all. It fails as safely as V(stop-and-copy). It needs a source whose kernel
        tracks written memory (C(criu check --feature mem_dirty_track)), and four times the container's memory at the
        destination.
      - V(auto) chooses among those that the hosts, CRIU and the container's labels allow, as O(prefer) says.
    type: str
    choices: [auto, stop-and-copy, post-copy, pre-copy]
    default: auto
  prefer:
    description:
      - What O(mode=auto) looks at first.
      - V(safety) takes the safest mode whose predicted pause keeps O(downtime_limit_ms) - stop-and-copy, else pre-copy, else
        post-copy.
      - >-
        V(pause) takes the shortest predicted pause. It stays with stop-and-copy unless another mode is shorter by more than
        15 ms.
    type: str
    choices: [safety, pause]
    default: safety
  strategy:
    description:
      - V(live) carries the running container.
      - V(recreate) makes it anew at the destination, from its image and its settings. When the new one is healthy, new
        connections are led to it; those that exist go on at the source until they have ended, or for a limited time. Then the
        old one is stopped with its own signal, and removed. Its memory, its log and what it has written to its own files are
        lost, and both run for a while. It is meant for what CRIU cannot take. O(mode), O(prefer) and the limit of the downtime
        then mean nothing. A container with volumes is refused.
      - V(auto) is what the container's label C(relocate.mtd/strategy) says, else V(live). A container that is labelled V(live)
        is never made anew.
    type: str
    choices: [auto, live, recreate]
    default: auto
  ledger:
    description:
      - The ledger whose earlier moves between these hosts teach the prediction.
      - E(RELOCATE_LEDGER) without it, else C($XDG_STATE_HOME/relocate/ledger.jsonl). It need not exist.
    type: path
"""

    # Which container, and where to look for it
    FLEET = r"""
options:
  container:
    description: The name of the container.
    type: str
    required: true
  docker_hosts:
    description: The hosts to look at, instead of the group C(docker_hosts).
    type: list
    elements: str
  edge:
    description: The host that the services are published on, instead of the first of the group C(edge).
    type: str
"""
