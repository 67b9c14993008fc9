# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docker0_address and docker_daemon against a dockerd that is only played: who restarts it, when, and who is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.relocate.mtd.plugins.module_utils import _daemon
from ansible_collections.relocate.mtd.plugins.modules import docker0_address

from .conftest import Ended, Script

WANTED = "172.20.1.1/24"


class Dockerd:
    """What the played dockerd has and was told."""

    def __init__(self) -> None:
        """Start with the address Docker chooses by itself, and no container."""
        self.address = "172.17.0.1/16"
        self.running: list[str] = []
        self.told: list[str] = []


@pytest.fixture
def dockerd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dockerd:
    """Put the played dockerd in the place of this machine's."""
    played = Dockerd()

    def restart(daemon: _daemon.Daemon) -> None:
        played.told.append("restart")
        played.address = daemon.config().get("bip", played.address)

    def write(daemon: _daemon.Daemon, config: dict[str, Any]) -> None:
        Path(daemon.path).write_text(_daemon.as_text(config), encoding="utf-8")

    monkeypatch.setattr(_daemon.Daemon, "running", lambda _self: played.running)
    monkeypatch.setattr(_daemon.Daemon, "restart", restart)
    monkeypatch.setattr(_daemon.Daemon, "reload", lambda _self: played.told.append("reload"))
    monkeypatch.setattr(_daemon.Daemon, "write", write)
    monkeypatch.setattr(docker0_address, "bridge_address", lambda _commands: played.address)
    return played


def _address(run_module: Callable[..., Ended], path: Path, check: bool = False) -> Ended:
    return run_module("docker0_address", {"address": WANTED, "path": str(path)}, Script([], path.parent), check)


def _settings(run_module: Callable[..., Ended], path: Path, settings: dict[str, Any], state: str = "present") -> Ended:
    parameters = {"settings": settings, "path": str(path), "state": state}
    return run_module("docker_daemon", parameters, Script([], path.parent))


def test_address_changes_once(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """The first run writes bip beside what is there and restarts dockerd; the second does nothing."""
    path = tmp_path / "daemon.json"
    path.write_text('{"debug": true}', encoding="utf-8")
    first = _address(run_module, path).result
    assert first["changed"] and first["restarted"]
    assert first["before"] == {"bip": None, "address": "172.17.0.1/16"}
    assert first["after"] == {"bip": WANTED, "address": WANTED}
    assert json.loads(path.read_text(encoding="utf-8")) == {"debug": True, "bip": WANTED}
    second = _address(run_module, path).result
    assert not second["changed"] and not second["restarted"]
    assert dockerd.told == ["restart"]


def test_check_mode_touches_nothing(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """Check mode predicts the change."""
    path = tmp_path / "daemon.json"
    assert _address(run_module, path, check=True).result["changed"]
    assert not path.exists() and dockerd.told == []


def test_running_containers_forbid_it(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """A restart would stop them: the failure names them, and the file stays as it was."""
    dockerd.running = ["db", "web"]
    path = tmp_path / "daemon.json"
    ended = _address(run_module, path)
    assert ended.failed
    assert ended.result["msg"] == (
        "docker0 is 172.17.0.1/16 and cannot become 172.20.1.1/24 while containers run (db, web); move or stop them first"
    )
    assert not path.exists() and dockerd.told == []


def test_running_containers_do_not_mind_a_setting_that_is_true_already(
    run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path
) -> None:
    """Only the file lacks the address: it is written, and nobody restarts anything."""
    dockerd.running, dockerd.address = ["web"], WANTED
    ended = _address(run_module, tmp_path / "daemon.json")
    assert not ended.failed and ended.result["changed"] and dockerd.told == []


def test_reloadable_settings_are_reloaded(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """Containers run on: a runtime and a registry are taken over without a restart."""
    dockerd.running = ["web"]
    settings = {
        "runtimes": {"relocate": {"path": "/usr/local/bin/relocate-runtime"}},
        "insecure-registries": ["r:5000"],
    }
    ended = _settings(run_module, tmp_path / "daemon.json", settings)
    assert ended.result["consequence"] == "reload" and dockerd.told == ["reload"]
    assert _settings(run_module, tmp_path / "daemon.json", settings).result["changed"] is False


def test_settings_that_need_a_restart_wait(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """With containers, refused and nothing written; without, restarted; and taken out again afterwards."""
    path = tmp_path / "daemon.json"
    path.write_text('{"debug": true}', encoding="utf-8")
    dockerd.running = ["web"]
    ended = _settings(run_module, path, {"userland-proxy": False})
    assert ended.result["msg"] == (
        "dockerd's userland-proxy cannot be changed while containers run (web), "
        "because dockerd would have to be restarted; move or stop them first"
    )
    assert json.loads(path.read_text(encoding="utf-8")) == {"debug": True}
    dockerd.running = []
    assert _settings(run_module, path, {"userland-proxy": False}).result["consequence"] == "restart"
    assert _settings(run_module, path, {"userland-proxy": False}, "absent").result["changed"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"debug": True}


def test_broken_file_is_named(run_module: Callable[..., Ended], dockerd: Dockerd, tmp_path: Path) -> None:
    """A daemon.json that dockerd could not read either is reported, not overwritten."""
    path = tmp_path / "daemon.json"
    path.write_text("{,}", encoding="utf-8")
    ended = _settings(run_module, path, {"debug": True})
    assert ended.failed and ended.result["msg"].startswith(f"{path} is not JSON (")
    assert path.read_text(encoding="utf-8") == "{,}"
