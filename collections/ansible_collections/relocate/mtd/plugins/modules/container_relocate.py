#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: container_relocate
short_description: Carries a running container, live, to another host
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Moves a running Docker container to another Docker host. Its memory, its files, its log and its established TCP connections
    go with it; its address changes; its clients see a pause, because their packets are held at the edge and not dropped.
  - Everything is checked before anything is touched, and a move that cannot be done safely is refused with the reason and the
    remedy. Three proxies, on source, destination and edge, do the cutover between themselves and decide the commit in one
    place. A move that fails before the commit is rolled back by them, and the container runs on at its source.
  - The task runs on the controller (C(hosts=localhost)) and reaches the three hosts through the inventory.
options:
  destination:
    description: The host that it goes to. Without one, it is drawn from those that can take it, by O(policy).
    type: str
  policy:
    description:
      - How the destination is drawn, as C(policy), C(mode), C(weights), C(beta), C(min_entropy_bits), C(include), C(exclude)
        and C(headroom). The default draws by how different a host is from the source, and keeps the next hop unpredictable.
      - Needs the profiles that C(playbooks/profile.yml) collects. Without one of the source the draw is uniform.
    type: dict
    default: {}
  downtime_limit_ms:
    description:
      - For how many milliseconds the container may be away, from the first held packet to the release.
      - A move that is predicted to last longer is refused before anything is frozen. It is predicted when it is planned, from
        the O(ledger) and the memory speeds of the hosts, and again when everything is staged, with the measured speed of the
        channel from source to destination.
      - A cutover that has lasted for twice as long without being ready to commit is rolled back.
    type: float
    default: 300
  drain_limit_s:
    description:
      - With O(strategy=recreate), for how many seconds connections may go on at the source. What has not ended then is cut when
        the old container is stopped.
    type: float
    default: 60
  with_project:
    description:
      - A container that is on a private network with others of its Compose project is refused alone. With this option all of
        its project moves with it, as by M(relocate.mtd.project_relocate); any other container moves as it would without.
      - The result is the container's own, with those of all as RV(members).
    type: bool
    default: false
  reason:
    description: Why it is moved, for the ledger.
    type: str
    default: manual
  identifier:
    description:
      - The relocation's id, for whoever has to find out later what became of it. One is made up where none is given.
      - Letters, digits and hyphens; never the same twice.
    type: str
  alert:
    description: The alert of a clock that asks for this move. It is copied into the result.
    type: dict
    suboptions:
      at:
        description: When it was, as in ISO 8601 with the offset from UTC.
        type: str
        required: true
      stay_ms:
        description: The stay that it ended, in milliseconds, as measured.
        type: float
      drawn_ms:
        description: The same as the clock drew it.
        type: float
      clamp:
        description: What changed the stay after it was drawn, such as a maintenance window.
        type: str
  timeout:
    description: After how many seconds without a result the move is reported as being in doubt. It goes on without us.
    type: int
    default: 300
notes:
  - The hosts must have been prepared (C(playbooks/prepare.yml)).
  - Containers with a terminal, devices, namespaces shared with others, or bind mounts that no policy names are refused.
seealso:
  - module: relocate.mtd.relocation_info
  - module: relocate.mtd.nat_service
extends_documentation_fragment:
  - relocate.mtd.attributes
  - relocate.mtd.move
  - relocate.mtd.move.fleet
attributes:
  check_mode:
    support: full
    details: Returns the plan and touches nothing. A destination that is not given is drawn anew by the real run.
  diff_mode:
    support: full
    details: Shows the plan.
  idempotent:
    support: none
    details: Every run is a move.
"""

EXAMPLES = r"""
- name: Move the counter to any other host
  relocate.mtd.container_relocate:
    container: counter

- name: Move it to host3
  relocate.mtd.container_relocate:
    container: counter
    destination: host3

- name: Move a large one in whichever way keeps it away for the shortest time, and not at all if that is over 150 ms
  relocate.mtd.container_relocate:
    container: database
    mode: auto
    downtime_limit_ms: 150

- name: Make a web server that uses io_uring anew on host2, and give its connections ten minutes
  relocate.mtd.container_relocate:
    container: web
    destination: host2
    strategy: recreate
    drain_limit_s: 600
"""

RETURN = r"""
strategy:
  description: V(live), or V(recreate) - it was made anew, and O(mode) is V(recreate) as well, because no memory travels.
  returned: when there was a plan
  type: str
drain:
  description: >-
    With V(recreate), how many C(connections) the old container had at most, how many of them were C(cut), and after how many
    C(seconds) it was stopped.
  returned: when a container was made anew
  type: dict
id:
  description: The relocation's id, which its journals carry.
  returned: when there was a plan
  type: str
container:
  description: The container's name.
  returned: when there was a plan
  type: str
source:
  description: The C(host) and C(address) it came from.
  returned: when there was a plan
  type: dict
destination:
  description: The C(host) and C(address) it went to.
  returned: when there was a plan
  type: dict
address_before:
  description: The container's address at the source.
  returned: when there was a plan
  type: str
address_after:
  description: The container's address at the destination.
  returned: when the destination had given it one
  type: str
mode:
  description: How the memory was carried.
  returned: when there was a plan
  type: str
mode_asked:
  description: The mode that was asked for.
  returned: when there was a plan
  type: str
mode_why:
  description: Why it is this mode.
  returned: when there was a plan
  type: str
modes_unavailable:
  description: The modes that could not be had, each with its reason.
  returned: when there was a plan
  type: dict
predictions:
  description: The predicted downtime of each available mode in milliseconds, when the move was planned.
  returned: when there was a plan
  type: dict
predicted_downtime_ms:
  description: The last prediction for the chosen mode - when everything was staged, or when it was planned.
  returned: when there was a plan
  type: float
predicted_from:
  description: What the prediction rests on.
  returned: when there was a plan
  type: str
downtime_limit_ms:
  description: The limit that applied.
  returned: when there was a plan
  type: float
cost:
  description: The coefficients of the prediction, in milliseconds, for each connection and each MiB.
  returned: when there was a plan
  type: dict
measured:
  description: >-
    What was measured when everything was staged (C(memory_bytes), C(link_ms_per_mib), C(connections); C(left_bytes) of memory
    that the pause has to carry: in V(pre-copy) what its last round found written, in V(post-copy) what is not worth deferring).
  returned: when it came so far
  type: dict
rounds:
  description: >-
    The rounds of a V(pre-copy), in order - C(bytes) of memory carried, and C(stopped_ms), the milliseconds that the container
    stood still for it; none in other modes.
  returned: when everything was staged
  type: list
  elements: dict
source_needed_ms:
  description: >-
    How long the container still needed its source after it was released at the destination, in milliseconds; 0 unless the mode
    is V(post-copy).
  returned: when a move was tried
  type: float
exit_code:
  description: >-
    The exit status with which the container ended at the destination before the move had been tidied up - by itself, or
    because it could not live there. C(docker logs) on that host tells.
  returned: when it was moved, and does not run any more
  type: int
choice:
  description: >-
    How the destination was chosen, with C(host), C(policy), and for one that was drawn C(delta), C(terms), entropies and
    C(why). In check mode also the whole distribution, which is never recorded.
  returned: when there was a plan
  type: dict
flows:
  description: The connections by direction (C(ingress), C(egress)), and how many were C(kept) and C(lost).
  returned: when a move was tried
  type: dict
bytes:
  description: What was carried (C(memory), C(writable_layer), C(volumes)).
  returned: when a move was tried
  type: dict
timings_ns:
  description: >-
    How long each phase took, in nanoseconds (C(stage), C(hold), C(freeze), C(dump), C(rewrite), C(transfer), C(restore),
    C(commit), C(release), C(cleanup)), and C(frozen_total), C(held_total).
  returned: when a move was tried
  type: dict
frozen_at:
  description: When the source stood still, by the edge's clock (UTC).
  returned: when it was frozen
  type: str
commands:
  description: What ran on the hosts, as lists of arguments; calls of the Docker API by their method and path.
  returned: when a move was tried
  type: list
  elements: list
downtime_ms:
  description: From the first held packet to the release.
  returned: when a move was tried
  type: float
members:
  description: The results of all containers of the project. The container's own is among them.
  returned: when it moved, or was to move, with its project
  type: list
  elements: dict
alerted_at:
  description: When the clock's alert was. C(stay_ms), C(drawn_ms) and C(clamp) are those of O(alert).
  returned: with O(alert)
  type: str
exposure_latency_ms:
  description: From the alert to the freeze, by the clocks of the controller and of the edge.
  returned: with O(alert), when the container was frozen
  type: float
rolled_back:
  description: Whether the move was begun and taken back.
  returned: always
  type: bool
outcome:
  description: V(committed), V(rolled-back), V(refused), V(planned) in check mode, or V(in-doubt).
  returned: always
  type: str
problems:
  description: What went wrong, in sentences.
  returned: when a move was tried
  type: list
  elements: str
"""
