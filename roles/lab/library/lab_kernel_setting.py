#!/usr/bin/python
# Copyright (c) 2026 the relocate project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A kernel setting that all hosts of all labs share with the machine, raised for as long as a lab needs it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_kernel_setting
short_description: Raise a kernel setting as long as a lab needs it
description:
  - Hosts in system containers share the machine's kernel, and some of its settings are theirs too. One that is lower than a lab
    needs is raised, and lowered again by the last lab that needed it.
  - A setting that is high enough, or that somebody has changed meanwhile, is left alone.
attributes:
  check_mode: {support: full, description: Can run in check mode and say what would change.}
  diff_mode: {support: none, description: Shows no difference.}
options:
  state:
    description: Whether this lab needs it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The setting, as sysctl(8) names it.
    type: str
    required: true
  least:
    description: The least value that serves.
    type: int
    required: true
  lab:
    description: Who needs it.
    type: str
    required: true
author: [the relocate project]
"""

EXAMPLES = r"""
- name: Allow the hosts larger pipes
  lab_kernel_setting:
    name: fs.pipe-max-size
    least: 4194304
    lab: relocate-lab
"""

RETURN = r"""
value:
  description: What the setting is now.
  returned: always
  type: int
"""

import fcntl
import os

from ansible.module_utils.basic import AnsibleModule

SETTINGS = "/proc/sys"
#: One directory a raised setting: its value before, and one file a lab that needs it. Like the setting, it goes with a reboot.
RAISED = "/run/relocate-lab.settings"


class Setting:
    """One setting, and who needs it raised."""

    def __init__(self, name: str, settings: str = SETTINGS, raised: str = RAISED) -> None:
        self.path = os.path.join(settings, *name.split("."))
        self.parent = raised
        self.directory = os.path.join(raised, name)
        self.before = os.path.join(self.directory, "before")

    def value(self) -> int:
        """Return what it is."""
        with open(self.path, encoding="ascii") as file:
            return int(file.read())

    def _write(self, value: int) -> None:
        with open(self.path, "w", encoding="ascii") as file:
            file.write(str(value))

    def needs_raising(self, least: int, lab: str) -> bool:
        """Whether :meth:`raise_to` would change something."""
        raised = os.path.exists(self.before) and not os.path.exists(os.path.join(self.directory, lab))
        return self.value() < least or raised

    def raise_to(self, least: int, lab: str) -> None:
        """Have it at least so high, until this lab and every other that said so needs it no more."""
        value = self.value()
        if value < least:
            os.makedirs(self.directory, exist_ok=True)
            if not os.path.exists(self.before):
                with open(self.before, "w", encoding="ascii") as file:
                    file.write(f"{value} {least}")
            self._write(least)
        with open(os.path.join(self.directory, lab), "w", encoding="ascii"):
            pass

    def is_needed_by(self, lab: str) -> bool:
        """Whether :meth:`give_back` would change something."""
        return os.path.exists(os.path.join(self.directory, lab))

    def give_back(self, lab: str) -> None:
        """This lab needs it no more; the last one puts it back, unless somebody else has set it since."""
        os.unlink(os.path.join(self.directory, lab))
        if os.listdir(self.directory) != ["before"]:
            return
        with open(self.before, encoding="ascii") as file:
            before, ours = (int(word) for word in file.read().split())
        if self.value() == ours:
            self._write(before)
        os.unlink(self.before)
        os.rmdir(self.directory)

    def tidy(self) -> None:
        """Remove the directory of all settings when none is raised any more."""
        try:
            os.rmdir(self.parent)
        except OSError:  # another one is
            pass


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "least": {"type": "int", "required": True},
            "lab": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    setting, least, lab = Setting(module.params["name"]), module.params["least"], module.params["lab"]
    present = module.params["state"] == "present"
    lock = os.open(os.path.dirname(RAISED), os.O_RDONLY | os.O_DIRECTORY)  # until this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    changed = setting.needs_raising(least, lab) if present else setting.is_needed_by(lab)
    if changed and not module.check_mode:
        try:
            setting.raise_to(least, lab) if present else setting.give_back(lab)
            setting.tidy()
        except OSError as error:
            module.fail_json(msg=f"the machine does not let {module.params['name']} be changed: {error}")
    module.exit_json(changed=changed, value=setting.value())


if __name__ == "__main__":
    main()
