# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lab is meant, and where it keeps what: the same answers as roles/lab's defaults give, from the same environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from relocate.errors import Refusal

# LXC and iproute2 take more, but the name ends up in paths of unix sockets (108 characters at most).
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")


@dataclass(frozen=True)
class Lab:
    """One lab of this machine. ``name`` is empty for the ordinary one."""

    name: str
    state: Path
    cache: Path

    @classmethod
    def from_environment(cls) -> Lab:
        """Return the lab that RELOCATE_LAB_NAME, RELOCATE_LAB_STATE and RELOCATE_LAB_CACHE mean.

        Raises Refusal for a name that could not be part of file and namespace names.
        """
        name = os.environ.get("RELOCATE_LAB_NAME", "")
        if name and not NAME.fullmatch(name):
            raise Refusal(
                f"RELOCATE_LAB_NAME is {name!r}, but a lab's name has at most 20 lower-case letters, digits and hyphens: "
                "choose another",
                status=2,
            )
        suffix = f"-{name}" if name else ""
        state = os.environ.get("RELOCATE_LAB_STATE") or f"/var/lib/relocate-lab{suffix}"
        cache = os.environ.get("RELOCATE_LAB_CACHE") or "/var/cache/relocate-lab"
        for variable, path in (("RELOCATE_LAB_STATE", state), ("RELOCATE_LAB_CACHE", cache)):
            if not Path(path).is_absolute() or len(Path(path).parts) < 3:
                raise Refusal(
                    f"{variable} is {path!r}, which the lab would fill and remove: give a directory of its own, "
                    "as an absolute path below another one",
                    status=2,
                )
        return cls(name, Path(state), Path(cache))

    @property
    def namespace(self) -> str:
        """Name of the network namespace with the bridges, and of the control group."""
        return f"relocate-lab-{self.name}" if self.name else "relocate-lab"

    @property
    def client_namespace(self) -> str:
        """Name of the network namespace that stands for the outside world."""
        return f"relocate-client-{self.name}" if self.name else "relocate-client"

    @property
    def document(self) -> Path:
        """The file that says what the lab consists of; there once the lab has come up."""
        return self.state / "lab.json"

    @property
    def lock(self) -> Path:
        """The file that whoever changes the lab holds locked."""
        return Path("/run/lock") / f"{self.namespace}.lock"


def project_root() -> Path:
    """Return the directory with playbooks, roles and inventories: RELOCATE_PROJECT, or around this file, or around the caller.

    Raises Refusal where there is none.
    """
    given = os.environ.get("RELOCATE_PROJECT")
    here, current = Path(__file__).resolve(), Path.cwd()
    candidates = [Path(given)] if given else [*here.parents, current, *current.parents]
    for directory in candidates:
        if (directory / "playbooks" / "lab.yml").is_file() and (directory / "ansible.cfg").is_file():
            return directory
    raise Refusal(
        f"the project's playbooks are not in {given or current} or around it: "
        "run the command inside a clone of the repository, or name one with RELOCATE_PROJECT"
    )
