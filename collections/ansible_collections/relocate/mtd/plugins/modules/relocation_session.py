#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: relocation_session
short_description: Starts one part of a relocation, waits for its end, or settles what a crash left
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - The parts of a relocation (source, destination, edge) are proxies that live as long as the relocation does and decide
    between themselves. This module starts one, fetches the result from the edge's, and brings a dead one's journal to an end.
  - M(relocate.mtd.container_relocate) calls it; it is of little use alone.
options:
  state:
    description:
      - V(started) starts a part and returns when it listens.
      - V(finished) waits for the result of a relocation that the edge's part leaves, and returns it.
      - >-
        V(recovered) brings a part that has no process any more to the end its journal and the verdict demand. The edge's part
        needs no verdict, it has the journal that decides, and returns it.
      - >-
        V(removed) belongs to no relocation. It removes a container that has come back with its host after it was restored
        elsewhere, and puts its volumes aside under the name of O(relocation).
    type: str
    choices: [started, finished, recovered, removed]
    required: true
  relocation:
    description: The relocation's id.
    type: str
    required: true
  part:
    description: Which part this host has. V(standby) is the part of the edge that does not decide, where there are two.
    type: str
    choices: [source, destination, edge, standby]
  specification:
    description: What the part needs to know, as one JSON text. It holds the part's private key; it is never logged.
    type: str
  verdict:
    description:
      - What the edge's journal says, for O(state=recovered) of the other two parts.
      - >-
        V(serve), for a source that has voted for a post-copy, is no verdict: it has the source serve the frozen memory again,
        and tells whether it can.
      - V(look) is none either. Nothing is settled, and RV(outcome) is the state that the journal has.
      - An edge's part takes it as well, where its own journal is not the one that counts.
    type: str
    choices: [commit, roll-back, serve, look]
  gone:
    description:
      - Why the source's memory is gone, for O(state=recovered) of a destination.
      - A copy that still needs it is ended.
    type: str
  container:
    description: The name of the container, for O(state=removed).
    type: str
  decided:
    description:
      - Whether the O(verdict) is in an edge's journal. Only then is a part rolled back that has heard of a commit.
    type: bool
    default: false
  ran:
    description:
      - Whether an edge has heard that the copy runs, for O(state=recovered) of a destination.
      - Such a copy has run, also if its host died before it could write that down.
    type: bool
    default: false
  timeout:
    description: How many seconds to wait with O(state=finished).
    type: int
    default: 60
extends_documentation_fragment:
  - relocate.mtd.attributes
attributes:
  check_mode:
    support: full
    details: Starts and settles nothing.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Settling is; starting the same relocation twice is refused.
"""

EXAMPLES = r"""
- name: Wait for the result
  relocate.mtd.relocation_session:
    state: finished
    relocation: 20261123-121530-7f3a
    timeout: 120
  delegate_to: host0
"""

RETURN = r"""
pid:
  description: The started part's process.
  returned: with O(state=started)
  type: int
port:
  description: Where it listens; 0 for the edge's, which calls the others.
  returned: with O(state=started)
  type: int
result:
  description: The relocation's result document; null if it has not ended in time.
  returned: with O(state=finished)
  type: dict
drain:
  description: >-
    Without a result, how the memory of a copy that runs already comes - C(left) and C(received) in bytes, C(rate) in bytes a
    second, C(still), for how many seconds nothing has come, C(connected) and C(problem). Null otherwise.
  returned: with O(state=finished)
  type: dict
outcome:
  description: >-
    The state the part's journal ended in; V(in-progress) if the relocation has a living process, V(unknown) if this host has no
    journal of it, V(lost) if the copy was committed and died before the last of its memory had come from the source. With
    O(verdict=serve), V(serving) if the source's memory can be had, V(gone) if it is not there any more.
  returned: with O(state=recovered)
  type: str
verdict:
  description: What the journals say, V(commit) or V(roll-back); null while the relocation is in progress.
  returned: with O(state=recovered)
  type: str
places:
  description: The hosts of source and destination by the edge's plan; null where there is no journal of an edge.
  returned: with O(state=recovered)
  type: dict
ran:
  description: Whether an edge's journal says that the copy runs; null where there is no journal of an edge.
  returned: with O(state=recovered)
  type: bool
notes:
  description: Sentences about services that are the container's no more, and were left as they are; null if there are none.
  returned: with O(state=recovered)
  type: list
  elements: str
"""

import json
import os
import time
from typing import Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.relocate.mtd.plugins.module_utils import _forms, _paths
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule

INTERPRETER = "/usr/bin/python3"
POLL_SECONDS = 0.05
#: How often is told how a drain goes.
TELL_SECONDS = 3.0


def proxy(module: AnsibleModule, arguments: list, data: str) -> dict:
    """Run the proxy program and return the document it prints; a failure ends the module with its sentence."""
    if not os.path.isdir(f"{_paths.INSTALLED}/relocate_proxy"):
        module.fail_json(msg="this host has no relocation proxy: run prepare.yml", failed=True)
    status, out, error = module.run_command(
        [INTERPRETER, "-m", "relocate_proxy", *arguments],
        data=data,
        environ_update={"PYTHONPATH": _paths.INSTALLED, "LC_ALL": "C.UTF-8"},
        expand_user_and_vars=False,
    )
    try:
        document = json.loads(out)
    except ValueError:
        module.fail_json(
            msg="the relocation proxy gave no answer; its installation may be damaged: run prepare.yml",
            rc=status, stdout=out, stderr=error, failed=True,
        )  # fmt: skip
    if "error" in document:
        module.fail_json(msg=document["error"], failed=True)
    return document


def fetch(relocation: str, seconds: int) -> Optional[dict]:
    """Return the result that the edge's part wrote, and remove it; None if there is none in time, or a drain to tell of."""
    path = f"{_paths.RESULTS}/{relocation}.json"
    begin = time.monotonic()
    while not os.path.exists(path):
        waited = time.monotonic() - begin
        if waited > seconds or (waited > TELL_SECONDS and drain(relocation)):
            return None
        time.sleep(POLL_SECONDS)
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    os.unlink(path)
    return result


def drain(relocation: str) -> Optional[dict]:
    """Return how the last memory of a post-copy comes; None if nothing is said of that."""
    try:
        with open(f"{_paths.RESULTS}/{relocation}.progress", encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "relocation": _forms.relocation_id,
            "specification": _forms.json_text,
            "gone": _forms.remark,
            "container": _forms.container_name,
            "timeout": _forms.whole(0, 100_000),
        },
        argument_spec={
            "state": {"type": "str", "choices": ["started", "finished", "recovered", "removed"], "required": True},
            "relocation": {"type": "str", "required": True},
            "part": {"type": "str", "choices": ["source", "destination", "edge", "standby"]},
            "specification": {"type": "str", "no_log": True},
            "verdict": {"type": "str", "choices": ["commit", "roll-back", "serve", "look"]},
            "gone": {"type": "str"},
            "container": {"type": "str"},
            "decided": {"type": "bool", "default": False},
            "ran": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "started", ("part", "specification")),
            ("state", "recovered", ("part",)),
            ("state", "removed", ("container",)),
        ],
        supports_check_mode=True,
    )
    state, relocation = module.params["state"], module.params["relocation"]
    if state == "finished":
        result = fetch(relocation, module.params["timeout"])
        module.exit_json(changed=False, result=result, drain=None if result else drain(relocation))
    if module.check_mode and module.params["verdict"] != "look":
        module.exit_json(changed=True)
    if state == "started":
        document = proxy(module, [module.params["part"]], module.params["specification"])
        module.exit_json(changed=True, pid=document["pid"], port=document["port"])
    if state == "removed":
        order = {"relocation": relocation, "container": module.params["container"]}
        module.exit_json(changed=proxy(module, ["remove"], json.dumps(order))["changed"])
    order = {"relocation": relocation, "part": module.params["part"], "verdict": module.params["verdict"]}
    order.update(gone=module.params["gone"], decided=module.params["decided"], ran=module.params["ran"])
    document = proxy(module, ["recover"], json.dumps(order))
    known = {name: document.get(name) for name in ("outcome", "verdict", "places", "ran", "notes")}
    module.exit_json(changed=document["changed"], **known)


if __name__ == "__main__":
    main()
