# -*- coding: utf-8 -*-
# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dockerd's ``daemon.json``: merging into it, taking out of it, and making the daemon follow."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.relocate.mtd.plugins.module_utils._commands import Commands, read_text
from ansible_collections.relocate.mtd.plugins.module_utils._docker import DockerClient, DockerError

CONFIG = "/etc/docker/daemon.json"
PIDFILE = "/var/run/docker.pid"
WAIT_S = 60.0

# What dockerd takes over on SIGHUP (docs.docker.com, "Configuration reload behavior"); everything else needs a restart.
RELOADABLE = frozenset(
    {
        "authorization-plugins",
        "debug",
        "default-runtime",
        "features",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)


def merged(config: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return ``config`` with ``wanted`` put in: dictionaries key by key, lists by what they lack, the rest replaced."""
    result = dict(config)
    for key, value in wanted.items():
        present = result.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            result[key] = merged(present, value)
        elif isinstance(value, list) and isinstance(present, list):
            result[key] = present + [item for item in value if item not in present]
        else:
            result[key] = value
    return result


def without(config: dict[str, Any], unwanted: dict[str, Any]) -> dict[str, Any]:
    """Return ``config`` less ``unwanted``: the inverse of :func:`merged`. What somebody changed since stays."""
    result = dict(config)
    for key, value in unwanted.items():
        present = result.get(key)
        rest: Any
        if isinstance(value, dict) and isinstance(present, dict):
            rest = without(present, value)
        elif isinstance(value, list) and isinstance(present, list):
            rest = [item for item in present if item not in value]
        elif key in result and present == value:
            rest = None
        else:
            continue
        if rest:
            result[key] = rest
        else:
            del result[key]
    return result


def consequence(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return what dockerd needs to take over a change: ``restart``, ``reload`` or ``nothing``."""
    keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    if not keys:
        return "nothing"
    return "reload" if keys <= RELOADABLE else "restart"


def as_text(config: dict[str, Any]) -> str:
    """Return a configuration as its file has it."""
    return json.dumps(config, indent=4, sort_keys=False) + "\n"


class Daemon:
    """dockerd of this host and its configuration file."""

    def __init__(self, commands: Commands, path: str = CONFIG) -> None:
        """Work through ``commands`` on the configuration at ``path``."""
        self._commands = commands
        self._engine = DockerClient()
        self.path = path

    def config(self) -> dict[str, Any]:
        """Return the configuration; empty where there is no file."""
        if os.path.exists(self.path) and not os.path.isfile(self.path):  # a device may never end
            self._commands.fail(f"{self.path} is no file: name dockerd's configuration, or leave the option path away")
        try:
            text = read_text(self.path)
        except (OSError, UnicodeDecodeError) as error:
            self._commands.fail(f"{self.path} cannot be read ({error}): mend it first")
        try:
            config = json.loads(text) if text and text.strip() else {}
        except ValueError as error:
            self._commands.fail(f"{self.path} is not JSON ({error}); mend it first, dockerd cannot read it either")
        if not isinstance(config, dict):
            self._commands.fail(f"{self.path} does not hold a JSON object; mend it first")
        return config

    def write(self, config: dict[str, Any]) -> None:
        """Write the configuration at one stroke, after dockerd has found it valid."""
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        trial = self.path + ".relocate-trial"
        self._commands.write_file(trial, as_text(config), 0o644)
        try:
            self._commands.run(["dockerd", "--validate", "--config-file", trial], what="checking the new daemon.json")
        finally:
            os.unlink(trial)
        self._commands.write_file(self.path, as_text(config), 0o644)

    def running(self) -> list[str]:
        """Return the names of the containers that run; none if dockerd is not up."""
        try:
            return sorted(each["Names"][0].lstrip("/") for each in self._engine.containers(everything=False))
        except DockerError as error:
            if error.status == 0:
                return []
            self._commands.fail(f"Docker would not list its containers: {error}")

    def reload(self) -> None:
        """Make dockerd read its configuration again; return once it has taken it over."""
        pid = (read_text(PIDFILE) or "").strip()
        if not pid.isdigit() or (read_text(f"/proc/{pid}/comm") or "").strip() != "dockerd":
            self._commands.fail(f"dockerd could not be told to reload: {PIDFILE} does not lead to it; is it running?")
        self._commands.ran.append(f"kill -HUP {pid}")
        begun = time.time()
        os.kill(int(pid), signal.SIGHUP)
        # it reads the file in its own time; of its settings it shows some alone
        self._wait(lambda: self._engine.reloaded(begun), "dockerd did not take over its settings")

    def restart(self) -> None:
        """Restart dockerd through the host's service manager; return once it answers."""
        systemd = os.path.isdir("/run/systemd/system")
        argv = ["systemctl", "restart", "docker"] if systemd else ["service", "docker", "restart"]
        self._commands.run(argv, what="restarting Docker", label="restart")
        self._wait(self._answers, "dockerd did not come back after its restart")

    def _answers(self) -> bool:
        self._engine.ping()
        return True

    def _wait(self, ready: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + WAIT_S
        reason = "it kept the old one"
        while time.monotonic() < deadline:
            try:
                if ready():
                    return
            except DockerError as error:
                reason = str(error)
            time.sleep(0.05)
        self._commands.fail(f"{failure} within {WAIT_S:.0f} s ({reason}); see dockerd's log")
