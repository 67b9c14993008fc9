# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways memory can travel, and why a container or a pair of hosts does not allow one of them.

============== ============================================================================================================
stop-and-copy  everything in the freeze: safest; the pause grows with the memory
post-copy      only what is needed to run, in the freeze; the rest follows while the copy runs. The freeze hardly grows with the
               memory, but until the last page has arrived the copy needs the source: if that is lost, so is the copy
pre-copy       most of it before the freeze, while the container runs; in the freeze what was written since, and the restore of
               all. Fails as safely as stop-and-copy. Needs a kernel that tells which pages were written
============== ============================================================================================================

Pure functions, evaluated on the controller before anything is touched. Standard library only, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from ansible_collections.relocate.mtd.plugins.module_utils._preflight import promise_problem
from ansible_collections.relocate.mtd.plugins.module_utils._room import room_refusals

STOP_AND_COPY, POST_COPY, PRE_COPY = "stop-and-copy", "post-copy", "pre-copy"
#: Every mode, and what an operator may ask for.
MODES = (STOP_AND_COPY, POST_COPY, PRE_COPY)
ASKABLE = ("auto", *MODES)

#: The strategies of a move, and what an operator may ask for: C(auto) is what the container's label says, else live. The mode
#: of a move in which no memory travels is the name of its strategy.
LIVE, RECREATE = STRATEGIES = ("live", "recreate")
ASKABLE_STRATEGIES = ("auto", *STRATEGIES)
#: A container with this label is moved so; one labelled C(live) is never made anew.
STRATEGY_LABEL = "relocate.mtd/strategy"
#: For how many seconds the connections of a container that was made anew elsewhere may go on where they are.
DRAIN_LIMIT_S = 60.0

#: From the safest on. After the commit only post-copy needs the source; before it a pre-copy has more that can fail.
SAFEST_FIRST = (STOP_AND_COPY, PRE_COPY, POST_COPY)
#: What C(auto) looks at first.
SAFETY, PAUSE = PREFERENCES = ("safety", "pause")

#: In what is shown while a post-copy's last memory comes.
DRAINING_WORDS = "of its memory are still on"
#: The same while the connections of a container that was made anew are drained.
CONNECTIONS_WORDS = "of its connections are still on"

#: A container with this label and value never depends on two hosts at once.
POST_COPY_LABEL, NEVER = "relocate.mtd/post-copy", "never"

#: A pre-copy's destination holds all rounds until the restore: all memory, and as much again at worst in the rounds after
#: the first, and in the freeze; beside them the container itself, and a margin.
PRE_COPY_MEMORY_FACTOR = 4.2


def mode_refusals(
    mode: str,
    container: Mapping[str, Any],
    source: str,
    source_host: Mapping[str, Any],
    destination: str,
    destination_host: Mapping[str, Any],
) -> List[str]:
    """Return why a container cannot be moved in a mode from one host to another; nothing if it can.

    :param mode: one of :data:`MODES`.
    :param container: as C(relocation_info) describes it.
    :param source, destination: the hosts' names; :param source_host, destination_host: the C(host) of their C(relocation_info).
    """
    memory = int(container.get("memory_bytes", 0))
    problem = promise_problem(destination, destination_host, int(container.get("mapped_bytes", 0)), memory)
    unpromised = [f"{problem}, or use mode {STOP_AND_COPY}"] if problem else []
    if mode == POST_COPY:
        return _label_refusals(container) + _userfault_refusals(destination, destination_host) + unpromised
    found = [
        refusal
        for name, host in ((source, source_host), (destination, destination_host))
        for refusal in room_refusals(name, host, "images", memory)
    ]
    if mode == PRE_COPY:
        found += _dirty_tracking_refusals(source, source_host)
        found += _room_refusals(container, destination, destination_host) + unpromised
    return found if mode in (STOP_AND_COPY, PRE_COPY) else []


def _label_refusals(container: Mapping[str, Any]) -> List[str]:
    labels: Dict[str, str] = container.get("labels") or {}
    if labels.get(POST_COPY_LABEL) == NEVER:
        return [
            f"the container {container['name']} is labelled {POST_COPY_LABEL}={NEVER}, so that its memory is never on two "
            "hosts at once: use another mode"
        ]
    return []


def _userfault_refusals(name: str, host: Mapping[str, Any]) -> List[str]:
    if host.get("userfaultfd") is False:
        return [
            f"the kernel of {name} cannot fetch memory on demand (criu check --feature uffd-noncoop fails): use a kernel with "
            "CONFIG_USERFAULTFD, and let root use it, or use another mode"
        ]
    return []


def _room_refusals(container: Mapping[str, Any], name: str, host: Mapping[str, Any]) -> List[str]:
    available = host.get("memory_available_bytes")
    needed = int(container.get("memory_bytes", 0) * PRE_COPY_MEMORY_FACTOR)
    if available is None or available >= needed:
        return []
    return [
        f"{name} has {available >> 20} MiB of memory available, and pre-copy, whose rounds wait there for the restore, needs "
        f"{needed >> 20} MiB: use another mode"
    ]


def _dirty_tracking_refusals(name: str, host: Mapping[str, Any]) -> List[str]:
    if host.get("dirty_tracking"):
        return []
    return [
        f"the kernel of {name} does not tell which memory was written (criu check --feature mem_dirty_track fails), which "
        "pre-copy needs: boot a kernel with CONFIG_MEM_SOFT_DIRTY, or use another mode"
    ]
