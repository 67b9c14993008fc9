#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon
short_description: Settings in dockerd's daemon.json, taken over without harm to running containers
version_added: "0.1.0"
author:
  - The RELOCATE authors (@relocate)
description:
  - Puts settings into dockerd's configuration file and leaves everybody else's settings there alone. Dictionaries are
    merged key by key, lists get what they lack, other values are replaced.
  - Makes dockerd follow. Settings that can be reloaded are (SIGHUP, containers do not notice). The others need a
    restart,
    which stops containers; it is refused while any run, and then the file stays as it was, too.
  - The new file is checked by C(dockerd --validate) before it is written.
options:
  settings:
    description: The settings, as they stand in C(daemon.json).
    type: dict
    required: true
  state:
    description:
      - V(present) puts the settings in.
      - V(absent) takes them out where they still have these values. Of a dictionary or list it takes only what is
        named.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The configuration file.
    type: path
    default: /etc/docker/daemon.json
seealso:
  - module: relocate.mtd.docker0_address
extends_documentation_fragment:
  - relocate.mtd.attributes
"""

EXAMPLES = r"""
- name: A runtime of our own and a repository on the fleet's network
  relocate.mtd.docker_daemon:
    settings:
      runtimes:
        relocate:
          path: /usr/local/bin/relocate-runtime
      insecure-registries:
        - 10.77.0.10:5000
"""

RETURN = r"""
consequence:
  description: What dockerd had (or in check mode would have) to do, V(nothing), V(reload) or V(restart).
  returned: success
  type: str
  sample: reload
commands:
  description: The commands that were run.
  returned: always
  type: list
  elements: str
timings_ns:
  description: Nanoseconds spent restarting.
  returned: always
  type: dict
"""

from ansible_collections.relocate.mtd.plugins.module_utils import _daemon, _forms
from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands
from ansible_collections.relocate.mtd.plugins.module_utils._module import HostModule


def main() -> None:
    """Entry point."""
    module = HostModule(
        forms={
            "settings": _forms.settings,
            "path": _forms.path,
        },
        argument_spec={
            "settings": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": _daemon.CONFIG},
        },
        supports_check_mode=True,
    )
    commands = Commands(module)
    daemon = _daemon.Daemon(commands, module.params["path"])
    present = module.params["state"] == "present"
    before = daemon.config()
    after = (_daemon.merged if present else _daemon.without)(before, module.params["settings"])
    consequence = _daemon.consequence(before, after)
    if consequence == "restart":
        running = daemon.running()
        if running:
            keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            commands.fail(
                f"dockerd's {', '.join(keys)} cannot be changed while containers run ({', '.join(running)}), "
                "because dockerd would have to be restarted; move or stop them first"
            )
    if consequence != "nothing" and not module.check_mode:
        daemon.write(after)
        if consequence == "restart":
            daemon.restart()
        else:
            daemon.reload()
    module.exit_json(
        changed=consequence != "nothing",
        consequence=consequence,
        diff={"before": _daemon.as_text(before), "after": _daemon.as_text(after)},
        commands=commands.ran,
        timings_ns=commands.timings_ns,
    )


if __name__ == "__main__":
    main()
